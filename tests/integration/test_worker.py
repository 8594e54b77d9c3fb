"""The worker as a process, on real Kafka and Postgres: what is applied, from where it goes on, why it leaves."""

import asyncio
import signal
import socket
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from tests.integration.running import Place, mark, note, places, terminate, until


@pytest.fixture
def place(database_url: str, read_database_url: str, kafka_brokers: str, tmp_path: Path) -> Iterator[Place]:
    yield from places(database_url, read_database_url, kafka_brokers, tmp_path)


async def test_a_group_started_again_goes_on_where_postgres_is(place):
    await place.make_topic()
    first = place.start()
    await place.joined(first)
    await place.notes(range(100))
    await place.has_told(100)
    assert terminate(first) < 10
    assert place.query("SELECT * FROM workers") == []
    # whatever Kafka remembers of the group, the position in Postgres decides: it was set back, so notes come again
    place.query("UPDATE positions SET next = next - 5 RETURNING 1")
    await place.notes(range(100, 150))
    second = place.start()
    await place.has_told(150)
    assert second.said("refused") == []
    assert await until(lambda: second.metrics().get('prejoin_events_total{outcome="duplicate"}')) == 10
    assert second.metrics()['prejoin_apply_seconds_count{phase="decode"}'] > 0


async def test_two_workers_share_the_partitions_and_one_stands_in_for_the_other(place):
    await place.make_topic(4)
    workers = [place.start(), place.start()]
    await place.joined(*workers)
    await place.notes(range(2_000))
    await place.has_told(2_000)
    assert all(worker.metrics().get(f'prejoin_records_total{{topic="{place.topic}"}}', 0) for worker in workers)
    await place.notes(range(2_000, 4_000))
    workers[0].process.kill()
    await place.notes(range(4_000, 5_000))
    await place.has_told(5_000, seconds=40)
    assert workers[1].process.poll() is None


async def test_sigterm_under_load_ends_in_time_and_loses_nothing(place):
    await place.make_topic()
    first = place.start()
    await place.joined(first)
    feeding = asyncio.create_task(place.notes(range(20_000)))
    await until(lambda: len(place.told()) > 1_000)
    assert terminate(first) < 10
    await feeding
    assert 1_000 < len(place.told()) < 20_000, "it was stopped midway"
    place.start()
    await place.has_told(20_000, seconds=60)


async def test_positions_that_somebody_else_moved_are_followed(place):
    await place.make_topic(1)
    worker = place.start()
    await place.notes(range(50))
    await place.has_told(50)
    place.query("UPDATE positions SET next = 20 RETURNING 1")
    await place.notes(range(50, 60))
    await place.has_told(60)
    await until(lambda: place.positions() == {(place.topic, 0): 60})
    assert [line["stored"] for line in worker.said("refused")] == [20]


async def test_a_database_session_killed_midway_costs_nothing(place):
    await place.make_topic()
    worker = place.start()
    await place.joined(worker)
    feeding = asyncio.create_task(place.notes(range(10_000)))
    await until(lambda: len(place.told()) > 500)
    place.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'prejoin worker' "
        "AND query_start IS NOT NULL"
    )
    await feeding
    await place.has_told(10_000)
    assert worker.process.poll() is None


async def test_an_aborted_transaction_is_never_seen_and_its_markers_are_passed(place):
    await place.make_topic(1)
    worker = place.start()
    await place.joined(worker)
    await place.notes(range(10))
    async with place.producer(transactional_id=place.name) as producer:
        await producer.begin_transaction()
        for n in range(1_000, 1_010):
            await producer.send(place.topic, note(place.topic, n))
        await producer.abort_transaction()
        async with producer.transaction():
            await producer.send(place.topic, note(place.topic, 10))
    # ten notes, ten aborted ones and their marker, one note and its marker
    await until(lambda: place.positions() == {(place.topic, 0): 23})
    await place.has_told(11)
    assert worker.said("refused") == []
    await until(lambda: worker.metrics()[f'prejoin_lag{{partition="0",topic="{place.topic}"}}'] == 0)


