"""Which columns of views come from personal fields, and which column tells whose they are: derived from the queries."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement
from sqlalchemy.sql import visitors
from sqlalchemy.sql.functions import coalesce

from projector.declare.entity import Entity
from projector.declare.projections import Projections
from projector.declare.shape import Node, Scope, Unsupported, shape_of
from projector.declare.view import Relation, Rollup


@dataclass(frozen=True)
class Personal:
    """Columns of a relation that come from an entity's personal fields.

    `owner` is the column with the aggregate's id. None: no column tells whose the values are, as in a list of several
    persons, or they are part of the relation's key.
    """

    entity: str
    columns: tuple[str, ...]
    owner: str | None


def personal_columns(projections: Projections) -> dict[str, list[Personal]]:
    """Relation → its personal columns; relations without any are left out."""
    told: dict[int, list[Personal]] = {id(e.table): [_of_entity(e)] for e in projections.entities if e.erasure}
    found: dict[str, list[Personal]] = {}
    for relation in projections.relations:  # in the order in which they read each other
        if its := _of_relation(relation, told):
            found[relation.name] = told[id(relation.table)] = its
    return found


def _of_entity(entity: Entity[Any]) -> Personal:
    assert entity.erasure is not None
    return Personal(entity.name, tuple(entity.erasure.fields), entity.key)


def _of_relation(relation: Relation, told: dict[int, list[Personal]]) -> list[Personal]:
    columns = list(relation.query.selected_columns)
    if isinstance(relation, Rollup):  # rows of several owners
        found = [Personal(p.entity, p.columns, None) for p in _in_scope(shape_of(relation.query), told, columns)]
    else:
        try:
            found = list(_in_scope(shape_of(relation.query), told, columns))
        except Unsupported:  # its key queries are given by hand: whatever it shows may come from what it reads
            read = {id(e) for e in visitors.iterate(relation.query)}
            every = tuple(c.key or "" for c in columns)
            found = [Personal(p.entity, every, None) for table, its in told.items() if table in read for p in its]
    return [Personal(p.entity, p.columns, None) if {*p.columns} & {*relation.key} else p for p in found]


def _in_scope(
    scope: Scope, told: dict[int, list[Personal]], columns: Sequence[ColumnElement[Any]]
) -> Iterator[Personal]:
    """What a SELECT hands out of each thing that it joins, each with an owner of its own."""
    for node in scope.nodes:
        for inner in _in_node(node, told):
            tainted = [_column(node, name) for name in inner.columns]
            handed = tuple(c.key for c in columns if c.key and _mentions(c, tainted))
            if handed:
                owner = None if inner.owner is None else _equal(scope, _column(node, inner.owner), columns)
                yield Personal(inner.entity, handed, owner)


def _in_node(node: Node, told: dict[int, list[Personal]]) -> Iterable[Personal]:
    if node.table is not None:
        return told.get(id(node.table), ())
    assert node.inner is not None
    return list(_in_scope(node.inner, told, list(node.inner.query.selected_columns)))


def _column(node: Node, name: str) -> Any:
    return node.element.c[name]


def _equal(scope: Scope, owner: Any, columns: Sequence[ColumnElement[Any]]) -> str | None:
    """The column handed out that holds the owner's id wherever the owner is joined."""
    equal = scope.equal_to(owner)
    for column in columns:
        plain = getattr(column, "element", column)
        parts = list(plain.clauses) if isinstance(plain, coalesce) else [plain]
        if all(any(part is e for e in equal) for part in parts):
            return column.key
    return None


def _mentions(column: ColumnElement[Any], tainted: list[Any]) -> bool:
    return any(element is t for element in visitors.iterate(column) for t in tainted)
