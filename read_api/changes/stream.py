"""One connection that follows a view: what it missed, at its own pace; then what comes."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from read_api.changes.channel import Channel, told
from read_api.changes.events import Mark, heartbeat, opening, reset
from read_api.changes.feed import Feed, Follower
from read_api.changes.source import Page
from read_api.leaving import until_left
from read_api.problems import Problem

SECONDS_TO_END = 0.5  # for the last bytes of an answer to one who may not be reading


class EventStream(Response):
    """The answer to one who follows. `page` is what the feed held when the request came, behind `mark`, which is where
    the client was told up to; None: it begins now. It is `among` the open ones as long as it is answered. `allowed`
    tells now and then whether it still may be.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        feed: Feed,
        channel: Channel,
        page: Page,
        mark: Mark | None,
        headers: dict[str, str],
        among: set["EventStream"],
        allowed: Callable[[], Awaitable[bool]],
    ) -> None:
        super().__init__(b"", headers=headers)
        del self.headers["content-length"]
        self._feed, self._channel, self._page, self._mark, self._allowed = feed, channel, page, mark, allowed
        self._writing: asyncio.Future[None]
        self._among, self._writing = among, asyncio.Future()

    def end(self) -> None:
        """Disconnect: the client comes back, and resumes."""
        self._writing.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer until the client goes, or is sent away."""
        start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        if scope["method"] == "HEAD":
            await send(start)
            await send({"type": "http.response.body", "body": b""})
            return
        self._among.add(self)  # before anything is waited for: who was let in is counted
        try:
            await send(start)
            left = not self._writing.cancelled() and await self._until_end(receive, send)
        finally:
            self._among.discard(self)
        if not left:
            with suppress(TimeoutError, OSError):
                async with asyncio.timeout(SECONDS_TO_END):
                    await send({"type": "http.response.body", "body": b""})

    async def _until_end(self, receive: Receive, send: Send) -> bool:
        """Write what comes; whether it was the client who left."""
        self._writing = writing = asyncio.create_task(self._write(send))
        return await until_left(writing, receive)

    async def _write(self, send: Send) -> None:
        with suppress(Problem, OSError):  # Postgres is away, or the client: it resumes from where it is
            async with aclosing(self._blocks()) as blocks:
                async for block in blocks:
                    await send({"type": "http.response.body", "body": block, "more_body": True})

    async def _blocks(self) -> AsyncGenerator[bytes]:
        mark = self._mark if self._mark and self._mark.resumes(self._page.head) else None
        yield opening(mark or self._page.head)
        if self._mark and mark is None:
            yield reset(self._page.head)
        if mark is None:
            mark = self._page.head
        follower = Follower(self.end)
        while True:
            async for block, reached in self._missed(mark):
                mark = reached
                yield block
            async with self._feed.still:
                if self._feed.reached(mark):
                    self._feed.join(self._channel, follower, mark)
                    break
        try:
            while await self._allowed():
                yield await follower.take() or heartbeat(self._feed.mark)
        finally:
            self._feed.leave(self._channel, follower)

    async def _missed(self, mark: Mark) -> AsyncGenerator[tuple[bytes, Mark]]:
        """What the feed holds behind a mark, and the mark that each block reaches."""
        source = self._feed.source
        while await self._allowed():
            page = await source.page(mark.revision)
            if not mark.resumes(page.head):
                yield reset(page.head), page.head
                return
            async for blocks in told(source, page, mark, [self._channel]):
                for block in blocks.values():
                    yield block, mark
            mark = page.mark
            yield b"", mark
            if page.last:
                return
