"""Statements of the API's sessions: answered as a cursor would, with nothing left over of what was dropped."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import psycopg
import pytest
import uvloop
from psycopg import AsyncRawCursor, errors

from read_api import session as sessions
from read_api.database import Database
from read_api.session import MOST_KEPT, USES, Session

ASKED: list[tuple[str, list[Any]]] = [
    ("SELECT 1, 'ä', NULL, 1.50, ARRAY['a', NULL], '{\"a\": [1]}'::jsonb, now() IS NULL, '\\x00ff'::bytea", []),
    ("SELECT $1::text, pg_typeof($2)::text, pg_typeof($3)::text, $4 || 'x'", ["ä'\\", 1, 2**40, "y"]),
    ("SELECT pg_typeof($1)::text, $1::bigint + 1", [7]),
    ("SELECT pg_typeof($1)::text, $1::bigint + 1", [70_000]),  # the same statement, of another type
    ("SELECT $1, $2, pg_typeof($1)::text", [Decimal("12.50"), Decimal("-0.000001")]),
    ("SELECT $1, $2, $3::timestamptz", [True, date(2026, 1, 31), datetime(2026, 1, 31, 12, 30, 0, 5, UTC)]),
    ("SELECT $1::text[], 'b' = ANY($1::text[]), $2::bigint[]", [["a", "b,\"'"], [1, 2**33]]),
    ("SELECT $1::text[], $2::numeric[]", [[], [Decimal("1.5"), None]]),
    ("SELECT $1::text, $1 IS NULL", [None]),
    ("SELECT n, n::text FROM generate_series(1, 300) AS n", []),
    ("SELECT 1 WHERE false", []),
    ("EXPLAIN (FORMAT JSON) SELECT 1", []),
]
SLEEP = "SELECT pg_sleep($1)::text"
pytestmark = pytest.mark.usefixtures("shop")  # whose migration makes the role
Run = Callable[[Coroutine[Any, Any, None]], None]
either_loop = pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])


def _on_a_session(run: Run, url: str, do: Callable[[Session], Awaitable[None]]) -> None:
    async def opened() -> None:
        async with await Session.connect(url, autocommit=True, cursor_factory=AsyncRawCursor) as session:
            await do(session)

    run(opened())


@either_loop
def test_rows_are_those_of_a_cursor(run: Run, read_database_url: str) -> None:
    async def asked(session: Session) -> None:
        for sql, values in ASKED * (USES + 3):
            cursor = await session.execute(sql, values, binary=True)
            assert await session.statements.rows(sql, values) == await cursor.fetchall()
        prepared = await session.statements.rows("SELECT count(*) FROM pg_prepared_statements WHERE from_sql IS FALSE")
        assert prepared[0][0] >= 2 * len(ASKED), "both have prepared"

    _on_a_session(run, read_database_url, asked)


@either_loop
def test_what_is_wrong_is_raised_as_psycopg_has_it(run: Run, read_database_url: str) -> None:
    wrong = {
        "SELECT * FROM nothing_there": errors.UndefinedTable,
        "SELECT nothing_there": errors.UndefinedColumn,
        "SELECT 1 / 0": errors.DivisionByZero,
        "SELECT pg_read_file('/etc/hosts')": errors.InsufficientPrivilege,
        "SET statement_timeout = 20; ": None,
        "SELECT pg_sleep(20)": errors.QueryCanceled,
    }

    async def asked(session: Session) -> None:
        for sql, error in wrong.items():
            for _ in range(USES + 2):
                if error is None:
                    await session.execute(sql)
                    continue
                with pytest.raises(error):
                    await session.statements.rows(sql)
            assert await session.statements.rows("SELECT 7") == [(7,)]

    _on_a_session(run, read_database_url, asked)


@either_loop
def test_no_more_statements_stay_prepared_than_are_kept(run: Run, read_database_url: str) -> None:
    often = "SELECT 'often'"
    prepared = "SELECT count(*), bool_or(statement = $1) FROM pg_prepared_statements"

    async def asked(session: Session) -> None:
        for n in range(MOST_KEPT + 20):
            for _ in range(USES + 1):
                assert await session.statements.rows(f"SELECT {n}") == [(n,)]
                assert await session.statements.rows(often) == [("often",)]
        (found,) = await session.statements.rows(prepared, [often])
        assert found == (MOST_KEPT - 1, True)  # this one itself is kept, and not prepared yet

    _on_a_session(run, read_database_url, asked)


@either_loop
def test_who_goes_leaves_a_session_that_answers_the_next(
    run: Run, read_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "SECONDS_TO_END", 20)

    async def asked(session: Session) -> None:
        for prepared in (False, True):
            for _ in range(USES if prepared else 0):
                await session.statements.rows(SLEEP, [0.0])
            await _dropped(session)
            assert session.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
            assert await session.statements.rows("SELECT pg_backend_pid()") == [(session.info.backend_pid,)]

    _on_a_session(run, read_database_url, asked)


@either_loop
def test_who_goes_while_a_statement_is_prepared_leaves_no_session(run: Run, read_database_url: str) -> None:
    async def asked(session: Session) -> None:
        for _ in range(USES):
            await session.statements.rows("SELECT 1")
        with _stopped(session.info.backend_pid):
            asking = asyncio.create_task(session.statements.rows("SELECT 1"))
            await asyncio.sleep(0)
            asking.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert session.closed, "or a name would stand for nobody knows what"

    _on_a_session(run, read_database_url, asked)


@either_loop
def test_a_session_that_cannot_be_cancelled_is_closed(
    run: Run, read_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "SECONDS_TO_END", 0.1)

    async def asked(session: Session) -> None:
        with _stopped(session.info.backend_pid):
            await _dropped(session)
            assert session.closed

    _on_a_session(run, read_database_url, asked)


@either_loop
def test_values_larger_than_a_socket_takes_at_once_arrive(run: Run, read_database_url: str) -> None:
    async def asked(session: Session) -> None:
        text = "x" * 40_000_000
        assert await session.statements.rows("SELECT length($1), $1 = $2", [text, text]) == [(len(text), True)]
        assert await session.statements.rows("SELECT 7") == [(7,)]

    _on_a_session(run, read_database_url, asked)


@either_loop
def test_a_session_that_ends_amid_a_statement_costs_one_more_try(run: Run, read_database_url: str) -> None:
    slow = "SELECT pg_sleep(1)::text, pg_backend_pid()"

    async def asked() -> None:
        database = Database(read_database_url, "nobody")
        async with database.running():
            asking = asyncio.create_task(database.one(slow))
            ended = await _until_it_runs(read_database_url, slow, "pg_terminate_backend(pid)")
            _, pid = await asking
            assert pid != ended

    run(asked())


async def _dropped(session: Session) -> None:
    """Ask for what takes long, and go."""
    asking = asyncio.create_task(session.statements.rows(SLEEP, [60.0]))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


@contextmanager
def _stopped(pid: int) -> Iterator[None]:
    """A process of Postgres that does not hear."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def _until_it_runs(url: str, sql: str, do: str) -> int:
    """Do something to the session that runs a statement; its process."""
    looks = f"SELECT pid, {do} FROM pg_stat_activity WHERE query = %s AND state = 'active'"
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as other, asyncio.timeout(20):
        while not (found := await (await other.execute(looks, [sql])).fetchone()):  # noqa: ASYNC110 – the event is in Postgres
            await asyncio.sleep(0.01)
        return int(found[0])
