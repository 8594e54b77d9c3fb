"""Searches in Postgres: one statement for the hits, their total, facets, and what they were read at.

The words of a row are the expression that `projector/store/search_text.py` makes an index of; without the index it is
the same answer, later. Values are always parameters: what `q` asks for comes as texts of type tsquery, made of letters
and digits alone.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ARRAY,
    CTE,
    BigInteger,
    ColumnElement,
    FromClause,
    Select,
    Text,
    and_,
    any_,
    bindparam,
    case,
    cast,
    func,
    literal_column,
    null,
    or_,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import JSONB, TSQUERY, TSVECTOR, array
from sqlalchemy.types import NullType

from projector.declare.view import View
from projector.store.search_text import GRADES, LEXEME, grades, vector
from projector.store.shown import shown
from read_api.freshness import Wanted
from read_api.reading import Asked, Reader
from read_api.resource import Resource
from read_api.search.answer import Found, Hit, Total
from read_api.search.body import COUNTED, FACET_VALUES
from read_api.search.parameters import Search
from read_api.search.scores import EXACT, PREFIX, TYPO, points, whole_bonus
from read_api.search.words import Phrase, Word
from read_api.statements import (
    AT,
    DIALECT,
    FRESHNESS,
    Shape,
    Statement,
    order_by,
    page_of,
    parameters,
    row_as_json,
    where,
)

_WAYS = {"e": EXACT, "p": PREFIX, "t": TYPO}  # how a word is found, and what that counts


@dataclass(frozen=True)
class Shaped:
    """What a statement depends on: the list's shape, of each wanted word how it is found, and so on."""

    page: Shape
    by_relevance: bool
    ways: tuple[str, ...]
    words: bool  # whether q asks for anything
    whole: bool
    facets: tuple[str, ...]


