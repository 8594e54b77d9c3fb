"""Whether to ask Elasticsearch at all: after it failed, not for some seconds, so that not each request waits for it."""

import time
from collections.abc import Callable

SECONDS_OFF = 5.0


class Breaker:
    """Lets all through until one fails; then none for some seconds, then one to try; if that fails, none again."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._off_until = 0.0
        self._failed = False

    def lets_through(self) -> bool:
        """Whether this request may ask; it then says how that ended, unless it is cancelled."""
        if not self._failed:
            return True
        if self._clock() < self._off_until:
            return False
        self._off_until = self._clock() + SECONDS_OFF  # the others wait for what this one finds
        return True

    def worked(self) -> None:
        """It answered."""
        self._failed = False

    def failed(self) -> None:
        """It is away, or too slow."""
        self._failed, self._off_until = True, self._clock() + SECONDS_OFF
