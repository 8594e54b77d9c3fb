"""Small tools over SQLAlchemy clauses: replacing what a query reads, and rendering it for psycopg."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ARRAY, ClauseElement, Column, ColumnElement, Select, Text, any_, cast, literal_column
from sqlalchemy.dialects.postgresql.psycopg import dialect
from sqlalchemy.sql import visitors
from sqlalchemy.sql.selectable import FromClause

_DIALECT = dialect()  # type: ignore[no-untyped-call]
_KEYS = "\N{LEFT-POINTING DOUBLE ANGLE QUOTATION MARK}keys\N{RIGHT-POINTING DOUBLE ANGLE QUOTATION MARK}"


_LOW, _HIGH = _KEYS.replace("keys", "low"), _KEYS.replace("keys", "high")


def in_range(column: ColumnElement[Any]) -> ColumnElement[bool]:
    """`low < column <= high`: parameters `low` and `high`, texts; null for no bound. Nulls are in the lowest range."""
    low, high = (literal_column(marker, Text) for marker in (_LOW, _HIGH))
    above = low.is_(None) | (column > cast(low, column.type))
    below = high.is_(None) | (column <= cast(high, column.type)) | (low.is_(None) & column.is_(None))
    return above & below


def among_keys(column: ColumnElement[Any]) -> ColumnElement[bool]:
    """`column = ANY(keys)`: the rendered statement takes the parameter `keys`, a list of texts."""
    keys: ColumnElement[Any] = literal_column(_KEYS, ARRAY(Text))
    return column == any_(keys if isinstance(column.type, Text) else cast(keys, ARRAY(column.type)))


def substitute(clause: Any, replaced: Mapping[Any, FromClause]) -> Any:
    """The clause with tables and subqueries, and each column of theirs, replaced by others with the same columns."""

    def replace(element: Any, **_: Any) -> Any:
        if isinstance(element, FromClause) and element in replaced:
            return replaced[element]
        table = getattr(element, "table", None)
        if table is not None and table in replaced and hasattr(element, "key"):
            return replaced[table].c[element.key]
        return None

    return visitors.replacement_traverse(clause, {}, replace)


def render(clause: ClauseElement) -> str:
    """The clause as text for psycopg: constants spelled out (so that expression indexes match), keys a parameter."""
    text = str(clause.compile(dialect=_DIALECT, compile_kwargs={"literal_binds": True}))
    for marker, parameter in ((_KEYS, "%(keys)s::text[]"), (_LOW, "%(low)s::text"), (_HIGH, "%(high)s::text")):
        text = text.replace(marker, parameter)
    return text


def plain(clause: ClauseElement) -> str:
    """The clause as text for a statement without parameters, such as DDL."""
    return render(clause).replace("%%", "%")


def quoted(name: str) -> str:
    """An identifier, quoted where Postgres needs it."""
    return str(_DIALECT.identifier_preparer.quote(name))


def type_name(column: Column[Any] | ColumnElement[Any]) -> str:
    """The column's type as DDL spells it, without collation."""
    return str(column.type.compile(dialect=_DIALECT)).replace(' COLLATE "C"', "")


def underlying(column: Any) -> Any:
    """What a label or a cast stands for."""
    while hasattr(column, "element") and not isinstance(column, Column):
        column = column.element
    return column


def output(query: Select[Any], name: str) -> Any:
    """The expression behind one column of a query's result."""
    return underlying(query.selected_columns[name])