async def test_as_of_moves_on_over_idle_and_empty_partitions_and_missing_topics(place):
    await place.make_topic(3)
    worker = place.start()
    await place.joined(worker)
    assert [line["topics"] for line in worker.said("topics_missing")] == [[f"{place.topic}-later"]]
    await place.notes(range(5), partition=1)
    await place.has_told(5)
    (behind,) = place.query("SELECT now()")[0]
    await until(lambda: _as_of(place) and _as_of(place) > behind)
    (age,) = place.query("SELECT extract(epoch FROM now() - as_of)::float FROM projection_group")[0]
    assert age < 5
    assert place.query("SELECT partition, end_offset FROM ends ORDER BY partition") == [(0, 0), (1, 5), (2, 0)]
    assert place.query("SELECT state FROM workers") == [("live",)]
    worker.process.send_signal(signal.SIGINT)
    assert worker.ended()[0] == 130  # Ctrl-C, cleanly
    assert place.query("SELECT * FROM workers") == []


async def test_a_topic_made_later_is_read_from_its_beginning(place):
    await place.make_topic()
    worker = place.start()
    await place.joined(worker)
    later = f"{place.topic}-later"
    await place.make_topic(2, later)
    async with place.producer() as producer:
        for n in range(20):
            await producer.send_and_wait(later, mark(later, n), key=b"%d" % n)
    await until(lambda: place.query("SELECT count(*) FROM marks") == [(20,)])
    assert {topic for topic, _ in place.positions()} == {later}


async def test_events_deleted_before_they_were_applied_stop_the_worker(place):
    await place.make_topic(1)
    await place.notes(range(30))
    place.query(f"INSERT INTO positions VALUES ('{place.topic}', 0, 10) RETURNING 1")
    await place.delete_records({0: 25})
    code, last = place.start().ended(30)
    assert code == 2
    assert f"{place.topic}/0: offsets 10 to 24 (15) are gone" in last
    assert "`prejoin worker --accept-loss`" in last
    assert place.told() == {}


async def test_a_topic_made_again_stops_the_worker(place):
    await place.make_topic(1)
    worker = place.start()
    await place.notes(range(10))
    await place.has_told(10)
    await until(lambda: place.query("SELECT 1 FROM positions WHERE topic_id IS NOT NULL"))
    await place.delete_topic()
    await place.make_topic(1)
    await place.notes(range(100, 130))
    code, last = worker.ended(30)
    assert code == 2
    assert place.topic in last
    assert "made again" in last
    assert "all that was seen is applied" in last
    assert set(place.told()) == set(range(10)), "nothing of the new topic was taken for the old one's"


async def test_what_is_wrong_at_the_start_is_told_in_one_line(place):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        wrong = {
            "prejoin migrate": {"PREJOIN_GROUP": "nobody"},
            "PREJOIN_METRICS_PORT": {"PREJOIN_METRICS_PORT": str(taken.getsockname()[1])},
            "PREJOIN_KAFKA_BROKERS": {"PREJOIN_KAFKA_BROKERS": "127.0.0.1:1"},
            "PREJOIN_DATABASE_URL": {"PREJOIN_DATABASE_URL": "postgresql://x@127.0.0.1:1/x"},
            "must look like postgresql://": {"PREJOIN_DATABASE_URL": "mysql://x"},
        }
        ends = {named: place.start(**settings) for named, settings in wrong.items()}
        for named, worker in ends.items():
            code, last = await asyncio.to_thread(worker.ended, 40)
            assert code == 2, last
            # what goes before is log of a start that went well so far
            assert [line for line in worker.log.read_text().splitlines() if not line.startswith("{")] == [last]
            assert named in last


def _as_of(place: Place) -> datetime | None:
    (as_of,) = place.query("SELECT as_of FROM projection_group")[0]
    return as_of
