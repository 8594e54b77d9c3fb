"""How values are shown: the JSON form of a column, the same in the API's answers and in the search index."""

from typing import Any

from sqlalchemy import ColumnElement, DateTime, Integer, Numeric, Text, cast, func, literal_column, select
from sqlalchemy.sql.selectable import FromClause

from projector.declare.types import Money

APPLIED = """ARRAY(SELECT concat(topic, '/', partition, '@', next - 1) FROM positions WHERE next > 0
      ORDER BY topic COLLATE "C", partition)"""
"""SQL of the last applied offsets, as texts such as `orders/0@1234`."""

_UTC: ColumnElement[str] = literal_column("'UTC'")


def shown(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """The column as JSON shows it: whole numbers as numbers, other decimals and times as text, the rest as it is."""
    kind = column.type
    if isinstance(kind, Numeric) and not isinstance(kind, Integer) and kind.scale != 0:
        return cast(column if kind.scale == Money.scale else func.trim_scale(column), Text)
    if isinstance(kind, DateTime) and kind.timezone:
        return _in_utc(column)
    return column


def json_row(columns: list[ColumnElement[Any]], source: FromClause) -> tuple[ColumnElement[str], FromClause]:
    """One JSON object of the columns, as text, and the lateral row that it is made from, to be joined.

    Not by json_build_object, which takes no more than 50 columns.
    """
    row = select(*(shown(c).label(c.key or "") for c in columns)).correlate(source).lateral("r")
    return cast(func.row_to_json(row.table_valued()), Text), row


def utc_text(column: str) -> str:
    """SQL of a time as `shown` tells it, where a statement is written by hand."""
    return f"btrim(to_json(timezone('UTC', {column}))::text, '\"') || 'Z'"


def _in_utc(column: ColumnElement[Any]) -> ColumnElement[Any]:
    # JSON's form of a timestamp is ISO 8601 whatever DateStyle says, years in four digits, no trailing zeros
    text = func.btrim(cast(func.to_json(func.timezone(_UTC, column)), Text), literal_column("'\"'"))
    utc: ColumnElement[Any] = text.op("||")(literal_column("'Z'"))
    return utc
