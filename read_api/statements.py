"""The one statement behind each answer: a page of rows as JSON, its tag, and what it was read at, in one snapshot.

Statements are composed with SQLAlchemy and kept by their shape (which columns, conditions and order, not the values),
so that a request costs no compiling. Values are always parameters.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    FromClause,
    Select,
    Subquery,
    Text,
    and_,
    any_,
    bindparam,
    case,
    cast,
    exists,
    false,
    func,
    literal_column,
    not_,
    null,
    select,
    true,
    union_all,
)
from sqlalchemy.dialects.postgresql import JSONB, array
from sqlalchemy.dialects.postgresql.psycopg import dialect
from sqlalchemy.sql.expression import ColumnElement
from sqlalchemy.types import NullType, TypeEngine

from projector.store.shown import APPLIED, json_row, shown, utc_text
from read_api.kinds import kind_of
from read_api.resource import Field, Resource, Term

# What each answer was read at: As-Of in RFC 3339, seconds since then, the last applied offsets, the generation. In the
# same statement as the rows, so that all of it is of one snapshot. A process reads a generation of the definition that
# it knows: the live one, whatever its number, for a copy may have been begun before the one that it replaces; else the
# newest one that is kept, as it was when it was last served. That of a snapshot is asked for by the snapshot's name
# behind the definition's digest.
_AS_OF = "(CASE WHEN g.state <> 'live' THEN g.as_of ELSE projection_group.as_of END)"
FRESHNESS = f"""
{utc_text(_AS_OF)},
round(greatest(extract(epoch FROM clock_timestamp() - {_AS_OF}), 0), 3),
CASE WHEN g.state <> 'live' THEN coalesce(g.positions, '{{}}') ELSE {APPLIED} END,
g.generation"""
NEWEST = """
(SELECT * FROM generations WHERE concat(digest, '@' || snapshot) = $%d AND state IN ('live', 'kept', 'snapshot')
 ORDER BY state <> 'live', generation DESC LIMIT 1)"""
AT = f"projection_group LEFT JOIN {NEWEST} AS g ON true"
NOW = f"SELECT {FRESHNESS} FROM {AT % 1}"
"""FRESHNESS alone; takes the definition's digest."""
DIALECT = dialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Condition:
    """`field operator value`: eq (any of several), ne (none of several), gt, gte, lt, lte, null (true or false)."""

    field: str
    operator: str
    values: tuple[Any, ...]

    @property
    def shape(self) -> tuple[str, str, bool]:
        """What of it a statement depends on: of `null` its value, else whether there are several."""
        return self.field, self.operator, bool(self.values[0]) if self.operator == "null" else len(self.values) > 1


@dataclass(frozen=True)
class Shape:
    """What a statement depends on. `after` says of each value of the cursor whether it is null; empty: first page."""

    conditions: tuple[tuple[str, str, bool], ...]
    sort: tuple[tuple[str, bool], ...]  # column, descending; the key comes behind
    fields: tuple[str, ...]
    limit: int  # spelled out: a plan for any limit is made for a tenth of the table
    after: tuple[bool, ...] = ()
    count: str = ""  # exact, estimated, or not at all
    conditional: bool = False  # whether there is a tag that the client knows


@dataclass(frozen=True)
class Statement:
    """SQL with $1, $2…, and the names of the parameters in that order."""

    sql: str
    names: tuple[str, ...]

    def values(self, parameters: Mapping[str, Any]) -> list[Any]:
        """The parameters in the order of the statement."""
        return [parameters[name] for name in self.names]


@lru_cache(maxsize=1024)
def statement(resource: Resource, generation: int, shape: Shape) -> Statement:
    """Answers one row: the four of FRESHNESS; how many rows pass, where that is asked for; and an array of
    [row as JSON, cursor values as a JSON list of texts, digest]. Of a conditional one, the array is null where the
    page's tag is among `known`; before the array come then the sum of the digests and how many rows the page has.
    """
    answer = (_unless_known if shape.conditional else _in_full)(resource, generation, shape).compile(dialect=DIALECT)
    names = (*(answer.positiontup or ()), "definition")
    return Statement(f"SELECT {FRESHNESS},\nanswer.* FROM {AT % len(names)}, ({answer}) AS answer", names)


