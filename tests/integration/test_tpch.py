"""The shop made of TPC-H: within the contract, deterministic, by time, every type of event."""

from collections import Counter
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from projector.publish import Message
from projector.tpch import EVENTS_PER_SCALE, events, live_events, shop_clock
from projector.tpch.orders import Line
from projector.tpch.tables import GeneratorError
from schemas import registry
from schemas.envelope import RawRecord
from schemas.registry import Event


def decoded(message: Message) -> Event:
    return registry.decode(RawRecord(message.topic, 0, 0, message.key, message.value, message.headers, 0))


@pytest.fixture(scope="module")
def messages() -> list[Message]:
    return list(events(0.01))


@pytest.fixture(scope="module")
def history(messages: list[Message]) -> list[dict[str, Any]]:
    return [msgspec.json.decode(message.value) for message in messages]


def test_events_keep_their_contracts(messages: list[Message], history: list[dict[str, Any]]) -> None:
    seen = Counter[str]()
    for message, told in zip(messages, history, strict=True):
        assert (message.topic, message.key.decode()) == (told["type"].partition(".")[0], told["subject"])
        seen[told["type"]] += 1
        if seen[told["type"]] <= 700:
            assert decoded(message).type == told["type"]


def test_all_types_of_events_occur_and_most_orders_fare_well(history: list[dict[str, Any]]) -> None:
    types = Counter(told["type"] for told in history)
    assert set(types) == {contract.wire_type for contract in registry.contracts.values()}
    placed = types["orders.OrderPlaced"] + types["orders.OrderPlaced.v2"]
    assert placed == 15_000
    assert types["orders.OrderPlaced"] > 100
    assert types["orders.OrderCancelled"] < placed / 15
    assert 0 < types["customers.CustomerErased"] < 15
    assert types.total() == pytest.approx(0.01 * EVENTS_PER_SCALE, rel=0.05)


def test_events_come_by_time_and_those_of_an_aggregate_by_sequence(history: list[dict[str, Any]]) -> None:
    assert all(a["time"] <= b["time"] for a, b in pairwise(history))
    sequences = Counter[tuple[str, str]]()
    for told in history:
        sequences[told["source"], told["subject"]] += 1
        assert told["sequence"] == sequences[told["source"], told["subject"]]
    assert len({(told["source"], told["id"]) for told in history}) == len(history)


def test_an_order_is_paid_in_full_when_its_shipments_leave(history: list[dict[str, Any]]) -> None:
    total, captured, shipped = Counter[str](), Counter[str](), set[str]()
    for told in history:
        data = told["data"]
        if told["type"].startswith("orders.OrderPlaced"):
            total[told["subject"]] = sum(cents(line) for line in data.get("lines", [data]))
        elif told["type"] == "payments.PaymentCaptured":
            captured[data["order_id"]] += round(Decimal(data["amount"]) * 100)
        elif told["type"] == "shipping.ShipmentDispatched":
            shipped.add(data["order_id"])
    assert len(shipped) > 13_500
    assert {order: captured[order] for order in shipped} == {order: total[order] for order in shipped}


def cents(line: dict[str, Any]) -> int:
    amount: Decimal = line["quantity"] * Decimal(line["unit_price"]) * (1 - Decimal(line.get("discount", 0)))
    return round(amount * 100)  # of a Decimal: half-even


def test_nothing_refers_to_what_was_not_there_before(history: list[dict[str, Any]]) -> None:
    known = set[str]()
    for told in history:
        data = told["data"]
        named = [data.get("customer_id"), data.get("order_id"), data.get("product_id")]
        named += [line["product_id"] for line in data.get("lines", [])]
        if told["type"].endswith(("CustomerRegistered", "ProductAdded", "OrderPlaced", "OrderPlaced.v2")):
            known.add(told["subject"])
        assert known.issuperset(filter(None, named))


@pytest.fixture(scope="module")
def small() -> list[bytes]:
    return [message.value for message in events(0.001)]


def test_the_same_scale_gives_the_same_bytes(small: list[bytes]) -> None:
    assert [message.value for message in events(0.001)] == small


