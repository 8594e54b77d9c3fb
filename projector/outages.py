"""Outages that pass: what can be begun again goes on by itself once the server is back."""

import math
import time
from collections.abc import Callable, Hashable
from typing import TypeVar

import psycopg
from sqlalchemy.exc import DBAPIError

from projector.errors import Passing, PrejoinError

PATIENCE = 120.0  # seconds of an outage that a command which ends by itself waits for
FIRST_WAIT, LONGEST_WAIT = 0.5, 5.0

# What Postgres says where it ends a session, or takes none for now. All else it says of one that goes on.
_ENDED = ("08", "57P", "25P03", "53300")

Result = TypeVar("Result")
Step = TypeVar("Step", bound=Hashable)


def passes(error: BaseException) -> bool:
    """Whether the same may do when it is tried again: a server is away, or has ended the connection."""
    cause = _cause(error)
    if isinstance(cause, psycopg.Error):
        lost = cause.sqlstate is None and isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError)
        return lost or (cause.sqlstate or "").startswith(_ENDED)
    return isinstance(cause, Passing)


def said_by(error: psycopg.Error) -> str:
    """The first line of what Postgres, or its driver, says."""
    return error.diag.message_primary or next(iter(str(error).splitlines()), "no answer")


def gave_up(error: BaseException) -> str:
    """What to say of a connection to Postgres that was lost, in a line."""
    cause = _cause(error)
    said = said_by(cause) if isinstance(cause, psycopg.Error) else "no answer"
    return f"Postgres (PREJOIN_DATABASE_URL) gave up: {said}; give the command again when it is back"


def in_a_line(error: BaseException) -> str:
    """What to say of an error of a server, in a line."""
    return str(error) if isinstance(error, PrejoinError) else gave_up(error)


class Insisting:
    """Does work that goes on where it was, again and again while a server is away, for `patience` seconds at most.

    `say` is told each outage, in a line. Work that moves tells `moved` how far it is: an outage behind that is another.
    """

    def __init__(
        self,
        say: Callable[[str], object],
        patience: float = PATIENCE,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._say, self._patience, self._sleep = say, patience, sleep
        self._seen = set[Hashable]()
        self._begun: float | None = None  # when the outage was noticed
        self._wait = FIRST_WAIT

    def moved(self, step: Hashable) -> None:
        """Take note that the work is at a step; what was there before, it has begun again."""
        if step not in self._seen:
            self._seen.add(step)
            self._begun = None

    def run(self, work: Callable[[], Result]) -> Result:
        """What `work` returns. Raises what it raises that does not pass, or does not in time."""
        while True:
            try:
                return work()
            except (psycopg.Error, DBAPIError, PrejoinError) as error:
                if not passes(error) or not self._bears(error):
                    raise
            self._sleep(self._wait)
            self._wait = min(2 * self._wait, LONGEST_WAIT)

    def _bears(self, error: BaseException) -> bool:
        now = time.monotonic()
        if self._begun is None:
            self._begun, self._wait = now, FIRST_WAIT
            wrong, _, remedy = in_a_line(error).rpartition("; ")
            limit = "" if math.isinf(self._patience) else f", for {self._patience:.0f} s at most"
            self._say(f"{wrong or remedy}; trying again{limit}")
        return now - self._begun < self._patience


def through_outages(
    work: Callable[[Callable[[Step], None]], Result], tell: Callable[[Step], object], say: Callable[[str], object]
) -> Result:
    """What `work` returns, done by `Insisting`; it is given what to tell its steps, of which `tell` is told."""
    insisting = Insisting(say)

    def told(step: Step) -> None:
        insisting.moved(step)
        tell(step)

    return insisting.run(lambda: work(told))


def _cause(error: BaseException) -> BaseException:
    return getattr(error, "orig", None) or error  # SQLAlchemy's errors carry the driver's
