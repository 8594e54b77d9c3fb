"""`prejoin indexer`: what is in the outbox goes to Elasticsearch, view by view, in bulks with the changes' versions.

The outbox is walked in the order of keys, from the first to the last: a *pass*. What was applied when a pass began is
in the index when it has ended; the index says so itself, in a document of its own, and so search answers can.
"""

import asyncio
import time
from contextlib import aclosing, suppress
from typing import Any

import psycopg
from elasticsearch import AsyncElasticsearch, NotFoundError

from projector.declare.projections import Projections
from projector.declare.view import View
from projector.logs import logger
from projector.search.bulk import Bulks, IndexGone
from projector.search.copies import Copies, Copy, Stand
from projector.search.document import Document
from projector.search.index import Indexes
from projector.search.metrics import Metrics
from projector.search.passes import Passes, Restored
from projector.search.showing import Showing
from projector.store.connect import DatabaseUnreachable, connect_async
from projector.store.definitions import declarations_digest
from projector.store.locks import SEARCH_LOCK

SECONDS_BETWEEN_LOOKS = 1.0  # where no NOTIFY came: As-Of moves without any
SECONDS_BETWEEN_SWEEPS = 10.0  # a replaced index stays so long, for those who read it; not for those erased there
SECONDS_BETWEEN_COUNTS = 5.0
SECONDS_AFTER_A_CHANGE = 0.1
SECONDS_BETWEEN_PROOFS = 1.0  # that the view's lock is still ours
_LOST = (psycopg.OperationalError, psycopg.InterfaceError, DatabaseUnreachable)
_COUNT = "SELECT count(*), extract(epoch FROM min(since)) FROM outbox WHERE relation = %s"

log = logger(__name__)