def test_windows_of_any_width_tell_the_same_history(small: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("projector.tpch.timeline._EVENTS_A_WINDOW", 500)
    monkeypatch.setattr("projector.tpch.tables.ORDERS_A_PART", 400)
    narrow = [m.value for m in events(0.001)]
    assert sorted(narrow) == sorted(small)
    assert all(a <= b for a, b in pairwise(msgspec.json.decode(value)["time"] for value in narrow))


def test_a_history_that_is_not_read_to_its_end_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    history = events(0.001)
    next(history)
    assert isinstance(history, Generator)
    assert list(tmp_path.iterdir())
    history.close()
    assert not list(tmp_path.iterdir())


def test_a_scale_at_which_the_generator_cuts_orders_and_lines_apart() -> None:
    history = events(200_000 / 1_500_000)
    assert isinstance(history, Generator)
    assert next(history).topic == "catalog"
    history.close()


def test_a_missing_generator_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GeneratorError, match=r"tpchgen-cli is missing: install it with .*prejoin\[embedded\]"):
        next(events(0.001))


@pytest.mark.parametrize(
    ("quantity", "price", "discount", "amount"), [(1, 50, 1, 50), (1, 150, 1, 148), (3, 10_010, 7, 27_928)]
)
def test_amounts_are_rounded_half_even(quantity: int, price: int, discount: int, amount: int) -> None:
    assert Line(1, quantity, price, discount, False, 0, 0, 0, "AIR").amount == amount


class Clock:
    """A second later each time it is looked at."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


def test_live_events_keep_their_contracts_and_tell_the_callers_time() -> None:
    told = [decoded(message) for message in islice(live_events(0.01, Clock()), 5_000)]
    assert len({(event.source, event.id) for event in told}) == len(told)
    assert {event.type.partition(".")[0] for event in told} == {
        "catalog",
        "customers",
        "inventory",
        "orders",
        "payments",
        "shipping",
    }
    assert all(a.time < b.time for a, b in pairwise(told))
    assert told[0].time > datetime(2026, 1, 1, tzinfo=UTC)
    for event in told:
        for field in ("placed_at", "dispatched_at", "delivered_at"):
            assert getattr(event.data, field, event.time) == event.time


def test_the_shops_clock_goes_on_behind_its_history_and_as_densely() -> None:
    days = (datetime(1998, 8, 4) - datetime(1992, 1, 1)).days
    clock = shop_clock(0.01, 5, iter([100.0, 100.0, 110.0]).__next__)
    assert clock() == datetime(1998, 8, 4, tzinfo=UTC)
    passed = clock() - datetime(1998, 8, 4, tzinfo=UTC)  # in ten seconds: 50 events
    assert passed / timedelta(days=1) == pytest.approx(50 / (EVENTS_PER_SCALE * 0.01 / days))


def test_live_orders_name_customers_and_products_of_the_history_and_move_along(messages: list[Message]) -> None:
    known = {m.key.decode() for m in messages if m.topic in ("customers", "catalog")}
    told = [decoded(message) for message in islice(live_events(0.01, Clock()), 5_000)]
    placed = [event.data.model_dump() for event in told if event.type == "orders.OrderPlaced.v2"]
    assert len(placed) > 300
    assert known.issuperset(
        {o["customer_id"] for o in placed} | {line["product_id"] for o in placed for line in o["lines"]}
    )
    delivered = [event for event in told if event.type == "shipping.ShipmentDelivered"]
    assert len(delivered) > 300


def test_sequences_of_live_orders_have_no_gaps() -> None:
    sequences = Counter[tuple[str, str]]()
    for message in islice(live_events(0.01, Clock()), 5_000):
        event = msgspec.json.decode(message.value)
        if "sequence" in event:
            sequences[event["source"], event["subject"]] += 1
            assert event["sequence"] == sequences[event["source"], event["subject"]]
        else:
            assert message.topic in ("customers", "catalog")


def test_another_start_of_the_live_shop_has_other_orders() -> None:
    later = Clock()
    later()
    first, second = (
        {m.key for m in islice(live_events(0.01, clock), 500) if m.topic == "orders"} for clock in (Clock(), later)
    )
    assert first.isdisjoint(second)
