"""The shop's events in the orders that are measured. A stream is a list of phases: each is published, then drained."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby

import msgspec

from projector.publish.message import Message
from projector.tpch import events

TOPICS = ["catalog", "customers", "inventory", "orders", "payments", "shipping"]
MASTERS = {"catalog", "customers"}


class _Line(msgspec.Struct):
    product_id: str


class _Data(msgspec.Struct):
    customer_id: str
    product_id: str | None = None
    lines: list[_Line] = []


class _Placed(msgspec.Struct):
    data: _Data


_placed = msgspec.json.Decoder(_Placed).decode


@dataclass
class Shop:
    """Events of customers and products, by time, and those of each order, by time; orders as they were placed."""

    masters: list[Message]
    orders: dict[str, list[Message]]

    def share(self, count: int) -> "Shop":
        """The first orders, with the customers and products that they name."""
        orders = dict(list(self.orders.items())[:count])
        named = set(chain.from_iterable(map(_names, orders.values())))
        return Shop([m for m in self.masters if m.key.decode() in named], orders)

    @property
    def adjacent(self) -> list[list[Message]]:
        """Each order's events together."""
        return [list(chain.from_iterable(self.orders.values()))]

    @property
    def phased(self) -> list[list[Message]]:
        """All orders placed, then all that is paid, reserved, shipped, and cancelled, topic by topic; in a topic first
        the first events of all orders, then the second ones: where there are more orders than records in a batch, no
        batch holds two events of one order.
        """
        layers: dict[tuple[int, int], list[Message]] = defaultdict(list)
        for its in self.orders.values():
            seen = Counter[str]()
            for message in its:
                layer = seen[message.topic]
                seen[message.topic] += 1
                late = message.topic == "orders" and layer > 0
                layers[4 if late else _PHASES.index(message.topic), layer].append(message)
        ordered = sorted(layers.items(), key=lambda item: item[0])
        return [list(chain(*(its for _, its in group))) for _, group in groupby(ordered, lambda item: item[0][0])]


_PHASES = ["orders", "payments", "inventory", "shipping"]


def shop(scale: float) -> Shop:
    """TPC-H's shop, told order by order."""
    made = Shop([], {})
    for message in events(scale):
        if message.topic in MASTERS:
            made.masters.append(message)
        else:
            made.orders.setdefault(order_of(message), []).append(message)
    return made


def order_of(message: Message) -> str:
    """The order that an event is about: payments and shipments are numbered within theirs."""
    return message.key.decode().partition("-")[0]


def _names(its: Sequence[Message]) -> Iterator[str]:
    data = _placed(its[0].value).data
    yield data.customer_id
    yield from (line.product_id for line in data.lines)
    if data.product_id:
        yield data.product_id


def count(phases: Iterable[Sequence[Message]]) -> int:
    return sum(map(len, phases))
