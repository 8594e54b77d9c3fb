"""Whatever arrives, decoding gives an event that can be stored, or raises BadRecord."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from schemas import orders, registry
from schemas.envelope import RawRecord, is_storable
from schemas.registry import BadRecord, Event
from tests.unit.events import STRUCTURED, decoded, example, record, structured

WIRE_TYPES = sorted(registry.json_schemas())
ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=20)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=10,
)
ODD_TEXT = ["", "1", "1.5", "EUR", "DE", "search", "9" * 13, "\0", "\ud800", "a\x85", "x" * 301]
ODD_TIMES = ["2026-01-01T00:00:00Z", "9999-12-31T23:59:60.9-23:59", "0001-01-01T00:00:00+23:59"]
ODD_NUMBERS = [0, 1, -1, 2**31, 2**63, 2**64, 1.0, True]
ODD: st.SearchStrategy[Any] = st.sampled_from([*ODD_TEXT, *ODD_TIMES, *ODD_NUMBERS, [], {}, [{}], None])
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(
            ["content-type", "ce_id", "CE_Type", "ce_specversion", "ce_source", "ce_subject", "ce_time", "x"]
        ),
        st.binary(max_size=8)
        | st.sampled_from([b"1.0", b"2026-01-01T00:00:00Z", b"customers.CustomerErased", STRUCTURED[1]]),
    ),
    max_size=9,
).map(tuple)


def assert_storable(event: Event) -> None:
    assert event.time.tzinfo is UTC
    assert event.sequence is None or 1 <= event.sequence < 2**63
    for value in (event.id, event.source, event.type, *_leaves(event.data)):
        if isinstance(value, str):
            assert is_storable(value)
            assert len(value.encode()) <= 4_000
        elif isinstance(value, datetime):
            assert value.tzinfo is UTC
        elif isinstance(value, Decimal):
            assert 0 <= value < 10**13
            assert value == round(value, 4)
        elif value is not None:
            assert type(value) is int
            assert 1 <= value < 2**31


def _leaves(model: BaseModel) -> Iterator[Any]:
    for _, value in model:
        if isinstance(value, tuple):
            for part in value:
                yield from _leaves(part)
        else:
            yield value


def decode_or_refuse(raw: RawRecord) -> None:
    try:
        assert_storable(registry.decode(raw))
    except BadRecord as bad:
        assert_sound(bad)


def outcome(raw: RawRecord) -> object:
    try:
        return registry.decode(raw)
    except BadRecord as bad:
        return bad.reason, bad.detail, bad.data


def assert_both_ways_agree(raw: RawRecord) -> None:
    """The header with a charset takes the long way through the envelope; without headers the short one is tried."""
    assert raw.headers
    decode_or_refuse(raw)
    assert repr(outcome(raw)) == repr(outcome(raw._replace(headers=())))  # as text, in which NaN equals NaN


def assert_sound(bad: BadRecord) -> None:
    assert bad.reason in {"undecodable", "envelope", "unknown_type", "topic", "invalid"}
    assert "\n" not in bad.detail
    assert is_storable(bad.detail)


@given(st.binary() | ANY_JSON.map(lambda value: json.dumps(value).encode()), HEADERS)
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_an_event_or_refused(value: bytes, headers: tuple[tuple[str, bytes], ...]) -> None:
    decode_or_refuse(record(value, headers=headers))


@given(st.sampled_from(WIRE_TYPES), st.data())
@settings(max_examples=200, deadline=None)
def test_an_event_with_anything_in_a_field_or_attribute_is_an_event_or_refused(
    wire_type: str, data: st.DataObject
) -> None:
    event = example(wire_type)
    for place in (event, event["data"], *event["data"].get("lines", [])):
        for name in data.draw(st.sets(st.sampled_from(sorted(place)), max_size=1)):
            place[name] = data.draw(ODD | ANY_JSON)
    assert_both_ways_agree(structured(event))


@given(st.sampled_from(WIRE_TYPES), st.data())
@settings(max_examples=100, deadline=None)
def test_an_event_with_a_byte_changed_is_an_event_or_refused(wire_type: str, data: st.DataObject) -> None:
    raw = structured(example(wire_type))
    value = bytearray(raw.value or b"")
    value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    assert_both_ways_agree(raw._replace(value=bytes(value)))


@given(
    st.datetimes(timezones=st.just(UTC)),
    st.integers(0, 10**15 - 1).map(lambda cents: Decimal(cents).scaleb(-2)),
    st.integers(0, 10**4).map(lambda share: Decimal(share).scaleb(-4)),
    st.integers(1, 1_000_000),
)
@settings(max_examples=100, deadline=None)
def test_what_a_producer_makes_within_bounds_comes_back_the_same(
    time: datetime, price: Decimal, discount: Decimal, quantity: int
) -> None:
    line = orders.Line(line=1, product_id="p", quantity=quantity, unit_price=price, discount=discount)
    placed = orders.OrderPlaced(order_id="o", customer_id="c", currency="EUR", placed_at=time, lines=(line,))
    event = decoded(registry.to_cloudevent(placed, id="1", source="/o", subject="o", time=time))
    assert (event.data, event.time) == (placed, time)
