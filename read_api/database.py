"""The API's way to Postgres: a pool of read-only sessions, and what its errors mean to a client."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import psycopg
from psycopg import AsyncConnection, AsyncRawCursor, errors
from psycopg_pool import AsyncConnectionPool, PoolTimeout, TooManyRequests

from projector.store.connect import TCP, options
from read_api.problems import unavailable
from read_api.session import Row, Session

POOL_SIZE = 8
SEARCHES = 4  # of a pool of their own: however long they take, the other endpoints have theirs
WAITING = 500  # requests that may wait for a connection; more are refused at once
SECONDS_FOR_A_CONNECTION = 5.0
SECONDS_OF_TRYING = 2.0
SECONDS_WHILE_AWAY = 1.0  # once Postgres took no connection in all that time: nobody has one that might come free
TOO_LONG = (
    "the database took more than it may: ask for fewer rows, filter and sort by indexed columns, or count=estimated"
)
TOO_MANY = "too many requests are waiting for the database"
# The role has these by default too; a session that could set them off would still hold no right to write.
SESSION = "-c default_transaction_read_only=on -c statement_timeout=10000"


class Database:
    """Read-only sessions on PREJOIN_READ_DATABASE_URL. Whatever fails in passing is raised as a 503 Problem."""

    def __init__(self, url: str, group: str, size: int = POOL_SIZE, limits: str = "") -> None:
        """`limits`: settings of the sessions in place of SESSION's, as options of libpq."""
        self._patience = SECONDS_FOR_A_CONNECTION
        self.pool: AsyncConnectionPool[Session] = AsyncConnectionPool(
            url,
            connection_class=Session,
            min_size=1,
            max_size=size,
            max_waiting=WAITING,
            timeout=SECONDS_FOR_A_CONNECTION,
            # then the next request tries anew: the pool's own pauses grow to minutes
            reconnect_timeout=SECONDS_OF_TRYING,
            reconnect_failed=self._away,
            open=False,
            check=AsyncConnectionPool.check_connection if limits else None,  # before what is long and not tried again
            name="prejoin-api",
            kwargs={
                "autocommit": True,  # one statement, one snapshot
                "options": f"{options(group)} {SESSION} {limits}",
                "application_name": "prejoin-api",
                "connect_timeout": 5,
                "cursor_factory": AsyncRawCursor,
                **TCP,
            },
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Open the pool, without waiting for Postgres, and close it."""
        await self.pool.open(wait=False)
        try:
            yield
        finally:
            await self.pool.close()

    async def one(self, sql: str, values: Sequence[Any] = ()) -> Row:
        """The first row of a statement. Raises UndefinedTable for what is not there, and Problem."""
        rows = await self.all(sql, values)
        return rows[0]

    async def all(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """All rows of a statement. A connection that Postgres closed meanwhile costs one more try, not an error."""
        try:
            return await self._run(sql, values)
        except psycopg.Error as error:
            with _in_passing():
                if not _lost(error):
                    raise
                self._patience = min(self._patience, SECONDS_OF_TRYING)
                await self.pool.check()
                return await self._run(sql, values)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncConnection[Row]]:
        """A transaction whose statements all see one moment."""
        with _in_passing():
            async with self.pool.connection(self._patience) as connection, connection.transaction():
                await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                self._patience = SECONDS_FOR_A_CONNECTION
                yield connection

    async def _run(self, sql: str, values: Sequence[Any]) -> list[Row]:
        # not as a context, which would COMMIT, where each statement has done so
        connection = await self.pool.getconn(self._patience)
        try:
            rows = await connection.statements.rows(sql, values)
        finally:
            await self.pool.putconn(connection)
        self._patience = SECONDS_FOR_A_CONNECTION
        return rows

    def _away(self, _pool: AsyncConnectionPool[Session]) -> None:
        """Postgres took no connection for SECONDS_OF_TRYING."""
        self._patience = SECONDS_WHILE_AWAY


@contextmanager
def _in_passing() -> Iterator[None]:
    """What fails in passing, as a 503 Problem."""
    try:
        yield
    except (errors.QueryCanceled, errors.TransactionTimeout):
        raise unavailable(TOO_LONG, "timeout") from None
    except TooManyRequests:
        raise unavailable(TOO_MANY, "overload") from None
    except (PoolTimeout, psycopg.OperationalError, psycopg.InterfaceError):
        raise unavailable("the database does not answer", "database") from None


def _lost(error: psycopg.Error) -> bool:
    """Whether the session is gone, rather than the statement refused, or no session had in time."""
    if not isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return False
    if isinstance(error, PoolTimeout | TooManyRequests):
        return False
    return error.sqlstate is None or error.sqlstate.startswith(("08", "57P"))
