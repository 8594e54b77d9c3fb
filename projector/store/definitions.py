"""What a relation's table is built from, as text and as digests: two that differ need another generation."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
from sqlalchemy import Index, MetaData, PrimaryKeyConstraint, Select, Table, UniqueConstraint
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import AddConstraint, CreateIndex, CreateTable

from projector.declare.entity import FILLFACTOR, Entity
from projector.declare.projections import Projections, reads
from projector.declare.sql import plain, quoted, substitute
from projector.declare.view import Relation, View
from projector.errors import DeclarationError
from projector.store.names import generation_name, generation_table
from projector.store.search_text import words_index
from projector.store.tables import metadata as engine


def relation_digests(projections: Projections) -> dict[str, str]:
    """A digest of each relation's definition, which takes in those of the relations that it reads."""
    digests: dict[str, str] = {}
    by_table = {id(r.table): r.name for r in projections.relations}
    for relation in projections.relations:
        upstream = [digests[by_table[id(t)]] for t in reads(relation) if id(t) in by_table]
        columns = [f"{c.name} {c.type!r}" for c in relation.table.c]
        digests[relation.name] = _digest(
            relation.name,
            str(relation.version),
            str(relation.stored),
            *relation.key,
            plain(relation.query),
            *columns,
            *upstream,
        )
    return digests


def declarations_digest(projections: Projections) -> str:
    """One digest of all that the tables are made from, the engine's own, too: a process with another must not write."""
    tables = [*engine.sorted_tables, *(t for e in projections.entities for t in entity_tables(e))]
    return _digest(*(str(CreateTable(t)) for t in tables), *relation_digests(projections).values())


def entity_tables(entity: Entity[Any]) -> list[Table]:
    """The entity's table and those of its children."""
    return [entity.table, *(child.table for child in entity.children)]


def served_query(projections: Projections, relation: Relation, generations: Mapping[str, int]) -> Select[Any]:
    """The relation's query, reading the generations given in place of the declared tables."""
    replaced = {
        r.table: generation_table(r, generations[r.name]) for r in projections.relations if r.name in generations
    }
    query: Select[Any] = substitute(relation.query, replaced)
    return query


def whole_query(projections: Projections, relation: Relation) -> Select[Any]:
    """The relation's query over nothing but entities: each view that it reads replaced by that view's own query."""
    replaced = {
        r.table: whole_query(projections, r).subquery(r.name)
        for r in projections.relations
        if any(t is r.table for t in reads(relation))
    }
    query: Select[Any] = substitute(relation.query, replaced)
    return query


def table_ddl(table: Table, schema: str) -> str:
    """CREATE TABLE in a schema, leaving room on each page for HOT updates."""
    return _created(table.to_metadata(MetaData(), schema=schema))


def generation_ddl(projections: Projections, relation: Relation, generations: Mapping[str, int], schema: str) -> str:
    """CREATE TABLE of one generation; of a virtual view CREATE VIEW over that of the one it computes over."""
    generation = generations[relation.name]
    if relation.stored:
        return table_ddl(generation_table(relation, generation), schema)
    query = plain(served_query(projections, relation, generations))
    return f"CREATE VIEW {quoted(schema)}.{quoted(generation_name(relation.name, generation))} AS {query}"


def keyless_ddl(relation: Relation, generation: int, schema: str) -> tuple[str, str]:
    """CREATE TABLE of one generation of a stored relation without its key, and what adds that: sooner done over rows
    that are there than row by row.
    """
    table = generation_table(relation, generation).to_metadata(MetaData(), schema=schema)
    (key,) = (c for c in table.constraints if isinstance(c, PrimaryKeyConstraint | UniqueConstraint) and c.columns)
    add = plain(AddConstraint(key))  # which leaves it out of CREATE TABLE
    return _created(table), add


def _created(table: Table) -> str:
    return f"{plain(CreateTable(table)).strip()} WITH (fillfactor = {FILLFACTOR})"


def index_ddl(index: Index) -> str:
    """CREATE INDEX of a declared index."""
    return plain(CreateIndex(index)).strip()


@contextmanager
def indexing(ddl: str) -> Iterator[None]:
    """Around the making of an index. Raises DeclarationError, which names its columns, where a text is too long."""
    try:
        yield
    except (psycopg.errors.ProgramLimitExceeded, DBAPIError) as error:
        if not isinstance(getattr(error, "orig", error), psycopg.errors.ProgramLimitExceeded):
            raise
        what = ddl.partition(" ON ")[2].partition(" USING ")[0].replace('"', "")
        raise DeclarationError(
            f"{what}: a text there is too long for an index, whose entries have 2,704 bytes at most: declare no index "
            "of it; or bound it in its contract, give up by --abort what is half made, and rebuild from events"
        ) from None


def indexes(
    projections: Projections, relation: Relation, generations: Mapping[str, int], words: bool = False
) -> dict[str, str]:
    """Index name → DDL of what is declared for one generation of a relation; with `words`, that of its words, too."""
    generation = generations[relation.name]
    if relation.stored:
        found = relation_indexes(relation, generation, None)
        if words and isinstance(relation, View) and relation.search:
            found |= words_index(relation, generation)
        return found
    over = next(r for r in projections.relations if r.table is relation.query.get_final_froms()[0])
    return relation_indexes(relation, generation, (over, generations[over.name]))


def relation_indexes(relation: Relation, generation: int, base: tuple[Relation, int] | None) -> dict[str, str]:
    """Index name → DDL of the relation's declared indexes; each ends with the key, the tie-breaker of pages.

    A virtual view's are expression indexes on the one view that it computes over (`base`).
    """
    owner, owner_generation = base or (relation, generation)
    table = generation_name(owner.name, owner_generation)
    found: dict[str, str] = {}
    for index in relation.indexes:
        names = [*index, *(k for k in relation.key if k not in [i.lstrip("-") for i in index])]
        parts = [_index_part(relation, name, base is not None) for name in names]
        name = f"ix_{table}_{_digest(relation.name, *parts)[:8]}"
        if len(name) > 63:  # Postgres would cut off what tells it from others
            name = f"ix_{table[:50]}_{_digest(table, relation.name, *parts)[:8]}"
        found[name] = f"CREATE INDEX {quoted(name)} ON {quoted(table)} ({', '.join(parts)})"
    return found


def _index_part(relation: Relation, name: str, virtual: bool) -> str:
    column = name.lstrip("-")
    if virtual:
        expression = relation.query.selected_columns[column]
        table = relation.query.get_final_froms()[0]
        text = plain(getattr(expression, "element", expression)).replace(f"{getattr(table, 'name', '')}.", "")
        shown = f"({text})"
    else:
        shown = quoted(column)
    # nulls last ascending and first descending, as the API pages
    return f"{shown} DESC" if name.startswith("-") else shown


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