class ViewIndexer:
    """Keeps one view's index, while it has the view's lock; until then it stands by."""

    def __init__(
        self,
        url: str,
        group: str,
        projections: Projections,
        view: View,
        client: AsyncElasticsearch,
        metrics: Metrics,
    ) -> None:
        self._url, self._group, self._view, self._metrics = url, group, view, metrics
        self._declarations = declarations_digest(projections)
        self._document = Document(view, group)
        self._bulks = Bulks(client, self._alive, self._retried)
        self._indexes = Indexes(client, self._document, self._bulks.patiently)

    async def run(self) -> None:
        """Keep the index until cancelled. Raises what does not pass: OutOfDate, and Refused."""
        waits = 0.5
        while True:
            try:
                connection = await connect_async(self._url, self._group, name="prejoin indexer")
                async with connection:
                    await self._have_turn(connection)
                    waits = 0.5
                    await self._lead(connection)
            except _LOST as error:
                log.warning(
                    "postgres is away", action="postgres_away", view=self._view.name, error=type(error).__name__
                )
                await asyncio.sleep(waits)
                waits = min(waits * 2, 10.0)
            finally:
                self._metrics.leads(self._view.name, False)

    async def _have_turn(self, connection: psycopg.AsyncConnection[Any]) -> None:
        told = False
        while True:
            values = {"group": self._group, "relation": self._view.name}
            (has,) = await (await connection.execute(SEARCH_LOCK, values)).fetchone() or (False,)
            if has:
                break
            if not told:
                log.info("another indexer keeps the view", action="standing_by", view=self._view.name)
                told = True
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
        log.info("keeping the view's index", action="leading", view=self._view.name)
        self._metrics.leads(self._view.name, True)

    async def _lead(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection
        self._copies = Copies(connection, self._group, self._view.name, self._view.key[0], self._declarations)
        self._showing = Showing(connection, self._view.name, self._indexes, self._bulks, self._retried)
        made = (self._indexes, self._bulks, self._showing, self._metrics)
        self._passes = Passes(connection, self._view, self._document, *made)
        self._aliased: str | None = None  # the index that the view's alias names
        self._swept = self._counted = 0.0
        await connection.execute(f'LISTEN "prejoin:{self._group}"')
        try:
            await self._keep()
        finally:
            await self._showing.close()

    async def _keep(self) -> None:
        while True:
            stand = await self._copies.stand()
            self._proved = time.monotonic()
            try:
                if await self._is_ready(stand):
                    await self._keep_house(stand)
                    if await self._has_passed(stand):
                        await self._switch(stand)
                        await self._wait()
            except (psycopg.errors.UndefinedTable, NotFoundError):
                # migrated meanwhile, or an index was deleted by hand: the next look tells
                await asyncio.sleep(SECONDS_AFTER_A_CHANGE)

    async def _is_ready(self, stand: Stand) -> bool:
        """Whether each copy has its index, and one of today's form is there; otherwise what lacks is made."""
        if not any(copy.digest == self._document.digest for copy in stand.copies):
            await self._begin(stand)
            return False
        for copy in stand.every:
            if not await self._is_sound(copy):
                return False
            await self._copies.fill(copy)
        return True

    def _name(self, copy: Copy) -> str:
        return self._indexes.name(copy.generation, copy.search)

    async def _begin(self, stand: Stand) -> None:
        """Begin a new copy, whose index is made and filled next."""
        name = self._name(await self._copies.register(stand.generation, self._document.digest))
        log.info("a new index is filled", action="search_generation", view=self._view.name, index=name)

    async def _is_sound(self, copy: Copy) -> bool:
        """Whether the copy's index is there and not ahead of Postgres. One that is not is made, or given up."""
        name = self._name(copy)
        if copy.state == "filling" and copy.filled_to is None:  # registered, and no more than that
            await self._indexes.make(name)  # one by this name is of a generation that was given up
            self._showing.made(copy)
        elif not await self._indexes.is_ours(name, copy.digest):
            await self._give_up(copy, "its index is gone")
            return False
        if await self._showing.sent(copy) > copy.sent:
            await self._give_up(copy, "Postgres was restored to an earlier state")
            return False
        return True

    async def _give_up(self, copy: Copy, why: str) -> None:
        log.warning(why, action="search_generation_lost", view=self._view.name, search=copy.search)
        await self._copies.abandon(copy.generation, copy.search)

    async def _has_passed(self, stand: Stand) -> bool:
        """Make a pass; whether it came to its end, and the indexes are sound."""
        try:
            await self._passes.make(stand)
        except IndexGone:  # which one, the next look tells
            self._showing.forget()
            return False
        except Restored:
            for copy in stand.every:
                await self._give_up(copy, "Postgres was restored to an earlier state")
            return False
        return True

    async def _switch(self, stand: Stand) -> None:
        """Let the newest copy of each generation count once a pass over all of its keys has ended."""
        for copies in (stand.copies, stand.coming):
            if copies and copies[-1].state == "sending":
                name = self._name(copies[-1])
                await self._indexes.refresh(name)
                await self._copies.serve(copies[-1])
                log.info("the index is whole", action="search_switched", view=self._view.name, index=name)
                if copies is stand.copies:
                    await self._point_at(name)

    async def _point_at(self, name: str) -> None:
        """The view's alias, for outsiders. What it named until now stays for a while, for those who are reading it."""
        await self._indexes.serve(name)
        self._aliased, self._swept = name, time.monotonic()

    async def _keep_house(self, stand: Stand) -> None:
        now = time.monotonic()
        live = next((self._name(c) for c in stand.copies if c.state == "live"), None)
        if live is not None and live != self._aliased:
            await self._point_at(live)
        if now - self._swept > SECONDS_BETWEEN_SWEEPS:
            gone = await self._indexes.keep([self._name(copy) for copy in stand.every])
            self._swept = now
            if gone:
                log.info("indexes were removed", action="search_removed", view=self._view.name, indexes=gone)
        await self._count()

    async def _count(self) -> None:
        """Tell what waits, now and then."""
        if time.monotonic() - self._counted > SECONDS_BETWEEN_COUNTS:
            self._counted = time.monotonic()
            row = await (await self._connection.execute(_COUNT, (self._view.name,))).fetchone()
            keys, since = row or (0, None)
            self._metrics.outbox(self._view.name, keys, None if since is None else float(since))

    async def _wait(self) -> None:
        """Until there is something to send; not for longer than what was sent may wait to be shown."""
        seconds = max(self._showing.seconds_left(), 0.01) if self._showing.is_left else SECONDS_BETWEEN_LOOKS
        async with aclosing(self._connection.notifies(timeout=seconds, stop_after=1)) as told:
            async for _ in told:
                pass

    async def _alive(self) -> None:
        """Ahead of each request: the lock is ours as long as the connection, which Postgres ends where it is idle.

        Not each time: a bulk would wait for what is just being read on it. What waits is counted here, too: while
        Elasticsearch is away a pass asks it again and again, and does not end.
        """
        if time.monotonic() - self._proved > SECONDS_BETWEEN_PROOFS:
            await self._connection.execute("SELECT")
            self._proved = time.monotonic()
        await self._count()

    def _retried(self, reason: str) -> None:
        log.warning("elasticsearch is asked again", action="retry", view=self._view.name, reason=reason)
        self._metrics.retried(self._view.name, reason)


async def keep_all(indexers: list[ViewIndexer]) -> None:
    """Run the indexers until cancelled, or until one raises."""
    tasks = [asyncio.create_task(indexer.run()) for indexer in indexers]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
