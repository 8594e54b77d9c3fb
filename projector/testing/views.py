"""`views.given(…).when(…).then(view, rows)`: what events make of a view's rows, on a real Postgres."""

import itertools
import json
from collections.abc import Mapping
from typing import Any, Self

from projector.publish.message import STRUCTURED
from projector.testing.folds import TIME
from projector.testing.group import Group
from schemas.contract import Contract
from schemas.envelope import RawRecord
from schemas.registry import Registry

Key = str | tuple[Any, ...]


class Views:
    """The views of a group, told by events. They may be of any services, in any order."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self._ids, self._offsets = itertools.count(1), itertools.count()

    def given(self, *events: Contract) -> Self:
        """These have come. Raises AssertionError where one of them becomes a dead letter."""
        return self.when(*events, times=1)

    def when(self, *events: Contract, times: int = 2) -> Self:
        """These come, and come again: repeats change nothing. Raises AssertionError as `given` does."""
        told = [self._cloudevent(event) for event in events]
        for _ in range(times):
            outcome = self._group.apply([self._record(event) for event in told])
            if outcome.dead_letters:
                raise AssertionError(f"a dead letter: {', '.join(outcome.dead_letters)}")
        return self

    def then(self, view: str, rows: Mapping[Key, Mapping[str, Any] | None]) -> Self:
        """The row of each key has these values in these columns, as JSON shows them; None: there is no such row.

        Every view is what its query says, too. Raises AssertionError.
        """
        found = self._group.view(view)
        for name, wanted in rows.items():
            key = name if isinstance(name, tuple) else (name,)
            row = found.get(key)
            shown = row if row is None or wanted is None else {column: row[column] for column in wanted}
            if shown != wanted:
                raise AssertionError(f"{view} {name}: the row has\n  {shown}\nnot\n  {wanted}")
        if drift := self._group.drift():
            raise AssertionError(f"not what their queries say: {drift}")
        return self

    def _cloudevent(self, data: Contract) -> dict[str, Any]:
        return Registry.to_cloudevent(data, id=f"e{next(self._ids)}", source="/test", subject="any", time=TIME)

    def _record(self, event: Mapping[str, Any]) -> RawRecord:
        topic = event["type"].partition(".")[0]
        milliseconds = int(TIME.timestamp() * 1_000)
        return RawRecord(topic, 0, next(self._offsets), None, json.dumps(event).encode(), STRUCTURED, milliseconds)
