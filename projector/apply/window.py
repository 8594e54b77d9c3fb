"""The last records of a worker, and how many of them were bad."""

from collections import deque
from typing import Self

SIZE = 1_000  # records by which a worker judges whether most of what arrives is bad (CONTRACT, section 7)


class Window:
    """Whether each of the last `size` records was bad, and the count of those that were."""

    def __init__(self, size: int = SIZE) -> None:
        self.size, self.bad = size, 0
        self._records: deque[bool] = deque(maxlen=size)

    def copy(self) -> Self:
        """The same window, to go on from and be dropped where nothing is committed."""
        other = type(self)(self.size)
        other.bad, other._records = self.bad, self._records.copy()
        return other

    def add(self, bad: bool) -> None:
        """Take in one record; the oldest leaves a full window."""
        if self.full:
            self.bad -= self._records[0]
        self._records.append(bad)
        self.bad += bad

    @property
    def full(self) -> bool:
        """Whether as many records were seen as it holds."""
        return len(self._records) == self.size
