"""The oracle against examples computed by hand: each test is a sentence of the contract."""

import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.model import Model, Record
from tests.model.histories import (
    CloudEvent,
    break_event,
    cloud_event,
    interleave,
    partitioned,
    random_history,
    random_stream,
    record_streams,
)

QUICK = settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))


def after(*events: CloudEvent) -> Model:
    """All in one partition a topic, in the order given."""
    return Model().apply_all(partitioned(events, 1))


def row(model: Model, view: str, *key: str | None) -> dict[str, Any]:
    return model.views()[view][key]


def outcomes(*events: CloudEvent) -> list[str]:
    model = Model()
    return [model.apply(record) for record in partitioned(events, 1)]


def customer(name: str = "Ann", **more: Any) -> CloudEvent:
    facts = {"customer_id": "c", "name": name, "email": "a@b", "country": "DE"} | more
    return cloud_event("customers.CustomerRegistered", **facts)


def renamed(name: str, **more: Any) -> CloudEvent:
    return cloud_event("customers.CustomerNameChanged", customer_id="c", name=name, **more)


def order(order_id: str = "o", price: str = "10.00", currency: str = "EUR", **more: Any) -> CloudEvent:
    line = {"line": 1, "product_id": "p", "quantity": 2, "unit_price": price}
    facts = {"customer_id": "c", "placed_at": "2026-01-01T00:30:00+01:00", "lines": [line]} | more
    return cloud_event("orders.OrderPlaced.v2", order_id=order_id, currency=currency, **facts)


def cancelled(order_id: str = "o", **more: Any) -> CloudEvent:
    return cloud_event("orders.OrderCancelled", order_id=order_id, reason="late", **more)


def payment(name: str, amount: str = "", currency: str = "EUR", payment_id: str = "y", **more: Any) -> CloudEvent:
    facts = {"amount": amount, "currency": currency} if amount else {"reason": "no funds"}
    return cloud_event(f"payments.Payment{name}", **{"payment_id": payment_id, "order_id": "o"} | facts | more)


def stock(name: str) -> CloudEvent:
    facts = {"Reserved": {"warehouse": "w"}, "ReservationFailed": {"reason": "none left"}, "Released": {}}[name]
    return cloud_event(f"inventory.Stock{name}", order_id="o", **facts)


def shipment(name: str, shipment_id: str = "s", at: str = "2026-01-02T00:00:00Z", carrier: str = "dhl") -> CloudEvent:
    facts: dict[str, str] = {"reason": "broken"}
    if name != "Returned":
        facts = {f"{name.lower()}_at": at} | ({"carrier": carrier} if name == "Dispatched" else {})
    return cloud_event(f"shipping.Shipment{name}", shipment_id=shipment_id, order_id="o", **facts)


def test_an_order_is_shown_with_all_its_columns() -> None:
    product = cloud_event("catalog.ProductAdded", product_id="p", name="Pen", category="office", price="7")
    line = {"line": 2, "product_id": "p", "quantity": 3, "unit_price": "0.05", "discount": "0.5000"}
    lines = [line, {"line": 1, "product_id": "q", "quantity": 1, "unit_price": "12"}]
    model = after(customer(segment=None), product, order(lines=lines), payment("Captured", "1.5"), stock("Reserved"))
    assert row(model, "order_overview", "o") == {
        "order_id": "o",
        "status": "pending",
        "placed_at": "2025-12-31T23:30:00Z",
        "currency": "EUR",
        "total": "12.08",
        "line_count": 2,
        "customer_id": "c",
        "customer_name": "Ann",
        "customer_email": "a@b",
        "customer_country": "DE",
        "customer_segment": None,
        "lines": [
            {
                "line": 1,
                "product_id": "q",
                "product_name": None,
                "category": None,
                "quantity": 1,
                "unit_price": "12.00",
                "discount": "0",
                "amount": "12.00",
            },
            {
                "line": 2,
                "product_id": "p",
                "product_name": "Pen",
                "category": "office",
                "quantity": 3,
                "unit_price": "0.05",
                "discount": "0.5",
                "amount": "0.08",
            },
        ],
        "payment_status": "captured",
        "paid_amount": "1.50",
        "refunded_amount": "0.00",
        "stock_status": "reserved",
        "shipment_status": "none",
        "carrier": None,
        "dispatched_at": None,
        "delivered_at": None,
        "cancel_reason": None,
        "updated_at": "2026-01-01T00:00:00Z",
    }


