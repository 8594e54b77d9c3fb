"""One aggregate: which of its events are applied, and where a replayed one belongs (contract section 7)."""

from dataclasses import dataclass, field

from tests.model.events import Event

WINDOW = 1000


@dataclass
class Aggregate:
    """The applied events in their order, as they arrived and as replays have put more between them."""

    log: list[Event] = field(default_factory=list)
    arrived: list[Event] = field(default_factory=list)
    mended: list[Event] = field(default_factory=list)
    late: set[int] = field(default_factory=set)

    @property
    def events(self) -> list[Event]:
        return self.log

    @property
    def sequences(self) -> set[int]:
        return {event.sequence for event in self.log if event.sequence is not None}

    @property
    def version(self) -> int:
        return max(self.sequences, default=0)

    def apply(self, event: Event) -> str:
        """Return `applied`, `duplicate`, `late` or `orphan`."""
        if not self.log and not event.creates:
            return "orphan"
        if event.sequence is None:
            if _recently_applied(event, self.log):
                return "duplicate"
        elif event.sequence <= self.version:
            if event.sequence in self.sequences | self.late:
                return "duplicate"
            self.late.add(event.sequence)
            return "late"
        self.log.append(event)
        self.arrived.append(event)
        return "applied"

    def replay(self, event: Event) -> str:
        """Tell the history anew with a dead letter's event in its place; return as `apply` does."""
        if not self.log and not event.creates:
            return "orphan"
        if event.sequence in self.sequences:
            return "duplicate"
        history = list(self.arrived)
        # what can create comes first: only then is it known what the others must stand behind
        for other in sorted([*self.mended, event], key=lambda e: (not e.creates, e.sequence or 0, e.offset)):
            history.insert(_place(other, history), other)
        log: list[Event] = []
        for other in history:
            if other.sequence is not None or not _recently_applied(other, log):
                log.append(other)
        if not any(other is event for other in log):
            return "duplicate"
        self.log = log
        self.mended.append(event)
        self.late.discard(event.sequence or 0)
        return "applied"


def _place(event: Event, history: list[Event]) -> int:
    """By sequence where both events have one, else by offset; what cannot create comes behind what did."""
    first, last = 0, len(history)
    if event.sequence is not None:
        for at, other in enumerate(history):
            if other.sequence is not None and other.sequence < event.sequence:
                first = at + 1
        for at, other in reversed(list(enumerate(history))):
            if other.sequence is not None and other.sequence > event.sequence:
                last = at
    if not event.creates:
        first = max(first, 1)
    for at in range(first, last):
        if history[at].offset > event.offset:
            return at
    return max(first, last)


def _recently_applied(event: Event, log: list[Event]) -> bool:
    return any((other.source, other.id) == (event.source, event.id) for other in log[-WINDOW:])
