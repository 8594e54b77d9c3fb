"""All stories as one stream by time, in flat memory.

Time is cut into windows that hold about as many events at any scale. What begins in a window tells its story whole;
what of it happens in a later window waits on disk until its turn.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from operator import attrgetter
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from projector.publish.message import Message
from projector.tpch import customers, orders, products
from projector.tpch.calendar import DAY, END, FIRST_ORDER, OPENING
from projector.tpch.steps import Record, Step, records
from projector.tpch.tables import Tables
from projector.tpch.words import NATIONS

EVENTS_PER_SCALE = 13_500_000  # within 2 %
_EVENTS_A_WINDOW = 100_000


def events(scale: float) -> Iterator[Message]:
    """Tell the shop's history at a TPC-H scale, by time; the same at every call. Raises GeneratorError.

    Scale 1 has 1.5 million orders, 13.5 million events. Temporary files (some 1.5 GB at scale 1) are removed at the
    end, also when the iterator is closed before.
    """
    days = max(1, int(_EVENTS_A_WINDOW * (END - FIRST_ORDER) / DAY / (EVENTS_PER_SCALE * scale)))
    edges = list(range(OPENING // DAY, END // DAY, days))
    with TemporaryDirectory(prefix="prejoin-tpch-") as folder:
        shop, later = _Shop(Tables(scale, Path(folder), edges), edges), _Later(Path(folder))
        for window in range(len(edges)):
            for record in _due(shop.stories(window), window, later, days * DAY):
                yield Message(record.topic, record.key, record.value)


def _due(stories: Iterable[Iterable[Step]], window: int, later: "_Later", width: int) -> list[Record]:
    """Tell what happens in a window, by time, and put away what happens in later ones."""
    due = later.take(window)
    waiting: dict[int, list[Record]] = defaultdict(list)
    end = min(OPENING + (window + 1) * width, END)
    for steps in stories:
        for record in records(steps):
            if record.at < end:
                due.append(record)
            elif record.at < END:  # the story of the shop is cut there
                waiting[(record.at - OPENING) // width].append(record)
    for number, events in waiting.items():
        later.put(number, events)
    due.sort(key=attrgetter("at"))
    return due


class _Later:
    """What happens in windows to come, kept on disk in the order in which it was put there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._decode = msgspec.msgpack.Decoder(list[Record]).decode

    def put(self, window: int, events: list[Record]) -> None:
        block = msgspec.msgpack.encode(events)
        with self._path(window).open("ab") as file:
            file.write(len(block).to_bytes(8, "big"))
            file.write(block)

    def take(self, window: int) -> list[Record]:
        events: list[Record] = []
        if self._path(window).exists():
            with self._path(window).open("rb") as file:
                while head := file.read(8):
                    events += self._decode(file.read(int.from_bytes(head, "big")))
            self._path(window).unlink()
        return events

    def _path(self, window: int) -> Path:
        return self._folder / f"later.{window}"


class _Shop:
    """What begins in each window: customers registered, products added, orders placed. Ask for windows in order."""

    def __init__(self, tables: Tables, edges: list[int]) -> None:
        self._tables = tables
        self._edges = [edge * DAY for edge in edges] + [END]
        self._customers = self._stories_of_customers()
        self._products = self._stories_of_products()

    def stories(self, window: int) -> Iterator[Iterable[Step]]:
        yield from islice(self._customers, self._beginning(window, customers.registered_at, len(self._tables.nations)))
        yield from islice(self._products, self._beginning(window, products.added_at, self._tables.part_count))
        yield from map(orders.story, self._orders(window))

    def _beginning(self, window: int, begins: Callable[[int, int], int], total: int) -> int:
        """How many of the keys 1 to `total` begin in a window; `begins(key, total)` grows with the key."""
        keys = range(1, total + 1)
        start, end = (
            bisect_left(keys, self._edges[i], key=lambda key: begins(key, total)) for i in (window, window + 1)
        )
        return end - start

    def _stories_of_customers(self) -> Iterator[Iterable[Step]]:
        for key, nation, segment in self._tables.customers():
            yield customers.story(key, len(self._tables.nations), nation, segment)

    def _stories_of_products(self) -> Iterator[Iterable[Step]]:
        for key, name, kind, brand in self._tables.parts():
            yield products.story(key, self._tables.part_count, name, kind, brand)

    def _orders(self, window: int) -> Iterator[orders.Order]:
        for (key, customer, status, day), lines in self._tables.orders(window):
            currency = NATIONS[self._tables.nations[customer - 1]][1]
            placed = day * DAY + orders.time_of_day(key)
            yield orders.Order(key, f"o{key}", f"c{customer}", currency, status, placed, lines)