@pytest.mark.parametrize(("price", "amount"), [("0.05", "0.02"), ("0.15", "0.08"), ("0.07", "0.04"), ("0.01", "0.00")])
def test_a_line_is_rounded_half_even_to_cents(price: Any, amount: Any) -> None:
    line = {"line": 1, "product_id": "p", "quantity": 1, "unit_price": price, "discount": "0.5"}
    assert row(after(order(lines=[line])), "order_overview", "o")["total"] == amount


def test_version_1_is_an_order_of_one_line_number_1() -> None:
    facts: dict[str, Any] = {"customer_id": "c", "product_id": "p", "quantity": 2, "unit_price": "3", "currency": "EUR"}
    old = cloud_event("orders.OrderPlaced", order_id="o", placed_at="2026-01-01T00:00:00Z", **facts)
    shown = row(after(old), "order_overview", "o")
    assert (shown["total"], shown["lines"][0]["line"], shown["lines"][0]["discount"]) == ("6.00", 1, "0")


@pytest.mark.parametrize(
    ("payments", "status", "paid", "refunded"),
    [
        ([], "none", "0.00", "0.00"),
        ([payment("Failed")], "failed", "0.00", "0.00"),
        ([payment("Authorized", "5", "USD"), payment("Failed")], "authorized", "0.00", "0.00"),
        ([payment("Captured", "20", "USD")], "none", "0.00", "0.00"),
        ([payment("Captured", "5"), payment("Captured", "6", payment_id="z")], "captured", "11.00", "0.00"),
        ([payment("Captured", "5"), payment("Refunded", "1")], "partially_refunded", "5.00", "1.00"),
        ([payment("Captured", "5"), payment("Refunded", "7")], "refunded", "5.00", "7.00"),
        ([payment("Captured", "5"), payment("Refunded", "5.0")], "refunded", "5.00", "5.00"),
        ([payment("Refunded", "7")], "none", "0.00", "7.00"),
    ],
)
def test_captures_and_refunds_in_the_orders_currency_add_up(
    payments: Any, status: Any, paid: Any, refunded: Any
) -> None:
    shown = row(after(order(), *payments), "order_overview", "o")
    assert (shown["payment_status"], shown["paid_amount"], shown["refunded_amount"]) == (status, paid, refunded)


@pytest.mark.parametrize(
    ("events", "status"),
    [
        ([], "pending"),
        ([payment("Captured", "20")], "paid"),
        ([payment("Captured", "19.99")], "pending"),
        ([payment("Captured", "20"), shipment("Dispatched")], "shipped"),
        ([shipment("Delivered")], "delivered"),
        ([shipment("Delivered"), shipment("Dispatched", "t")], "shipped"),
        ([shipment("Delivered"), shipment("Returned")], "returned"),
        ([shipment("Returned"), cancelled()], "cancelled"),
    ],
)
def test_the_status_is_the_first_that_holds(events: Any, status: Any) -> None:
    assert row(after(order(), *events), "order_overview", "o")["status"] == status


def test_an_order_of_total_0_is_never_paid() -> None:
    model = after(order(price="0"), payment("Captured", "1"), stock("Reserved"))
    assert row(model, "order_overview", "o")["status"] == "pending"
    assert row(model, "fulfilment", "o")["state"] == "awaiting_shipment"


def test_the_carrier_is_of_the_earliest_dispatch_and_delivered_at_waits_for_all() -> None:
    events = [
        shipment("Dispatched", "t", "2026-01-02T00:00:00Z", "ups"),
        shipment("Dispatched", "s", "2026-01-02T01:00:00+01:00", "dhl"),
        shipment("Delivered", "s", "2026-01-04T00:00:00.250Z"),
    ]
    shown = row(after(order(), *events), "order_overview", "o")
    assert (shown["carrier"], shown["dispatched_at"], shown["delivered_at"]) == ("dhl", "2026-01-02T00:00:00Z", None)
    shown = row(after(order(), *events, shipment("Delivered", "t", "2026-01-03T00:00:00Z")), "order_overview", "o")
    assert shown["delivered_at"] == "2026-01-04T00:00:00.25Z"


