"""How much one caller may ask: so many requests a minute, in this process, and more as time passes.

Told by draft-ietf-httpapi-ratelimit-headers-10.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable

from read_api.problems import Problem

SECONDS = 60
MOST_CALLERS = 10_000  # that are remembered; the one that has not asked for longest is forgotten, its allowance whole
EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"


class Rates:
    """A bucket of `most` requests a caller, filled anew within a minute."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = most, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # what is left, and when that was

    def take(self, caller: str) -> dict[str, str]:
        """Take one request; returns the headers that tell what is left. Raises a 429 Problem where none is."""
        if not self._most:
            return {}
        now = self._clock()
        left, at = self._buckets.pop(caller, (float(self._most), now))
        left = min(self._most, left + (now - at) * self._most / SECONDS)
        allowed = left >= 1
        self._buckets[caller] = (left - 1 if allowed else left, now)
        if len(self._buckets) > MOST_CALLERS:
            self._buckets.popitem(last=False)
        headers = self._headers(left - 1 if allowed else 0)
        if not allowed:
            after = math.ceil((1 - left) * SECONDS / self._most)
            raise Problem(
                429,
                f"more than {self._most:,} requests in a minute: try again in {after} s",
                headers=headers | {"Retry-After": str(after)},
                kind=EXCEEDED,
            )
        return headers

    def _headers(self, left: float) -> dict[str, str]:
        whole_in = math.ceil((self._most - left) * SECONDS / self._most)
        return {
            "RateLimit-Policy": f'"requests";q={self._most};w={SECONDS}',
            "RateLimit": f'"requests";r={int(left)};t={whole_in}',
        }
