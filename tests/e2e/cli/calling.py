"""A command as it is called in this process: what it leaves, and what it is told about."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.model import Record
from tests.model.histories import CloudEvent, cloud_event, partitioned
from tests.world import World


@dataclass
class Done:
    """What a command left: its exit code and both streams."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """Exactly one JSON object, and a line of its own."""
        assert self.out.count("\n") == 1
        report = json.loads(self.out)
        assert isinstance(report, dict)
        return report

    @property
    def line(self) -> str:
        """The one line of an error; nothing was reported."""
        assert (self.code, self.out) == (2, "")
        assert self.err.count("\n") == 1, self.err
        return self.err


Prejoin = Callable[..., Done]
Settings = dict[str, str]
CANCELLED = cloud_event("orders.OrderCancelled", order_id="o1", reason="changed my mind")


def placed(order: str, **changes: Any) -> CloudEvent:
    data = {"order_id": order, "customer_id": "c1", "currency": "EUR", "placed_at": "2026-01-01T00:00:00Z"}
    return cloud_event("orders.OrderPlaced", **data, product_id="p1", quantity=1, unit_price="5.00", **changes)


def tell(shop: World, *events: CloudEvent) -> list[Record]:
    records = partitioned(events, partitions=1, binary=False)
    shop.given(records)
    return records
