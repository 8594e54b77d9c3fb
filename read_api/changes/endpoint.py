"""`GET /v1/orders/changes`: the feeds of one process, and who follows them."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from projector.settings import Settings
from read_api.access.callers import Caller, seen
from read_api.changes.channel import Channel
from read_api.changes.events import RETRY_MS, read_mark
from read_api.changes.feed import Feed
from read_api.changes.listener import Listener
from read_api.changes.source import NO_MORE, Source
from read_api.changes.stream import EventStream
from read_api.database import Database
from read_api.freshness import Waiters, read_wanted
from read_api.parameters import Reading
from read_api.problems import Problem
from read_api.reading import Reader
from read_api.resource import Resource
from read_api.statements import Condition

Handler = Callable[[Request], Awaitable[Response]]
Still = Callable[[Caller], Awaitable[bool]]
"""Whether one who was let in may stay."""

CONNECTIONS = 4  # to Postgres, for all who follow: the other endpoints have theirs
HEADERS = {
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",  # nginx would hold events back
}


class Streams:
    """All who follow, of one process: at most `most`; whoever comes then is asked to come back later."""

    def __init__(
        self,
        resources: Iterable[Resource],
        feeds: Mapping[str, str],
        database: Database,
        settings: Settings,
        still: Still,
    ) -> None:
        waiters, gate = Waiters(database), asyncio.Semaphore(CONNECTIONS)
        reader = Reader(database, waiters)
        self.feeds = {r.name: Feed(Source(r, feeds[r.name], reader, gate)) for r in resources}
        self._listener = Listener(settings.reader_url, settings.group, self._heard)
        self._open: set[EventStream] = set()
        self._most, self._waiters, self._closing, self._still = settings.api_streams, waiters, False, still

    def __len__(self) -> int:
        return len(self._open)

    def handler(self, resource: Resource) -> Handler:
        """The route of one view."""

        async def follow(request: Request) -> Response:
            self._admit()
            shown, caller = seen(resource, request), request.scope["caller"]
            conditions, wanted = _read_filters(shown, request), read_wanted(request)
            feed, last = self.feeds[resource.name], request.headers.get("last-event-id")
            mark = read_mark(last) if last else None
            page = await feed.source.page(mark.revision if mark else NO_MORE, wanted)
            headers = HEADERS | page.freshness.headers() | wanted.headers()
            self._listener.start()
            channel = Channel(shown, conditions)
            self._admit()  # others may have come meanwhile; nothing is waited for until the stream is counted
            return EventStream(feed, channel, page, mark, headers, self._open, partial(self._still, caller))

        return follow

    def stop(self) -> None:
        """Send all away, and let nobody in any more: the process is to end."""
        self._closing = True
        for stream in list(self._open):
            stream.end()

    async def close(self) -> None:
        """Stop, and close the connection that listens."""
        self.stop()
        await self._listener.close()
        await self._waiters.close()

    def _heard(self) -> None:
        for feed in self.feeds.values():
            feed.news.set()

    def _admit(self) -> None:
        if self._closing or len(self._open) >= self._most:
            why = "is being stopped" if self._closing else f"has its {self._most:,} connections that follow changes"
            after = {"Retry-After": str(max(1, RETRY_MS // 1000))}
            raise Problem(503, f"this process {why}: come back in a moment", headers=after, kind="urn:prejoin:overload")


def _read_filters(resource: Resource, request: Request) -> tuple[Condition, ...]:
    """The list's filters. Raises a 400 Problem."""
    reading = Reading(resource, f"{resource.path}/changes", ())
    pairs, _ = reading.options_of(request)
    conditions = reading.conditions(pairs)
    reading.finish()
    return conditions
