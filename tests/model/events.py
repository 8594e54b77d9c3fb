"""From a raw record to an event that its contract lets pass (contract sections 3 and 7), or the reason why not."""

import json
from collections.abc import Container
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn

from tests.model import values as v
from tests.model.record import Record


class RejectedError(Exception):
    """The record is a dead letter; the argument is the reason."""


@dataclass(frozen=True)
class Contract:
    """What an event must carry, which aggregate it belongs to, and whether it may be the first one there."""

    aggregate: str
    required: dict[str, v.Parser]
    optional: dict[str, v.Parser]
    creates: bool

    @property
    def id_field(self) -> str:
        return "order_id" if self.aggregate == "stock" else f"{self.aggregate}_id"


@dataclass(frozen=True)
class Event:
    """A valid event; `data` holds parsed values (see values.py), OrderPlaced of version 1 as one of version 2."""

    aggregate: str
    aggregate_id: str
    name: str
    creates: bool
    source: str
    id: str
    time: datetime
    sequence: int | None
    offset: int
    data: dict[str, Any]


def _contract(aggregate: str, creates: bool, *names: str, **parsers: v.Parser) -> Contract:
    """`names` are fields named as their kind; a keyword ending in `_` is an optional field."""
    required = {name: _KINDS[name] for name in names}
    required |= {name: parse for name, parse in parsers.items() if not name.endswith("_")}
    optional = {name.rstrip("_"): parse for name, parse in parsers.items() if name.endswith("_")}
    return Contract(aggregate, required, optional, creates)


_KINDS: dict[str, v.Parser] = {
    **dict.fromkeys(["customer_id", "product_id", "order_id", "payment_id", "shipment_id"], v.identifier),
    **dict.fromkeys(["name", "email", "category", "warehouse", "carrier"], v.text),
    "reason": v.prose,
    **dict.fromkeys(["price", "unit_price", "amount"], v.money),
    **dict.fromkeys(["placed_at", "dispatched_at", "delivered_at"], v.instant),
    "country": v.country,
    "currency": v.currency,
    "quantity": v.quantity,
    "lines": v.lines,
}
_ORDER = ("order_id", "customer_id", "currency", "placed_at")
_PAYMENT = ("payment_id", "order_id", "amount", "currency")

CONTRACTS: dict[str, Contract] = {
    "customers.CustomerRegistered": _contract(
        "customer", True, "customer_id", "name", "email", "country", segment_=v.text
    ),
    "customers.CustomerNameChanged": _contract("customer", False, "customer_id", "name"),
    "customers.CustomerEmailChanged": _contract("customer", False, "customer_id", "email"),
    "customers.CustomerMoved": _contract("customer", False, "customer_id", "country"),
    "customers.CustomerErased": _contract("customer", True, "customer_id"),
    "catalog.ProductAdded": _contract("product", True, "product_id", "name", "category", "price", brand_=v.text),
    "catalog.ProductRenamed": _contract("product", False, "product_id", "name"),
    "catalog.ProductRepriced": _contract("product", False, "product_id", "price"),
    "catalog.ProductDiscontinued": _contract("product", False, "product_id"),
    "orders.OrderPlaced": _contract("order", True, *_ORDER, "product_id", "quantity", "unit_price"),
    "orders.OrderPlaced.v2": _contract("order", True, *_ORDER, "lines"),
    "orders.OrderCancelled": _contract("order", False, "order_id", "reason"),
    "payments.PaymentAuthorized": _contract("payment", True, *_PAYMENT),
    "payments.PaymentCaptured": _contract("payment", True, *_PAYMENT),
    "payments.PaymentFailed": _contract("payment", True, "payment_id", "order_id", "reason"),
    "payments.PaymentRefunded": _contract("payment", True, *_PAYMENT),
    "inventory.StockReserved": _contract("stock", True, "order_id", "warehouse"),
    "inventory.StockReservationFailed": _contract("stock", True, "order_id", "reason"),
    "inventory.StockReleased": _contract("stock", True, "order_id"),
    "shipping.ShipmentDispatched": _contract("shipment", True, "shipment_id", "order_id", "carrier", "dispatched_at"),
    "shipping.ShipmentDelivered": _contract("shipment", True, "shipment_id", "order_id", "delivered_at"),
    "shipping.ShipmentReturned": _contract("shipment", True, "shipment_id", "order_id", "reason"),
}


def decode(record: Record, unknown_types: Container[str] = ()) -> Event:
    """Raise RejectedError: `undecodable`, `envelope`, `topic`, `unknown_type` or `invalid`."""
    try:
        return _decode(record, unknown_types)
    except v.NotTextError as error:
        raise RejectedError("undecodable") from error


def _decode(record: Record, unknown_types: Container[str]) -> Event:
    attributes, data = _read(record)
    try:
        found = {name: v.attribute(attributes.get(name)) for name in ("id", "source", "type", "subject")}
        time = v.instant(attributes.get("time"))
        sequence = None if attributes.get("sequence") is None else v.sequence(attributes["sequence"])
        if attributes.get("specversion") != "1.0":
            raise ValueError("specversion")
        if not isinstance(data, dict):
            raise ValueError("data")
    except ValueError as error:
        raise RejectedError("envelope") from error
    topic, _, name = found["type"].partition(".")
    if topic != record.topic:
        raise RejectedError("topic")
    contract = CONTRACTS.get(found["type"])
    if contract is None or found["type"] in unknown_types:
        raise RejectedError("unknown_type")
    try:
        parsed = v.fields(data, contract.required, contract.optional)
    except ValueError as error:
        raise RejectedError("invalid") from error
    return Event(
        contract.aggregate,
        parsed[contract.id_field],
        name.removesuffix(".v2"),
        contract.creates,
        found["source"],
        found["id"],
        time,
        sequence,
        record.offset,
        _upcast(parsed) if found["type"] == "orders.OrderPlaced" else parsed,
    )


def _upcast(placed: dict[str, Any]) -> dict[str, Any]:
    line = {"line": 1, "discount": None} | {name: placed[name] for name in ("product_id", "quantity", "unit_price")}
    return {name: placed[name] for name in _ORDER} | {"lines": [line]}


def type_of(record: Record) -> str:
    """The `type` that the record names, for a setting that ignores unknown ones."""
    return str(_read(record)[0]["type"])


def _read(record: Record) -> tuple[dict[str, Any], Any]:
    """Attributes and data; binary mode is told by `ce_` headers without a CloudEvents content type."""
    if record.value is None:
        raise RejectedError("undecodable")
    content_type = next((value for name, value in record.headers if name.lower() == "content-type"), b"")
    binary = any(name.startswith("ce_") for name, _ in record.headers)
    document = _json(record.value)
    if not isinstance(document, dict):
        raise RejectedError("undecodable")
    if binary and not content_type.startswith(b"application/cloudevents"):
        return {name.removeprefix("ce_"): _utf8(value) for name, value in record.headers if name[:3] == "ce_"}, document
    return document, document.get("data")


def _utf8(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise RejectedError("undecodable") from error


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


_STRICT = json.JSONDecoder(parse_constant=_refuse)


def _json(value: bytes) -> Any:
    """Strict JSON in UTF-8, without NaN."""
    try:
        return _STRICT.decode(_utf8(value))
    except (ValueError, RecursionError) as error:
        raise RejectedError("undecodable") from error
