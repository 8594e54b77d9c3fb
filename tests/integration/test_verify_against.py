"""`verify --against`: an entity beside its source's export; lost events show, and the events that correct them do."""

import gzip
import io
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from projector.declare.entity import Entity
from projector.errors import PrejoinError
from projector.operate.against import Against, Comparison
from projector.operate.corrections import Corrections
from projector.publish import EventLines
from projector.store.connect import connect
from tests.model import Record
from tests.model.histories import CloudEvent, cloud_event, partitioned
from tests.world import World

Row = dict[str, Any]


@pytest.fixture
def shop(of_the_shop: World) -> World:
    of_the_shop.clear()
    return of_the_shop


def entity(shop: World, name: str) -> Entity[Any]:
    return next(e for e in shop.projections.entities if e.name == name)


def tell(shop: World, *events: CloudEvent) -> None:
    shop.given(partitioned(events, partitions=1, binary=False))


def compared(shop: World, name: str, where: str, table: str | None = None, **mapped: str) -> Against:
    with closing(Comparison(shop.url, shop.group, entity(shop, name), mapped)) as comparison:
        return comparison.compare(where, table)


def told(found: Against) -> dict[str, tuple[str, list[str]]]:
    return {d.key: (d.kind, d.columns) for d in found.differences}


def ndjson(path: Path, rows: Sequence[Row]) -> str:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return str(path)


def registered(number: int, **changes: Any) -> CloudEvent:
    data = {"name": f"Ann {number}", "email": f"a{number}@example.org", "country": "DE", "segment": None}
    return cloud_event("customers.CustomerRegistered", **{"customer_id": f"c{number}", **data, **changes})


def customer(number: int, **changes: Any) -> Row:
    return {**registered(number)["data"], **changes}


def corrected(shop: World, name: str, where: str, **mapped: str) -> tuple[list[bytes], list[str]]:
    """The events, and the keys that none can correct."""
    lines, left = list[bytes](), list[str]()
    with (
        closing(Comparison(shop.url, shop.group, entity(shop, name), mapped)) as comparison,
        connect(shop.url, shop.group, autocommit=True) as connection,
    ):
        comparison.compare(where, None)
        made = Corrections(entity(shop, name), shop.projections.registry)
        for key, events in made.of_all(connection, comparison.wanted()):
            lines += events or ()
            left += [key] if events is None else []
    return lines, left


def publish(shop: World, path: Path, lines: Sequence[bytes]) -> Any:
    """As `prejoin publish` reads them, behind what each partition has."""
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    offsets = {tp.topic: n for tp, n in shop.applier.positions().items()}
    records = []
    for message in EventLines([str(path)]):
        assert message is not None
        at = offsets.get(message.topic, 0)
        offsets[message.topic] = at + 1
        records.append(
            Record(message.topic, 0, at, message.key, message.value, tuple(message.headers), 1_767_225_600_000)
        )
    return shop.given(records)


def test_lost_events_show_as_keys_and_columns(shop: World, tmp_path: Path) -> None:
    tell(shop, *(registered(n) for n in range(1, 6)))
    rows = [customer(1), customer(2, name="Änne", email="new@example.org"), customer(4), customer(5), customer(6)]
    found = compared(shop, "customers", ndjson(tmp_path / "customers.ndjson", rows))
    assert told(found) == {"c2": ("different", ["name", "email"]), "c3": ("extra", []), "c6": ("missing", [])}
    assert (found.rows, found.different, found.kinds) == (5, 3, {"different": 1, "extra": 1, "missing": 1})
    assert found.differing == {"name": 1, "email": 1}
    assert found.columns == ["customer_id", "name", "email", "country", "segment"]


def test_values_are_compared_as_their_types_and_columns_by_the_names_given(shop: World, tmp_path: Path) -> None:
    tell(shop, placed("o1"), placed("o2"))
    row = {"id": "o1", "customer_id": "c1", "currency": "EUR", "when": "2026-01-01T01:00:00+01:00", "other": {"a": 1}}
    same = {**row, "total": 12.5, "line_count": "2"}
    other = {**row, "id": "o2", "total": "12.51", "line_count": "two"}
    found = compared(shop, "orders", ndjson(tmp_path / "o.ndjson", [same, other]), order_id="id", placed_at="when")
    assert told(found) == {"o2": ("different", ["line_count", "total"])}


