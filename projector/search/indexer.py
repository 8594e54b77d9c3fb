"""`prejoin indexer`: what is in the outbox goes to Elasticsearch, view by view, in bulks with the changes' versions.

The outbox is walked in the order of keys, from the first to the last: a *pass*. What was applied when a pass began is
in the index when it has ended; the index says so itself, in a document of its own, and so search answers can.
"""

import asyncio
import json
import time
from contextlib import aclosing, suppress
from datetime import datetime
from typing import Any

import psycopg
from elasticsearch import AsyncElasticsearch, NotFoundError

from projector.declare.projections import Projections
from projector.declare.view import View
from projector.logs import logger
from projector.search.bulk import Bulks, IndexGone, Item
from projector.search.copies import Copies, Copy, Stand
from projector.search.document import STATE, STATE_ID, Document
from projector.search.index import Indexes
from projector.search.metrics import Metrics
from projector.search.rows import Row, Rows
from projector.store.connect import DatabaseUnreachable, connect_async
from projector.store.definitions import declarations_digest
from projector.store.locks import SEARCH_LOCK

IN_FLIGHT = 2
SECONDS_BETWEEN_LOOKS = 1.0  # where no NOTIFY came: As-Of moves without any
SECONDS_BETWEEN_STATES = 0.25  # what an index says of itself is seen when it is refreshed, once a second, no sooner
SECONDS_BETWEEN_SWEEPS = 60.0  # a replaced index stays so long, for those who are just reading it
SECONDS_BETWEEN_COUNTS = 5.0
SECONDS_AFTER_A_CHANGE = 0.1
_LOST = (psycopg.OperationalError, psycopg.InterfaceError, DatabaseUnreachable)
_HELD = """
UPDATE search_generations SET as_of = %s
WHERE relation = %s AND generation = ANY(%s) AND state <> 'gone'
"""
_COUNT = "SELECT count(*), extract(epoch FROM min(since)) FROM outbox WHERE relation = %s"

log = logger(__name__)


