"""The registry: what it finds, how it upcasts, and which mistakes it names."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from schemas import orders, registry
from schemas.contract import Contract, Id
from schemas.orders import v1, v2
from schemas.registry import Registry, Upcaster, discover, upcaster
from tests import shop
from tests.unit.events import data_of, record


class First(Contract, type="things.Thing"):
    """Version 1."""

    thing_id: Id


class Second(Contract, type="things.Thing", version=2):
    """Version 2."""

    thing_id: Id
    note: str


class Third(Contract, type="things.Thing", version=3):
    """Version 3."""

    thing_id: Id
    note: str
    more: int


@upcaster(First, Second)
def noted(old: First) -> Second:
    return Second(thing_id=old.thing_id, note="none")


@upcaster(Second, Third)
def counted(old: Second) -> Third:
    return Third(thing_id=old.thing_id, note=old.note, more=0)


def thing(wire_type: str) -> bytes:
    attributes = {"specversion": "1.0", "id": "1", "source": "/t", "subject": "t", "time": "2026-01-01T00:00:00Z"}
    return json.dumps(attributes | {"type": wire_type, "data": {"thing_id": "t", "note": "sent", "more": 3}}).encode()


def problems(contracts: list[type[Contract]], upcasters: list[Upcaster[Any, Any]]) -> str:
    return "\n".join(
        each for each in Registry(contracts, upcasters).problems() if "example" not in each and "lies in" not in each
    )


def test_it_knows_each_version_and_the_newest() -> None:
    assert registry.contracts[("orders.OrderPlaced", 1)] is v1.OrderPlaced
    assert registry.contracts[("orders.OrderPlaced", 2)] is v2.OrderPlaced
    assert registry.newest["orders.OrderPlaced"] is v2.OrderPlaced is orders.OrderPlaced
    assert (v2.OrderPlaced.type, v2.OrderPlaced.version, v2.OrderPlaced.topic) == ("orders.OrderPlaced", 2, "orders")
    assert {contract.topic for contract in registry.newest.values()} >= set(shop.TOPICS)


@pytest.mark.parametrize("wire_type", ["things.Thing", "things.Thing.v2", "things.Thing.v3"])
def test_old_versions_are_upcast_step_by_step(wire_type: str) -> None:
    event = Registry([Third, First, Second], [counted, noted]).decode(record(thing(wire_type), topic="things"))
    expected = {"things.Thing": ("none", 0), "things.Thing.v2": ("sent", 0), "things.Thing.v3": ("sent", 3)}
    note, more = expected[wire_type]
    assert event.data == Third(thing_id="t", note=note, more=more)
    assert event.type == wire_type


def test_each_bound_of_an_order_of_version_1_is_within_version_2() -> None:
    highest = data_of("orders.OrderPlaced", quantity=1_000_000, unit_price="9999999999999.99", order_id="x" * 128)
    assert isinstance(highest, v2.OrderPlaced)
    assert (len(highest.lines), highest.lines[0].line) == (1, 1)


def test_events_are_frozen() -> None:
    data = data_of("orders.OrderCancelled")
    with pytest.raises(ValidationError):
        data.reason = "other"  # type: ignore[attr-defined]
    assert hash(data_of("orders.OrderPlaced.v2")) == hash(data_of("orders.OrderPlaced.v2"))


def test_json_schema_tells_each_field_and_its_bounds() -> None:
    schema = registry.json_schemas()["orders.OrderPlaced.v2"]
    assert schema["required"] == ["order_id", "customer_id", "currency", "placed_at", "lines"]
    assert (schema["properties"]["lines"]["minItems"], schema["properties"]["lines"]["maxItems"]) == (1, 1000)
    assert schema["$defs"]["Line"]["properties"]["unit_price"]["pattern"] == r"^[0-9]{1,13}(\.[0-9]{1,2})?$"
    assert all(each["description"] and each["title"] for each in registry.json_schemas().values())


def test_a_version_without_upcaster_to_the_next_is_named() -> None:
    assert problems([First, Second, Third], [noted, counted]) == ""
    assert problems([First, Second, Third], [noted]).startswith(
        "things.Thing.v2: has upcasters to []; it needs exactly one"
    )
    assert problems([First, Second], [noted, noted]).startswith("things.Thing: has upcasters to")


def test_an_upcaster_that_skips_a_version_or_has_no_contract_is_named() -> None:
    skip = Upcaster(First, Third, lambda old: Third(thing_id=old.thing_id, note="", more=0))
    assert "it needs exactly one, to version 2" in problems([First, Second, Third], [skip, counted])
    assert "things.Thing.v2: an upcaster starts from it, but it is not registered" in problems([First], [counted])
    assert "things.Thing: has upcasters to ['things.Thing.v2']; it needs none" in problems([First], [noted])


def test_two_contracts_of_one_version_and_a_gap_between_versions_are_named() -> None:
    class Again(Contract, type="things.Thing"):
        """The same type and version once more."""

    assert problems([First, Again], []).startswith("things.Thing: 2 contracts have this type and version")
    assert "things.Thing: version 2 is there and 1 is not" in problems([Second], [])


def test_a_version_written_into_the_type_is_named() -> None:
    class Suffixed(Contract, type="things.Thing.v2", version=2):
        """The version belongs into version=."""

    assert "things.Thing.v2: a type is <topic>.<Name> without version" in problems([Suffixed], [])


def test_a_new_service_is_a_new_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = tmp_path / "shop_contracts" / "returns"
    (service / "examples").mkdir(parents=True)
    for folder in (service, service.parent):
        (folder / "__init__.py").touch()
    (service / "v1.py").write_text(
        "from schemas.contract import Contract, Id\n"
        "class ReturnAsked(Contract, type='returns.ReturnAsked'):\n    order_id: Id\n"
        "class ReturnSent(Contract, type='returning.ReturnSent'):\n    order_id: Id\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    found = discover("shop_contracts", [str(service.parent)])
    assert sorted(found.newest) == ["returning.ReturnSent", "returns.ReturnAsked"]
    assert found.problems() == [
        "returning.ReturnSent: lies in returns/; its topic is returning, so should be its folder",
        "returning.ReturnSent: has no golden example; add returns/examples/ReturnSent.v1.json",
        "returns.ReturnAsked: has no golden example; add returns/examples/ReturnAsked.v1.json",
    ]
    (service / "examples" / "ReturnAsked.v1.json").write_text("{}")
    (service / "examples" / "ReturnSent.v1.json").write_bytes(
        thing("returning.ReturnSent").replace(b"thing_id", b"order_id")
    )
    assert found.problems()[1:] == [
        "returns.ReturnAsked: its golden example returns/examples/ReturnAsked.v1.json is not decoded: "
        "envelope: data should be an object"
    ]
