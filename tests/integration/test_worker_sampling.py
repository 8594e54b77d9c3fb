"""The worker verifies a few rows all the time: what it sees is in its metrics, its log and the status."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from projector.declare.projections import load
from projector.operate.status import current_status
from projector.operate.verify import Verifier
from tests.integration.running import PROJECTIONS, Place, places, until


@pytest.fixture
def place(database_url: str, read_database_url: str, kafka_brokers: str, tmp_path: Path) -> Iterator[Place]:
    yield from places(database_url, read_database_url, kafka_brokers, tmp_path)


SEEN = 'prejoin_worker_drift_rows{kind="different",view="note_list"}'
MISSING = 'prejoin_worker_drift_rows{kind="missing",view="note_list"}'
LOOKED = 'prejoin_worker_verified_rows_total{view="note_list"}'


async def test_drift_put_in_by_hand_is_seen_told_and_forgotten_once_mended(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINY_TOPIC", place.topic)
    await place.make_topic()
    worker = place.start(PREJOIN_VERIFY_ROWS_PER_SECOND="2000")
    await place.joined(worker)
    await place.notes(range(12))
    await place.has_told(12)
    await until(lambda: worker.metrics().get(LOOKED, 0) > 12)
    assert (worker.metrics().get(SEEN, 0), worker.said("drift")) == (0, [])

    place.query("UPDATE note_list__g1 SET text = '?' WHERE note_id = 'n8' RETURNING 1")
    place.query("DELETE FROM note_list__g1 WHERE note_id = 'n9' RETURNING 1")
    await until(lambda: worker.metrics().get(SEEN) == 1 and worker.metrics().get(MISSING) == 1)
    told = {line["kind"]: line for line in worker.said("drift")}
    assert {kind: (line["view"], line["keys"]) for kind, line in told.items()} == {
        "different": ("note_list", 1),
        "missing": ("note_list", 1),
    }
    status = await asyncio.to_thread(current_status, place.database_url, place.name, load(PROJECTIONS))
    assert status["drift"] == {"note_list": {"different": 1, "missing": 1}}

    with closing(Verifier(place.database_url, place.name, load(PROJECTIONS))) as verifier:
        found = await asyncio.to_thread(verifier.verify, load(PROJECTIONS).relation("note_list"), True)
    assert (found.different, found.repaired) == (2, 2)
    await until(lambda: worker.metrics().get(SEEN) == 0 and worker.metrics().get(MISSING) == 0)
    assert worker.process.poll() is None


async def test_switched_off_nothing_is_looked_at(place: Place) -> None:
    await place.make_topic()
    worker = place.start(PREJOIN_VERIFY_ROWS_PER_SECOND="0")
    await place.joined(worker)
    await place.notes(range(20))
    await place.has_told(20)
    assert LOOKED not in worker.metrics()
