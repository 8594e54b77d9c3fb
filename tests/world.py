"""A projection group of its own in the tests' Postgres, fed with records and read as the API would show it."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from projector.apply.batch import Outcome
from projector.declare.projections import load
from projector.testing.group import Group, Rows
from tests import shop
from tests.model import Record

__all__ = ["Rows", "World", "until", "world"]


class World(Group):
    """One group: `given` records, then `views`, `dead_letters` and so on, as they are in Postgres."""

    def given(self, records: Sequence[Record], batch: int = 5_000) -> Outcome:
        """Apply the records, so many at a time."""
        return self.apply(records, batch)

    def views(self) -> dict[str, Rows]:
        """What is served: of the shop's package, the shop's."""
        of_the_shop = self.projections.name == "projections"
        relations = shop.served(self.projections) if of_the_shop else self.projections.served
        return {relation.name: self.view(relation.name) for relation in relations}

    def generations(self) -> dict[str, int]:
        """The generation that is served of each relation."""
        return dict(self.fetch("SELECT relation, generation FROM served"))

    def dead_letters(self) -> list[tuple[str, int, int, str]]:
        query = 'SELECT topic, partition, "offset", reason FROM dead_letters'
        return self.fetch(f"{query} WHERE state = 'open' ORDER BY 1, 2, 3")


@contextmanager
def world(url: str, name: str = "projections", read_url: str | None = None) -> Iterator[World]:
    """A world that is gone afterwards."""
    made = World(url, load(name), read_url)
    try:
        yield made
    finally:
        made.drop()


def until(holds: Callable[[], Any]) -> None:
    """Wait for something that another session does."""
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)
