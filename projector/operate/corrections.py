"""Events that would make an aggregate what its source says it is, found with the contracts and folds alone.

Of an entity's events those are tried that the source's columns, its row and our state can fill, field by field: by the
same name, or by the one column whose name ends in `_` and the field's. Each is folded; what brings the state nearest is
kept, and so on. Only what ends exactly at the source's columns is told: nothing is made up, and nothing half corrected.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import psycopg
from pydantic import ValidationError
from sqlalchemy import Column, DateTime, Numeric
from sqlalchemy.dialects.postgresql import JSONB

from projector.apply.aggregates import Aggregate
from projector.apply.entities import EntityStore
from projector.declare.entity import Entity, State
from projector.operate.against import Wanted
from schemas.contract import Contract
from schemas.envelope import BadRecord, RawRecord
from schemas.registry import Registry

SOURCE = "/prejoin/verify"


class Corrections:
    """Derives the correcting events of one entity."""

    def __init__(self, entity: Entity[Any], registry: Registry) -> None:
        self._entity, self._registry = entity, registry
        # what creates an aggregate carries all of it: of two that do the same it is taken
        self._contracts: list[type[Contract]] = sorted(entity.folds, key=lambda c: not entity.folds[c].creates)
        self._time = datetime.now(UTC).replace(microsecond=0)

    def of_all(
        self, connection: psycopg.Connection[Any], wanted: Iterable[Sequence[Wanted]]
    ) -> Iterator[tuple[str, list[bytes] | None]]:
        """Each key and its events: `of` tells more. The connection, one that commits by itself, reads the entity."""
        store = EntityStore(self._entity)
        for some in wanted:
            with connection.cursor() as cursor:
                aggregates = store.load(cursor, [each.key for each in some])
            for each in some:
                yield each.key, self.of(aggregates[each.key], each.row, each.columns)

    def of(self, aggregate: Aggregate, row: Mapping[str, Any], columns: Mapping[str, Any]) -> list[bytes] | None:
        """CloudEvents, one JSON object each; None where none of the contracts can say what the source has.

        They have no `sequence`, which is the service's own to count: by `source` and `id` each has its effect once, and
        the version stays. The same of the same aggregate, as it stands, has the same id.
        """
        wanted = {name: self._value(name, value) for name, value in columns.items()}
        found = self._derive(aggregate.state, row, wanted)
        if found is None:
            return None
        told = [self._event(aggregate, n, data) for n, data in enumerate(found)]
        return told if all(self._is_sound(line, aggregate.key) for line in told) else None

    def _derive(self, state: State | None, row: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[Contract] | None:
        events: list[Contract] = []
        while left := self._distance(state, wanted):
            best: tuple[int, State, Contract] | None = None
            for contract, folded in self._possible(state, row, wanted):
                distance = self._distance(folded, wanted)
                if distance < (best[0] if best else left):
                    best = distance, folded, contract
            if best is None:
                return None
            state = best[1]
            events.append(best[2])
        return events

    def _possible(
        self, state: State | None, row: Mapping[str, Any], wanted: Mapping[str, Any]
    ) -> Iterator[tuple[Contract, State]]:
        """Each event that can be filled, and the state that it leads to."""
        ours = {} if state is None else msgspec.structs.asdict(state)
        ours = {name: _plain(value) for name, value in ours.items()}
        known = {**ours, **row, **wanted}
        for contract in self._contracts:
            fold = self._entity.folds[contract]
            if state is None and not fold.creates:
                continue
            values = {name: _filled(name, known, wanted) for name in contract.model_fields}
            try:
                data = contract.model_validate({name: value for name, value in values.items() if value is not None})
                yield data, fold.function(state, data)
            except (ValidationError, ArithmeticError, TypeError, ValueError):
                continue  # it cannot say this

    def _distance(self, state: State | None, wanted: Mapping[str, Any]) -> int:
        """How many columns are not as they should be."""
        if state is None:
            return len(wanted) + 1
        return sum(not _same(getattr(state, name), value) for name, value in wanted.items())

    def _value(self, name: str, value: Any) -> Any:
        """A column of the source, as JSON, as the state holds it; a collection as one mapping a row."""
        for child in self._entity.children:
            if child.name == name:
                return [{field: _typed(item, child.table.c[field]) for field, item in each.items()} for each in value]
        return _typed(value, self._entity.table.c[name])

    def _event(self, aggregate: Aggregate, number: int, data: Contract) -> bytes:
        stands = [aggregate.entity.name, aggregate.key, aggregate.version, aggregate.recent.hex(), number]
        what = json.dumps([*stands, data.wire_type, data.model_dump(mode="json")], sort_keys=True)
        event = self._registry.to_cloudevent(
            data,
            id=f"verify-{hashlib.sha256(what.encode()).hexdigest()[:40]}",
            source=SOURCE,
            subject=aggregate.key,
            time=self._time,
        )
        return json.dumps(event, ensure_ascii=False).encode()

    def _is_sound(self, line: bytes, key: str) -> bool:
        try:
            event = self._registry.decode(RawRecord(self._entity.topic, 0, 0, None, line, (), 0))
        except BadRecord:
            return False
        return bool(getattr(event.data, self._entity.key) == key)


def _filled(field: str, known: Mapping[str, Any], wanted: Mapping[str, Any]) -> Any:
    if field in known:
        return known[field]
    ending = [name for name in wanted if name.endswith(f"_{field}")]
    return wanted[ending[0]] if len(ending) == 1 else None


def _typed(value: Any, column: Column[Any]) -> Any:
    if value is None:
        return None
    if isinstance(column.type, JSONB):
        return {currency: Decimal(amount or "NaN") for currency, amount in value.items()}
    if isinstance(column.type, DateTime):
        return datetime.fromisoformat(value)
    if isinstance(column.type, Numeric):
        number = Decimal(str(value))
        whole = number.quantize(Decimal(1).scaleb(-(column.type.scale or 0)))
        return whole if whole == number else number
    return value


def _plain(value: Any) -> Any:
    return [msgspec.structs.asdict(each) for each in value] if isinstance(value, tuple) else value


def _same(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, tuple):
        rows = [{name: getattr(row, name) for name in theirs[0]} for row in ours] if theirs else list(ours)
        return bool(rows == theirs)
    return bool(ours == theirs)