def tag_of(generation: int, digest: int, total: int | None) -> str:
    """What tells a page from what it was or will be: the same that `_unless_known` makes."""
    return f"{generation}-{digest}" + ("" if total is None else f"-{total}")


@lru_cache(maxsize=256)
def estimate(resource: Resource, generation: int, conditions: tuple[tuple[str, str, bool], ...]) -> Statement:
    """Answers the plan of reading the rows that pass, as JSON: it says how many Postgres expects."""
    table = resource.source(generation)
    passing: Any = select(literal_column("1")).select_from(table).where(true(), *where(resource, table, conditions))
    rows = passing.compile(dialect=DIALECT)
    return Statement(f"EXPLAIN (FORMAT JSON) {rows}", tuple(rows.positiontup or ()))


def parameters(
    resource: Resource, conditions: Sequence[Condition], after: Sequence[Any], known: Sequence[str] = ()
) -> dict[str, Any]:
    """The parameters of a statement by name."""
    found: dict[str, Any] = {"definition": resource.definition, "known": list(known)}
    for n, condition in enumerate(conditions):
        found[f"f{n}"] = list(condition.values) if len(condition.values) > 1 else condition.values[0]
    return found | {f"c{n}": value for n, value in enumerate(after)}


def row_as_json(names: Iterable[str], source: FromClause) -> tuple[ColumnElement[str], FromClause]:
    """The row of an answer, as JSON, and what is to be joined for it: all that give out rows have it alike."""
    return json_row(selected(names, source), source)


def selected(names: Iterable[str], source: FromClause) -> list[ColumnElement[Any]]:
    """The columns of a view as they are given out, whatever the answer's form. What a caller may not see is null in
    `Resource.source` already.
    """
    return [source.c[name] for name in names]


def _in_full(resource: Resource, generation: int, shape: Shape) -> Select[Any]:
    table = resource.source(generation)
    order = resource.order(shape.sort)
    rows = _rows(resource, page_of(resource, table, shape, order), shape, order)
    return select(_total(resource, table, shape).label("total"), func.array(rows.scalar_subquery()).label("rows"))


def _unless_known(resource: Resource, generation: int, shape: Shape) -> Select[Any]:
    """The rows are made into JSON only where they are wanted: a subquery that CASE passes by is not run."""
    table = resource.source(generation)
    order = resource.order(shape.sort)
    parts = page_of(resource, table, shape, order)
    page = select(parts).order_by(*order_by(parts, order)).limit(literal_column(str(shape.limit))).cte("page")
    digest = func.coalesce(func.sum(_digest(page)), literal_column("0")).label("digest")
    total = _total(resource, table, shape).label("total")
    seen = select(total, digest, func.count().label("found")).select_from(page).subquery("seen")
    tag = func.concat_ws(literal_column("'-'"), literal_column(str(generation)), seen.c.digest, seen.c.total)
    known = bindparam("known", type_=ARRAY(Text))
    unchanged = (tag == any_(known)) | (literal_column("'*'") == any_(known))
    rows = case((unchanged, null()), else_=func.array(_rows(resource, page, shape, order).scalar_subquery()))
    return select(seen.c.total, seen.c.digest, seen.c.found, rows.label("rows"))


def _total(resource: Resource, table: FromClause, shape: Shape) -> ColumnElement[Any]:
    if shape.count == "exact":
        passing: Any = where(resource, table, shape.conditions)
        return select(func.count()).select_from(table).where(true(), *passing).scalar_subquery()
    return bindparam("total", type_=BigInteger) if shape.count else cast(null(), BigInteger)


def _digest(page: FromClause) -> ColumnElement[Any]:
    """Of a row's values as they are: no two rows of a page are alike, so that the sum tells them."""
    row = func.row(*(c if isinstance(c.type, JSONB) or kind_of(c.type).bind else cast(c, Text) for c in page.c))
    digest: ColumnElement[Any] = func.hash_record_extended(row, literal_column("0"))
    return digest


def _rows(resource: Resource, page: FromClause, shape: Shape, order: Sequence[Term]) -> Select[Any]:
    as_json, row = row_as_json(shape.fields, page)
    cursor = [cast(shown(page.c[term.field.name]), Text) for term in order]
    told = array([as_json, cast(func.json_build_array(*cursor), Text), cast(_digest(page), Text)])
    rows = select(told).select_from(page.join(row, true())).order_by(*order_by(page, order))
    return rows.limit(literal_column(str(shape.limit)))