class Postgres:
    """Searches of the served generation, read as lists are."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def search(self, search: Search, wanted: Wanted) -> Found:
        """The page, once the wanted positions are applied. Raises a 503 Problem: not in time, or taken too long."""
        shaped, values = _shaped(search), _values(search)

        def ask(generation: int) -> Asked:
            found = _statement(search.resource, generation, shaped)
            return found.sql, found.values(values)

        (rows, total, facets), freshness = await self._reader.answer(search.resource, wanted, ask)
        hits = [Hit(json.loads(row), int(score), _order_values(search, texts, score)) for row, texts, score in rows]
        return Found(
            hits[: search.limit],
            len(hits) > search.limit,
            Total(min(total, COUNTED), "gte" if total > COUNTED else "eq"),
            {name: facets[name] for name in search.facets},
            freshness,
        )


def _order_values(search: Search, texts: str, score: str) -> list[str | None]:
    values: list[str | None] = json.loads(texts)
    return [score, *values] if search.by_relevance else values


def _shaped(search: Search) -> Shaped:
    nulls = tuple(value is None for value in search.after)
    shapes = tuple(c.shape for c in search.conditions)
    page = Shape(shapes, search.sort, tuple(search.resource.fields), search.limit + 1, nulls)
    key, query = search.resource.key[0].name, search.query
    declared = search.resource.search
    whole = bool(query.wholes and declared and key in declared.text)
    return Shaped(
        page,
        search.by_relevance,
        tuple("".join(_ways(w)) for w in query.wanted),
        bool(query.wanted or query.unwanted),
        whole,
        search.facets,
    )


def _values(search: Search) -> dict[str, Any]:
    query, declared = search.query, search.resource.search
    assert declared is not None
    found = parameters(search.resource, search.conditions, search.after)
    asked = [_any_way(w) for w in query.wanted] + [f"!({_phrase(p)})" for p in query.unwanted]
    found["q"] = " & ".join(asked)
    for n, w in enumerate(query.wanted):
        found |= {f"{way}{n}": text for way, text in _ways(w).items()}
    found["wholes"], found["bonus"] = list(query.wholes), whole_bonus(declared, query)
    return found


def _lexeme(word: str) -> str:
    return f"'{LEXEME}{word}'"


def _phrase(phrase: Phrase) -> str:
    return " <-> ".join(_lexeme(word) for word in phrase.words)


def _ways(wanted: Word | Phrase) -> dict[str, str]:
    """How a word may be found, each as a tsquery."""
    if isinstance(wanted, Phrase):
        return {"e": _phrase(wanted)}
    found = {"e": _lexeme(wanted.text)}
    if wanted.prefix:
        found["p"] = f"{_lexeme(wanted.text)}:*"
    if wanted.forgiving:
        found["t"] = " | ".join(map(_lexeme, wanted.variants()))
    return found


def _any_way(wanted: Word | Phrase) -> str:
    return f"({' | '.join(_ways(wanted).values())})"


@lru_cache(maxsize=512)
def _statement(resource: Resource, generation: int, shaped: Shaped) -> Statement:
    """Answers one row: the four of FRESHNESS; an array of [row, order values, score]; the total; facets as JSON."""
    table = resource.source(generation)
    passing = where(resource, table, shaped.page.conditions)
    words = [_words(resource).op("@@")(_query("q"))] if shaped.words else []
    every: Select[Any] = select(literal_column("1")).select_from(table).where(true(), *passing, *words)
    total = select(func.count()).select_from(every.limit(literal_column(str(COUNTED + 1))).subquery("counted"))
    answer = select(
        func.array(_hits(resource, table, shaped, [*passing, *words]).scalar_subquery()).label("hits"),
        total.scalar_subquery().label("total"),
        _facets(resource, table, shaped.facets, [*passing, *words]).label("facets"),
    ).compile(dialect=DIALECT)
    names = (*(answer.positiontup or ()), "definition")
    return Statement(f"SELECT {FRESHNESS},\nanswer.* FROM {AT % len(names)}, ({answer}) AS answer", names)


def _words(resource: Resource) -> ColumnElement[Any]:
    """The row's vector; its columns are unqualified: it stands in a SELECT from one table, or a subquery of it."""
    assert isinstance(resource.relation, View)
    return literal_column(f"({vector(resource.relation)})", type_=TSVECTOR)


def _query(name: str) -> ColumnElement[Any]:
    return cast(bindparam(name, type_=NullType()), TSQUERY)  # of no other type first: it would be read for each row


def _hits(
    resource: Resource, table: FromClause, shaped: Shaped, conditions: Sequence[ColumnElement[bool]]
) -> Select[Any]:
    order = resource.order(shaped.page.sort)
    source: FromClause = table
    if not shaped.by_relevance:
        source, conditions = page_of(resource, table, shaped.page, order, conditions[len(shaped.page.conditions) :]), ()
    scored = _scored(resource, source, shaped, conditions)
    first = [scored.c.score.desc()] if shaped.by_relevance else []
    by = [*first, *order_by(scored, order)]
    page = select(scored).where(_behind(resource, scored, shaped)).order_by(*by)
    rows = page.limit(literal_column(str(shaped.page.limit))).subquery("rows_found")
    as_json, row = row_as_json(resource.fields, rows)
    texts = [cast(shown(rows.c[term.field.name]), Text) for term in order]
    found = array([as_json, cast(func.json_build_array(*texts), Text), cast(rows.c.score, Text)])
    last = [rows.c.score.desc()] if shaped.by_relevance else []
    return select(found).select_from(rows.join(row, true())).order_by(*last, *order_by(rows, order))


