"""As-Of and "stuck", as arithmetic on what a heartbeat saw: no clock, no I/O."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import NamedTuple

from projector.apply.batch import TopicPartition

MAX_CAPTURES = 64
# A rebalance stops all for up to 15 s where a member froze; from a stall to the end of the process it must be 30.
SECONDS_WITHOUT_PROGRESS, SECONDS_TO_SUSPECT = 20.0, 10.0
SECONDS_FOR_ITS_TURN = 120.0  # of one partition while others move: in a backlog each waits for those before it
SECONDS_UNSEEN = 5.0


class Capture(NamedTuple):
    """The broker's ends, asked for after `at`; partitions that hold nothing are left out."""

    at: datetime
    ends: Mapping[TopicPartition, int]


class Freshness:
    """Which of the moments noted have been reached: all that the broker held then is applied.

    Several captures are kept, so that As-Of moves steadily while events keep coming. Under a long backlog they are
    thinned out, never dropped at the old end: the oldest is the next to be reached.
    """

    def __init__(self) -> None:
        self._captures: list[Capture] = []

    def note(self, capture: Capture) -> None:
        """Keep a capture, which is newer than those before."""
        if len(self._captures) >= MAX_CAPTURES:
            self._captures = self._captures[::2]
        self._captures.append(capture)

    def reached(self, positions: Mapping[TopicPartition, int], pending: bool) -> datetime | None:
        """Find the newest moment that these positions have reached, if any; pending keys hold all back."""
        if pending:
            return None
        at = None
        while self._captures and _covers(positions, self._captures[0].ends):
            at = self._captures.pop(0).at
        return at


class Stall(NamedTuple):
    """A partition with something to apply: how long nothing at all has moved, and how long it has not."""

    partition: TopicPartition
    seconds: float
    its_own: float

    @property
    def is_suspect(self) -> bool:
        """Long enough to be told."""
        return self.seconds >= SECONDS_TO_SUSPECT

    @property
    def is_stuck(self) -> bool:
        """Too long for any known reason."""
        return self.seconds >= SECONDS_WITHOUT_PROGRESS or self.its_own >= SECONDS_FOR_ITS_TURN


class Watchdog:
    """Finds a partition with something to apply whose position does not move.

    It judges only what it saw happen: after a pause (Kafka was away, the machine slept) it begins anew.
    """

    def __init__(self) -> None:
        self._moved: dict[TopicPartition, tuple[int, float]] = {}
        self._progress = self._looked = 0.0

    def stalled(
        self,
        now: float,
        watched: Collection[TopicPartition],
        positions: Mapping[TopicPartition, int],
        ends: Mapping[TopicPartition, int],
        excused: bool = False,
    ) -> Stall | None:
        """Find the one that has lagged and not moved for longest; excused time does not count.

        `positions` has no entry where nothing was applied yet; `now` is in seconds of any clock that only grows.
        """
        before, self._moved = self._moved if now - self._looked <= SECONDS_UNSEEN else {}, {}
        self._looked = now
        for partition in watched:
            position, end = positions.get(partition, 0), ends.get(partition, 0)
            last, since = before.get(partition, (position, now))
            if excused or position != last:
                since = self._progress = now
            if position >= end:
                since = now
            self._moved[partition] = (position, since)
        if not self._moved:
            return None
        partition = min(self._moved, key=lambda tp: self._moved[tp][1])
        since = self._moved[partition][1]
        return Stall(partition, now - max(since, self._progress), now - since)


def _covers(positions: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]) -> bool:
    return all(positions.get(partition, 0) >= end for partition, end in ends.items())
