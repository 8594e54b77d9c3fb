"""Chunks from a thread: in order, no further ahead than allowed, and never an end that is none."""

import asyncio
import threading
from collections.abc import AsyncGenerator

import pytest

from projector.apply.batch import Chunk, TopicPartition
from projector.history.ahead import RECORD_BYTES, read_ahead
from schemas.envelope import RawRecord

BYTES = 1_000


def chunk(n: int) -> Chunk:
    value = b"v" * (BYTES - RECORD_BYTES)
    return Chunk(TopicPartition("t", 0), n, n + 1, [RawRecord("t", 0, n, None, value, (), 0)])


async def chunks(count: int, end: BaseException | None = None) -> AsyncGenerator[Chunk, None]:
    for n in range(count):
        yield chunk(n)
    if end is not None:
        raise end


def threads() -> int:
    return sum(thread.name == "history" for thread in threading.enumerate())


def test_all_chunks_come_in_order_and_the_thread_ends() -> None:
    assert [found.next for found in read_ahead(chunks(100), BYTES)] == list(range(1, 101))
    assert threads() == 0


@pytest.mark.parametrize("end", [ValueError("broken"), asyncio.CancelledError()], ids=["an error", "a cancellation"])
def test_what_ends_the_source_too_early_is_raised_behind_the_chunks(end: BaseException) -> None:
    reading = read_ahead(chunks(3, end), 100 * BYTES)
    assert [next(reading).next for _ in range(3)] == [1, 2, 3]
    with pytest.raises(type(end)):
        next(reading)
    assert threads() == 0


def test_it_is_ahead_by_the_limit_and_one_chunk_and_closing_it_ends_the_source() -> None:
    made = list[int]()
    full, ended = threading.Event(), threading.Event()

    async def endless() -> AsyncGenerator[Chunk, None]:
        try:
            while True:
                made.append(len(made))
                if len(made) == 5:  # one was taken, three wait, and one has no room
                    full.set()
                yield chunk(len(made) - 1)
        finally:
            ended.set()

    reading = read_ahead(endless(), 3 * BYTES)
    assert next(reading).next == 1
    assert full.wait(10)
    assert made == list(range(5))
    reading.close()
    assert ended.is_set()
    assert threads() == 0
