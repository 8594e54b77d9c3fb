"""`prejoin verify`: each view against what its definition says over the entities, row by row; and its repair.

Views are verified one by one, each against the entities alone, never against another view: so a drifted row is told
once, where it is, and mending it touches nothing else. The applier keeps rows equal in every snapshot but for pending
keys: those are drained first, and a difference is looked at twice. A sample looks at ranges of keys chosen at random,
at first over what a view reads, as that is stored: so it costs what it looks at; and only what differs so is judged.
"""

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import psycopg
from sqlalchemy import Integer

from projector.apply.applier import Applier
from projector.apply.change import Change, key_text
from projector.apply.compare import SERVED, Compared, Comparing, Generations, expected_rows
from projector.apply.refresh import Condition
from projector.apply.write import THESE_KEYS
from projector.declare.projections import Projections
from projector.declare.sql import among_keys, quoted, render
from projector.declare.view import Relation
from projector.errors import NotMigrated, OutOfDate, PrejoinError
from projector.store import drift
from projector.store.connect import connect
from projector.store.names import generation_name
from projector.store.refused import storing
from projector.store.sampling import Ranges

RANGE = 100_000  # rows compared in one snapshot; bounds memory, and how long vacuum is held back
TOLD = 1_000  # differences listed; the rest are counted
FEW = 1_000  # rows that a sample is of at least before it may be all there are: there may be others that are missing
ATTEMPTS = 5  # at a snapshot whose table is dropped before it is read: another generation is served then

_ABOUT = """
SELECT greatest(reltuples, 0)::bigint, pg_relation_size(oid) FROM pg_class
WHERE oid = to_regclass(%s) AND relkind = 'r'
"""
_SMALL = 4 << 20  # bytes of a table whose rows are counted

T = TypeVar("T")


class Sample(NamedTuple):
    """How much to look at: so many rows of each view, or a share of them (from 0 to 1)."""

    rows: int = 0
    share: float = 0.0

    @classmethod
    def of(cls, text: str) -> "Sample":
        """`1%`, `0.1%`, or a whole number of rows, `1000`. Raises PrejoinError."""
        if re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,6})?%", text) and 0 < float(text[:-1]) <= 100:
            return cls(share=float(text[:-1]) / 100)
        if re.fullmatch(r"[1-9][0-9]{0,11}", text):
            return cls(rows=int(text))
        raise PrejoinError(f"--sample {text}: write a share, 1% or 0.1%, or a whole number of rows, 1000")

    def out_of(self, rows: int) -> int:
        """How many of so many rows; one at least."""
        return max(1, self.rows or round(rows * self.share))


@dataclass(frozen=True)
class Difference:
    """One row that is not what it should be. `kind`: missing, extra or different (in `columns`)."""

    view: str
    key: list[Any]
    kind: str
    columns: list[str]


@dataclass
class Verified:
    """What was found in one view; `repaired` rows do not differ any more. `of`: its rows, about, where sampled."""

    view: str
    rows: int = 0
    different: int = 0
    repaired: int = 0
    differences: list[Difference] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    of: int | None = None
    seconds: float = 0.0

    @property
    def share(self) -> float | None:
        """The share of the rows that was looked at; None: all were."""
        return None if self.of is None else min(1.0, self.rows / max(self.of, self.rows, 1))


Progress = Callable[[str, int], None]


