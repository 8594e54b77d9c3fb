"""The tables of TPC-H, made by tpchgen-cli, in a folder on disk; read in parts: memory does not grow with the scale.

Orders come with their lines and by date. The sort is done on columns, by Arrow: each part of the table is sorted by
date and kept as one record batch a window of days, so that one window can be read from all parts.
"""

import shutil
import subprocess
import sys
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from projector.errors import PrejoinError
from projector.tpch.orders import Line

ORDERS_PER_SCALE = 1_500_000
ORDERS_A_PART = 60_000
_ORDER = ["o_orderkey", "o_custkey", "o_orderstatus", "o_orderdate"]
_LINE = [
    "l_partkey",
    "l_quantity",
    "l_extendedprice",
    "l_discount",
    "l_returnflag",
    "l_shipdate",
    "l_commitdate",
    "l_receiptdate",
    "l_shipmode",
]


class GeneratorError(PrejoinError):
    """tpchgen-cli is missing or did not make the tables."""


class Tables:
    """The tables at one scale, in `folder`; `edges` are the first days of the windows of orders, ascending."""

    def __init__(self, scale: float, folder: Path, edges: Sequence[int]) -> None:
        """Make the tables, which takes some 10 s and 600 MB of disk at scale 1; raises GeneratorError."""
        parts = ceil(scale * ORDERS_PER_SCALE / ORDERS_A_PART)
        _make(scale, folder, parts)
        self._customers, self._parts, orders, lines = (
            [folder / table / f"{table}.{part}.parquet" for part in range(1, parts + 1)]
            for table in ("customer", "part", "orders", "lineitem")
        )
        self._orders = [_sort(*files, edges) for files in zip(orders, lines, strict=True)]
        self.nations = bytes(nation for (nation,) in _rows(self._customers, ["c_nationkey"]))
        """The nation key of each customer, a byte each: that of customer 1 is at 0."""
        self.part_count = sum(pq.read_metadata(path).num_rows for path in self._parts)

    def customers(self) -> Iterator[tuple[int, int, str]]:
        """Tell each customer's key, nation key and market segment, in the order of the keys."""
        return _rows(self._customers, ["c_custkey", "c_nationkey", "c_mktsegment"])

    def parts(self) -> Iterator[tuple[int, str, str, str]]:
        """Tell each part's key, name, type and brand, in the order of the keys."""
        return _rows(self._parts, ["p_partkey", "p_name", "p_type", "p_brand"])

    def orders(self, window: int) -> Iterator[tuple[tuple[int, int, str, int], list[Line]]]:
        """Tell the orders of a window: (key, customer key, status, day since 1970) and their lines."""
        for path in self._orders:
            with pa.OSFile(str(path)) as file:
                batch = pa.ipc.open_file(file).get_batch(window)
            *orders, nested = batch.columns
            columns = (column.to_pylist() for column in nested.flatten().flatten())
            lines = list(map(Line, *columns))
            start = 0
            for order, count in zip(_zip(orders), pc.list_value_length(nested).to_pylist(), strict=True):
                yield order, lines[start : start + count]
                start += count


def _make(scale: float, folder: Path, parts: int) -> None:
    beside = Path(sys.executable).with_name("tpchgen-cli")
    program = str(beside) if beside.exists() else shutil.which("tpchgen-cli")
    if program is None:
        raise GeneratorError("tpchgen-cli is missing: install it with `pip install 'prejoin[embedded]'`")
    size = ["-s", f"{scale:.9f}", "--parts", str(parts), "-T", "customer,part,orders,lineitem"]
    command = [program, "parquet", *size, "-c", "UNCOMPRESSED", "-q", "-o", str(folder)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - arguments of our own
    if run.returncode != 0:
        last = (run.stderr.strip().splitlines() or [f"it ended with {run.returncode}"])[-1]
        raise GeneratorError(f"tpchgen-cli did not make the tables of scale {scale:g} in {folder}: {last}")


def _rows(files: list[Path], columns: list[str]) -> Iterator[Any]:
    for path in files:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(20_000, columns=columns):
                yield from _zip([batch.column(name) for name in columns])


def _zip(columns: Sequence[pa.Array]) -> Iterator[tuple[Any, ...]]:
    return zip(*(column.to_pylist() for column in columns), strict=True)


def _sort(orders: Path, lines: Path, edges: Sequence[int]) -> Path:
    """Replace both files by one, sorted. In both the order keys ascend, so that the lines of an order lie together.

    At some scales tpchgen-cli cuts the two tables at different orders: one without its lines or head is left out.
    """
    (keys,), heads = _columns(lines, ["l_orderkey"]), _columns(orders, _ORDER)
    known = heads[_ORDER.index("o_orderkey")]
    its_lines, whole = pc.is_in(keys, known), pc.is_in(known, keys)
    ends = pc.cumulative_sum(pc.value_counts(keys.filter(its_lines)).field("counts"))
    offsets = pa.concat_arrays([pa.array([0], ends.type), ends]).cast(pa.int32())
    columns = [column.filter(its_lines) for column in _lines(*_columns(lines, _LINE))]
    nested = pa.ListArray.from_arrays(offsets, pa.StructArray.from_arrays(columns, _LINE))
    batch = pa.RecordBatch.from_arrays([*(column.filter(whole) for column in heads), nested], [*_ORDER, "lines"])
    batch = batch.take(pc.sort_indices(batch, sort_keys=[("o_orderdate", "ascending"), ("o_orderkey", "ascending")]))
    days = batch.column("o_orderdate").to_pylist()
    bounds = [*(bisect_left(days, edge) for edge in edges), len(days)]
    path = orders.with_suffix(".arrow")
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, batch.schema) as writer:
        for start, end in pairwise(bounds):
            writer.write_batch(batch.slice(start, end - start))
    orders.unlink()
    lines.unlink()
    return path


def _lines(part: pa.Array, quantity: pa.Array, price: pa.Array, discount: pa.Array, *rest: pa.Array) -> list[pa.Array]:
    """Make columns what a Line's fields are. TPC-H's prices are a part's price times the quantity: nothing is lost."""
    quantity = pc.divide(quantity, 100)
    flag, *dates_and_mode = rest
    return [part, quantity, pc.divide(price, quantity), discount, pc.equal(flag, "R"), *dates_and_mode]


def _columns(path: Path, names: list[str]) -> list[pa.Array]:
    """Read columns as plain ones: decimals as hundredths, dates as days, text as Arrow's usual strings."""
    table = pq.read_table(path, columns=names)
    return [_plain(table[name]).combine_chunks() for name in names]


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_decimal(column.type):
        return pc.multiply(column, pa.scalar(100, pa.decimal128(3, 0))).cast(pa.int64())
    if pa.types.is_date32(column.type):
        return column.cast(pa.int32())
    return column if pa.types.is_integer(column.type) else column.cast(pa.string())
