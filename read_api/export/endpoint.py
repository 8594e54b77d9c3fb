"""The route: few exports at once, each a download that ends with its connection."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Send

from read_api.access.callers import seen
from read_api.database import TOO_LONG, Database
from read_api.export.download import Download
from read_api.export.formats import FORMATS
from read_api.export.parameters import Asked, read_export
from read_api.export.snapshot import opened
from read_api.freshness import Freshness, Wanted, read_wanted
from read_api.parameters import at_snapshot
from read_api.problems import unavailable
from read_api.reading import Reader
from read_api.resource import Resource
from read_api.statements import NOW

Handler = Callable[[Request], Awaitable[Response | Download]]

EXPORTS = 4  # at once, of a process: each holds a connection and a snapshot
SECONDS = 300  # of one export: for so long its snapshot keeps Postgres from cleaning up
# What an export's sessions have beside: they notice within a second that nobody reads any more, whatever they do.
LIMITS = (
    f"-c statement_timeout=0 -c transaction_timeout={SECONDS * 1000} -c client_connection_check_interval=1000"
    " -c datestyle=ISO"
)


class Exports:
    """The exports of one process."""

    def __init__(self, database: Database, reader: Reader, most: int = EXPORTS, seconds: float = SECONDS) -> None:
        self._database, self._reader, self._most, self._seconds = database, reader, most, seconds
        self._running = 0

    async def send(self, resource: Resource, asked: Asked, wanted: Wanted, send: Send) -> None:
        """Send one. Raises a 503 Problem; once it has begun, that breaks it off."""
        with self._place():
            try:  # by this clock, too: a session that waits for a client to read does not look at its own
                async with asyncio.timeout(self._seconds):
                    await self._send(resource, asked, wanted, send)
            except TimeoutError:
                raise unavailable(TOO_LONG, "timeout") from None

    async def _send(self, resource: Resource, asked: Asked, wanted: Wanted, send: Send) -> None:
        if wanted.positions:
            await self.freshness(resource, wanted)
        async with AsyncExitStack() as stack:
            freshness, chunks = await opened(stack, self._database, resource, asked)
            content = FORMATS[asked.form].write(resource, asked.fields, chunks)
            headers = _headers(resource, asked, freshness, wanted)
            await StreamingResponse(content, headers=headers).stream_response(send)

    async def freshness(self, resource: Resource, wanted: Wanted) -> Freshness:
        """What the view is at, once the wanted positions are applied. Raises a 503 Problem if they are not in time."""
        _, now = await self._reader.answer(resource, wanted, lambda _: (NOW, [resource.definition]))
        return now

    @contextmanager
    def _place(self) -> Iterator[None]:
        if self._running >= self._most:
            problem = unavailable(f"{self._most} exports are running, as many as may: try again later", "overload")
            problem.headers["Retry-After"] = "5"
            raise problem
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1


def export_handler(resource: Resource, exports: Exports) -> Handler:
    """`GET /v1/orders/export`."""

    async def export_rows(request: Request) -> Response | Download:
        shown = at_snapshot(seen(resource, request), request)
        asked, wanted = read_export(shown, request), read_wanted(request)
        if request.method == "HEAD":
            return Response(headers=_headers(shown, asked, await exports.freshness(shown, wanted), wanted))

        async def make(send: Send) -> None:
            await exports.send(shown, asked, wanted, send)

        return Download(make)

    return export_rows


def _headers(resource: Resource, asked: Asked, freshness: Freshness, wanted: Wanted) -> dict[str, str]:
    return {
        "Content-Type": FORMATS[asked.form].media_type,
        "Content-Disposition": f'attachment; filename="{resource.relation.path}.{asked.form}"',
        "Cache-Control": "no-cache",
        **freshness.headers(),
        **wanted.headers(),
    }
