"""A session that answers one statement at a time with less between it and libpq than a cursor has.

By libpq's asynchronous commands (PostgreSQL's documentation, "Asynchronous Command Processing"), which psycopg.pq has;
values and rows are psycopg's own. A cursor makes its adapters anew for each statement, and has the event loop watch the
socket for each answer anew: together more than half of what the answer of one row costs.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from typing import Any

import psycopg
from psycopg import AsyncConnection, errors
from psycopg.adapt import PyFormat, Transformer
from psycopg.pq import ExecStatus, Format, TransactionStatus
from psycopg.pq.abc import PGresult

Row = tuple[Any, ...]

USES = 5  # of a statement before it is prepared, and how many are kept, the last used: as psycopg does by itself
MOST_KEPT = 100
SECONDS_TO_END = 5.0  # for a statement that is cancelled; then the session is closed
SECONDS_BETWEEN = 0.1  # between two tries to cancel it


class Session(AsyncConnection[Row]):
    """A connection of a pool; who has it has it alone. Its cursors are any connection's."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.statements = Statements(self)

    async def wait(self, *args: Any, **kwargs: Any) -> Any:
        """What a cursor waits with: it has the socket watched for itself."""
        self.statements.unwatch()
        return await super().wait(*args, **kwargs)

    async def close(self) -> None:
        """Close it."""
        self.statements.unwatch()
        await super().close()


class Statements:
    """The statements of a session."""

    def __init__(self, session: AsyncConnection[Row]) -> None:
        self._session, self._libpq, self._adapters = session, session.pgconn, Transformer(session)
        self._kept: dict[tuple[str, Sequence[int]], tuple[int, bytes]] = {}  # uses and name; who was used last is last
        self._names = count()
        self._results: list[PGresult] = []
        self._done: asyncio.Future[None] | None = None
        self._watched: int | None = None  # the socket, while the event loop tells of it

    async def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """All rows of a statement with $1, $2… Raises psycopg's errors. Cancelled, it cancels the statement."""
        given = self._adapters.dump_sequence(values, [PyFormat.AUTO] * len(values))
        types, formats = self._adapters.types or (), self._adapters.formats
        try:
            if name := await self._prepared(sql, types):
                self._libpq.send_query_prepared(name, given, formats, Format.BINARY)
            else:
                self._libpq.send_query_params(sql.encode(), given, types, formats, Format.BINARY)
            result = await self._answer()
        except psycopg.OperationalError:
            self.unwatch()  # libpq may have closed the socket
            raise
        self._adapters.set_pgresult(result)
        return self._adapters.load_rows(0, result.ntuples, tuple)

    def unwatch(self) -> None:
        """Leave the socket alone, until the next statement."""
        if self._watched is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._watched)
            loop.remove_writer(self._watched)
            self._watched = None

    async def _prepared(self, sql: str, types: Sequence[int]) -> bytes:
        """The name of a statement that is used often; empty: not yet."""
        uses, name = self._kept.pop((sql, types), (0, b""))
        if uses == USES and not name:
            name = b"prejoin_%d" % next(self._names)
            self._libpq.send_prepare(name, sql.encode(), types)
            await self._settled()
        self._kept[sql, types] = min(uses + 1, USES), name
        if len(self._kept) > MOST_KEPT:
            _, old = self._kept.pop(next(iter(self._kept)))
            if old:
                self._libpq.send_close_prepared(old)
                await self._settled()
        return name

    async def _settled(self) -> None:
        """Wait for what has no rows. Cancelled, the session is closed: nobody knows what is prepared in it."""
        try:
            await self._answer()
        except asyncio.CancelledError:
            await self._session.close()
            raise

    async def _answer(self) -> PGresult:
        """The answer to what libpq was given. Raises what Postgres finds wrong with it."""
        loop = asyncio.get_running_loop()
        self._results, self._done = [], loop.create_future()
        if self._watched is None:
            self._watched = self._libpq.socket
            loop.add_reader(self._watched, self._read)
        if self._libpq.flush():
            loop.add_writer(self._watched, self._write)
        try:
            await self._done
        except asyncio.CancelledError:
            await self._cancel()
            raise
        for result in self._results:
            if result.status == ExecStatus.FATAL_ERROR:
                raise errors.error_from_result(result, encoding=self._session.info.encoding)
        return self._results[-1]

    async def _cancel(self) -> None:
        """Nobody waits for the answer any more: the session is for the next, or closed where Postgres does not end."""
        self._done = asyncio.get_running_loop().create_future()
        try:
            if self._libpq.transaction_status == TransactionStatus.ACTIVE:
                with suppress(psycopg.Error, TimeoutError):
                    async with asyncio.timeout(SECONDS_TO_END):
                        while not self._done.done():  # one that comes before the statement has begun does nothing
                            await self._session.cancel_safe(timeout=SECONDS_TO_END)
                            await asyncio.wait([self._done], timeout=SECONDS_BETWEEN)
                        await self._done
        finally:
            if self._libpq.transaction_status == TransactionStatus.ACTIVE:
                await self._session.close()

    def _read(self) -> None:
        """There is something to read: of an answer, or the end of the session."""
        failed: psycopg.Error | None = None
        try:
            self._libpq.consume_input()
            while not self._libpq.is_busy():
                if (result := self._libpq.get_result()) is None:
                    break
                self._results.append(result)
            else:
                return
        except psycopg.Error as error:
            self.unwatch()
            failed = error
        if self._done and not self._done.done():
            self._done.set_exception(failed) if failed else self._done.set_result(None)

    def _write(self) -> None:
        """There is room for more of what libpq was given."""
        try:
            if self._libpq.flush():
                return
        except psycopg.Error as error:
            if self._done and not self._done.done():
                self._done.set_exception(error)
        if self._watched is not None:
            asyncio.get_running_loop().remove_writer(self._watched)
