"""One snapshot of the served generation, read row by row, whatever is switched or dropped meanwhile."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing
from functools import lru_cache
from typing import Any

from psycopg import AsyncConnection, errors
from sqlalchemy import select, true

from read_api.database import Database
from read_api.export.formats import FORMATS
from read_api.export.parameters import Asked
from read_api.freshness import Freshness
from read_api.reading import ATTEMPTS, NOT_AS_DECLARED, missing
from read_api.resource import Resource
from read_api.session import Row
from read_api.statements import DIALECT, NOW, Statement, order_by, parameters, where

ROWS_OF_A_CHUNK = 200  # a row may have 1,000 lines
Chunks = AsyncGenerator[list[str], None]


async def opened(
    stack: AsyncExitStack, database: Database, resource: Resource, asked: Asked
) -> tuple[Freshness, Chunks]:
    """Rows as texts, in chunks, and what they are read at; the stack closes it. Raises a 503 Problem.

    With the first chunk the table is locked against being dropped; one that was dropped just before, behind the
    snapshot, asks for another snapshot.
    """
    for _ in range(ATTEMPTS):
        async with AsyncExitStack() as attempt:
            connection = await attempt.enter_async_context(database.snapshot())
            try:
                freshness, generation = await _read_at(connection, resource)
                chunks = await attempt.enter_async_context(aclosing(_chunks(connection, resource, generation, asked)))
                first = await anext(chunks, None)
            except NOT_AS_DECLARED:
                continue
            stack.push_async_exit(attempt.pop_all())
            return freshness, _from(first, chunks)
    raise await missing(database, resource)


async def _read_at(connection: AsyncConnection[Row], resource: Resource) -> tuple[Freshness, int]:
    cursor = await connection.execute(NOW, [resource.definition])
    as_of, lag, positions, generation = await cursor.fetchone() or (None, None, (), None)
    if generation is None:
        raise errors.UndefinedTable
    return Freshness(as_of, lag, positions), generation


async def _chunks(connection: AsyncConnection[Row], resource: Resource, generation: int, asked: Asked) -> Chunks:
    sql = statement(resource, generation, asked)
    values = sql.values(parameters(resource, asked.conditions, ()))
    cursor: Any = connection.cursor()
    async with aclosing(cursor.stream(sql.sql, values, binary=True, size=ROWS_OF_A_CHUNK)) as rows:
        chunk = list[str]()
        async for (line,) in rows:
            chunk.append(line)
            if len(chunk) == ROWS_OF_A_CHUNK:
                yield chunk
                chunk = []
        if chunk:
            yield chunk


async def _from(first: list[str] | None, others: Chunks) -> Chunks:
    if first:
        yield first
        async for chunk in others:
            yield chunk


def statement(resource: Resource, generation: int, asked: Asked) -> Statement:
    """Answers the text of each row."""
    shapes = tuple(condition.shape for condition in asked.conditions)
    return _statement(resource, generation, asked.form, shapes, asked.sort, asked.fields)


@lru_cache(maxsize=256)
def _statement(
    resource: Resource,
    generation: int,
    form: str,
    conditions: tuple[tuple[str, str, bool], ...],
    sort: tuple[tuple[str, bool], ...],
    fields: Sequence[str],
) -> Statement:
    table = resource.source(generation)
    order = resource.order(sort)
    names = dict.fromkeys([*fields, *(term.field.name for term in order)])
    passing = where(resource, table, conditions)
    # sorted raw, before the texts are made
    rows = (
        select(*(table.c[n] for n in names)).where(true(), *passing).order_by(*order_by(table, order)).subquery("row")
    )
    text, joined = FORMATS[form].line(fields, rows)
    source = rows if joined is None else rows.join(joined, true())
    lines = select(text).select_from(source).order_by(*order_by(rows, order)).compile(dialect=DIALECT)
    return Statement(str(lines), tuple(lines.positiontup or ()))