def test_a_payment_belongs_to_the_order_that_its_first_event_names() -> None:
    model = after(order("o"), order("q"), payment("Authorized", "5"), payment("Captured", "5", order_id="q"))
    assert row(model, "order_overview", "o")["paid_amount"] == "5.00"
    assert row(model, "order_overview", "q")["payment_status"] == "none"


@pytest.mark.parametrize(
    ("events", "state", "waiting_for"),
    [
        ([], "awaiting_stock", "stock"),
        ([stock("Reserved")], "awaiting_payment", "payment"),
        ([stock("Reserved"), payment("Captured", "20")], "awaiting_shipment", "shipment"),
        ([shipment("Dispatched")], "in_transit", "delivery"),
        ([shipment("Delivered")], "done", None),
        ([stock("Reserved"), payment("Failed")], "compensating", "stock_release"),
        ([payment("Captured", "20"), stock("ReservationFailed")], "compensating", "refund"),
        ([payment("Captured", "20"), payment("Refunded", "20"), cancelled()], "compensated", None),
        ([stock("Reserved"), stock("Released"), shipment("Returned")], "compensated", None),
    ],
)
def test_fulfilment_says_what_an_order_waits_for(events: Any, state: Any, waiting_for: Any) -> None:
    shown = row(after(order(), *events), "fulfilment", "o")
    assert (shown["state"], shown["waiting_for"]) == (state, waiting_for)


def test_updated_at_is_the_latest_time_of_the_order_and_what_belongs_to_it_but_not_of_a_rename() -> None:
    late = payment("Failed", time="2026-03-01T00:00:00.1234567Z")
    names = [renamed("Anne", time="2026-04-01T00:00:00Z"), renamed("Anna", time="2026-04-01T00:00:00+02:00")]
    model = after(late, order(time="2026-02-01T00:00:00Z"), customer(), *names)
    assert row(model, "order_overview", "o")["updated_at"] == "2026-03-01T00:00:00.123456Z"
    assert row(model, "fulfilment", "o")["since"] == "2026-03-01T00:00:00.123456Z"
    assert row(model, "customer_summary", "c")["updated_at"] == "2026-04-01T00:00:00Z"


def test_a_customer_summary_spans_currencies_and_cancelled_orders() -> None:
    later = order("q", "14.99", "USD", placed_at="2026-01-05T00:00:00Z")
    paid = [payment("Captured", "3"), payment("Refunded", "3"), payment("Refunded", "9", "USD", "z", order_id="q")]
    model = after(order(), later, order("r", "99"), cancelled("r"), customer(), *paid)
    assert row(model, "customer_summary", "c") == {
        "customer_id": "c",
        "name": "Ann",
        "email": "a@b",
        "country": "DE",
        "segment": None,
        "erased": False,
        "orders": 3,
        "open_orders": 2,
        "cancelled_orders": 1,
        "lifetime_value": {"EUR": "0.00", "USD": "-9.00"},
        "loyalty_points": 4,
        "first_order_at": "2025-12-31T23:30:00Z",
        "last_order_at": "2026-01-05T00:00:00Z",
        "updated_at": "2026-01-01T00:00:00Z",
    }


def test_an_unknown_customer_and_product_have_rows_as_soon_as_an_order_refers_to_them() -> None:
    model = after(order())
    assert row(model, "customer_summary", "c") | {"orders": 0} == {
        "customer_id": "c",
        **dict.fromkeys(["name", "email", "country", "segment", "updated_at"]),
        "erased": False,
        "orders": 0,
        "open_orders": 1,
        "cancelled_orders": 0,
        "lifetime_value": {},
        "loyalty_points": 2,
        "first_order_at": "2025-12-31T23:30:00Z",
        "last_order_at": "2025-12-31T23:30:00Z",
    }
    assert row(model, "product_sales", "p") == {
        "product_id": "p",
        **dict.fromkeys(["name", "category", "brand", "price"]),
        "discontinued": False,
        "orders": 1,
        "units": 2,
        "revenue": {"EUR": "20.00"},
    }
    assert row(model, "order_overview", "o")["customer_name"] is None


