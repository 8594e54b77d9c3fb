"""How fresh an answer is, and waiting until it is fresh enough."""

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import NamedTuple

from psycopg import errors
from starlette.requests import Request

from read_api.database import Database
from read_api.fields import field
from read_api.problems import ParameterError, Problem, bad_request, unavailable

MIN_POSITION, PREFER, APPLIED = "Prejoin-Min-Position", "Prefer", "Preference-Applied"
MAX_WAIT = 30
SECONDS_BETWEEN_LOOKS = 0.025
SECONDS_AFTER_AN_ERROR = 0.5
# While keys wait to be refreshed, rows lack what is applied already: then nothing counts as reached, as for As-Of.
POSITIONS = """
SELECT topic, partition, next FROM positions
WHERE NOT EXISTS (SELECT FROM pending_count JOIN served USING (relation, generation))
"""

Positions = Mapping[tuple[str, int], int]
"""The last applied offset by topic and partition."""

_ONE = r"([A-Za-z0-9._-]{1,249})/([0-9]{1,9})@([0-9]{1,18})"
POSITIONS_PATTERN = f"^{_ONE}(,{_ONE})*$"
_POSITION = re.compile(_ONE, re.ASCII)
# RFC 7240: a list of preferences, `name=value; parameter…`, values perhaps quoted
_PREFERENCE = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.?)*(?:"|$))+', re.DOTALL)  # nothing to go back on: linear


class Freshness(NamedTuple):
    """What an answer was read at: As-Of in RFC 3339 (None before the first), seconds since, positions, generation."""

    as_of: str | None
    lag: Decimal | None
    positions: Sequence[str]
    generation: int = 0

    def headers(self) -> dict[str, str]:
        """The freshness headers; those that cannot be told yet are left out."""
        found = {"Prejoin-Position": ",".join(self.positions)} if self.positions else {}
        if self.as_of is not None and self.lag is not None:
            found |= {"Prejoin-As-Of": self.as_of, "Prejoin-Lag": f"{self.lag.normalize():f}"}
        return found

    def reaches(self, wanted: Positions) -> bool:
        """Whether all of the positions are applied."""
        return not wanted or reached(wanted, parse_positions(self.positions))


class Wanted(NamedTuple):
    """What a request asks for: positions to be applied, and how many seconds it would wait; None: not at all."""

    positions: Positions
    wait: int | None

    def headers(self) -> dict[str, str]:
        """What says that the preference was honoured."""
        return {APPLIED: f"wait={self.wait}"} if self.positions and self.wait is not None else {}


def parse_positions(texts: Iterable[str]) -> dict[tuple[str, int], int]:
    """Read `orders/0@1234`…; of one partition the highest counts. Raises ValueError."""
    found: dict[tuple[str, int], int] = {}
    for text in texts:
        match = _POSITION.fullmatch(text.strip())
        if match is None:
            raise ValueError("should be positions such as orders/0@1234,payments/1@88")
        at = match[1], int(match[2])
        found[at] = max(found.get(at, 0), int(match[3]))
    return found


def reached(wanted: Positions, applied: Positions) -> bool:
    """Whether each wanted offset is applied; a partition that nobody knows is not."""
    return all(applied.get(at, -1) >= offset for at, offset in wanted.items())


def read_wanted(request: Request) -> Wanted:
    """The positions that a request asks for. Raises a 400 Problem."""
    text = field(request.scope, MIN_POSITION.lower().encode())
    if text is None:
        return Wanted({}, None)
    try:
        positions = parse_positions(text.split(","))
    except ValueError as error:
        raise bad_request([ParameterError(MIN_POSITION, str(error))]) from None
    return Wanted(positions, read_wait(request.headers.getlist(PREFER)))


def read_wait(lines: Iterable[str]) -> int | None:
    """The seconds of `Prefer: wait=N`, at most MAX_WAIT. RFC 7240: the first counts, a wrong one is ignored."""
    for preference in (found for line in lines for found in _PREFERENCE.findall(line)):
        name, _, value = preference.partition(";")[0].partition("=")
        if name.strip().lower() == "wait":
            seconds = re.fullmatch(r'"?([0-9]+)"?', value.strip(), re.ASCII)
            return min(int(seconds[1].lstrip("0")[:9] or "0"), MAX_WAIT) if seconds else None
    return None


def too_early(wanted: Wanted, now: Freshness) -> Problem:
    """503: what was asked for is not applied yet, or not to all rows; its headers tell what is."""
    waited = f" after {wanted.wait} s" if wanted.wait else ""
    rows = " to all rows" if now.reaches(wanted.positions) else ""
    problem = unavailable(f"the positions asked for are not applied{rows} yet{waited}", "position-not-reached")
    problem.headers |= now.headers() | wanted.headers()
    return problem


class Waiters:
    """Requests that wait for positions: however many there are, one task looks, and only while there are any."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: dict[asyncio.Future[None], Positions] = {}
        self._looking: asyncio.Task[None] | None = None
        self._come = asyncio.Event()  # somebody has, since the last look began

    async def wait(self, wanted: Positions, seconds: float) -> bool:
        """Whether the positions are applied to all rows, within so many seconds. Raises a 503 Problem.

        What is read after that has them: nothing that is applied later takes that back.
        """
        if not seconds:
            return reached(wanted, await self._applied())
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[done] = wanted
        self._come.set()
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look(), name="positions")
        try:
            async with asyncio.timeout(seconds):
                await done
        except TimeoutError:
            return False
        finally:
            self._waiting.pop(done, None)
        return True

    async def close(self) -> None:
        """Stop looking."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def _applied(self) -> Positions:
        try:
            rows = await self._database.all(POSITIONS)
        except (errors.UndefinedTable, errors.InsufficientPrivilege):
            return {}  # not migrated: who reads the view says so
        return {(topic, partition): following - 1 for topic, partition, following in rows}

    async def _look(self) -> None:
        while self._waiting:
            self._come.clear()
            try:
                applied = await self._applied()
            except Problem:
                await asyncio.sleep(SECONDS_AFTER_AN_ERROR)  # each waiter has its own deadline
                continue
            for done, wanted in list(self._waiting.items()):
                if reached(wanted, applied) and not done.done():
                    done.set_result(None)
                    del self._waiting[done]
            with suppress(TimeoutError):
                async with asyncio.timeout(SECONDS_BETWEEN_LOOKS):
                    await self._come.wait()
