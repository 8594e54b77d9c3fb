"""The forms of an export. Postgres makes each row's text; what is left to do here is little, whatever the size."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, DateTime, FromClause, String, Text, case, cast, func, literal_column, select
from sqlalchemy.dialects.postgresql import JSONB

from projector.declare.types import ListOf, MoneyByCurrency
from projector.store.shown import shown
from read_api.export.parquet import parquet
from read_api.json_lines import in_one_line
from read_api.resource import Resource
from read_api.statements import row_as_json, selected

Line = Callable[[Sequence[str], FromClause], tuple[ColumnElement[str], FromClause | None]]
"""The text of a row of these columns, and what is to be joined for it."""
Chunks = AsyncIterator[list[str]]

# OWASP, CSV Injection: a cell that begins so may run as a formula. A quote before it keeps it a text, and quotes around
# it keep it one cell, whatever separates cells where it is opened.
_FORMULA = r"'^[=+@\t\r\n＝＋－＠-]'"


@dataclass(frozen=True)
class Format:
    """One form: its media type, the text of a row, and what makes bytes of chunks of them (and the columns)."""

    media_type: str
    line: Line
    write: Callable[[Resource, Sequence[str], Chunks], AsyncIterator[bytes]]


def _csv_line(names: Sequence[str], source: FromClause) -> tuple[ColumnElement[str], None]:
    cells = [func.coalesce(_cell(column), literal_column("''")) for column in selected(names, source)]
    line: Any = cells[0]
    for cell in cells[1:]:
        line = line.op("||")(literal_column("','")).op("||")(cell)
    return line, None


def _cell(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """Texts in quotes, so that an empty one is told from null, which is nothing; numbers and times as they are."""
    if not isinstance(column.type, String | JSONB):
        return cast(shown(column), Text)
    text: Any = cast(column, Text)
    if isinstance(column.type, String):
        text = case((text.op("~")(literal_column(_FORMULA)), literal_column("''''").op("||")(text)), else_=text)
    quote: Any = literal_column("'\"'")
    quoted: ColumnElement[Any] = quote.op("||")(func.replace(text, quote, literal_column("'\"\"'"))).op("||")(quote)
    return quoted


def _parquet_line(names: Sequence[str], source: FromClause) -> tuple[ColumnElement[str], FromClause]:
    columns = [_parquet_cell(c).label(n) for n, c in zip(names, selected(names, source), strict=True)]
    row = select(*columns).correlate(source).lateral("r")
    return cast(func.row_to_json(row.table_valued()), Text), row


def _parquet_cell(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """What Arrow's reader of JSON takes: amounts by currency as a list of pairs, decimals as text, and so on."""
    kind = column.type
    if isinstance(kind, MoneyByCurrency):
        pairs = func.jsonb_each(column).table_valued("key", "value").alias(f"amounts_{column.key}")
        listed = select(func.json_agg(func.row_to_json(pairs.table_valued()))).select_from(pairs).scalar_subquery()
        empty: Any = literal_column("'[]'::json")
        return case((column.is_not(None), func.coalesce(listed, empty)))
    if isinstance(kind, JSONB) and not isinstance(kind, ListOf):
        return cast(column, Text)
    if isinstance(kind, DateTime) and kind.timezone:
        return shown(column)
    if isinstance(kind, ListOf) or kind.python_type in (bool, int):
        return column
    return cast(column, Text)


async def _ndjson(_resource: Resource, _names: Sequence[str], chunks: Chunks) -> AsyncIterator[bytes]:
    async for lines in chunks:
        yield (in_one_line("\n".join(lines)) + "\n").encode()


async def _csv(_resource: Resource, names: Sequence[str], chunks: Chunks) -> AsyncIterator[bytes]:
    """RFC 4180, with a header row."""
    yield (",".join(names) + "\r\n").encode()
    async for lines in chunks:
        yield ("\r\n".join(lines) + "\r\n").encode()


FORMATS = {
    "csv": Format("text/csv; charset=utf-8; header=present", _csv_line, _csv),
    "ndjson": Format("application/x-ndjson", row_as_json, _ndjson),
    "parquet": Format("application/vnd.apache.parquet", _parquet_line, parquet),
}
