"""`prejoin worker --supervise`: which ends are mended by another start, and that no worker outlives its supervisor."""

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.integration.gate import gate
from tests.integration.running import Place, Running, places, terminate, until


@pytest.fixture
def place(database_url: str, read_database_url: str, kafka_brokers: str, tmp_path: Path) -> Iterator[Place]:
    yield from places(database_url, read_database_url, kafka_brokers, tmp_path)


def child(supervisor: Running) -> psutil.Process | None:
    """The worker that it runs now."""
    return next(iter(psutil.Process(supervisor.process.pid).children()), None)


async def test_a_killed_worker_is_started_again_and_no_event_is_lost_or_told_twice(place):
    await place.make_topic(1)
    supervisor = place.start("--supervise")
    await place.notes(range(100))
    await place.has_told(100)
    child(supervisor).kill()
    await place.notes(range(100, 200))
    await place.has_told(200, seconds=60)
    (restart,) = supervisor.said("restarting")
    assert (restart["reason"], restart["restarts"]) == ("killed by SIGKILL", 1)
    assert 0.8 <= restart["seconds"] <= 1.2
    worker = child(supervisor)
    assert terminate(supervisor) < 10
    assert not worker.is_running()
    assert place.query("SELECT count(*) FROM workers WHERE beat_at > now() - interval '1 s'") == [(0,)]


async def test_a_worker_that_says_it_is_stuck_is_started_again(place):
    await place.make_topic(1)
    supervisor = place.start_faulty("stalled_fetch", "--supervise")
    await place.joined(supervisor)
    child(supervisor).send_signal(signal.SIGUSR1)
    await until(lambda: supervisor.said("fault"))
    await place.notes(range(10))
    await until(lambda: supervisor.said("restarting"), 60)
    assert supervisor.said("restarting")[0]["reason"].startswith("stuck: ")
    await place.has_told(10, seconds=60)


async def test_ctrl_c_stops_worker_and_supervisor(place):
    await place.make_topic(1)
    supervisor = place.start("--supervise")
    await place.joined(supervisor)
    worker = child(supervisor)
    supervisor.process.send_signal(signal.SIGINT)
    assert (await asyncio.to_thread(supervisor.ended))[0] == 130
    assert not worker.is_running()
    assert supervisor.said("stopped"), "the worker stopped cleanly"


async def test_a_worker_whose_supervisor_is_killed_stops_cleanly(place):
    await place.make_topic(1)
    supervisor = place.start("--supervise")
    await place.joined(supervisor)
    worker = child(supervisor)
    supervisor.process.kill()
    await asyncio.to_thread(worker.wait, 12)
    assert supervisor.said("stopped")
    assert place.query("SELECT * FROM workers") == []


async def test_what_a_restart_cannot_mend_ends_both_with_the_workers_own_last_line(place):
    await place.make_topic(1)
    running = place.start("--supervise")
    unmigrated = place.start("--supervise", PREJOIN_GROUP="nobody")
    nowhere = place.start("--supervise", PREJOIN_DATABASE_URL="postgresql://x@127.0.0.1:1/x")
    await place.notes(range(5))
    await place.has_told(5)
    for supervisor, says in ((unmigrated, "run `prejoin migrate`"), (nowhere, "PREJOIN_DATABASE_URL")):
        code, last = await asyncio.to_thread(supervisor.ended, 40)
        assert code == 2
        assert last.startswith("prejoin: ")
        assert says in last
    place.query("UPDATE projection_group SET declarations = 'of another release' RETURNING 1")
    await place.notes(range(5, 10))
    code, last = await asyncio.to_thread(running.ended, 40)
    assert (code, "`prejoin migrate`" in last) == (2, True)
    assert not any(each.said("restarting") for each in place.workers)


async def test_a_database_that_is_away_at_a_restart_is_waited_for(place):
    await place.make_topic(1)
    async with gate(place.database_url) as way:
        supervisor = place.start("--supervise", PREJOIN_DATABASE_URL=way.url)
        await place.joined(supervisor)
        await way.close()
        child(supervisor).kill()
        await until(lambda: len(supervisor.said("restarting")) >= 2)
        assert "PREJOIN_DATABASE_URL" in supervisor.said("restarting")[1]["reason"]
        assert supervisor.process.poll() is None
        await place.notes(range(10))
        await way.open()
        await place.has_told(10, seconds=60)
        assert terminate(supervisor) < 10
