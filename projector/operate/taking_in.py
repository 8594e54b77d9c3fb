"""What batches have captured, taken into the generations that are being built, by the plan of who builds them."""

import itertools
from typing import Any

import psycopg

from projector.apply import captured
from projector.apply.plan import FAN_OUT, PORTION, Plan
from projector.declare.projections import Projections
from projector.errors import OutOfDate, PrejoinError
from projector.operate.filling import PHASE, Filling, Progress, Step
from projector.store import definitions
from projector.store.locks import locked

TAKEN = 200  # changes taken in at once, which batches wait for: some 30 ms; more where they bring more meanwhile
TAKES = 10  # after so many of these it is looked at what batches bring
FEW = 200  # changes and keys that may be left for the switch, which they wait for, too

# What must hold as long as it is built, and what the plan needs to know; see `write.FEW` for the last.
_OPEN = """
SELECT (SELECT declarations = %(digest)s OR coming = %(digest)s FROM projection_group),
  (SELECT coalesce(jsonb_object_agg(relation, generation), '{}') FROM generations WHERE state = 'building'),
  ARRAY(SELECT relation FROM search_generations AS s JOIN generations AS g USING (relation, generation)
        WHERE g.state = 'building' AND s.state <> 'gone'),
  set_config('plan_cache_mode', 'force_generic_plan', true)
"""
_PENDING = """
SELECT coalesce(sum(cardinality(keys)), 0) FROM pending JOIN generations USING (relation, generation)
WHERE relation = ANY(%s) AND state = 'building'
"""


class TakingIn(Filling):
    """Keeps the generations that a run builds, `_names`, up with the entities, from when they are filled."""

    def __init__(self, group: str, projections: Projections, word_indexes: bool) -> None:
        super().__init__(group, projections, word_indexes)
        self._digest = definitions.declarations_digest(projections)
        self._names: list[str] = []
        self._plan: Plan | None = None
        self._most = TAKEN

    def _catch_up(self, connection: psycopg.Connection[Any], progress: Progress) -> None:
        """Take in what batches have captured meanwhile, until the rest is little enough to do at the switch.

        Or as little as it gets, where large batches come one after another.
        """
        before = None
        while True:
            connection.execute(PHASE, ("draining", self._names))
            with connection.cursor() as cursor:
                left, behind = self._left(cursor), captured.behind(cursor, self._names)
            no_less = before is not None and left > before // 2 and behind <= self._most
            if left <= FEW or (left <= FAN_OUT and no_less):
                return
            before = left
            self._take_all(connection, left, behind, progress)

    def _take_all(self, connection: psycopg.Connection[Any], left: int, behind: int, progress: Progress) -> None:
        """Take in so many changes and keys, more at once where batches bring about as much meanwhile."""
        takes = itertools.count(1)
        while left > 0:
            with locked(connection, self._group) as cursor:
                done = self._take_in(cursor, self._most)
                if next(takes) % TAKES == 0:
                    before, behind = behind, captured.behind(cursor, self._names)
                    self._most = _at_once(self._most, before, behind)
            if not done:
                return
            left -= done
            progress(Step("", "draining", max(left, 0), None))

    def _take_rest(self, cursor: psycopg.Cursor[Any]) -> bool:
        """Take in all of it, while batches wait; not where that is much, for a few keys may reach many: False then."""
        while self._left(cursor) <= FAN_OUT:
            if not self._take_in(cursor, FAN_OUT):
                return True
        return False

    def _left(self, cursor: psycopg.Cursor[Any]) -> int:
        """How many changes of entities, and keys that those have reached, are to be taken in."""
        (keys,) = cursor.execute(_PENDING, (self._names,)).fetchone() or (0,)
        return int(keys) + captured.left(cursor, self._names)

    def _take_in(self, cursor: psycopg.Cursor[Any], most: int) -> int:
        """Take in some of it, of what was captured so much at most; returns how much, 0 where there is none."""
        plan = self._open(cursor)
        changes = captured.take(cursor, self._names, most)
        if changes.count:
            plan.take_in(cursor, changes)
            captured.taken(cursor, self._names, changes.last)
            return changes.count
        return 0 if plan.drain(cursor, self._names) is None else PORTION

    def _built(self) -> dict[str, int]:
        return {name: self._generations[name] for name in self._names}

    def _open(self, cursor: psycopg.Cursor[Any]) -> Plan:
        """The plan of what is being built, while that is what this run builds."""
        building, searched = self._check(cursor)
        if not self._built().items() <= building.items():
            raise PrejoinError("the rebuild was given up meanwhile, by `prejoin migrate` or --abort: begin again")
        if self._plan is None:
            self._plan = Plan(self._projections, self._generations, self._names)
        self._plan.searched = frozenset(searched) & frozenset(self._names)
        return self._plan

    def _check(self, cursor: psycopg.Cursor[Any]) -> tuple[dict[str, int], list[str]]:
        """What is being built, and has search indexes. Raises OutOfDate where the group has other declarations."""
        opened: Any = cursor.execute(_OPEN, {"digest": self._digest}).fetchone()
        ours, building, searched, _ = opened
        if not ours:
            raise OutOfDate(
                "the database was not migrated to the declarations that this process has: run `prejoin migrate` with "
                "this release, or the rebuild with the newer one"
            )
        return building, searched


def _at_once(most: int, before: int, behind: int) -> int:
    """How many to take in at once, where TAKES times `most` of them made those left from `before` to `behind`.

    A rule of thumb. Batches wait for each take: beside 1,000 events/s their p99 was 819 ms with 5,000 changes at once,
    some 300 with 500, and 203 and 255 with 200 (bench/README.md). But a worker that is behind applies a batch between
    two takes, of up to 12,000 records, and then 200 at once never end. So where batches bring back more than three
    quarters of what is taken, four times as many are: 200, 800, 3,200, 12,800, and FAN_OUT at most. It goes back where
    they bring less than an eighth. What was three quarters is three sixteenths of four times as many, which is more
    than that: the same batches do not make it go up and down.
    """
    less, taken = before - behind, TAKES * most
    if less < taken // 4 and behind > most:
        return min(4 * most, FAN_OUT)
    return max(most // 4, TAKEN) if less > taken * 7 // 8 else most
