"""A service's own export, read into a temporary table of ours: NDJSON or CSV, gzipped or not, or a Postgres table."""

import csv
import gzip
import io
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from projector.errors import PrejoinError
from projector.store.connect import TCP, unreachable

STDIN = "-"
_BLOCK = 4 << 20
LONGEST = 64 << 20  # bytes of one line, which is held whole
_GZIP = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"
_MAKE = """
CREATE TEMPORARY TABLE source_export (n bigint GENERATED ALWAYS AS IDENTITY, row jsonb NOT NULL)
"""
_COPY = "COPY source_export (row) FROM STDIN"
_LINE = re.compile(r"source_export, line (\d+)")

Progress = Callable[[int], None]


def is_postgres(where: str) -> bool:
    """Whether an export is a Postgres database rather than a file."""
    return urlsplit(where).scheme in ("postgresql", "postgres")


def named(where: str) -> str:
    """What to call an export in a message: without user, password and options."""
    if not is_postgres(where):
        return "stdin" if where == STDIN else where
    address = urlsplit(where)
    return f"{address.scheme}://{address.hostname or ''}{address.path}"


def read_in(connection: psycopg.Connection[Any], where: str, table: str | None, progress: Progress) -> int:
    """Fill the temporary table `source_export`: each row as one JSON object, in order. Returns how many there are.

    `progress` is told rows. Raises PrejoinError, without a word of the data.
    """
    if is_postgres(where) != (table is not None):
        raise PrejoinError("--against URL needs --table, the table to compare with; a file needs none")
    lines = _table(where, table) if table is not None else _file(where)
    count = 0
    connection.execute(_MAKE)
    try:
        with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
            for block in lines:
                copy.write(block)
                progress(more := block.count(b"\n"))
                count += more
    except psycopg.DataError as error:
        at = _LINE.search(error.diag.context or "")
        where_in = f", row {at[1]}" if at else ""
        raise PrejoinError(f"{named(where)}{where_in}: is not a JSON object that Postgres can hold") from None
    return count


def _table(url: str, table: str) -> Iterator[bytes]:
    """Rows as COPY has them, block by block: no value of them is looked at here."""
    options = "-c default_transaction_read_only=on -c timezone=UTC"
    name = "prejoin verify"
    try:
        # a password that is not in the URL may be in PGPASSWORD or a file: libpq looks there
        source = psycopg.connect(url, application_name=name, connect_timeout=5, options=options, **TCP)  # type: ignore[arg-type]
    except psycopg.OperationalError as error:
        raise unreachable("--against", url, error) from None
    except psycopg.ProgrammingError:
        raise PrejoinError(f"--against {named(url)}: write postgresql://user:password@host:port/database") from None
    rows = sql.SQL("COPY (SELECT row_to_json(t) FROM {} AS t) TO STDOUT").format(sql.Identifier(*table.split(".", 1)))
    with source:
        try:
            with source.cursor() as cursor, cursor.copy(rows) as copy:
                for block in copy:
                    yield bytes(block)
        except psycopg.Error as error:
            said = error.diag.message_primary or "it gave up"
            raise PrejoinError(f"--against {named(url)}, --table {table}: {said}") from None


def _file(path: str) -> Iterator[bytes]:
    if path != STDIN and not Path(path).is_file():
        raise PrejoinError(f"--against {path}: there is no such file")
    with sys.stdin.buffer if path == STDIN else Path(path).open("rb") as raw:
        opened: Any = io.BufferedReader(raw) if not hasattr(raw, "peek") else raw
        if opened.peek(2)[:2] == _GZIP:
            opened = io.BufferedReader(gzip.GzipFile(fileobj=opened))
        try:
            first = opened.peek(_BLOCK).removeprefix(_BOM).lstrip()[:1]
            if first in (b"", b"["):
                what = "is empty" if not first else "is one JSON array: write one object a line (`jq -c '.[]'`)"
                raise PrejoinError(f"--against {named(path)}: {what}")
            yield from (_json_lines if first == b"{" else _csv_lines)(opened, named(path))
        except (EOFError, gzip.BadGzipFile):
            raise PrejoinError(f"--against {named(path)}: its gzip is broken or cut off") from None


def _json_lines(file: IO[bytes], name: str) -> Iterator[bytes]:
    """The lines as COPY takes them: in its text format a backslash stands for something, and a tab ends a column."""
    left = file.read(_BLOCK).removeprefix(_BOM)
    while left:
        more = file.read(_BLOCK)
        whole, _, rest = left.rpartition(b"\n") if more else (left, b"", b"")
        if len(rest) > LONGEST:
            raise PrejoinError(f"--against {name}: a line is longer than {LONGEST >> 20} MiB: write one object a line")
        block = b"\n".join(line for each in whole.split(b"\n") if (line := each.strip()))
        if block:
            yield block.replace(b"\\", b"\\\\").replace(b"\t", b"\\t") + b"\n"
        left = rest + more


def _csv_lines(file: IO[bytes], name: str) -> Iterator[bytes]:
    """An empty field is null."""
    text = io.TextIOWrapper(file, "utf-8-sig", newline="")
    reader = csv.DictReader(text, strict=True)
    block: list[bytes] = []
    try:
        for row in reader:
            if None in row or None in row.values():
                raise PrejoinError(f"--against {name}, line {reader.line_num}: has not as many fields as the header")
            line = json.dumps({field: value or None for field, value in row.items()}, ensure_ascii=False)
            block.append(line.encode().replace(b"\\", b"\\\\"))
            if len(block) == 10_000:
                yield b"\n".join(block) + b"\n"
                block = []
    except (csv.Error, UnicodeDecodeError):
        raise PrejoinError(f"--against {name}, line {reader.line_num + 1}: is neither UTF-8 CSV nor JSON") from None
    finally:
        text.detach()  # closed by whoever opened it
    if block:
        yield b"\n".join(block) + b"\n"
