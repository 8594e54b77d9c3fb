"""The one connection of a process that hears of commits: however many follow, Postgres knows of one."""

import asyncio
from collections.abc import Callable
from typing import Any

import psycopg

from projector.store.connect import TCP, options

SECONDS_AFTER_AN_ERROR = 1.0
SECONDS_IN_USE = 60.0  # then something is asked, so that a dead connection is noticed


class Listener:
    """Calls `heard` after each commit that changed what is served, and after each (re)connect."""

    def __init__(self, url: str, group: str, heard: Callable[[], None]) -> None:
        self._url, self._group, self._heard = url, group, heard
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Listen, from now on; once is enough."""
        if self._task is None:
            self._task = asyncio.create_task(self._listen(), name="listener")

    async def close(self) -> None:
        """Stop listening."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _listen(self) -> None:
        while True:
            try:
                async with await self._connect() as connection:
                    await connection.execute(f'LISTEN "prejoin_changes:{self._group}"')
                    self._heard()  # what was committed before
                    while True:
                        async for _ in connection.notifies(timeout=SECONDS_IN_USE):
                            self._heard()
                        await connection.execute("SELECT 1")
            except psycopg.Error:  # away, or a standby, which takes no LISTEN: readers look by themselves, too
                await asyncio.sleep(SECONDS_AFTER_AN_ERROR)

    async def _connect(self) -> psycopg.AsyncConnection[Any]:
        return await psycopg.AsyncConnection.connect(
            self._url,
            autocommit=True,
            application_name="prejoin-api changes",
            connect_timeout=5,
            options=options(self._group),
            **TCP,  # type: ignore[arg-type]
        )