def page_of(
    resource: Resource, table: FromClause, shape: Shape, order: Sequence[Term], also: Sequence[ColumnElement[bool]] = ()
) -> Subquery:
    """The page's columns, raw: each part of it limited and in order, so that an index answers it.

    `also` are conditions beside those of the shape.
    """
    names = dict.fromkeys([*shape.fields, *(term.field.name for term in order)])
    conditions = where(resource, table, shape.conditions)
    parts = [
        select(*(table.c[name] for name in names))
        .where(true(), *conditions, *also, part)
        .order_by(*order_by(table, order))
        .limit(literal_column(str(shape.limit)))
        for part in behind(table, order, shape.after)
    ]
    return (union_all(*parts) if len(parts) > 1 else parts[0]).subquery("page")


def where(
    resource: Resource, table: FromClause, conditions: Sequence[tuple[str, str, bool]]
) -> list[ColumnElement[bool]]:
    """What the filters of a Shape ask of the view's table."""
    return [condition(resource.filters[c[0]], table, n, *c[1:]) for n, c in enumerate(conditions)]


def order_by(source: FromClause, order: Sequence[Term]) -> list[ColumnElement[Any]]:
    """ORDER BY the terms, with nulls where Postgres puts them."""
    columns = [(source.c[term.field.name], term.descending) for term in order]
    return [column.desc() if descending else column.asc() for column, descending in columns]


def behind(table: FromClause, order: Sequence[Term], after: Sequence[bool]) -> list[ColumnElement[bool]]:
    """What comes behind a cursor's row, as disjoint conditions that are each one range of an index.

    A row is behind it that has equal values in some first columns of the order and a later one in the next; of nulls
    there is nothing later when they are last, and everything else when they are first.
    """
    if not after:
        return [true()]
    parts: list[ColumnElement[bool]] = []
    same: list[ColumnElement[bool]] = []
    for n, (term, is_null) in enumerate(zip(order, after, strict=True)):
        column = table.c[term.field.name]
        value = bindparam(f"c{n}", type_=term.field.kind.bind)
        if is_null and term.descending:
            parts.append(and_(*same, column.is_not(None)))
        elif not is_null:
            parts.append(and_(*same, column < value if term.descending else column > value))
            if term.field.nullable and not term.descending:
                parts.append(and_(*same, column.is_(None)))
        same.append(column.is_(None) if is_null else column == value)
    return parts or [false()]


def condition(field: Field, table: FromClause, n: int, operator: str, flag: bool) -> ColumnElement[bool]:
    """The n-th condition of a Shape over the view's table."""
    if field.inside:
        return _any_inside(field, table, n, flag)
    column = table.c[field.name]
    if operator == "null":
        return column.is_(None) if flag else column.is_not(None)
    kind: TypeEngine[Any] = field.kind.bind or NullType()
    if flag:
        among: ColumnElement[bool] = column == any_(bindparam(f"f{n}", type_=ARRAY(kind)))
        return among if operator == "eq" else not_(among)
    compared: dict[str, Any] = {
        "eq": column.__eq__, "ne": column.__ne__, "gt": column.__gt__,
        "gte": column.__ge__, "lt": column.__lt__, "lte": column.__le__,
    }  # fmt: skip
    condition: ColumnElement[bool] = compared[operator](bindparam(f"f{n}", type_=kind))
    return condition


def _any_inside(field: Field, table: FromClause, n: int, several: bool) -> ColumnElement[bool]:
    """Whether any object of a list has the value, or one of several."""
    column, _, name = field.name.partition(".")
    items = func.jsonb_array_elements(table.c[column]).table_valued("value").alias(f"items{n}")
    kind: TypeEngine[Any] = field.kind.bind or NullType()
    value = cast(items.c.value.op("->>")(literal_column(f"'{name}'")), kind)
    wanted = bindparam(f"f{n}", type_=ARRAY(kind) if several else kind)
    return exists(select(1).select_from(items).where(value == (any_(wanted) if several else wanted)))