def test_collections_are_compared_row_by_row(shop: World, tmp_path: Path) -> None:
    tell(shop, placed("o1"), placed("o2"), placed("o3"))
    lines: list[Row] = [
        {"line": 2, "product_id": "p2", "quantity": 1, "unit_price": 2.5},
        {"line": 1, "product_id": "p1", "quantity": 2, "unit_price": "5.00", "discount": None},
    ]
    rows = [
        {"order_id": "o1", "lines": lines},
        {"order_id": "o2", "lines": lines[:1]},
        {"order_id": "o3", "lines": [lines[0], {**lines[1], "discount": "0.1"}]},
    ]
    found = compared(shop, "orders", ndjson(tmp_path / "o.ndjson", rows))
    assert told(found) == {"o2": ("different", ["lines"]), "o3": ("different", ["lines"])}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_csv_is_read_and_an_empty_field_is_null(
    shop: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: bool
) -> None:
    tell(shop, *(registered(n) for n in range(1, 4)))
    text = b'customer_id,name,segment,erased\nc1,Ann 1,,false\nc2,"Ann, 2\\",,f\nc3,Ann 3,gold,true\n'
    path = tmp_path / "customers.csv"
    path.write_bytes(gzip.compress(text) if packed else text)
    expected = {"c2": ("different", ["name"]), "c3": ("different", ["segment", "erased"])}
    assert told(compared(shop, "customers", str(path))) == expected
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(path.read_bytes())))
    assert told(compared(shop, "customers", "-")) == expected