def test_product_sales_count_distinct_orders_and_leave_cancelled_ones_out() -> None:
    lines = [{"line": n, "product_id": "p", "quantity": n, "unit_price": "0"} for n in (1, 2)]
    model = after(order(lines=lines), order("q"), cancelled("q"), order("r", lines=[lines[0] | {"product_id": "x"}]))
    sales = row(model, "product_sales", "p")
    assert (sales["orders"], sales["units"], sales["revenue"]) == (1, 3, {"EUR": "0.00"})
    model.apply_all([record._replace(offset=99) for record in partitioned([cancelled("r")], 1)])
    assert row(model, "product_sales", "x")["revenue"] == {}


def test_sales_by_day_groups_by_utc_day_and_present_country() -> None:
    refunds = [payment("Refunded", "4"), payment("Refunded", "1", payment_id="z", order_id="q")]
    events = [order(), order("q"), cancelled("q"), *refunds]
    unknown = after(*events).views()["sales_by_day"]
    assert unknown == {
        ("2025-12-31", None, "EUR"): {
            "day": "2025-12-31",
            "customer_country": None,
            "currency": "EUR",
            "orders": 2,
            "cancelled_orders": 1,
            "units": 2,
            "gross": "20.00",
            "refunded": "5.00",
        }
    }
    moved = cloud_event("customers.CustomerMoved", customer_id="c", country="FR")
    assert set(after(*events, customer(), moved).views()["sales_by_day"]) == {("2025-12-31", "FR", "EUR")}


def test_an_erased_customer_keeps_only_id_and_country_for_good() -> None:
    erased = cloud_event("customers.CustomerErased", customer_id="c")
    back = customer("Bea", country="US", segment="gold")
    shown = row(after(order(), customer(), erased, renamed("Cleo"), back), "customer_summary", "c")
    assert [shown[field] for field in ("name", "email", "country", "segment", "erased")] == [
        None,
        None,
        "US",
        None,
        True,
    ]
    moved = cloud_event("customers.CustomerMoved", customer_id="c", country="FR")
    assert outcomes(erased, moved) == ["applied", "applied"]
    assert row(after(erased), "customer_summary", "c")["country"] is None


def test_placed_again_replaces_all_but_the_cancellation() -> None:
    again = order(price="1", currency="USD", customer_id="d")
    shown = row(after(order(), cancelled(), payment("Captured", "5", "USD"), again), "order_overview", "o")
    found = [shown[field] for field in ("status", "cancel_reason", "total", "customer_id", "paid_amount")]
    assert found == ["cancelled", "late", "2.00", "d", "5.00"]
    assert ("c",) not in after(order(), again).views()["customer_summary"]


def test_a_product_added_again_loses_its_brand_and_stays_discontinued() -> None:
    facts = {"product_id": "p", "name": "Pen", "category": "office", "price": "7"}
    first, again = (cloud_event("catalog.ProductAdded", **facts, **more) for more in ({"brand": "acme"}, {}))
    shown = row(after(first, cloud_event("catalog.ProductDiscontinued", product_id="p"), again), "product_sales", "p")
    assert (shown["brand"], shown["price"], shown["discontinued"]) == (None, "7.00", True)


def test_what_cannot_create_its_aggregate_is_an_orphan_whatever_its_sequence() -> None:
    assert outcomes(renamed("x"), renamed("x", sequence=5), cancelled(sequence=1)) == ["orphan"] * 3
    first = [payment("Captured", "1"), payment("Failed", payment_id="z"), payment("Refunded", "1", payment_id="w")]
    assert outcomes(*first, shipment("Returned"), shipment("Delivered", "t"), stock("Released")) == ["applied"] * 6


def test_a_sequence_decides_between_duplicate_gap_and_late() -> None:
    events = [customer(sequence=3), renamed("b", sequence="0003"), renamed("c", sequence=1), renamed("d", sequence=1)]
    assert outcomes(*events, renamed("e", sequence=4)) == ["applied", "duplicate", "late", "duplicate", "applied"]
    model = after(*events, renamed("e", sequence=6))
    assert (model.version("customer", "c"), model.gaps("customer", "c")) == (6, {2, 4, 5})


