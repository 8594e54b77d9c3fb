"""Each kind of fault. All of them undo what they did, whatever else happens meanwhile."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any

import psycopg

from projector.embedded.errors import EmbeddedError
from projector.embedded.postgres import DATABASE, SUPERUSER, WRITER
from projector.store.locks import LOCK
from projector.store.names import schemas
from tests.torture.crew import Crew
from tests.torture.plan import Fault
from tests.torture.servers import Servers

_SESSIONS = "SELECT pid FROM pg_stat_activity WHERE usename = %s AND application_name LIKE %s"
_TERMINATE = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s AND application_name LIKE %s"
SECONDS_TO_NOTICE = 8  # of a full disk: where nothing had to grow so far
_WHOSE = ("prejoin%", "prejoin worker", "prejoin heartbeat")


class Faults:
    """Does them, to servers and one crew. One at a time of those that take a whole server."""

    def __init__(self, servers: Servers, crew: Crew, group: str) -> None:
        self._servers, (self._stack, self._disk) = servers, servers
        self._crew, self._group = crew, group
        self._postgres, self._kafka = asyncio.Lock(), asyncio.Lock()

    async def happen(self, fault: Fault) -> None:
        await getattr(self, fault.kind)(fault)

    async def kill(self, fault: Fault) -> None:
        if worker := self._crew.choose(fault.pick):
            self._crew.kill(worker)
            self._crew.start()

    async def pause(self, fault: Fault) -> None:
        if worker := self._crew.choose(fault.pick, awake=True):
            await self._crew.pause(worker, fault.seconds)

    async def terminate(self, fault: Fault) -> None:
        if worker := self._crew.choose(fault.pick, awake=True):
            stopping = asyncio.create_task(self._crew.stop(worker))
            self._crew.start()
            await stopping

    async def join(self, _fault: Fault) -> None:
        self._crew.start()

    async def leave(self, fault: Fault) -> None:
        worker = self._crew.choose(fault.pick, awake=True)
        if worker and len(self._crew.alive) > 1:
            await self._crew.stop(worker)

    async def sessions(self, fault: Fault) -> None:
        """Again and again for that long: some will be in the middle of a COMMIT."""
        deadline = asyncio.get_running_loop().time() + fault.seconds
        while True:
            with suppress(psycopg.OperationalError):
                await self._as_superuser((_TERMINATE, [WRITER, _WHOSE[fault.pick % len(_WHOSE)]]))
            if asyncio.get_running_loop().time() >= deadline:
                return
            await asyncio.sleep(0.15)

    async def postgres_killed(self, fault: Fault) -> None:
        """SIGKILL; its backends may live on for a while."""
        async with self._postgres:
            await self._away("postgres", self._stack.kill_service, fault.seconds)

    async def postgres_immediate(self, fault: Fault) -> None:
        """As `pg_ctl stop -m immediate` does."""
        async with self._postgres:
            await self._away("postgres", self._stop_immediately, fault.seconds)

    async def kafka_killed(self, fault: Fault) -> None:
        async with self._kafka:
            await self._away("kafka", self._stack.kill_service, fault.seconds)

    async def kafka_stopped(self, fault: Fault) -> None:
        async with self._kafka:
            await self._away("kafka", self._stack.stop_service, fault.seconds)

    async def disk_full(self, fault: Fault) -> None:
        """Tables cannot grow; where the WAL cannot, Postgres itself goes down, and may not come back before."""
        async with self._postgres:
            pid = self._stack._postgres.child.pid
            assert pid is not None, "each fault that takes Postgres brings it back"
            before = self._servers.failed_writes()
            try:
                await asyncio.to_thread(self._disk.fill, pid)
                await asyncio.sleep(fault.seconds)
                for _ in range(SECONDS_TO_NOTICE):
                    if self._servers.failed_writes() > before:
                        break
                    await asyncio.sleep(1)
            finally:
                await asyncio.to_thread(self._disk.free, pid)
                await asyncio.to_thread(self._bring_back)

    async def read_only(self, fault: Fault) -> None:
        """Nothing can be written, all can be read."""
        setting = f"ALTER DATABASE {DATABASE} SET default_transaction_read_only TO"
        everybody = (_TERMINATE, [WRITER, "%"])
        async with self._postgres:
            try:
                await self._as_superuser((f"{setting} on", []), everybody)
                await asyncio.sleep(fault.seconds)
            finally:
                await self._as_superuser((f"{setting} off", []), everybody)

    async def lock(self, fault: Fault) -> None:
        """Somebody else has the group's lock."""
        with suppress(psycopg.OperationalError):
            async with self._transaction() as connection:
                await connection.execute(LOCK, {"group": self._group})
                await asyncio.sleep(fault.seconds)

    async def slow_assignment(self, fault: Fault) -> None:
        """A rebalance, while positions cannot be read."""
        async with self._postgres:
            with suppress(psycopg.OperationalError):
                async with self._transaction() as connection:
                    await connection.execute(f'LOCK TABLE "{schemas(self._group)[0]}".positions')
                    if len(self._crew.alive) < 2:
                        self._crew.start()
                    else:
                        await self.kill(fault)
                    await asyncio.sleep(fault.seconds)

    async def postgres_frozen(self, fault: Fault) -> None:
        """The sessions' processes stop, maybe with locks of Postgres's own: connections stay, no answer comes."""
        async with self._postgres:
            found = await self._as_superuser((_SESSIONS, [WRITER, "prejoin%"]))
            await self._freeze([pid for (pid,) in found], fault.seconds)

    async def kafka_frozen(self, fault: Fault) -> None:
        async with self._kafka:
            pid = self._stack._kafka.child.pid
            assert pid is not None
            await self._freeze([pid], fault.seconds)

    def _stop_immediately(self, _service: str) -> None:
        child = self._stack._postgres.child
        assert child.pid is not None
        _send(child.pid, signal.SIGQUIT)
        while child.pid is not None:
            time.sleep(0.05)

    def _bring_back(self) -> None:
        """Return once Postgres serves: by itself after its recovery, or started again where it gave that up."""
        server = self._stack._postgres
        with suppress(EmbeddedError):
            server.child.wait_until(server._serves)
        if server.child.pid is None:
            self._stack.start_service("postgres")

    async def _away(self, service: str, end: Callable[[str], None], seconds: float) -> None:
        try:
            await asyncio.to_thread(end, service)
            await asyncio.sleep(seconds)
        finally:
            await asyncio.to_thread(self._stack.start_service, service)

    async def _freeze(self, pids: Iterable[int], seconds: float) -> None:
        stopped = [pid for pid in pids if _send(pid, signal.SIGSTOP)]
        try:
            await asyncio.sleep(seconds)
        finally:
            for pid in stopped:
                _send(pid, signal.SIGCONT)

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Any]:
        url = self._stack._postgres.url(SUPERUSER)
        async with await psycopg.AsyncConnection.connect(url) as connection:
            yield connection

    async def _as_superuser(self, *statements: tuple[str, list[str]]) -> list[Any]:
        """Run them; returns the rows of the last. From another database: this one may be read-only."""
        url = self._stack._postgres.url(SUPERUSER, "postgres")
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            for statement, values in statements:
                cursor = await connection.execute(statement, values or None)
            return await cursor.fetchall() if cursor.description else []


def _send(pid: int, number: signal.Signals) -> bool:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
