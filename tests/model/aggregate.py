"""One aggregate: which of its events are applied, and where a replayed one belongs (contract section 7)."""

from dataclasses import dataclass, field

from tests.model.events import Event

WINDOW = 1000


@dataclass(frozen=True)
class Entry:
    """An applied event and its place in the log: its own offset, unless a replay had to put it behind another's."""

    event: Event
    place: tuple[int, int]


@dataclass
class Aggregate:
    """The applied events in their order, and the sequences that came late and have not been replayed."""

    log: list[Entry] = field(default_factory=list)
    late: set[int] = field(default_factory=set)

    @property
    def events(self) -> list[Event]:
        return [entry.event for entry in self.log]

    @property
    def sequences(self) -> set[int]:
        return {entry.event.sequence for entry in self.log if entry.event.sequence is not None}

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
        self.log.append(Entry(event, (event.offset, -1)))
        return "applied"

    def replay(self, event: Event) -> str:
        """Put a dead letter's event in its place and judge all behind it again; return as `apply` does."""
        if not self.log and not event.creates:
            return "orphan"
        if event.sequence in self.sequences:
            return "duplicate"
        index, place = self._place(event)
        if event.sequence is None and _recently_applied(event, self.log[:index]):
            return "duplicate"
        log = [*self.log[:index], Entry(event, place)]
        for entry in self.log[index:]:
            if entry.event.sequence is not None or not _recently_applied(entry.event, log):
                log.append(entry)
        self.log = log
        self.late.discard(event.sequence or 0)
        return "applied"

    def _place(self, event: Event) -> tuple[int, tuple[int, int]]:
        """By sequence where both events have one, else by offset; what cannot create comes behind what did."""
        first, last = 0, len(self.log)
        if event.sequence is not None:
            numbers = [entry.event.sequence or 0 for entry in self.log]
            first = max((at + 1 for at, number in enumerate(numbers) if 0 < number < event.sequence), default=0)
            last = min((at for at, number in enumerate(numbers) if number > event.sequence), default=last)
        if not event.creates:
            first = max(first, 1)
            last = max(first, last)
        place = (event.offset, -1)
        if first > 0 and self.log[first - 1].place > place:
            place = (self.log[first - 1].place[0], event.offset)
        index = next((at for at in range(first, last) if self.log[at].place > place), last)
        if index > 0 and index < len(self.log) and place > self.log[index].place:
            place = (self.log[index - 1].place[0], event.offset)
        return index, place


def _recently_applied(event: Event, log: list[Entry]) -> bool:
    return any((entry.event.source, entry.event.id) == (event.source, event.id) for entry in log[-WINDOW:])
