"""A small shop for a browser to look at: told by events, applied at once, served by a real `prejoin api`."""

import itertools
import json
import re
import subprocess
import sys
from collections import defaultdict
from typing import Any

import httpx

from projector.embedded.ports import free_port
from tests.model import Record
from tests.process import environment_with
from tests.world import World

STRUCTURED = (("content-type", b"application/cloudevents+json"),)
SCRIPT = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
LONG = "W" * 300
RIGHT_TO_LEFT = "شركة النور للتجارة"
PREJOIN = [sys.executable, "-m", "projector.cli"]
CUSTOMERS = {"c1": ("Ann Wagner", "DE"), "c2": (SCRIPT, "FR"), "c3": (LONG, "DE"), "c4": (RIGHT_TO_LEFT, "EG")}
DAYS = ["2026-03-01", "2026-03-02", "2026-03-04", "2026-03-05"]


class Shop:
    """Events in, pages out. `given` applies events and says that all is applied as of now."""

    def __init__(self, world: World, read_url: str) -> None:
        self.world, self._read_url = world, read_url
        self._offsets: dict[str, int] = defaultdict(int)
        self._ids = itertools.count(1)
        self._port = free_port()
        self._process: subprocess.Popen[str] | None = None
        beat = "now() + interval '1 day'"  # a worker that lives for as long as the tests do
        world.execute(f"INSERT INTO workers VALUES ('w', now(), {beat}, 'live', NULL)")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self, **settings: str) -> None:
        command, environment = [*PREJOIN, "api"], self._environment(API_PORT=str(self._port), API_RATE="0", **settings)
        self._process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        assert self._process.stderr is not None
        assert re.search("serving on", said := self._process.stderr.readline()), said

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def key(self, name: str) -> str:
        """A key that may read all views, without personal columns."""
        command = [*PREJOIN, "keys", "create", name]
        environment = self._environment(DATABASE_URL=self.world.url)
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()

    def forget_keys(self) -> None:
        """As if there never had been one: the API is open again."""
        self.world.execute("DELETE FROM api_keys")
        self.stop()
        self.start()

    def _environment(self, **settings: str) -> dict[str, str]:
        its = {"GROUP": self.world.group, "PROJECTIONS": self.world.projections.name}
        return environment_with(READ_DATABASE_URL=self._read_url, **its, **settings)

    def api(self, path: str, **parameters: Any) -> Any:
        answer = httpx.get(f"{self.url}/v1/{path}", params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def given(self, *events: tuple[str, dict[str, Any]], time: str = "2026-03-05T12:00:00Z") -> None:
        self.world.given([self._record(kind, data, time) for kind, data in events])
        self.fresh()

    def fresh(self, seconds_ago: int = 0) -> None:
        """Say that all is applied that the broker held so many seconds ago."""
        self.world.execute("UPDATE projection_group SET as_of = now() - make_interval(secs => %s)", seconds_ago)

    def order(self, order_id: str, customer: str, day: str, quantity: int = 1, currency: str = "EUR") -> None:
        line = {"line": 1, "product_id": "p1", "quantity": quantity, "unit_price": "10.00"}
        placed = {"order_id": order_id, "customer_id": customer, "currency": currency, "lines": [line]}
        self.given(("orders.OrderPlaced.v2", {**placed, "placed_at": f"{day}T10:00:00Z"}), time=f"{day}T10:00:00Z")

    def _record(self, kind: str, data: dict[str, Any], time: str) -> Record:
        topic, number = kind.partition(".")[0], next(self._ids)
        event = {"specversion": "1.0", "id": str(number), "source": "tests", "type": kind, "subject": "x", "time": time}
        offset = self._offsets[topic]
        self._offsets[topic] += 1
        return Record(topic, 0, offset, b"x", json.dumps({**event, "data": data}).encode(), STRUCTURED)

    def open_up(self) -> None:
        """Its first customers and orders: every status, two currencies, names that are none."""
        for customer, (name, country) in CUSTOMERS.items():
            data = {"customer_id": customer, "name": name, "email": f"{customer}@example.org", "country": country}
            self.given(("customers.CustomerRegistered", data), time="2026-02-01T00:00:00Z")
        product = {"product_id": "p1", "name": f"Red shoe {SCRIPT}", "category": "Shoes", "price": "10.00"}
        self.given(("catalog.ProductAdded", product))
        customers = itertools.cycle(CUSTOMERS)
        for n in range(1, 41):
            self.order(f"o{n}", next(customers), DAYS[n // 4 % 4], n % 5 + 1, "USD" if n % 10 == 0 else "EUR")
        for n in range(1, 13):
            paid = {"payment_id": f"pay{n}", "order_id": f"o{n}", "amount": "500.00", "currency": "EUR"}
            sent = {
                "shipment_id": f"s{n}",
                "order_id": f"o{n}",
                "carrier": "Postal",
                "dispatched_at": "2026-03-06T10:00:00Z",
            }
            back = {"shipment_id": f"s{n}", "order_id": f"o{n}"}
            self.given(
                ("payments.PaymentCaptured", paid), ("inventory.StockReserved", {"order_id": f"o{n}", "warehouse": "A"})
            )
            if n > 3:
                self.given(("shipping.ShipmentDispatched", sent))
            if n > 6:
                self.given(("shipping.ShipmentDelivered", {**back, "delivered_at": "2026-03-07T10:00:00Z"}))
            if n > 10:
                self.given(("shipping.ShipmentReturned", {**back, "reason": "Too small"}))
        self.given(("orders.OrderCancelled", {"order_id": "o20", "reason": SCRIPT}))
