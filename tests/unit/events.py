"""Records of sound events, and of events with one thing changed, for the tests of the contracts."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from schemas import registry
from schemas.contract import Contract
from schemas.envelope import RawRecord
from schemas.registry import BadRecord, Event, example_path

STRUCTURED = ("content-type", b"application/cloudevents+json; charset=UTF-8")


def example(wire_type: str) -> dict[str, Any]:
    """The golden example of a type, free to change."""
    contract = next(each for each in registry.contracts.values() if each.wire_type == wire_type)
    event: dict[str, Any] = json.loads(example_path(contract).read_text("utf-8"))
    return event


def record(value: bytes | None, *, topic: str = "customers", headers: tuple[tuple[str, bytes], ...] = ()) -> RawRecord:
    return RawRecord(topic, 0, 7, b"key", value, headers, 1_767_225_600_000)


def structured(event: Mapping[str, Any]) -> RawRecord:
    return record(
        json.dumps(event).encode(), topic=str(event.get("type", "none")).partition(".")[0], headers=(STRUCTURED,)
    )


def binary(event: Mapping[str, Any]) -> RawRecord:
    names = [name for name in event if name not in ("data", "datacontenttype")]
    headers = [(f"ce_{name}", str(event[name]).encode()) for name in names]
    content_type = ("content-type", str(event["datacontenttype"]).encode())
    return record(
        json.dumps(event["data"]).encode(), topic=event["type"].partition(".")[0], headers=(*headers, content_type)
    )


def decoded(event: Mapping[str, Any]) -> Event:
    return registry.decode(structured(event))


def data_of(wire_type: str, **changes: object) -> Contract:
    """The decoded data of the golden example with some fields changed."""
    event = example(wire_type)
    return decoded(event | {"data": event["data"] | changes}).data


def refused(raw: RawRecord) -> BadRecord:
    """What decoding the record is refused with."""
    with pytest.raises(BadRecord) as caught:
        registry.decode(raw)
    return caught.value


def refused_data(wire_type: str, **changes: object) -> BadRecord:
    """What the golden example with some fields changed is refused with."""
    event = example(wire_type)
    return refused(structured(event | {"data": event["data"] | changes}))
