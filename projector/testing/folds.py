"""`given(…).when(…).then(state)`: what a fold makes of an event. No database, no Kafka."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any, Self

from projector.apply.aggregates import Aggregate, Verdict
from projector.declare.entity import Entity, State
from projector.declare.projections import load
from projector.settings import read_settings
from schemas.contract import Contract
from schemas.registry import Event

TIME = datetime(2026, 1, 1, tzinfo=UTC)
"""The `time` of every event that is told here."""


class given:  # noqa: N801  reads as a sentence
    """An aggregate with some events behind it; each event has its number as `sequence`, or none has one."""

    verdicts: list[Verdict]
    """What the event of the last `when` was judged to be, each time that it came."""

    def __init__(self, *events: Contract, sequences: bool = True) -> None:
        self._sequences, self._count, self.verdicts = sequences, 0, []
        self._aggregate: Aggregate | None = None
        for event in events:
            self.when(event)

    def when(self, data: Contract, times: int = 2) -> Self:
        """The event comes, and comes again: repeats change nothing. Raises AssertionError for another aggregate's."""
        aggregate = self._of(data)
        self._count += 1
        sequence = self._count if self._sequences else None
        event = Event(f"e{self._count}", "/test", data.wire_type, TIME, sequence, data)
        self.verdicts = []
        for _ in range(times):
            self.verdicts.append(aggregate.judge(event))
            if self.verdicts[-1] is Verdict.NEXT:
                aggregate.apply(event)
        return self

    def then(self, state: State | None) -> None:
        """The state is this one, made so by the last event, once; None: there is none, for that event was an orphan.

        Raises AssertionError.
        """
        found = self._aggregate.state if self._aggregate else None
        if found != state:
            raise AssertionError(f"the state is\n  {found}\nnot\n  {state}")
        repeated = [Verdict.NEXT] + [Verdict.DUPLICATE] * (len(self.verdicts) - 1)
        if state is not None and self.verdicts != repeated:
            raise AssertionError(f"the event was judged {', '.join(verdict.value for verdict in self.verdicts)}")

    def _of(self, data: Contract) -> Aggregate:
        entity = folded()[type(data)]
        key = getattr(data, entity.key)
        made = self._aggregate = self._aggregate or Aggregate(entity, key)
        if (made.entity, made.key) != (entity, key):
            raise AssertionError(
                f"{type(data).__name__} is of {entity.name} {key}, what is given of {made.entity.name} {made.key}: "
                "a fold sees the events of one aggregate"
            )
        return made


@cache
def folded() -> Mapping[type[Any], Entity[Any]]:
    """The entity that folds each contract, of PREJOIN_PROJECTIONS. Raises DeclarationError for mistakes in them."""
    return load(read_settings().projections).by_contract
