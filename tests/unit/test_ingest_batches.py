"""From the inbox to the applier: order, retries, refusals, the stop. The applier here is a stand-in that can fail."""

import asyncio
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from projector.apply.batch import Chunk, FoldError, Outcome, TopicPartition
from projector.apply.incoming import Decoded, Work
from projector.ingest import batches as module
from projector.ingest.batches import Batches
from projector.ingest.chunks import Fetched
from projector.ingest.inbox import Inbox
from projector.ingest.metrics import Metrics

A = TopicPartition("a", 0)


def fetched(start: int, end: int, seek: int = 1) -> Fetched:
    return Fetched(Chunk(A, start, end, ()), seek, 0)


def undecoded(chunk: Chunk) -> Decoded:
    return chunk, []


class Event:
    def __init__(self) -> None:
        self.acked = False

    def ack(self) -> None:
        self.acked = True


class Reader:
    """A consumer that remembers seeks; chunks of an older one are stale."""

    def __init__(self) -> None:
        self.seek, self.sought = 1, []

    def is_current(self, fetched: Fetched) -> bool:
        return fetched.seek == self.seek

    async def seek_to_stored(self, partitions: Collection[TopicPartition]) -> None:
        self.seek += 1
        self.sought.append(set(partitions))


class Applier:
    """Moves a position as the real one does; `before` may raise or wait."""

    def __init__(self, before: Callable[[], Any] = lambda: None) -> None:
        self.before, self.position, self.batches, self.left = before, 0, [], 0

    def decode_chunk(self, chunk: Chunk) -> Decoded:
        return undecoded(chunk)

    def apply_decoded(self, work: Work) -> Outcome:
        self.before()
        outcome = Outcome(pending=self.left > 0)
        for chunk, _ in work:
            if chunk.start == self.position:
                self.position = chunk.next
            else:
                outcome.refused[A] = self.position
        self.batches.append(work)
        return outcome

    def drain(self) -> int:
        self.left -= 1
        return self.left


@contextmanager
def running(applier: Applier, reader: Reader, inbox: Inbox) -> Iterator[tuple[Batches, asyncio.Task[None]]]:
    batches = Batches(applier, lambda: reader, inbox, Metrics())
    task = asyncio.create_task(batches.run())
    try:
        yield batches, task
    except TimeoutError:
        if task.done():
            task.result()  # what it ended with tells more
        raise
    finally:
        task.cancel()


async def until(holds: Callable[[], Any]) -> None:
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - what it waits for has no event
            await asyncio.sleep(0.01)


async def test_what_gathered_during_a_batch_is_the_next_batch():
    go, inbox = threading.Event(), Inbox(undecoded)
    applier = Applier(lambda: go.wait(5))
    with running(applier, Reader(), inbox):
        events = [Event() for _ in range(4)]
        await inbox.put(fetched(0, 1), events[0])
        await until(lambda: not inbox._waiting)
        for n in range(1, 4):
            await inbox.put(fetched(n, n + 1), events[n])
        assert not events[0].acked
        go.set()
        await until(lambda: events[3].acked)
    assert [len(batch) for batch in applier.batches] == [1, 3]


async def test_an_inbox_that_is_full_pushes_back_until_it_is_emptied():
    inbox = Inbox(undecoded, max_records=0, max_bytes=1)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(inbox.put(fetched(0, 1), Event()), 0.05)
    inbox = Inbox(undecoded, max_records=1, max_bytes=1)
    await inbox.put(Fetched(Chunk(A, 0, 1, ()), 1, 1), Event())
    waits = asyncio.create_task(inbox.put(fetched(1, 2), Event()))
    await asyncio.sleep(0.05)
    assert not waits.done()
    assert len(await inbox.take(1)) == 1
    await waits
    assert len(await inbox.take(1)) == 1
    assert await inbox.take(0.01) == []


async def test_a_batch_is_tried_again_until_postgres_takes_it(monkeypatch):
    monkeypatch.setattr(module, "FIRST_WAIT", 0.01)
    failures = iter([psycopg.OperationalError("gone"), psycopg.InterfaceError("closed")])

    def fail() -> None:
        if error := next(failures, None):
            raise error

    applier, inbox, event = Applier(fail), Inbox(undecoded), Event()
    with running(applier, Reader(), inbox) as (batches, _):
        await inbox.put(fetched(0, 5), event)
        await until(lambda: event.acked)
        assert applier.position == 5
        assert batches.excuse() is None


async def test_a_refused_chunk_makes_one_seek_and_what_was_read_before_is_dropped():
    applier, reader, inbox = Applier(), Reader(), Inbox(undecoded)
    applier.position = 3
    with running(applier, reader, inbox):
        stale, last = Event(), Event()
        await inbox.put(fetched(7, 8, seek=1), Event())
        await until(lambda: reader.sought)
        await inbox.put(fetched(8, 9, seek=1), stale)
        await inbox.put(fetched(3, 9, seek=2), last)
        await until(lambda: last.acked)
    assert reader.sought == [{A}]
    assert not stale.acked
    assert applier.position == 9


async def test_what_the_applier_raises_for_good_ends_the_work_and_acknowledges_nothing():
    def fail() -> None:
        raise FoldError("a/0@0: the fold raised")

    inbox, event = Inbox(undecoded), Event()
    with running(Applier(fail), Reader(), inbox) as (_, task):
        await inbox.put(fetched(0, 1), event)
        with pytest.raises(FoldError):
            await task
    assert not event.acked


async def test_pending_keys_are_drained_portion_by_portion_between_batches():
    applier, inbox = Applier(), Inbox(undecoded)
    applier.left = 3
    with running(applier, Reader(), inbox) as (batches, _):
        batches.pending = True
        await until(lambda: not batches.pending)
    assert applier.left == 0


async def test_what_a_batch_leaves_is_drained_next_whenever_the_heartbeat_comes():
    applier, inbox = Applier(), Inbox(undecoded)
    applier.left = 2
    with running(applier, Reader(), inbox):
        await inbox.put(fetched(0, 1), Event())
        await until(lambda: applier.left == 0)


async def test_a_stop_waits_for_the_batch_under_way_but_not_for_ever():
    go, inbox = threading.Event(), Inbox(undecoded)
    applier = Applier(lambda: go.wait(5))
    with running(applier, Reader(), inbox) as (batches, task):
        await inbox.put(fetched(0, 5), Event())
        await until(lambda: not inbox._waiting)
        task.cancel()
        assert not await batches.finish(0.05)
        go.set()
        assert await batches.finish(5)
    assert applier.position == 5
