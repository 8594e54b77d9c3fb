"""What a view's indexes say of themselves, and when they show what was written.

Elasticsearch's own `refresh_interval` counts from the end of a refresh: what one has just missed waits for that second
and for two refreshes. Here they begin at a rate of one a second, each behind a pass, so that it shows the pass's
documents together with the state that speaks of them. Elasticsearch's own is for what an indexer left that was stopped.
"""

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any

import psycopg
from elastic_transport import TransportError
from elasticsearch import ApiError

from projector.search.bulk import Bulks, Item
from projector.search.client import reason
from projector.search.copies import Copy, Stand
from projector.search.document import STATE, STATE_ID
from projector.search.index import Indexes

SECONDS_BETWEEN = 1.0  # from the moment at which a refresh was due to the next one's
MOST_LATE = 0.3  # that much a pass may keep one waiting without moving all that follow
SECONDS_BETWEEN_LOOKS = 0.1  # whether one that takes longer than that has ended
_HELD = """
UPDATE search_generations SET as_of = %s
WHERE relation = %s AND generation = ANY(%s) AND state <> 'gone'
"""


class Showing:
    """The states and the refreshes of one view's indexes, while one indexer keeps them; to be closed.

    `failed` hears why a refresh did not succeed: the next one shows the same. Raises what `Bulks.send` does.
    """

    def __init__(
        self,
        connection: psycopg.AsyncConnection[Any],
        relation: str,
        indexes: Indexes,
        bulks: Bulks,
        failed: Callable[[str], None],
    ) -> None:
        self._connection, self._relation = connection, relation
        self._indexes, self._bulks, self._failed = indexes, bulks, failed
        self._states: dict[str, dict[str, Any]] = {}
        self._unseen = set[str]()  # indexes that were written to since a refresh of theirs began
        self._due = 0.0
        self._refreshing: asyncio.Task[None] | None = None
        self.is_left = False  # whether the last pass left it to a later one to say and show what the indexes hold

    def made(self, copy: Copy) -> None:
        """The copy's index was just made, and says nothing yet."""
        self._states[self._indexes.name(copy.generation, copy.search)] = {}

    async def sent(self, copy: Copy) -> int:
        """How many bulks the copy's index says that it has had."""
        name = self._indexes.name(copy.generation, copy.search)
        if name not in self._states:
            self._states[name] = await self._indexes.state(name)
            self._unseen.add(name)  # who kept it until now may have been stopped ahead of a refresh
        return int(self._states[name].get("sent", 0))

    def forget(self) -> None:
        """An index is not what it was: what they say is read anew."""
        self._states.clear()

    def state(self, copy: Copy, **held: Any) -> Item:
        """The document that says what the copy's index holds, to be sent now; the count of bulks is its version."""
        name = self._indexes.name(copy.generation, copy.search)
        told = self._states[name] = {**self._states.get(name, {}), **held, "is": STATE, "sent": copy.sent}
        self._unseen.add(name)
        return Item(STATE_ID, copy.sent, json.dumps({"state": told}).encode())

    async def ended(self, stand: Stand) -> None:
        """A pass has ended: say what the indexes hold, and show it, if it is time; a later pass does it otherwise.

        Said it is, too, where an index is to be searched next.
        """
        due = self.seconds_left() <= 0
        self.is_left = not due
        if due or any(copy.state == "sending" for copy in stand.every):
            await self._say(stand)
        if due:
            self._show(stand)

    def goes_on(self, stand: Stand, began: float) -> None:
        """A pass that began at that moment (monotonic) is under way: where it takes long, show what it has sent."""
        if self.seconds_left() <= 0 and time.monotonic() - began > SECONDS_BETWEEN:
            self._show(stand)

    def seconds_left(self) -> float:
        """Seconds until the next refresh may begin: 0 or less where it may."""
        left = self._due - time.monotonic()
        return left if self._refreshing is None or self._refreshing.done() else max(left, SECONDS_BETWEEN_LOOKS)

    async def close(self) -> None:
        """Leave a refresh that is under way."""
        if self._refreshing is not None:
            self._refreshing.cancel()
            with suppress(asyncio.CancelledError):
                await self._refreshing

    async def _say(self, stand: Stand) -> None:
        """What was applied when the pass began is in the indexes now, if it was in the rows."""
        held: dict[str, Any] = {"as_of": stand.as_of}
        if stand.positions is not None:  # else those that it held before hold on
            held["positions"] = stand.positions
        told = stand.copies if stand.behind else stand.every
        for copy in told:
            name = self._indexes.name(copy.generation, copy.search)
            if self._states[name] != {**self._states[name], **held, "sent": copy.sent}:
                await self._bulks.send(self._indexes.target(name), self.state(copy, **held), [])
        at = None if stand.as_of is None else datetime.fromisoformat(stand.as_of)
        await self._connection.execute(_HELD, (at, self._relation, [copy.generation for copy in told]))

    def _show(self, stand: Stand) -> None:
        """Begin to refresh those indexes that are searched and were written to; nobody waits for it."""
        live = {self._indexes.name(copy.generation, copy.search) for copy in stand.every if copy.state == "live"}
        if names := sorted(live & self._unseen):
            self._unseen -= live  # what is written from now on may come too late for this one
            self._due = max(self._due, time.monotonic() - MOST_LATE) + SECONDS_BETWEEN
            self._refreshing = asyncio.create_task(self._refresh(names))

    async def _refresh(self, names: list[str]) -> None:
        try:
            await self._indexes.show(names)
        except (ApiError, TransportError) as error:
            self._unseen.update(names)
            self._failed(reason(error))
