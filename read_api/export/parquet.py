"""Parquet: row groups of bounded size, made by Arrow from JSON that Postgres made, and sent as they are written.

Money is decimal, times are UTC timestamps, lists are lists of structs, amounts by currency are maps; what has no such
form is text.
"""

import asyncio
import io
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.json
import pyarrow.parquet
from sqlalchemy import Boolean, Date, DateTime, Integer, Numeric
from sqlalchemy.types import TypeEngine

from projector.declare.types import ListOf, Money, MoneyByCurrency
from read_api.resource import Resource

ROWS_OF_A_GROUP, LETTERS_OF_A_GROUP = 20_000, 8 * 2**20  # whichever comes first: it is held in memory several times
_MOST_DIGITS = 38


def arrow_type(kind: TypeEngine[Any]) -> pa.DataType:
    """The Arrow type of a column."""
    if isinstance(kind, MoneyByCurrency):
        return pa.map_(pa.string(), arrow_type(Money))
    if isinstance(kind, ListOf):
        return pa.list_(pa.struct([(name, arrow_type(each)) for name, each in kind.fields.items()]))
    if isinstance(kind, Integer):
        return pa.int64()
    if isinstance(kind, Numeric) and kind.precision is not None and kind.precision <= _MOST_DIGITS:
        return pa.decimal128(kind.precision, kind.scale or 0)
    if isinstance(kind, DateTime) and kind.timezone:
        return pa.timestamp("us", tz="UTC")
    for plain, its in ((Boolean, pa.bool_()), (Date, pa.date32())):
        if isinstance(kind, plain):
            return its
    return pa.string()


def schema_of(resource: Resource, names: Sequence[str]) -> pa.Schema:
    """The file's columns."""
    key = {field.name for field in resource.key if not field.nullable}
    columns = resource.relation.table.c
    return pa.schema([pa.field(name, arrow_type(columns[name].type), name not in key) for name in names])


async def parquet(resource: Resource, names: Sequence[str], chunks: AsyncIterator[list[str]]) -> AsyncIterator[bytes]:
    """The file's bytes. Arrow works in a thread: meanwhile the other requests are answered."""
    sink = _Sink()
    schema = schema_of(resource, names)
    writer = pyarrow.parquet.ParquetWriter(pa.PythonFile(sink, mode="w"), schema, compression="zstd")
    lines, letters = list[str](), 0
    async for chunk in chunks:
        lines += chunk
        letters += sum(map(len, chunk))
        if len(lines) >= ROWS_OF_A_GROUP or letters >= LETTERS_OF_A_GROUP:
            await asyncio.to_thread(_write, writer, schema, lines)
            yield sink.taken()
            lines, letters = [], 0
    if lines:
        await asyncio.to_thread(_write, writer, schema, lines)
    writer.close()
    yield sink.taken()


def _write(writer: Any, schema: pa.Schema, lines: Sequence[str]) -> None:
    text = "\n".join(lines).encode()
    table = pyarrow.json.read_json(
        io.BytesIO(text),
        pyarrow.json.ReadOptions(use_threads=False, block_size=len(text) + 1),
        pyarrow.json.ParseOptions(
            explicit_schema=pa.schema([pa.field(f.name, _as_read(f.type)) for f in schema]),
            unexpected_field_behavior="error",
        ),
    )
    columns = [_as_written(table.column(f.name), f.type) for f in schema]
    writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def _as_read(kind: pa.DataType) -> pa.DataType:
    """What Arrow's reader of JSON makes of it: dates as text, maps as lists of pairs."""
    if pa.types.is_date(kind):
        return pa.string()
    if pa.types.is_map(kind):
        return pa.list_(pa.struct([pa.field("key", kind.key_type), pa.field("value", kind.item_type)]))
    if pa.types.is_list(kind):
        return pa.list_(_as_read(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(f.name, _as_read(f.type)) for f in kind])
    return kind


def _as_written(column: pa.ChunkedArray, kind: pa.DataType) -> pa.Array:
    array = column.combine_chunks()
    if not pa.types.is_map(kind):
        return array.cast(kind)
    pairs = array.values
    return pa.MapArray.from_arrays(array.offsets, pairs.field("key"), pairs.field("value"), kind, mask=array.is_null())


class _Sink(io.RawIOBase):
    """A file that Arrow writes, and whose bytes are taken from it meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self._parts, self._at = list[bytes](), 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        self._at += len(data)
        return len(data)

    def tell(self) -> int:
        return self._at

    def taken(self) -> bytes:
        """What was written since the last time."""
        parts, self._parts = self._parts, []
        return b"".join(parts)
