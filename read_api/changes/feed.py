"""One reader of a view's feed for all who follow it: a change is looked up once, and made into text once a filter."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress

from read_api.changes.channel import Channel, told
from read_api.changes.events import NOWHERE, Mark, reset
from read_api.changes.source import Source
from read_api.problems import Problem

MOST_WAITING = 2 * 2**20  # bytes for one follower; whoever lets more wait is disconnected, to resume
SECONDS_FOR_ROOM = 1.0  # so long the others wait for one who reads slowly
SECONDS_OF_ROOM = 0.02
SECONDS_BETWEEN_LOOKS = 2.0  # where no NOTIFY came
SECONDS_AFTER_AN_ERROR = 0.5
HEARTBEAT = 10.0  # seconds without an event
_log = logging.getLogger("prejoin.api")


class Follower:
    """One connection's blocks that wait to be sent, `waiting` bytes. `end` disconnects it."""

    def __init__(self, end: Callable[[], object]) -> None:
        self.waiting, self.end = 0, end
        self._blocks, self._there = deque[bytes](), asyncio.Event()

    def put(self, block: bytes) -> None:
        """Let a block wait, however large it is if nothing else does; more than may wait end it."""
        if self.waiting and self.waiting + len(block) > MOST_WAITING:
            self.end()
            return
        self.waiting += len(block)
        self._blocks.append(block)
        self._there.set()

    async def take(self) -> bytes | None:
        """All that waits; None where nothing came for a heartbeat's time."""
        timer = asyncio.get_running_loop().call_later(HEARTBEAT, self._there.set)
        try:
            await self._there.wait()
        finally:
            timer.cancel()
        block = b"".join(self._blocks)
        self._blocks.clear()
        self._there.clear()
        self.waiting = 0
        return block or None


class Feed:
    """The live end of one view's feed. It reads as long as anybody follows; `mark` is what all were told up to.

    Who joins does so while `still` is held: then no page is half told.
    """

    def __init__(self, source: Source) -> None:
        self.source, self.mark = source, NOWHERE
        self.news, self.still = asyncio.Event(), asyncio.Lock()
        self._followers: dict[Channel, set[Follower]] = {}
        self._task: asyncio.Task[None] | None = None

    def reached(self, mark: Mark) -> bool:
        """Whether whoever was told up to `mark` can join it."""
        return self._task is None or mark.revision >= self.mark.revision

    def join(self, channel: Channel, follower: Follower, mark: Mark) -> None:
        """Tell it of what comes; it was told up to `mark`, which is reached."""
        self._followers.setdefault(channel, set()).add(follower)
        if self._task is None:
            self.mark = mark
            self._task = asyncio.create_task(self._follow(), name=f"changes of {self.source.resource.name}")

    def leave(self, channel: Channel, follower: Follower) -> None:
        """Tell it no more; with the last one the feed is left alone."""
        its = self._followers.get(channel, set())
        its.discard(follower)
        if not its:
            self._followers.pop(channel, None)
        if not self._followers and self._task is not None:
            self._task.cancel()
            self._task = None

    async def _follow(self) -> None:
        try:
            while True:
                try:
                    if await self._step():
                        continue
                except Problem:  # Postgres is away: nothing is lost, it is told later
                    await asyncio.sleep(SECONDS_AFTER_AN_ERROR)
                    continue
                with suppress(TimeoutError):
                    async with asyncio.timeout(SECONDS_BETWEEN_LOOKS):
                        await self.news.wait()
                self.news.clear()
        except Exception as error:  # noqa: BLE001 - the boundary: followers must not wait for what never comes
            _log.error("%s while following %s: all who follow are sent away", type(error).__name__, self.source.feed)
            self._task = None
            for follower in [f for its in self._followers.values() for f in its]:
                follower.end()

    async def _step(self) -> bool:
        """Tell one page; whether there may be more behind it."""
        page = await self.source.page(self.mark.revision)
        async with self.still:
            if not self.mark.resumes(page.head):
                # another generation, or another database: what they hold is of the one before
                self._put(dict.fromkeys(self._followers, reset(page.head)))
                self.mark = page.head
                return False
            async for blocks in told(self.source, page, self.mark, list(self._followers)):
                await self._room()
                self._put(blocks)
            self.mark = page.mark
        return not page.last

    def _put(self, blocks: Mapping[Channel, bytes]) -> None:
        for channel, block in blocks.items():
            for follower in list(self._followers.get(channel, ())):
                follower.put(block)

    async def _room(self) -> None:
        """Wait a moment for those who have much waiting; then they fall behind by themselves."""
        for _ in range(int(SECONDS_FOR_ROOM / SECONDS_OF_ROOM)):
            if not any(f.waiting > MOST_WAITING // 2 for its in self._followers.values() for f in its):
                return
            await asyncio.sleep(SECONDS_OF_ROOM)