class Verifier:
    """Verifies and repairs the relations of one group. `progress` is told view and rows compared so far."""

    def __init__(self, url: str, group: str, projections: Projections) -> None:
        self._url, self._group, self._projections = url, group, projections
        self._applier = Applier(url, group, projections)
        self._comparing = Comparing(projections)
        self._connection: psycopg.Connection[Any] | None = None

    def verify(
        self,
        relation: Relation,
        repair: bool = False,
        progress: Progress = lambda view, rows: None,
        sample: Sample | None = None,
    ) -> Verified:
        """Compare each row of one relation, or a sample of them, and mend those that differ if asked to.

        What was found is remembered for `prejoin status`; a whole verify that leaves nothing clears it.
        """
        started, found = time.monotonic(), Verified(relation.name)
        if sample:
            found.of = self.rows_about(relation)
        self._drain()
        some = sample.out_of(found.of or 0) if sample else None
        for low, high in self._ranges(relation) if some is None else self._chosen(relation, some, found.of or 0):
            self._look(relation, low, high, repair, sample is not None, found)
            progress(relation.name, found.rows)
        self._remember(found)
        found.seconds = time.monotonic() - started
        return found

    def rows_about(self, relation: Relation, sample: Sample | None = None) -> int:
        """How many rows it has, by Postgres's statistics where they are many, or how many of them a sample takes."""
        table = relation if relation.stored else next(
            r for r in self._projections.relations if r.table is relation.query.get_final_froms()[0]
        )  # fmt: skip

        def ask(cursor: psycopg.Cursor[Any], served: Generations) -> int:
            name = quoted(generation_name(table.name, served[table.name]))
            rows, size = cursor.execute(_ABOUT, (name,)).fetchone() or (0, 0)
            if size <= _SMALL:
                (rows,) = cursor.execute(f"SELECT count(*) FROM {name}").fetchone() or (0,)
            return int(rows)

        rows = self._snapshot(relation, ask)
        return sample.out_of(rows) if sample else rows

    def close(self) -> None:
        """Close its connections."""
        self._applier.close()
        if self._connection is not None:
            self._connection.close()

    def _look(
        self, relation: Relation, low: str | None, high: str | None, repair: bool, sampled: bool, found: Verified
    ) -> None:
        """Compare one range; where more differ than one statement lists, mending goes on until none does."""
        compare = self._comparing.nearby if sampled else self._comparing.ranged
        first = True
        while True:
            told = self._snapshot(relation, lambda cursor, served: compare(cursor, relation, served, low, high))
            found.rows += told.rows if first else 0
            if not told.different:
                return
            self._drain()
            differing = self._again(relation, told.listed, repair) if relation.stored else told.listed
            self._note(relation, differing, repair and relation.stored, found)
            more = told.different - len(told.listed)
            if not (more and repair and relation.stored and differing):
                found.different += more  # seen in one snapshot only: nobody looks at so many by name
                return
            first = False

    def _note(self, relation: Relation, differing: list[Any], repaired: bool, found: Verified) -> None:
        found.different += len(differing)
        found.repaired += len(differing) if repaired else 0
        found.kinds.update(kind for _, _, kind, _ in differing)
        told = max(TOLD - len(found.differences), 0)
        found.differences += [
            Difference(relation.name, key, kind, columns) for key, _, kind, columns in differing[:told]
        ]

    def _remember(self, found: Verified) -> None:
        left = [] if found.repaired else [(d.key, d.kind) for d in found.differences]
        values = drift.seen(found.view, drift.VIEW, left)
        with connect(self._url, self._group, name="prejoin verify") as connection:
            if found.of is None:
                connection.execute(drift.CLEAR, values)
            connection.execute(drift.SEE, values)

    def _drain(self) -> None:
        while self._applier.drain():
            pass

    def _snapshot(self, relation: Relation, ask: Callable[[psycopg.Cursor[Any], Generations], T]) -> T:
        """Ask in one snapshot, of the generations served now: one may be switched, and dropped, at any moment."""
        for _ in range(ATTEMPTS):
            if self._connection is None or self._connection.closed:
                self._connection = connect(self._url, self._group, name="prejoin verify")
                self._connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            try:
                with self._connection.transaction(), self._connection.cursor() as cursor:
                    served, _ = cursor.execute(SERVED).fetchone() or ({}, False)
                    if relation.name not in served:
                        raise OutOfDate(f"{relation.name} is not in the database: run `prejoin migrate`")
                    return ask(cursor, served)
            except psycopg.errors.UndefinedTable as error:
                missing = str(error.diag.message_primary)
                if '"served"' in missing:
                    raise NotMigrated(self._group) from None
        raise PrejoinError(f"{relation.name}: a table that it needs is gone ({missing}): run `prejoin rebuild`")

    def _ranges(self, relation: Relation) -> Iterator[tuple[str | None, str | None]]:
        """Bounds of the first key column, so many rows apart, while rows come and go."""
        low: str | None = None
        while True:
            high = self._bound(relation, low, RANGE)
            yield low, high
            if high is None:
                return
            low = high

    def _chosen(self, relation: Relation, rows: int, of: int) -> Iterator[tuple[str | None, str | None]]:
        """Ranges at random places with so many rows together, in order and without overlap."""
        if rows >= max(of, FEW):
            yield from self._ranges(relation)
            return
        ranges = Ranges.of(rows)
        keys = self._snapshot(
            relation, lambda cursor, served: self._comparing.anywhere(cursor, relation, served, ranges.many)
        )
        place: Callable[[str], Any] = int if isinstance(relation.table.c[relation.key[0]].type, Integer) else str
        high: str | None = None
        for low in ranges.starts(keys):
            if low is None or high is None or place(low) >= place(high):
                high = self._bound(relation, low, ranges.span)
                yield low, high
                if high is None:
                    return

    def _bound(self, relation: Relation, low: str | None, rows: int) -> str | None:
        return self._snapshot(
            relation, lambda cursor, served: self._comparing.bound(cursor, relation, served, low, rows)
        )

    def _again(self, relation: Relation, differing: list[Any], repair: bool) -> list[Any]:
        """Under the group's lock and with nothing pending: what differs still, and is mended if asked to.

        A row that waits is no drift; and mended here, it would not move the rollups over it when its turn comes.
        """
        keys, condition = _first_keys(differing)
        with self._applier.transaction() as (cursor, plan, _):
            while plan.drain(cursor) is not None:
                pass
            cursor.execute(THESE_KEYS)
            statement = self._comparing.statement(relation, plan.served, condition)
            differing = Compared(*(cursor.execute(statement, {"keys": keys}).fetchone() or (0, 0, []))).listed
            if repair and differing:
                plan.tell(cursor, [self._repair(cursor, relation, plan.served[relation.name], differing)])
        return differing

    def _repair(self, cursor: psycopg.Cursor[Any], relation: Relation, generation: int, differing: list[Any]) -> Change:
        """Exactly these rows are replaced by what the definition says now; returns which there are, and which not."""
        keys, condition = _first_keys(differing)
        key = f"jsonb_build_array({', '.join(quoted(k) for k in relation.key)})"
        exactly = f"{key} = ANY(%(exact)s::jsonb[])"
        parameters = {"keys": keys, "exact": [json.dumps(whole) for whole, *_ in differing]}
        table = quoted(generation_name(relation.name, generation))
        columns = ", ".join(quoted(c.name) for c in relation.table.c)
        expected = render(expected_rows(self._projections, relation, condition))
        told = key_text(relation.key)
        cursor.execute(f"DELETE FROM {table} WHERE {exactly} RETURNING {told}", parameters)
        gone = {text for (text,) in cursor}
        rows = f"SELECT {columns} FROM ({expected}) e WHERE {exactly}"
        with storing(relation):
            cursor.execute(f"INSERT INTO {table} ({columns}) {rows} RETURNING {told}", parameters)
        there = [text for (text,) in cursor]
        return Change(relation, there, sorted(gone.difference(there)), {})


def _first_keys(differing: list[Any]) -> tuple[list[str], Condition]:
    """The first key columns of the rows that differ, as the parameter `keys`, and the condition that takes them."""
    keys = sorted({first for _, first, *_ in differing if first is not None})
    if any(first is None for _, first, *_ in differing):
        return keys, lambda column: among_keys(column) | column.is_(None)
    return keys, among_keys
