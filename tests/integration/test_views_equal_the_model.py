"""The views, row by row, against the contract's model, whatever order and accidents the events meet."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.model import Model, Record
from tests.model.histories import random_stream, record_streams
from tests.world import World, world


@pytest.fixture(scope="module")
def shop(database_url: str) -> Iterator[World]:
    with world(database_url) as made:
        yield made


def agree(shop: World, records: list[Record]) -> None:
    model = Model().apply_all(records)
    assert shop.dead_letters() == sorted(tuple(letter) for letter in model.dead_letters)
    expected = model.views()
    for name, rows in shop.views().items():
        assert rows == expected[name], name


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(records=record_streams(), batch=st.sampled_from([1, 3, 5_000]))
def test_any_small_history_in_any_order(shop: World, records: list[Record], batch: int) -> None:
    shop.clear()
    shop.given(records, batch)
    agree(shop, records)


@pytest.mark.parametrize("seed", range(12))
def test_long_histories_with_repeats_gaps_and_poison(shop: World, seed: int) -> None:
    shop.clear()
    records = random_stream(seed, customers=8, products=8, orders=60)
    shop.given(records, batch=[5_000, 100, 7][seed % 3])
    agree(shop, records)
