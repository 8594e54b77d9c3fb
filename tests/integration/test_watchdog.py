"""A worker that cannot go on leaves with a reason, within 30 s; one that only waits or slept does not."""

import asyncio
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from projector.declare.projections import load
from projector.operate.status import current_status
from projector.store.connect import options
from projector.store.locks import LOCK
from tests.integration.running import PROJECTIONS, Place, Running, places, terminate, until

SECONDS_TO_LEAVE = 30.0


@pytest.fixture
def place(database_url: str, read_database_url: str, kafka_brokers: str, tmp_path: Path) -> Iterator[Place]:
    yield from places(database_url, read_database_url, kafka_brokers, tmp_path)


def state(place: Place) -> str:
    return current_status(place.database_url, place.name, load(PROJECTIONS))["state"]


async def suffering(place: Place, fault: str) -> Running:
    """A worker with something to do that the fault keeps it from."""
    await place.make_topic(1)
    worker = place.start_faulty(fault)
    await place.joined(worker)
    await place.notes(range(3))
    await place.has_told(3)
    worker.process.send_signal(signal.SIGUSR1)
    await until(lambda: worker.said("fault"))
    return worker


async def leaves(worker: Running, begin: float) -> str:
    """The reason that it leaves for, which it does in time."""
    code, last = await asyncio.to_thread(worker.ended, 60)
    assert time.monotonic() - begin < SECONDS_TO_LEAVE
    assert code == 2
    said = worker.said("stopping")[0]["reason"]
    assert last == f"prejoin: {said}" or '"action": "' in last  # it was cut short
    return str(said)


async def test_a_worker_whose_main_loop_is_blocked_leaves(place):
    worker = await suffering(place, "blocked_loop")
    reason = await leaves(worker, time.monotonic())
    assert reason.startswith("stuck: the main loop has run nothing")
    assert "time.sleep" in worker.said("stopping")[0]["stack"]


async def test_a_worker_whose_consumer_thread_is_blocked_leaves(place):
    worker = await suffering(place, "blocked_thread")
    assert (await leaves(worker, time.monotonic())).startswith("stuck: the consumer loop has run nothing")


async def test_a_worker_whose_consumer_fetches_nothing_is_shown_as_stuck_and_leaves(place):
    worker = await suffering(place, "stalled_fetch")
    assert await until(lambda: state(place) == "live"), "nothing to fetch, nothing stuck"
    begin = time.monotonic()
    await place.notes(range(3, 9))
    await until(lambda: state(place) == "lagging")
    await until(lambda: state(place) == "stuck")
    assert worker.process.poll() is None
    reason = await leaves(worker, begin)
    assert reason.startswith(f"stuck: {place.topic}/0 stands at 3 of 9")
    assert state(place) == "stopped"


async def test_a_worker_that_lost_its_membership_without_noticing_leaves(place):
    worker = await suffering(place, "lost_membership")
    begin = time.monotonic()
    await place.notes(range(3, 9))
    assert (await leaves(worker, begin)).startswith(f"stuck: {place.topic}/0, which no worker has, stands at 3 of 9")


async def test_a_worker_that_slept_joins_again_and_goes_on(place):
    """The group threw it out meanwhile, and no watchdog takes the sleep for a stall."""
    await place.make_topic(1)
    worker = place.start()
    await place.notes(range(3))
    await place.has_told(3)
    worker.process.send_signal(signal.SIGSTOP)
    await place.notes(range(3, 9))
    (begin,) = place.query("SELECT clock_timestamp()")[0]
    await until(lambda: place.query(f"SELECT clock_timestamp() > '{begin}'::timestamptz + interval '35 s'")[0][0], 60)
    assert state(place) == "stopped"
    worker.process.send_signal(signal.SIGCONT)
    await place.has_told(9, seconds=60)
    assert await until(lambda: state(place) == "live")
    assert terminate(worker) < 10


async def test_a_worker_that_waits_for_the_groups_lock_is_not_stuck(place):
    await place.make_topic(1)
    worker = place.start()
    await place.joined(worker)
    with psycopg.connect(place.database_url, options=options(place.name)) as holder:
        holder.execute(LOCK, {"group": place.name})
        holder.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        await place.notes(range(3))
        await until(lambda: holder.execute("SELECT clock_timestamp() > now() + interval '25 s'").fetchone()[0], 60)
        assert state(place) == "lagging"
        assert place.told() == {}
    await place.has_told(3)
    assert worker.process.poll() is None
