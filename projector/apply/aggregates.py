"""Aggregates: the state of each, its version, and the judgement of each event by them. No I/O but what is passed in."""

import bisect
import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

from projector.declare.entity import Entity, State

REMEMBERED = 1_000  # applied events by which one without `sequence` is known to be a repeat (CONTRACT, section 7)
HASH = 16  # bytes of a remembered event: two alike by chance are out of the question


class Verdict(Enum):
    """What an event is to its aggregate."""

    NEXT = "next"
    DUPLICATE = "duplicate"
    LATE = "late"
    ORPHAN = "orphan"


class Journal(Enum):
    """Whether an aggregate's records are kept for a replay: not yet, now, or no more (there were too many)."""

    NONE = "none"
    OPEN = "open"
    CLOSED = "closed"


@dataclass
class Aggregate:
    """One aggregate in memory. `gaps` are closed ranges of sequence numbers not seen; `recent` the hashes of its last
    applied events, oldest first; `updated_at` the latest `time` among them. `before` is the state that Postgres has.
    """

    entity: Entity[Any]
    key: str
    state: State | None = None
    version: int = 0
    gaps: list[tuple[int, int]] = field(default_factory=list)
    recent: bytes = b""
    updated_at: datetime | None = None
    journal: Journal = Journal.NONE
    touched: bool = False
    erased: bool = False  # just now, by an event or by command
    before: State | None = None
    updated_before: datetime | None = None

    def __post_init__(self) -> None:
        self.before, self.updated_before = self.state, self.updated_at

    def judge(self, event: Any) -> Verdict:
        """By its sequence alone if it has one, else by source and id; then whether it may come to a state at all."""
        if event.sequence is not None:
            if self._in_gap(event.sequence) is not None:
                return Verdict.LATE
            if event.sequence <= self.version:
                return Verdict.DUPLICATE
        elif self._remembers(event):
            return Verdict.DUPLICATE
        if self.state is None and not self.entity.folds[type(event.data)].creates:
            return Verdict.ORPHAN
        return Verdict.NEXT

    def skips(self, event: Any) -> bool:
        """Whether applying the event notes a gap."""
        return event.sequence is not None and event.sequence > self.version + 1

    def apply(self, event: Any) -> None:
        """Fold the event; whatever the fold raises comes through, and leaves the aggregate as it was."""
        state = self.entity.folds[type(event.data)].function(self.state, event.data)
        if not isinstance(state, self.entity.state):
            raise TypeError(f"a fold of {self.entity.name} returns {self.entity.state.__name__}")
        self.state = state
        if event.sequence is not None:
            if self.skips(event):
                self.gaps.append((self.version + 1, event.sequence - 1))
            self.fill(event.sequence)  # a replayed event may stand behind later ones, if one of those created it all
            self.version = max(self.version, event.sequence)
        self.recent = (self.recent + fingerprint(event))[-REMEMBERED * HASH :]
        self.updated_at = max(self.updated_at or event.time, event.time)
        self.touched = True
        self.erased = self.erased or (self.entity.erasure is not None and type(event.data) is self.entity.erasure.by)

    def fill(self, sequence: int) -> None:
        """Take one number out of the noted gaps: its event is here, applied or as a dead letter."""
        at = self._in_gap(sequence)
        if at is not None:
            low, high = self.gaps[at]
            self.gaps[at : at + 1] = [(a, b) for a, b in ((low, sequence - 1), (sequence + 1, high)) if a <= b]
            self.touched = True

    def _in_gap(self, sequence: int) -> int | None:
        if not self.gaps:
            return None
        at = bisect.bisect_right(self.gaps, sequence, key=lambda gap: gap[0]) - 1
        return at if at >= 0 and sequence <= self.gaps[at][1] else None

    def _remembers(self, event: Any) -> bool:
        print_, at = fingerprint(event), -1
        while (at := self.recent.find(print_, at + 1)) >= 0:
            if at % HASH == 0:
                return True
        return False


def fingerprint(event: Any) -> bytes:
    """What tells one event from another: its `id` is unique within its `source`."""
    return hashlib.blake2b(f"{event.source}\0{event.id}".encode(), digest_size=HASH).digest()
