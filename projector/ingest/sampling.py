"""While the worker works: a few rows of each view, and documents of its index, compared with what they should be.

On a connection and in transactions of its own, without the group's lock: it holds nothing up, and what would take long
is given up. It rests for a hundred times as long as it looked.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from projector.apply.compare import SERVED, Comparing
from projector.declare.projections import Projections
from projector.declare.view import Relation, View
from projector.errors import PrejoinError
from projector.ingest.ledger import PASSING
from projector.ingest.metrics import Metrics
from projector.logs import logger
from projector.settings import Settings
from projector.store import drift
from projector.store.connect import connect
from projector.store.sampling import Ranges

log = logger(__name__)

ROWS = 20  # looked at in one go
LIMITS = "SET statement_timeout = '250ms'; SET lock_timeout = '50ms'; SET max_parallel_workers_per_gather = 0"
REST = 100  # times as long as it looked
SECONDS_TO_SETTLE = 1.0  # before a row that differs is looked at again
SECONDS_FOR_INDEX = 5.0
SECONDS_BETWEEN_TRIES = 10.0  # while Postgres is away


class Sampler:
    """Looks at one relation after the other, for ever."""

    def __init__(self, settings: Settings, projections: Projections, metrics: Metrics) -> None:
        self._settings, self._projections, self._metrics = settings, projections, metrics
        self._comparing = Comparing(projections)
        self._connection: psycopg.Connection[Any] | None = None

    async def run(self) -> None:
        """Ends by cancellation alone: whatever fails here has no say in the worker's work."""
        rate = self._settings.verify_rows_per_second
        relations = [r for r in self._projections.relations if r.stored]
        if not rate or not relations:
            await asyncio.Event().wait()
        while True:
            for relation in relations:
                spent = await self._timed(relation)
                await asyncio.sleep(max(ROWS / rate, spent * REST))

    async def _timed(self, relation: Relation) -> float:
        """Look at one; returns the seconds that it took."""
        began, settled = time.monotonic(), 0.0
        try:
            settled = await asyncio.to_thread(self._look, relation)
            if isinstance(relation, View) and relation.search and self._settings.elasticsearch_url:
                await self._look_at_index(relation)
        except psycopg.errors.QueryCanceled:  # it would take long: a rollup's group is large, or all is busy
            log.debug("too long to verify", action="sample_skipped", view=relation.name)
        except (PrejoinError, TimeoutError, *PASSING) as error:
            log.debug("not verified", action="sample_failed", view=relation.name, error=type(error).__name__)
            return SECONDS_BETWEEN_TRIES / REST
        except psycopg.Error as error:  # a generation was dropped: the next look is at another one
            log.debug("not verified", action="sample_failed", view=relation.name, error=type(error).__name__)
        return time.monotonic() - began - settled

    def _look(self, relation: Relation) -> float:
        """Compare a few rows at a random place; what differs, and does so in a later snapshot too, is drift.

        Returns the seconds that it waited between the two.
        """
        with self._snapshot() as (cursor, served):
            if served is None:
                return 0.0  # keys are pending: a row that waits is no drift
            ranges = Ranges(1, ROWS)
            low = ranges.starts(self._comparing.anywhere(cursor, relation, served, ranges.many))[0]
            high = self._comparing.bound(cursor, relation, served, low, ROWS)
            before = self._comparing.nearby(cursor, relation, served, low, high)
        self._metrics.verified(relation.name, before.rows)
        if before.different:
            time.sleep(SECONDS_TO_SETTLE)
            with self._snapshot() as (cursor, served):
                if served is None:
                    return SECONDS_TO_SETTLE
                after = self._comparing.nearby(cursor, relation, served, low, high)
            keys = [key for key, *_ in before.listed]
            self._see(relation.name, [(key, kind) for key, _, kind, _ in after.listed if key in keys])
        self._count()
        return SECONDS_TO_SETTLE if before.different else 0.0

    def _see(self, relation: str, found: list[tuple[list[Any], str]]) -> None:
        if found:
            self._connected().execute(drift.SEE, drift.seen(relation, drift.VIEW, found))
            _tell(relation, Counter(kind for _, kind in found))

    async def _look_at_index(self, view: View) -> None:
        from projector.search.keeping import keeping
        from projector.search.verify import SearchVerifier

        at = self._settings.writer_url, self._settings.search_urls, self._settings.group, self._projections
        async with asyncio.timeout(SECONDS_FOR_INDEX), keeping(*at, view) as kept:
            found = await SearchVerifier(kept).verify(sample=Ranges(1, ROWS))
        self._metrics.verified(view.name, found.documents)
        _tell(view.name, Counter(f"search_{kind}" for _, kind in found.differences))

    def _count(self) -> None:
        """Tell what is known to differ, whoever has seen it; a whole `prejoin verify` has cleared what does not."""
        rows = self._connected().execute(drift.COUNTED).fetchall()
        self._metrics.drift(
            {(name, kind if place == drift.VIEW else f"search_{kind}"): keys for name, place, kind, keys in rows}
        )

    @contextmanager
    def _snapshot(self) -> Iterator[tuple[psycopg.Cursor[Any], dict[str, int] | None]]:
        """One snapshot, and the generations served in it; None where keys are pending."""
        with self._connected().transaction(), self._connected().cursor() as cursor:
            served, pending = cursor.execute(SERVED).fetchone() or ({}, True)
            yield cursor, None if pending else served

    def _connected(self) -> psycopg.Connection[Any]:
        if self._connection is None or self._connection.closed:
            name = "prejoin sampling"
            self._connection = connect(self._settings.writer_url, self._settings.group, autocommit=True, name=name)
            self._connection.execute(LIMITS)
            self._connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        return self._connection


def _tell(view: str, kinds: Counter[str]) -> None:
    for kind, keys in kinds.items():
        log.warning("rows differ from what they should be", action="drift", view=view, kind=kind, keys=keys)