def test_without_a_sequence_source_and_id_among_the_last_1000_applied_decide() -> None:
    first = customer() | {"id": "same"}
    others = [renamed("x") | {"id": str(number)} for number in range(1000)]
    elsewhere = renamed("y") | {"id": "same", "source": "/other"}
    assert outcomes(first, *others[:999], first)[-1] == "duplicate"
    assert outcomes(first, *others, first)[-1] == "applied"
    assert outcomes(first, elsewhere, renamed("z", sequence=1) | {"id": "same"}) == ["applied"] * 3


def test_a_dead_letter_moves_no_version() -> None:
    bad = customer(country="Germany", sequence=1)
    assert outcomes(bad, renamed("a", sequence=2), customer(sequence=1)) == ["invalid", "orphan", "applied"]


def test_a_late_event_replayed_fills_its_gap_in_its_place() -> None:
    model = after(customer(sequence=1), renamed("third", sequence=3), renamed("second", sequence=2))
    assert model.dead_letters == [("customers", 0, 2, "late")]
    assert model.replay("customers", 0, 2) == "applied"
    assert (row(model, "customer_summary", "c")["name"], model.dead_letters) == ("third", [])
    assert model.gaps("customer", "c") == set()


def test_orphans_replayed_come_right_behind_the_creating_event_by_offset() -> None:
    for order_of_replay in ([0, 1], [1, 0]):
        model = after(renamed("first"), renamed("second"), customer())
        assert [model.replay("customers", 0, offset) for offset in order_of_replay] == ["applied", "applied"]
        assert row(model, "customer_summary", "c")["name"] == "second"
    model = after(renamed("first"), customer(), renamed("later"))
    assert model.replay("customers", 0, 0) == "applied"
    assert row(model, "customer_summary", "c")["name"] == "later"


def test_a_replay_makes_a_later_copy_the_duplicate() -> None:
    copy = renamed("first")
    model = after(copy, customer(), renamed("second"), copy)
    assert row(model, "customer_summary", "c")["name"] == "first"
    assert model.replay("customers", 0, 0) == "applied"
    assert row(model, "customer_summary", "c")["name"] == "second"


def test_an_orphan_whose_aggregate_is_still_missing_stays_a_dead_letter() -> None:
    model = after(cancelled())
    assert model.replay("orders", 0, 0) == "orphan"
    assert model.dead_letters == [("orders", 0, 0, "orphan")]


def test_unknown_types_may_be_ignored_but_not_version_1_spelt_out() -> None:
    unknown, spelt = (customer() | {"type": f"customers.{name}"} for name in ("Unheard", "CustomerRegistered.v1"))
    model = Model(ignore_unknown=True)
    assert [model.apply(record) for record in partitioned([unknown, spelt], 1)] == ["ignored", "unknown_type"]


def test_both_modes_of_cloudevents_say_the_same() -> None:
    events = random_history(3, orders=5)
    structured, binary = (Model().apply_all(partitioned(events, binary=mode)) for mode in (False, True))
    assert structured.views() == binary.views()
    assert structured.dead_letters == binary.dead_letters == []


@QUICK
@given(st.data())
def test_each_broken_event_has_the_reason_that_it_was_broken_for(data: Any) -> None:
    def pick(n: int) -> int:
        return int(data.draw(st.integers(0, n - 1)))

    events = random_history(1, orders=3)
    raw, reason = break_event(events[pick(len(events))], pick)
    assert Model().apply(partitioned([raw])[0]) == reason


@QUICK
@given(record_streams(), st.randoms(use_true_random=False))
def test_topics_may_run_ahead_of_each_other_in_any_order(records: list[Record], rng: random.Random) -> None:
    one, other = Model().apply_all(records), Model().apply_all(interleave(records, rng.randrange))
    assert one.views() == other.views()
    assert sorted(one.dead_letters) == sorted(other.dead_letters)


def test_random_streams_hold_every_outcome_and_every_status() -> None:
    outcomes, seen = set(), set()
    for seed in range(8):
        model = Model()
        outcomes |= {model.apply(record) for record in random_stream(seed)}
        seen |= {shown["status"] for shown in model.views()["order_overview"].values()}
        seen |= {shown["state"] for shown in model.views()["fulfilment"].values()}
    assert outcomes >= {"applied", "duplicate", "late", "orphan", "undecodable", "envelope", "topic", "invalid"}
    assert seen >= {"pending", "paid", "shipped", "delivered", "returned", "cancelled", "compensating", "compensated"}
