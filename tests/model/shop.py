"""The whole shop: raw records in, views and dead letters out, as the contract has them."""

from collections.abc import Iterable
from typing import NamedTuple

from tests.model import views
from tests.model.aggregate import Aggregate
from tests.model.events import RejectedError, decode, type_of
from tests.model.record import Record


class DeadLetter(NamedTuple):
    """Where the record is, and why it is a dead letter."""

    topic: str
    partition: int
    offset: int
    reason: str


class Model:
    """Give it each record once, in the order of its partition.

    `ignore_unknown` is PREJOIN_UNKNOWN_EVENTS=ignore. `unknown_types` are types that this release does not know yet:
    take one out of the set, and a replay finds its dead letters mended.
    """

    def __init__(self, *, ignore_unknown: bool = False, unknown_types: Iterable[str] = ()) -> None:
        self.ignore_unknown = ignore_unknown
        self.unknown_types = set(unknown_types)
        self._aggregates: dict[tuple[str, str], Aggregate] = {}
        self._dead: dict[tuple[str, int, int], tuple[Record, str]] = {}

    def apply(self, record: Record) -> str:
        """Return `applied`, `duplicate`, `ignored`, or the reason for which it is a dead letter now."""
        outcome = self._judge(record)
        if outcome not in ("applied", "duplicate", "ignored"):
            self._dead[record[:3]] = (record, outcome)
        return outcome

    def apply_all(self, records: Iterable[Record]) -> "Model":
        for record in records:
            self.apply(record)
        return self

    def replay(self, topic: str, partition: int, offset: int) -> str:
        """Return as `apply` does; unless that is a reason, the dead letter is gone. KeyError if there is none there."""
        record, _ = self._dead[topic, partition, offset]
        try:
            event = decode(record, self.unknown_types)
        except RejectedError as error:
            return str(error)
        outcome = self._aggregate(event.aggregate, event.aggregate_id).replay(event)
        if outcome != "orphan":
            del self._dead[topic, partition, offset]
        return outcome

    @property
    def dead_letters(self) -> list[DeadLetter]:
        """In the order in which they came."""
        return [DeadLetter(*at, reason) for at, (_, reason) in self._dead.items()]

    def version(self, aggregate: str, aggregate_id: str) -> int:
        """0 before the first event with a sequence. Aggregates: customer, product, order, payment, stock, shipment."""
        return self._aggregate(aggregate, aggregate_id).version

    def gaps(self, aggregate: str, aggregate_id: str) -> set[int]:
        """The sequences passed over, less those that came late since."""
        found = self._aggregate(aggregate, aggregate_id)
        return set(range(1, found.version)) - found.sequences - found.late

    def views(self) -> views.Views:
        """Each view's rows by key, as the API shows them."""
        return views.all_views({at: aggregate.events for at, aggregate in self._aggregates.items() if aggregate.log})

    def _judge(self, record: Record) -> str:
        try:
            event = decode(record, self.unknown_types)
        except RejectedError as error:
            reason = str(error)
            if reason == "unknown_type" and self.ignore_unknown and not type_of(record).endswith(".v1"):
                return "ignored"
            return reason
        return self._aggregate(event.aggregate, event.aggregate_id).apply(event)

    def _aggregate(self, aggregate: str, aggregate_id: str) -> Aggregate:
        return self._aggregates.setdefault((aggregate, aggregate_id), Aggregate())