def _scored(resource: Resource, source: FromClause, shaped: Shaped, conditions: Sequence[ColumnElement[bool]]) -> Any:
    """The rows with their score. OFFSET 0 keeps Postgres from making a row's vector once for each grade and word."""
    columns = [source.c[name] for name in resource.fields]
    if not shaped.ways:
        return select(*columns, literal_column("0", BigInteger).label("score")).where(true(), *conditions).subquery("s")
    used = sorted(set(grades(resource.search).values())) if resource.search else []
    rows = select(*columns, _words(resource).label("_words")).select_from(source).where(true(), *conditions)
    worded = rows.offset(literal_column("0")).subquery("worded")
    by_grade = [
        func.ts_filter(
            worded.c["_words"], literal_column(f"'{{{GRADES[g].lower()}}}'::\"char\"[]"), type_=TSVECTOR
        ).label(f"_{g}")
        for g in used
    ]
    graded = select(*(worded.c[name] for name in resource.fields), *by_grade).offset(literal_column("0"))
    inner = graded.subquery("graded")
    score = sum((_count(resource, inner, n, ways) for n, ways in enumerate(shaped.ways)), literal_column("0"))
    if shaped.whole:
        same = func.search_fold(inner.c[resource.key[0].name]) == any_(bindparam("wholes", type_=ARRAY(Text)))
        score = score + case((same, bindparam("bonus", type_=BigInteger)), else_=literal_column("0"))
    return select(*(inner.c[name] for name in resource.fields), cast(score, BigInteger).label("score")).subquery("s")


def _count(resource: Resource, inner: FromClause, n: int, ways: str) -> ColumnElement[Any]:
    """What one word counts: its best way in its best grade."""
    assert resource.search is not None
    counts, by_field = points(resource.search), grades(resource.search)
    found = {(counts[field] * _WAYS[way], grade, way) for field, grade in by_field.items() for way in ways}
    whens: list[Any] = [
        (inner.c[f"_{grade}"].op("@@")(_query(f"{way}{n}")), literal_column(str(count)))
        for count, grade, way in sorted(found, reverse=True)
    ]
    return case(*whens, else_=literal_column("0"))


def _behind(resource: Resource, scored: Any, shaped: Shaped) -> ColumnElement[bool]:
    """Behind the cursor's row, by score and key; an order by columns has its own condition in the page."""
    if not (shaped.by_relevance and shaped.page.after):
        return true()
    score, key = bindparam("c0", type_=BigInteger), resource.key[0]
    later = scored.c[key.name] > bindparam("c1", type_=key.kind.bind)
    return or_(scored.c.score < score, and_(scored.c.score == score, later))


def _facets(
    resource: Resource, table: FromClause, names: Sequence[str], conditions: Sequence[ColumnElement[bool]]
) -> ColumnElement[Any]:
    """Field → its values with how many rows have each, the most frequent first; of the rows read once."""
    if not names:
        return cast(null(), JSONB)
    columns = dict.fromkeys([resource.key[0].name, *(name.partition(".")[0] for name in names)])
    rows = select(*(table.c[c] for c in columns)).where(true(), *conditions).cte("found").prefix_with("MATERIALIZED")
    pairs: list[Any] = []
    for name in names:
        pairs += [literal_column(f"'{name}'"), _facet(resource, rows, name)]
    return func.json_build_object(*pairs)


def _facet(resource: Resource, rows: CTE, name: str) -> Any:
    column, _, inside = name.partition(".")
    if inside:
        items = func.jsonb_array_elements(rows.c[column]).table_valued("value").lateral("items")
        value = cast(items.c.value.op("->>")(literal_column(f"'{inside}'")), resource.type_of(name))
        key = rows.c[resource.key[0].name]
        values = select(key, value.label("value")).select_from(rows.join(items, true())).distinct().subquery()
    else:
        values = select(rows.c[column].label("value")).subquery()
    by = values.c.value
    counted: Any = select(by, func.count().label("count")).where(by.is_not(None)).group_by(by)
    first = counted.order_by(func.count().desc(), by).limit(literal_column(str(FACET_VALUES))).subquery("counted")
    each = func.json_build_object(
        literal_column("'value'"), shown(first.c.value), literal_column("'count'"), first.c["count"]
    )
    ordered = select(each).select_from(first).order_by(first.c["count"].desc(), first.c.value)
    return func.array_to_json(func.array(ordered.scalar_subquery()))
