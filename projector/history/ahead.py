"""Chunks from an event loop in a thread of its own, ahead of who takes them, in bounded memory."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Callable
from queue import SimpleQueue

from projector.apply.batch import Chunk
from projector.history.log import Chunks, record_bytes

RECORD_BYTES = 500  # of Python's objects around a record's own bytes


class _Room:
    """How much waits to be taken; belongs to the loop of the thread."""

    def __init__(self, limit: int) -> None:
        self._limit, self._bytes, self._taken = limit, 0, asyncio.Event()

    async def add(self, size: int) -> None:
        while self._bytes >= self._limit:
            self._taken.clear()
            await self._taken.wait()
        self._bytes += size

    def take(self, size: int) -> None:
        self._bytes -= size
        self._taken.set()


def read_ahead(source: AsyncGenerator[Chunk, None], limit: int) -> Chunks:
    """Run `source` in a thread, at most `limit` bytes ahead, passed by one chunk. What it raises is raised here.

    Closing the iterator cancels `source`, and waits for its end.
    """
    runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)  # else it would be this thread's current one
    loop = runner.get_loop()
    room = _Room(limit)
    waiting: SimpleQueue[tuple[Chunk, int] | BaseException | None] = SimpleQueue()

    async def fill() -> None:
        async with contextlib.aclosing(source):
            async for chunk in source:
                size = _bytes(chunk)
                await room.add(size)
                waiting.put((chunk, size))

    task = loop.create_task(fill())
    thread = threading.Thread(target=_run, args=(runner, task, waiting), name="history", daemon=True)
    thread.start()
    try:
        while (found := waiting.get()) is not None:
            if isinstance(found, BaseException):
                raise found
            chunk, size = found
            _tell(loop, room.take, size)
            yield chunk
    finally:
        _tell(loop, task.cancel)
        thread.join()


def _tell(loop: asyncio.AbstractEventLoop, call: Callable[..., object], *arguments: object) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: all that was to be read waits already
        loop.call_soon_threadsafe(call, *arguments)


def _run(runner: asyncio.Runner, task: "asyncio.Task[None]", waiting: "SimpleQueue[object]") -> None:
    end: BaseException | None = None
    try:
        with runner:
            runner.get_loop().run_until_complete(task)
    except BaseException as error:  # noqa: BLE001 - raised again where chunks are taken; a cancellation as well, for
        end = error  # where nobody asked for it the chunks would seem to be all there are
    waiting.put(end)


def _bytes(chunk: Chunk) -> int:
    return sum(record_bytes(record) + RECORD_BYTES for record in chunk.records)