class Restored(Exception):
    """The index has changes that Postgres does not know: it was restored to an earlier state."""


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
        self._connection, self._rows = connection, Rows(connection, self._view)
        self._copies = Copies(connection, self._group, self._view.name, self._view.key[0], self._declarations)
        self._states: dict[str, dict[str, Any]] = {}
        self._aliased: str | None = None  # the index that the view's alias names
        self._swept = self._counted = self._said = 0.0
        self._unsaid = False  # whether the last pass left it to a later one to say what the indexes hold
        await connection.execute(f'LISTEN "prejoin:{self._group}"')
        while True:
            stand = await self._copies.stand()
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
            self._states[name] = {}
        elif not await self._indexes.is_ours(name, copy.digest):
            await self._give_up(copy, "its index is gone")
            return False
        if name not in self._states:
            self._states[name] = await self._indexes.state(name)
            if self._states[name].get("sent", 0) > copy.sent:
                await self._give_up(copy, "Postgres was restored to an earlier state")
                return False
        return True

    async def _give_up(self, copy: Copy, why: str) -> None:
        log.warning(why, action="search_generation_lost", view=self._view.name, search=copy.search)
        await self._copies.abandon(copy.generation, copy.search)

    async def _has_passed(self, stand: Stand) -> bool:
        """Make a pass; whether it came to its end, and the indexes are sound."""
        try:
            await self._pass(stand)
        except IndexGone:  # which one, the next look tells
            self._states.clear()
            return False
        except Restored:
            for copy in stand.every:
                await self._give_up(copy, "Postgres was restored to an earlier state")
            return False
        return True

    async def _pass(self, stand: Stand) -> None:
        """Send what is in the outbox, from the first key to the last; then say what the indexes hold, if it is time.

        Otherwise a later pass says it: a request of its own takes as long as those of the few keys of a short pass.
        """
        after: str | None = None
        under_way: list[asyncio.Task[None]] = []
        try:
            while rows := await self._rows.take(stand.generation, after):
                after = rows[-1].key
                items = {stand.generation: await asyncio.to_thread(self._items, rows)}
                for generation in {copy.generation for copy in stand.coming}:
                    theirs = await self._rows.others(generation, rows)
                    items[generation] = await asyncio.to_thread(self._items, theirs)
                if len(under_way) == IN_FLIGHT:
                    await under_way.pop(0)
                under_way.append(asyncio.create_task(self._send(stand, rows, items)))
            while under_way:
                await under_way.pop(0)
            self._unsaid = self._until_said() > 0 and not any(copy.state == "sending" for copy in stand.every)
            if not self._unsaid:
                await self._say(stand)
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    def _items(self, rows: list[Row]) -> list[Item]:
        return [
            Item(row.key, row.revision, None if row.shown is None else self._document.line(row.shown)) for row in rows
        ]

    async def _send(self, stand: Stand, rows: list[Row], items: dict[int, list[Item]]) -> None:
        """Send a bulk to each copy, and take off the outbox what they have."""
        started, refused, conflicts = time.monotonic(), dict[str, str](), dict[str, int]()
        for copy in stand.every:
            target = self._indexes.target(self._name(copy))
            sent = await self._bulks.send(target, self._state(copy), items[copy.generation])
            refused |= sent.refused
            conflicts |= sent.conflicts
        await self._judge(conflicts)
        bulks = await self._rows.done(rows, refused)
        for copy in stand.every:
            copy.sent = bulks.get((copy.generation, copy.search), copy.sent)
        gone = sum(row.shown is None for row in rows)
        outcomes = {"indexed": len(rows) - gone - len(refused), "deleted": gone}
        outcomes |= {"refused": len(refused), "conflict": len(conflicts)}
        self._metrics.sent(self._view.name, time.monotonic() - started, outcomes)
        if refused:
            log.warning("documents were refused", action="refused", view=self._view.name, documents=len(refused))

    async def _judge(self, conflicts: dict[str, int]) -> None:
        """A later version came from another indexer, which has taken the key off, or has a later one to send yet.

        Where the outbox has an earlier one than the index, that version is of a time that Postgres does not know.
        """
        if conflicts:
            known = await self._rows.revisions(list(conflicts))
            if any(known[key] < version for key, version in conflicts.items() if key in known):
                raise Restored

    def _state(self, copy: Copy, **held: Any) -> Item:
        """The document that says what the index holds; the count of bulks is its version."""
        name = self._name(copy)
        told = self._states[name] = {**self._states.get(name, {}), **held, "is": STATE, "sent": copy.sent}
        return Item(STATE_ID, copy.sent, json.dumps({"state": told}).encode())

    async def _say(self, stand: Stand) -> None:
        """What was applied when the pass began is in the indexes now, if it was in the rows."""
        held = {"as_of": stand.as_of, "positions": stand.positions}
        told = stand.copies if stand.behind else stand.every
        for copy in told:
            name = self._name(copy)
            before = dict(self._states.get(name, {}))
            state = self._state(copy, **held)
            if self._states[name] != before:
                await self._bulks.send(self._indexes.target(name), state, [])
        at = None if stand.as_of is None else datetime.fromisoformat(stand.as_of)
        await self._connection.execute(_HELD, (at, self._view.name, [copy.generation for copy in told]))
        self._said = time.monotonic()

    def _until_said(self) -> float:
        return self._said + SECONDS_BETWEEN_STATES - time.monotonic()

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
        if now - self._counted > SECONDS_BETWEEN_COUNTS:
            row = await (await self._connection.execute(_COUNT, (self._view.name,))).fetchone()
            keys, since = row or (0, None)
            self._metrics.outbox(self._view.name, keys, None if since is None else float(since))
            self._counted = now

    async def _wait(self) -> None:
        """Until there is something to send; not for long where the last pass said nothing."""
        seconds = max(self._until_said(), 0.01) if self._unsaid else SECONDS_BETWEEN_LOOKS
        async with aclosing(self._connection.notifies(timeout=seconds, stop_after=1)) as told:
            async for _ in told:
                pass

    async def _alive(self) -> None:
        """Ahead of each request: the lock is ours as long as the connection, which Postgres ends where it is idle."""
        await self._connection.execute("SELECT")

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
