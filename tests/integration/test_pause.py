"""A group that an operator holds: nothing more is applied, whatever is restarted, until it is let go."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from projector.apply.applier import Applier
from projector.declare.projections import load
from projector.errors import Paused
from projector.operate.pause import pause, resume
from projector.operate.status import current_status
from tests.integration.running import PROJECTIONS, Place, places, terminate, until
from tests.model.histories import cloud_event, partitioned
from tests.world import World

SUSPECT = 10.0  # seconds behind which a worker without a reason is told as stuck


@pytest.fixture
def place(database_url: str, read_database_url: str, kafka_brokers: str, tmp_path: Path) -> Iterator[Place]:
    yield from places(database_url, read_database_url, kafka_brokers, tmp_path)


def status(place: Place) -> dict[str, Any]:
    return current_status(place.database_url, place.name, load(PROJECTIONS))


async def test_a_paused_group_applies_nothing_over_restarts_and_goes_on_within_a_second(place: Place) -> None:
    await place.make_topic(1)
    worker = place.start()
    await place.joined(worker)
    await place.notes(range(3))
    await place.has_told(3)
    await until(lambda: status(place)["state"] == "live")

    held = pause(place.database_url, place.name)
    begin = time.monotonic()
    assert (held.changed, held.positions) == (True, [f"{place.topic}/0@2"])
    await place.notes(range(3, 6))
    await until(lambda: worker.said("paused"))
    await until(lambda: status(place)["state"] == "lagging")
    told = status(place)
    assert (told["state"], {v["state"] for v in told["views"]}) == ("lagging", {"paused"})
    assert told["paused"] == {"since": held.since, "by": held.by}
    as_of = told["as_of"]
    again = pause(place.database_url, place.name)
    assert (again.changed, again.since) == (False, held.since)

    terminate(worker)
    told = status(place)
    assert (told["state"], {v["state"] for v in told["views"]}) == ("stopped", {"paused"})
    worker = place.start()
    await place.joined(worker)
    await until(lambda: worker.said("paused"))
    await until(lambda: time.monotonic() - begin > SUSPECT + 3)
    rows = place.query("SELECT state, detail FROM workers")
    assert rows == [("paused", f"paused by {held.by}")]
    told = status(place)
    assert [p["lag"] for p in told["partitions"]] == [3]
    assert (told["state"], told["as_of"]) == ("lagging", as_of)
    assert sorted(place.told()) == [0, 1, 2]

    begin = time.monotonic()
    assert resume(place.database_url, place.name).changed is True
    await place.has_told(6)
    assert time.monotonic() - begin < 2.0  # a second, and what the machine's other work takes
    assert resume(place.database_url, place.name).changed is False
    await until(lambda: status(place)["state"] == "live")
    assert status(place)["paused"] is None
    await until(lambda: status(place)["as_of"] > as_of)


def test_what_operators_do_goes_on_in_a_paused_group(of_the_shop: World) -> None:
    of_the_shop.clear()
    event = cloud_event("customers.CustomerRegistered", customer_id="c1", name="Ann", email="a@b", country="DE")
    pause(of_the_shop.url, of_the_shop.group)
    try:
        applier = of_the_shop.applier
        assert isinstance(applier, Applier)
        with pytest.raises(Paused, match=r"paused by .*@.* since 2"):
            of_the_shop.given(partitioned([event], partitions=1))
        assert of_the_shop.view("customer_summary") == {}
        applier.erase(of_the_shop.projections.personal["customer"], ["c1"])
        assert of_the_shop.view("customer_summary")[("c1",)]["erased"] is True
        assert of_the_shop.drift() == []
    finally:
        resume(of_the_shop.url, of_the_shop.group)
    of_the_shop.given(partitioned([event], partitions=1))
    assert of_the_shop.view("customer_summary")[("c1",)]["country"] == "DE"
