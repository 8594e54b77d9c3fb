"""`prejoin worker --accept-loss`: what is lost is named, counted and passed over; once, and nothing else is."""

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from projector.ingest.broker import Broker
from projector.ingest.ledger import Ledger
from projector.ingest.losses import accept, find
from projector.store.connect import connect
from projector.store.locks import LOCK
from tests.integration.running import Place, Running, places, terminate, until


@pytest.fixture
def place(database_url: str, read_database_url: str, kafka_brokers: str, tmp_path: Path) -> Iterator[Place]:
    yield from places(database_url, read_database_url, kafka_brokers, tmp_path)


async def started_and_stopped(place: Place, notes: int) -> None:
    """A worker that applied so many notes, and was gone before anything else happened."""
    worker = place.start()
    await place.notes(range(notes))
    await place.has_told(notes)
    await until(lambda: place.query("SELECT 1 FROM positions WHERE topic_id IS NOT NULL"))
    terminate(worker)


def losses(worker: Running) -> list[tuple[str, int, int, int]]:
    return [(said["partition"], said["first"], said["last"], said["offsets"]) for said in worker.said("loss_accepted")]


async def test_a_worker_that_retention_overtook_goes_on_from_what_is_there(place):
    await place.make_topic(1)
    await started_and_stopped(place, 10)
    await place.notes(range(10, 30))
    await place.delete_records({0: 25})
    code, last = await asyncio.to_thread(place.start().ended, 30)
    assert code == 2
    assert f"{place.topic}/0: offsets 10 to 24 (15) are gone" in last
    accepting = place.start("--accept-loss")
    await until(lambda: len(place.told()) == 15)
    assert set(place.told()) == {*range(10), *range(25, 30)}
    assert losses(accepting) == [(f"{place.topic}/0", 10, 24, 15)]
    await until(lambda: place.positions() == {(place.topic, 0): 30})
    assert terminate(accepting) < 10
    again = place.start("--accept-loss")
    await place.joined(again)
    assert losses(again) == [], "there is none any more"


async def test_where_nothing_is_left_behind_the_loss_the_lag_is_none(place):
    await place.make_topic(1)
    await started_and_stopped(place, 10)
    await place.notes(range(10, 30))
    await place.delete_records({0: 30})
    worker = place.start("--accept-loss")
    await place.joined(worker)
    assert place.positions() == {(place.topic, 0): 30}
    await until(lambda: place.query("SELECT state FROM workers") == [("live",)])


async def test_a_topic_made_again_is_read_from_its_beginning_and_repeats_change_nothing(place):
    await place.make_topic(3)
    await started_and_stopped(place, 10)
    (partition, following) = place.query("SELECT partition, next FROM positions ORDER BY partition")[0]
    # three more were seen, and then there was no worker to apply them
    place.query(f"UPDATE ends SET end_offset = {following + 3} WHERE partition = {partition} RETURNING 1")
    await place.delete_topic()
    await place.make_topic(1)
    await place.notes(range(5, 20))
    lost = f"{place.topic}/{partition}: offsets {following} to {following + 2} (3) were seen and not applied"
    code, last = await asyncio.to_thread(place.start().ended, 30)
    assert (code, lost in last) == (2, True)
    worker = place.start("--accept-loss")
    await place.has_told(20)
    assert losses(worker) == [(f"{place.topic}/{partition}", following, following + 2, 3)]
    assert [said["what"] for said in worker.said("read_anew")] == [place.topic]
    await until(lambda: place.positions() == {(place.topic, 0): 15})
    await until(lambda: place.query("SELECT partition, end_offset FROM ends") == [(0, 15)])


async def test_a_log_that_was_cut_is_read_from_its_beginning(place):
    await place.make_topic(1)
    await started_and_stopped(place, 10)
    place.query("UPDATE positions SET next = 40 RETURNING 1")
    await place.notes(range(10, 20))
    code, last = await asyncio.to_thread(place.start().ended, 30)
    assert code == 2
    assert f"{place.topic}/0: applied up to offset 39, but Kafka ends at 20" in last
    worker = place.start("--accept-loss")
    await place.has_told(20)
    assert [said["what"] for said in worker.said("read_anew")] == [f"{place.topic}/0"]


async def test_of_two_that_accept_a_loss_the_slower_leaves_alone_what_the_faster_has_applied(place):
    await place.make_topic(1)
    await started_and_stopped(place, 10)
    await place.delete_topic()
    await place.make_topic(1)
    await place.notes(range(5, 20))
    broker, ledger = Broker([place.brokers]), Ledger(place.database_url, place.name, "slower")
    await broker.connect()
    found = await find(ledger, broker, [place.topic])
    await asyncio.gather(broker.close(), ledger.close())
    faster = place.start("--accept-loss")
    await place.has_told(20)
    terminate(faster)
    # as it stands until the first heartbeat behind the first batch
    place.query("UPDATE positions SET topic_id = NULL RETURNING 1")
    with connect(place.database_url, place.name) as connection:
        accept(connection, place.name, found)
    assert place.positions() == {(place.topic, 0): 15}


async def test_a_supervised_worker_accepts_what_was_lost_at_its_first_start_only(place):
    await place.make_topic(1)
    await started_and_stopped(place, 10)
    await place.notes(range(10, 30))
    await place.delete_records({0: 25})
    supervisor = place.start("--supervise", "--accept-loss")
    await until(lambda: len(place.told()) == 15)
    # while it is between two starts, more is lost
    place.query("UPDATE positions SET next = 20 RETURNING 1")
    (name,) = place.query("SELECT worker FROM workers")[0]

    os.kill(int(name.rsplit("-", 2)[1]), signal.SIGKILL)
    code, last = await asyncio.to_thread(supervisor.ended, 60)
    assert code == 2
    assert "offsets 20 to 24 (5) are gone" in last
    assert len(losses(supervisor)) == 1


async def test_a_supervisor_does_not_start_again_without_the_acceptance_that_was_not_to_be_had(place):
    await place.make_topic(1)
    await started_and_stopped(place, 10)
    await place.notes(range(10, 30))
    await place.delete_records({0: 25})
    with connect(place.database_url, place.name) as holder:
        holder.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        holder.execute(LOCK, {"group": place.name})
        supervisor = place.start("--supervise", "--accept-loss")
        code, last = await asyncio.to_thread(supervisor.ended, 60)
    assert (code, "no loss was accepted" in last) == (2, True)
    assert supervisor.said("restarting") == []
