"""Verify while fan-outs go on: what waits is no drift, and mending it would be."""

import itertools
import threading
from collections.abc import Iterator

import pytest

from tests.integration.test_fan_out import FIRST, History, drain
from tests.model.histories import cloud_event
from tests.world import World, world


@pytest.fixture
def shop(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr("projector.apply.plan.FAN_OUT", 10)
    with world(database_url) as made:
        yield made


@pytest.mark.parametrize("repair", [False, True])
def test_verify_finds_nothing_and_breaks_nothing_while_rows_wait_all_the_time(shop: World, repair: bool) -> None:
    history = History(shop)
    history.tell(*FIRST)
    drain(shop)
    stop = threading.Event()

    def live() -> None:
        for n, country in enumerate(itertools.cycle(["DE", "FR", "IT"])):
            if stop.is_set():
                return
            history.tell(cloud_event("customers.CustomerMoved", customer_id="c1", country=country) | {"id": f"{n}"})
            shop.applier.drain()

    thread = threading.Thread(target=live)
    thread.start()
    try:
        found = [verified.different for _ in range(4) for verified in shop.verify(repair=repair)]
    finally:
        stop.set()
        thread.join()
    assert shop.drift() == []
    assert set(found) == {0}
