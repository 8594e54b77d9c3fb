"""A pass: what is in a view's outbox, from the first key to the last, made into documents and sent in bulks."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Container
from typing import Any

import psycopg

from projector.declare.view import View
from projector.logs import logger
from projector.search.bulk import Bulks, Item
from projector.search.copies import Stand
from projector.search.document import Document
from projector.search.index import Indexes
from projector.search.metrics import Metrics
from projector.search.rows import MOST_KEYS, Row, Rows
from projector.search.showing import Showing

IN_FLIGHT = 2
FIRST_KEYS = 500  # of a pass, so that Elasticsearch has something to do soon
_GROWS = 2  # the next one, up to what a bulk may hold

log = logger(__name__)


class Restored(Exception):
    """The index has changes that Postgres does not know: it was restored to an earlier state."""


class Passes:
    """The passes of one view, on one connection."""

    def __init__(
        self,
        connection: psycopg.AsyncConnection[Any],
        view: View,
        document: Document,
        indexes: Indexes,
        bulks: Bulks,
        showing: Showing,
        metrics: Metrics,
    ) -> None:
        self._rows, self._view, self._document = Rows(connection, view), view, document
        self._indexes, self._bulks, self._showing, self._metrics = indexes, bulks, showing, metrics

    async def make(self, stand: Stand) -> None:
        """Send what is in the outbox; then let the indexes say what they hold. Raises IndexGone and Restored."""
        began, most = time.monotonic(), FIRST_KEYS
        under_way = deque[asyncio.Task[None]]()
        taking = asyncio.create_task(self._rows.take(stand.generation, None, most))
        try:
            while rows := await taking:
                # Postgres reads the next ones while documents are made of these
                most = min(most * _GROWS, MOST_KEYS)
                taking = asyncio.create_task(self._rows.take(stand.generation, rows[-1].key, most))
                items = await self._items(stand, rows)
                if len(under_way) == IN_FLIGHT:
                    await under_way.popleft()
                    self._showing.goes_on(stand, began)
                under_way.append(asyncio.create_task(self._send(stand, rows, items)))
            while under_way:
                await under_way.popleft()
            await self._showing.ended(stand)
        finally:
            for task in (taking, *under_way):
                task.cancel()
            await asyncio.gather(taking, *under_way, return_exceptions=True)

    async def _items(self, stand: Stand, rows: list[Row]) -> dict[int, list[Item]]:
        """What is sent to the copies of each generation."""
        items = {stand.generation: await asyncio.to_thread(self._made, rows)}
        for generation in {copy.generation for copy in stand.coming}:
            theirs = await self._rows.others(generation, rows)
            items[generation] = await asyncio.to_thread(self._made, theirs)
        return items

    def _made(self, rows: list[Row]) -> list[Item]:
        return [
            Item(row.key, row.revision, None if row.shown is None else self._document.line(row.shown)) for row in rows
        ]

    async def _send(self, stand: Stand, rows: list[Row], items: dict[int, list[Item]]) -> None:
        """Send a bulk to each copy, and take off the outbox what they have."""
        started, refused, conflicts = time.monotonic(), dict[str, str](), dict[str, int]()
        for copy in stand.every:
            target = self._indexes.target(self._indexes.name(copy.generation, copy.search))
            sent = await self._bulks.send(target, self._showing.state(copy), items[copy.generation])
            refused |= sent.refused
            conflicts |= sent.conflicts
        await self._judge(conflicts)
        bulks = await self._rows.done(rows, refused)
        for copy in stand.every:
            copy.sent = bulks.get((copy.generation, copy.search), copy.sent)
        self._metrics.sent(self._view.name, time.monotonic() - started, _outcomes(rows, refused, conflicts))
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


def _outcomes(rows: list[Row], refused: Container[str], conflicts: Container[str]) -> Counter[str]:
    """What became of each change, one thing of each: where its copies tell different ones, what went wrong."""
    outcomes = Counter(indexed=0, deleted=0, refused=0, conflict=0)
    for row in rows:
        if row.key in refused:
            outcomes["refused"] += 1
        elif row.key in conflicts:
            outcomes["conflict"] += 1
        else:
            outcomes["deleted" if row.shown is None else "indexed"] += 1
    return outcomes