@pytest.fixture
def source(database_url: str) -> Iterator[str]:
    """A table of another service."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA crm")
        connection.execute("CREATE TABLE crm.clients (id text, name text, country char(2), score float)")
        connection.execute("INSERT INTO crm.clients VALUES ('c1', 'Ann 1', 'DE', 1), ('c2', E'An\\\\n\\t2', 'DE', 2)")
        yield "crm.clients"
        connection.execute("DROP SCHEMA crm CASCADE")


def test_a_postgres_table_is_an_export_too(shop: World, database_url: str, source: str) -> None:
    tell(shop, *(registered(n) for n in range(1, 4)))
    found = compared(shop, "customers", database_url, source, customer_id="id")
    assert told(found) == {"c2": ("different", ["name"]), "c3": ("extra", [])}
    assert found.columns == ["customer_id", "name", "country"]
    with pytest.raises(PrejoinError, match=r"crm\.nothing.*does not exist"):
        compared(shop, "customers", database_url, "crm.nothing", customer_id="id")


def test_a_key_given_twice_counts_last_and_one_without_is_told(shop: World, tmp_path: Path) -> None:
    tell(shop, registered(1))
    rows = [customer(1, name="Old"), customer(1), {"name": "Nobody"}]
    found = compared(shop, "customers", ndjson(tmp_path / "c.ndjson", rows))
    assert (told(found), found.twice, found.without_key, found.different) == ({}, 1, 1, 2)


BROKEN = {
    "": "is empty",
    '[{"customer_id": "c1"}]': "one JSON array",
    '{"customer_id": "secret"}\n{"customer_id": secret}\n': "row 2",
    '{"customer_id": "c1"}\n["secret"]\n': "no JSON objects",
    '{"id": "secret"}\n': "has no 'customer_id'.*--map customer_id=FIELD.*its fields are id",
    "customer_id,name\nc1\n": "line 2",
}


@pytest.mark.parametrize("text", BROKEN)
def test_what_is_no_export_is_told_in_one_line_without_its_data(shop: World, tmp_path: Path, text: str) -> None:
    path = tmp_path / "export"
    path.write_text(text)
    with pytest.raises(PrejoinError, match=BROKEN[text]) as told:
        compared(shop, "customers", str(path))
    assert "secret" not in str(told.value)


@pytest.mark.parametrize("block", [4, 7, 100, 1_000])
def test_lines_are_whole_wherever_a_block_of_the_file_ends(
    shop: World, tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projector.operate.exports._BLOCK", block)
    tell(shop, *(registered(n) for n in range(1, 4)))
    path = tmp_path / "c"
    path.write_bytes(b"\xef\xbb\xbf" + b"\r\n\n".join(json.dumps(customer(n)).encode() for n in (1, 2, 4)))
    found = compared(shop, "customers", str(path))
    assert (found.rows, told(found)) == (3, {"c3": ("extra", []), "c4": ("missing", [])})
    monkeypatch.setattr("projector.operate.exports.LONGEST", 50)
    path.write_bytes(b'{"customer_id": "' + b"secret" * 1_000)
    with pytest.raises(PrejoinError, match=r"a line is longer than \d+ MiB: write one object a line$"):
        compared(shop, "customers", str(path))


def placed(order: str, **changes: Any) -> CloudEvent:
    lines = [
        {"line": 1, "product_id": "p1", "quantity": 2, "unit_price": "5.00"},
        {"line": 2, "product_id": "p2", "quantity": 1, "unit_price": "2.50"},
    ]
    data = {"order_id": order, "customer_id": "c1", "currency": "EUR", "placed_at": "2026-01-01T00:00:00Z"}
    return cloud_event("orders.OrderPlaced.v2", **{**data, "lines": lines, **changes})


def test_events_that_correct_customers_leave_nothing_that_differs(shop: World, tmp_path: Path) -> None:
    tell(shop, *(registered(n) for n in range(1, 6)))
    blank = dict.fromkeys(("name", "email", "segment"))
    rows = [
        customer(1, erased=False),
        customer(2, name="Anne", erased=False),
        customer(3, **blank, erased=True),
        customer(4, name="Moved", country="FR", segment="gold", erased=False),
        customer(5, country="no country", erased=False),
        customer(6, erased=False),
        customer(7, **blank, country=None, erased=True),
    ]
    export = ndjson(tmp_path / "customers.ndjson", rows)
    lines, left = corrected(shop, "customers", export)
    assert left == ["c5"]
    events = [json.loads(line) for line in lines]
    kinds = [(e["subject"], e["type"].partition(".")[2]) for e in events]
    assert kinds == [
        ("c2", "CustomerRegistered"),
        ("c3", "CustomerErased"),
        ("c4", "CustomerRegistered"),
        ("c6", "CustomerRegistered"),
        ("c7", "CustomerErased"),
    ]
    assert {e["source"] for e in events} == {"/prejoin/verify"}
    assert not any("sequence" in e for e in events)

    again, _ = corrected(shop, "customers", export)
    assert [json.loads(line)["id"] for line in again] == [e["id"] for e in events]
    assert publish(shop, tmp_path / "events", lines).applied == 5
    assert publish(shop, tmp_path / "events", again).duplicates == 5
    assert told(compared(shop, "customers", export)) == {"c5": ("different", ["country"])}
    assert shop.drift() == []
    assert shop.dead_letters() == []


def test_events_that_correct_orders_take_their_lines_and_cancellations(shop: World, tmp_path: Path) -> None:
    tell(shop, placed("o1"), placed("o2"), placed("o3"))
    lines = placed("x")["data"]["lines"]
    head = {"customer_id": "c1", "currency": "EUR", "placed_at": "2026-01-01T00:00:00Z"}
    rows = [
        {**head, "order_id": "o1", "lines": lines, "cancelled": False, "cancel_reason": None},
        {**head, "order_id": "o2", "lines": lines, "cancelled": True, "cancel_reason": "too late"},
        {**head, "order_id": "o3", "lines": lines[:1], "cancelled": False, "cancel_reason": None},
        {**head, "order_id": "o4", "lines": [{**lines[0], "discount": 0.25}], "cancelled": True, "cancel_reason": "no"},
        {**head, "order_id": "o5", "lines": [], "cancelled": False, "cancel_reason": None},
    ]
    export = ndjson(tmp_path / "orders.ndjson", rows)
    events, left = corrected(shop, "orders", export)
    assert left == ["o5"]
    kinds = [(e["subject"], e["type"].partition(".")[2]) for e in map(json.loads, events)]
    assert kinds == [
        ("o2", "OrderCancelled"),
        ("o3", "OrderPlaced.v2"),
        ("o4", "OrderPlaced.v2"),
        ("o4", "OrderCancelled"),
    ]
    publish(shop, tmp_path / "events", events)
    assert told(compared(shop, "orders", export)) == {"o5": ("missing", [])}
    assert shop.view("order_overview")[("o4",)]["total"] == "7.50"
    assert shop.drift() == []


def test_what_no_contract_can_say_is_not_made_up(shop: World, tmp_path: Path) -> None:
    tell(shop, cloud_event("inventory.StockReserved", order_id="o1", warehouse="w1"))
    rows = [{"order_id": "o1", "status": "released"}, {"order_id": "o2", "status": "reserved"}]
    events, left = corrected(shop, "stock", ndjson(tmp_path / "stock.ndjson", rows))
    assert ([json.loads(e)["type"] for e in events], left) == (["inventory.StockReleased"], ["o2"])
    payment = {"payment_id": "p1", "order_id": "o1", "authorized": True, "captured": {"EUR": "5.00"}}
    events, left = corrected(shop, "payments", ndjson(tmp_path / "payments.ndjson", [payment]))
    assert (events, left) == ([], ["p1"])
