"""What of a person a kept record may hold: whose it is, and what may stay of it once they are erased."""

import json
import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from projector.apply.batch import Record
from projector.declare.entity import Entity
from projector.declare.projections import Projections
from schemas.envelope import RawRecord
from schemas.registry import BadRecord

Place = tuple[str, str]
"""An aggregate: its entity's name, and its key."""

_TOKEN = rb"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}"
_TOKENS = re.compile(_TOKEN)
_ID = re.compile(_TOKEN.decode())  # what a contract lets through as an id


class Traces:
    """Told of dead letters and journals of one package's events."""

    def __init__(self, projections: Projections) -> None:
        self._registry, self.entities = projections.registry, projections.personal.values()
        self._named = {
            e.key: re.compile(re.escape(e.key.encode()) + rb"\W{1,20}(" + _TOKEN + rb")") for e in self.entities
        }

    def held(self, record: Record, told: Place | None) -> set[Place]:
        """The aggregates with personal fields that a record may belong to.

        `told` is the one that it was found to be an event of. Of a record that is somebody's, those count whose id
        stands under its own name, such as an order's `customer_id`; of one that could not be told, any id that stands
        in its key, headers or value does: no replay will want it.
        """
        document = _document(record.value)
        every = _texts(record, document) if told is None else set()
        found = {
            (entity.name, key) for entity in self.entities for key in every | self._under(entity, record, document)
        }
        return found | ({told} if told is not None else set())

    def _under(self, entity: Entity[Any], record: Record, document: Any) -> set[str]:
        if document is None:
            return {name.decode() for name in self._named[entity.key].findall(record.value or b"")}
        return _ids(value for name, value in _values(document) if name == entity.key)

    def blank(self, record: Record, erased: Collection[Place]) -> RawRecord:
        """The record with nothing left of those that are erased.

        Their own events keep what tells nothing of the person, those of others what their contracts read: both decode
        as before. Of what does not decode, nothing stays but where and when it came.
        """
        raw = RawRecord(*(getattr(record, name) for name in RawRecord._fields))
        try:
            event = self._registry.decode(raw)
            own: tuple[Any, ...] = ()
            for entity in (e for e in self.entities if type(event.data) in e.folds):
                key = getattr(event.data, entity.key)
                if entity.erasure is not None and (entity.name, key) in erased:
                    own = (entity.erasure.kept(entity), key)
            made: RawRecord = self._registry.bare(raw, *own)
        except BadRecord:
            return raw._replace(key=None, value=None, headers=())
        return made


def _document(value: bytes | None) -> Any:
    """The value as JSON; None where it is none."""
    try:
        return json.loads(value or b"null")
    except (ValueError, RecursionError):
        return None


def _values(document: Any) -> Iterator[tuple[str, Any]]:
    """Each plain value in a document, with the name that it, or the list around it, stands under."""
    waiting: list[tuple[str, Any]] = [("", document)]
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.items()
        elif isinstance(value, list):
            waiting += [(name, each) for each in value]
        else:
            yield name, value


def _texts(record: Record, document: Any) -> set[str]:
    """All that may be an id anywhere in a record."""
    around = [record.key or b"", *(value or b"" for _, value in record.headers)]
    if document is None:
        return {token.decode() for part in (*around, record.value or b"") for token in _TOKENS.findall(part)}
    return _ids([part.decode(errors="replace") for part in around]) | _ids(value for _, value in _values(document))


def _ids(values: Iterable[Any]) -> set[str]:
    return {str(value) for value in values if isinstance(value, str | int) and _ID.fullmatch(str(value))}
