"""Compact steps become CloudEvents, always the same ones, so that a history shrinks by leaving out steps.

In a step's `detail` each field finds its value by remainders; 0 means the plainest value everywhere.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from itertools import count
from typing import Any, NamedTuple, TypeVar
from zlib import crc32

from tests.model.values import line_amount, money, money_text

CloudEvent = dict[str, Any]
T = TypeVar("T")

FIRST_TIME = datetime(2026, 1, 1, tzinfo=UTC)
SEQUENCING = ("all", "none", "mixed", "by_aggregate")

AGGREGATES = {
    "customers": ("customer", "customer_id"),
    "catalog": ("product", "product_id"),
    "orders": ("order", "order_id"),
    "payments": ("payment", "payment_id"),
    "inventory": ("stock", "order_id"),
    "shipping": ("shipment", "shipment_id"),
}
# What makes an aggregate of each service exist, for histories without orphans.
CREATORS = {
    "customers": "customers.CustomerRegistered",
    "catalog": "catalog.ProductAdded",
    "orders": "orders.OrderPlaced.v2",
}
NAMES = [
    "Ann",
    "<script>alert(1)</script>",
    "ß" * 300,
    "שלום \u202eRTL\u202c مرحبا",
    'O\'Neil "Bob"',
    "back\\slash \\u0041 \\",
    "👩‍👩‍👧 Zoë e\u0301",
    "'; DROP TABLE orders; --",
    "%s {0} $1 :name",
    "\u2028\ufeff NULL ",
]
COUNTRIES = ["DE", "FR", "US"]
CURRENCIES = ["EUR", "USD", "JPY"]
PRICES = ["10.00", "2.5", "19.99", "0.05", "0", "333", "0.01", "007.5"]
DISCOUNTS = ["", None, "0.5", "0.1", "0.3333", "0.0500", "1", "1.0000", "0"]
QUANTITIES = [1, 2, 3, 7, 1000]
ZONES = [UTC, timezone(timedelta(hours=5, minutes=30)), timezone(-timedelta(hours=8)), UTC]
SHIFTS = [0, 0.25, 30, -90, 90_000, -90_000, 0.123456, 3600, -0.000001]


class Step(NamedTuple):
    """An event type, the number of its aggregate, and that of the customer or order it refers to."""

    type: str
    id: int = 0
    ref: int = 0
    detail: int = 0


class Digits:
    """A whole number taken apart, one choice after another."""

    def __init__(self, number: int) -> None:
        self._left = number

    def choose(self, pool: Sequence[T]) -> T:
        self._left, at = divmod(self._left, len(pool))
        return pool[at]


def identifier(number: int) -> str:
    """The same for every kind of aggregate: ids of different services collide."""
    return [f"{number}", f"a.b_c:D-{number}", f"{number}".rjust(128, "x")][number % 4 % 3]


def cloud_event(type: str, *, time: str = "2026-01-01T00:00:00Z", sequence: Any = None, **data: Any) -> CloudEvent:
    """One event; `id` is drawn from its content unless given by setting it in the result."""
    _, id_field = AGGREGATES[type.partition(".")[0]]
    event = {
        "specversion": "1.0",
        "id": f"{crc32(repr((type, time, sequence, data)).encode()):08x}",
        "source": f"/{type.partition('.')[0]}",
        "type": type,
        "subject": str(data.get(id_field, "?")),
        "time": time,
        "data": data,
    }
    return event if sequence is None else event | {"sequence": sequence}


def expand(
    steps: Iterable[Step],
    *,
    sequencing: str = "by_aggregate",
    orphans: bool = False,
    products: Sequence[int] = range(3),
) -> list[CloudEvent]:
    """Without `orphans`, customers, products and orders are created before the first event that needs them to be."""
    expander = _Expander(sequencing, products)
    events = []
    for step in steps:
        topic = step.type.partition(".")[0]
        creator = CREATORS.get(topic)
        if creator and not orphans and not expander.events[topic, step.id] and not _creates(step.type):
            events.append(expander.event(Step(creator, step.id, step.ref)))
        events.append(expander.event(step))
    return events


def _creates(type: str) -> bool:
    return type in {*CREATORS.values(), "orders.OrderPlaced", "customers.CustomerErased"}


class _Expander:
    """Counts events by aggregate, and remembers totals, that payments may match them."""

    def __init__(self, sequencing: str, products: Sequence[int]) -> None:
        self.events: Counter[tuple[str, int]] = Counter()
        self._versions: Counter[tuple[str, int]] = Counter()
        self._placed: dict[int, tuple[str, str]] = {}
        self._sequencing = sequencing
        self._products = products
        self._ticks = count(1)

    def event(self, step: Step) -> CloudEvent:
        topic = step.type.partition(".")[0]
        digits = Digits(step.detail)
        number = self.events[topic, step.id]
        self.events[topic, step.id] += 1
        data = self._data(step, digits) | digits.choose([{}, {}, {"unknown_field": {"nested": [None, 1e300]}}])
        time = moment(next(self._ticks), digits)
        event = cloud_event(step.type, time=time, sequence=self._sequence(topic, step.id, number), **data)
        # Ids repeat among aggregates, and within one under another source.
        return event | {"id": str(number // 2), "source": f"/{topic}/{'ab'[number % 2]}"}

    def _sequence(self, topic: str, id: int, number: int) -> int | str | None:
        has = {
            "all": True,
            "none": False,
            "mixed": crc32(f"{topic}/{id}/{number}".encode()) % 3 > 0,
            "by_aggregate": crc32(f"{topic}/{id}".encode()) % 3 > 0,
        }[self._sequencing]
        if not has:
            return None
        self._versions[topic, id] += 1
        version = self._versions[topic, id]
        return version if version % 3 else f"{version:04d}"

    def _data(self, step: Step, digits: Digits) -> dict[str, Any]:
        """Its own id, then for each field of the type a value."""
        topic, _, name = step.type.partition(".")
        data: dict[str, Any] = {AGGREGATES[topic][1]: identifier(step.id)}
        if topic in ("payments", "shipping"):
            data["order_id"] = identifier(step.ref)
        if name.startswith("OrderPlaced"):
            return data | self._order(step, digits)
        if name in ("PaymentAuthorized", "PaymentCaptured", "PaymentRefunded"):
            total, currency = self._placed.get(step.ref, ("20.00", "EUR"))
            amount = digits.choose([total, total, "5", "0", "0.10", "12.5", "9999999999999.99"])
            return data | {"amount": amount, "currency": digits.choose([currency] * 4 + CURRENCIES)}
        return data | {field: self._field(field, digits) for field in FIELDS[name]}

    def _field(self, field: str, digits: Digits) -> Any:
        if field.endswith("_at"):
            return moment(0, digits)
        return digits.choose(POOLS.get(field, NAMES))

    def _order(self, step: Step, digits: Digits) -> dict[str, Any]:
        head = {
            "customer_id": identifier(step.ref),
            "currency": digits.choose([*CURRENCIES[:1], *CURRENCIES]),
            "placed_at": moment(0, digits),
        }
        numbers = digits.choose([[1], [1, 2], [3, 1, 20], [2, 1]]) if step.type.endswith(".v2") else [1]
        lines = [self._line(number, digits) for number in numbers]
        amounts = [line_amount(line["quantity"], money(line["unit_price"]), discount(line)) for line in lines]
        self._placed[step.id] = (money_text(sum(amounts)) if sum(amounts) < 10**15 else "1", head["currency"])
        if step.type.endswith(".v2"):
            return head | {"lines": lines}
        return head | {field: lines[0][field] for field in ("product_id", "quantity", "unit_price")}

    def _line(self, number: int, digits: Digits) -> dict[str, Any]:
        product = identifier(digits.choose(self._products))
        line = {
            "line": number,
            "product_id": product,
            "quantity": digits.choose(QUANTITIES),
            "unit_price": digits.choose(PRICES),
            "discount": digits.choose(DISCOUNTS),
        }
        if line["quantity"] == 1000 and line["unit_price"] == "333":  # as large as it gets, now and then
            line |= {"quantity": 1_000_000, "unit_price": "9999999999999.99"}
        return {field: value for field, value in line.items() if value != ""}


FIELDS = {
    "CustomerRegistered": ["name", "email", "country", "segment"],
    "CustomerNameChanged": ["name"],
    "CustomerEmailChanged": ["email"],
    "CustomerMoved": ["country"],
    "CustomerErased": [],
    "ProductAdded": ["name", "category", "brand", "price"],
    "ProductRenamed": ["name"],
    "ProductRepriced": ["price"],
    "ProductDiscontinued": [],
    "OrderCancelled": ["reason"],
    "PaymentFailed": ["reason"],
    "StockReserved": ["warehouse"],
    "StockReservationFailed": ["reason"],
    "StockReleased": [],
    "ShipmentDispatched": ["carrier", "dispatched_at"],
    "ShipmentDelivered": ["delivered_at"],
    "ShipmentReturned": ["reason"],
}
POOLS: dict[str, list[Any]] = {
    "country": COUNTRIES,
    "price": PRICES,
    "segment": ["retail", None, *NAMES[:3]],
    "brand": ["acme", None, *NAMES[:3]],
    "category": ["books", "food", *NAMES[:2]],
    "carrier": ["dhl", "ups", "zfast"],
    "email": ["a@example.com", "b@example.com", *NAMES[:2]],
}


def discount(line: dict[str, Any]) -> int:
    """In ten-thousandths."""
    return int(float(line.get("discount") or "0") * 10_000 + 0.5)


def moment(minute: int, digits: Digits) -> str:
    """RFC 3339, near the minute and not in order, in some zone."""
    shifted = FIRST_TIME + timedelta(minutes=minute, seconds=digits.choose(SHIFTS))
    text = shifted.astimezone(digits.choose(ZONES)).isoformat()
    return text.replace("+00:00", digits.choose(["Z", "+00:00", "z", "-00:00"]))
