"""The last records of a worker, and how many of them were bad."""

from collections import deque


class Window:
    """Whether each of the last `size` records was bad, and the count of those that were."""

    def __init__(self, size: int, last: "Window | None" = None) -> None:
        self._records: deque[bool] = deque(last._records if last else (), maxlen=size)
        self.bad: int = last.bad if last else 0

    def add(self, bad: bool) -> None:
        """Take in one record; the oldest leaves a full window."""
        if self.full:
            self.bad -= self._records[0]
        self._records.append(bad)
        self.bad += bad

    @property
    def full(self) -> bool:
        """Whether as many records were seen as it holds."""
        return len(self._records) == self._records.maxlen
