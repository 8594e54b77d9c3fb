"""`prejoin rebuild`: views made anew from the entities beside those that are served, while events go on; then switched.

Under the group's lock the new generations are registered: from then on each batch marks in `pending` what it changes of
them. They are filled range by range without the lock, get their indexes, and what was marked is refreshed, until little
is left; the rest, and the switch, happen under the lock. So a row is filled from a snapshot that has a change, or the
change has marked it.

What reads each other is rebuilt together: a generation reads generations of its own time.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import psycopg

from projector.apply.applier import Applier
from projector.apply.plan import FAN_OUT, PORTION, Plan, compact
from projector.apply.refresh import restricted
from projector.declare.projections import Projections
from projector.declare.sql import in_range, quoted, render, substitute, type_name
from projector.declare.view import Relation, View, unsound_key
from projector.errors import NotMigrated, PrejoinError
from projector.operate.room import free_bytes
from projector.store import copies, definitions, generations
from projector.store.connect import connect
from projector.store.locks import REBUILD_LOCK
from projector.store.names import generation_name, generation_table, schemas

RANGE = 50_000  # rows filled in one transaction: what an interruption costs at most
FEW = 1_000  # keys that may be left for the switch, which batches wait for

_STAND = "SELECT phase, filled_to, rows, expected FROM rebuilds WHERE relation = %s"
_GONE = ("gone", None, 0, None)
_FILLED = """
UPDATE rebuilds SET phase = %(phase)s, filled_to = %(to)s, rows = rows + %(rows)s, beat_at = now()
WHERE relation = %(relation)s
"""
_PHASE = "UPDATE rebuilds SET phase = %s, beat_at = now() WHERE relation = ANY(%s)"
_INDEXES = "SELECT indexname FROM pg_indexes WHERE schemaname = %s"
_SIZES = """
SELECT relation, generation, greatest(reltuples, 0)::bigint, pg_total_relation_size(c.oid)
FROM served JOIN pg_class AS c ON c.oid = to_regclass(quote_ident(relation || '__g' || generation))
WHERE relation = ANY(%s)
"""


class PlannedView(NamedTuple):
    """What is there of a view: its served generation, and about how many rows and bytes that has, indexes included."""

    view: str
    generation: int
    rows: int
    bytes: int


class Planned(NamedTuple):
    """What would be built; `goes_on` says that an interrupted run has left some of it. `free` are bytes on the disk."""

    rows: list[PlannedView]
    goes_on: bool
    free: int | None

    @property
    def bytes(self) -> int:
        """About how much room it takes."""
        return sum(row.bytes for row in self.rows)


class Step(NamedTuple):
    """How far one view is; `expected` rows are those of the generation before."""

    view: str
    phase: str
    rows: int
    expected: int | None


Progress = Callable[[Step], None]
Search = Callable[[View, int], None]


class Rebuild:
    """One run of `prejoin rebuild` over some relations and all that they are connected with."""

    def __init__(
        self,
        url: str,
        group: str,
        projections: Projections,
        chosen: Sequence[Relation],
        word_indexes: bool = False,
    ) -> None:
        self._url, self._group, self._projections = url, group, projections
        self._word_indexes = word_indexes
        self.relations = projections.connected(chosen)
        self._names = [r.name for r in self.relations]
        self._applier = Applier(url, group, projections)
        self._served: dict[str, int] = {}
        self._generations: dict[str, int] = {}  # what is served, but for what is built

    def plan(self) -> Planned:
        """What would be built, read from the statistics of what is served."""
        with connect(self._url, self._group, autocommit=True, name="prejoin rebuild") as connection:
            try:
                sizes = {row[0]: PlannedView(*row) for row in connection.execute(_SIZES, (self._names,)).fetchall()}
            except psycopg.errors.UndefinedTable:
                raise NotMigrated(self._group) from None
            goes_on = bool(generations.left_over(connection.cursor(), self._names))
            return Planned([sizes[name] for name in self._names if name in sizes], goes_on, free_bytes(connection))

    def run(self, progress: Progress = lambda step: None, search: Search | None = None) -> dict[str, int]:
        """Build and switch; goes on where an interrupted run has stopped. Returns the new generations.

        `search` is given each searched view and its generation being built, and has an index of it made.
        """
        with alone(self._url, self._group, self._names) as connection:
            drop_kept(connection, self._group, self._names)
            self._register()
            for relation in self.relations:
                self._let_batches_end()
                self._fill(connection, relation, progress)
                self._index(connection, relation, progress)  # batches look for keys of the next ones in it
            self._catch_up(connection, progress)
            for view in self._projections.searched if search else ():
                if search and view.name in self._names:
                    connection.execute(_PHASE, ("searching", [view.name]))
                    progress(Step(view.name, "searching", 0, None))
                    search(view, self._generations[view.name])
            self._catch_up(connection, progress)
            while not self._switch():
                self._catch_up(connection, progress)
        return self._built()

    def abort(self) -> list[str]:
        """Drop what was built so far; what is served stays. Returns the tables dropped."""
        with alone(self._url, self._group, self._names), self._applier.transaction() as (cursor, _, _):
            return generations.drop_all(cursor, self._names, "building")

    def drop_old(self) -> list[str]:
        """Drop the generations that were served before. Returns the tables dropped."""
        with alone(self._url, self._group, self._names) as connection:
            return drop_kept(connection, self._group, self._names)

    def close(self) -> None:
        """Close its connection."""
        self._applier.close()

    def _register(self) -> None:
        """Find what an interrupted run has left, or begin anew."""
        digests = definitions.relation_digests(self._projections)
        with self._applier.transaction() as (cursor, plan, _):
            left = generations.left_over(cursor, self._names)
            whole = all(left.get(name, (0, ""))[1] == digests[name] for name in self._names)
            self._served, self._generations = plan.served, dict(plan.served)
            if whole:
                self._generations |= {name: generation for name, (generation, _) in left.items()}
                generations.take_over(cursor, self._names)
                return
            generations.drop_all(cursor, self._names, "building")
            for relation in self.relations:
                name, schema = relation.name, schemas(self._group)[2]
                generation = generations.begin(cursor, name, relation.version, digests[name], self._served[name])
                self._generations[name] = generation
                cursor.execute(definitions.generation_ddl(self._projections, relation, self._generations, schema))

    def _let_batches_end(self) -> None:
        """A batch looks for keys in what is filled already: one that began before that has missed some.

        It has committed once the lock is ours, so that what is filled from now on has its changes.
        """
        with self._applier.transaction():
            pass

    def _fill(self, connection: psycopg.Connection[Any], relation: Relation, progress: Progress) -> None:
        ranged = isinstance(relation, View) and relation.stored and not relation.keys
        statement = self._filling(relation, ranged) if relation.stored else ""
        while True:
            phase, low, rows, expected = connection.execute(_STAND, (relation.name,)).fetchone() or _GONE
            if phase not in ("waiting", "filling"):
                return
            high = self._bound(connection, relation, low) if ranged else None
            with connection.transaction(), connection.cursor() as cursor:
                cursor.execute("SET LOCAL work_mem = '128MB'")
                try:
                    filled = cursor.execute(statement, {"low": low, "high": high}).rowcount if statement else 0
                except psycopg.IntegrityError:  # what Postgres says of it holds the row
                    raise unsound_key(relation) from None
                values = {"relation": relation.name, "to": high, "rows": filled}
                cursor.execute(_FILLED, values | {"phase": "filling" if high is not None else "indexing"})
            progress(Step(relation.name, "filling", rows + filled, expected))

    def _filling(self, relation: Relation, ranged: bool) -> str:
        query = restricted(relation, in_range) if ranged and isinstance(relation, View) else relation.query
        names = {r.table: generation_table(r, self._generations[r.name]) for r in self._projections.relations}
        columns = ", ".join(quoted(c.name) for c in relation.table.c)
        table = quoted(generation_name(relation.name, self._generations[relation.name]))
        return f"INSERT INTO {table} ({columns}) {render(substitute(query, names))}"

    def _bound(self, connection: psycopg.Connection[Any], relation: Relation, low: str | None) -> str | None:
        """Where the next range ends: so many rows of the served generation on; None: it is the last."""
        first, kind = quoted(relation.key[0]), type_name(relation.table.c[relation.key[0]])
        table = quoted(generation_name(relation.name, self._served[relation.name]))
        row = connection.execute(
            f"SELECT {first}::text FROM {table} "
            f"WHERE %(low)s::text IS NULL OR {first} > %(low)s::{kind} ORDER BY {first} OFFSET {RANGE} LIMIT 1",
            {"low": low},
            prepare=False,
        ).fetchone()
        return None if row is None else row[0]

    def _index(self, connection: psycopg.Connection[Any], relation: Relation, progress: Progress) -> None:
        """Make what indexes it lacks; where an interrupted run has made them, others may be declared since."""
        wanted = definitions.indexes(self._projections, relation, self._generations, self._word_indexes)
        there = {name for (name,) in connection.execute(_INDEXES, (schemas(self._group)[2],))}
        lacking = [ddl for name, ddl in wanted.items() if name not in there]
        phase, _, rows, expected = connection.execute(_STAND, (relation.name,)).fetchone() or _GONE
        if phase != "indexing" and (phase == "gone" or not lacking):
            return
        progress(Step(relation.name, "indexing", rows, expected))
        for ddl in lacking:
            connection.execute(ddl)
        if relation.stored:
            connection.execute(f"ANALYZE {quoted(generation_name(relation.name, self._generations[relation.name]))}")
        connection.execute(_PHASE, ("draining", [relation.name]))

    def _catch_up(self, connection: psycopg.Connection[Any], progress: Progress) -> None:
        """Refresh what batches have marked meanwhile, until the rest is little enough to do at the switch.

        Or as little as it gets, where large batches come one after another.
        """
        before = None
        while True:
            with connection.transaction(), connection.cursor() as cursor:
                left = compact(cursor, self._built())
                cursor.execute(_PHASE, ("draining", self._names))
            if left <= FEW or (left <= FAN_OUT and before is not None and left > before // 2):
                return
            before = left
            while left > 0:
                with self._applier.transaction() as (cursor, current, _):
                    if self._plan_of(current).drain(cursor, self._names) is None:
                        break
                left -= PORTION
                progress(Step("", "draining", max(left, 0), None))

    def _switch(self) -> bool:
        """Refresh the rest and switch, while batches wait; not where that is much: a few keys may reach many."""
        with self._applier.transaction() as (cursor, plan, _):
            while compact(cursor, self._built()) <= FAN_OUT:
                if self._plan_of(plan).drain(cursor, self._names) is None:
                    generations.switch(cursor, plan.served, self._built())
                    return True
        return False

    def _built(self) -> dict[str, int]:
        return {name: self._generations[name] for name in self._names}

    def _plan_of(self, plan: Plan) -> Plan:
        """The plan of what is being built, while that is what this run builds."""
        if plan.built is None or not self._built().items() <= plan.building.items():
            raise PrejoinError("the rebuild was given up meanwhile, by `prejoin migrate` or --abort: begin again")
        return plan.built


def drop_kept(connection: psycopg.Connection[Any], group: str, names: Sequence[str]) -> list[str]:
    """Drop what was served before a rebuild of these relations. Returns the tables.

    Not under the group's lock: whoever still reads one of them keeps nobody else waiting.
    """
    drop_replaced(connection, group)
    return generations.when_unread(connection, lambda cursor: generations.drop_all(cursor, names, "kept"))


def drop_replaced(connection: psycopg.Connection[Any], group: str) -> None:
    """Drop entities that those of a rebuild from events have replaced."""
    for copy in copies.in_state(connection, "replaced"):
        copies.drop_unread(connection, group, [], copy)


@contextmanager
def alone(url: str, group: str, names: Sequence[str]) -> Iterator[psycopg.Connection[Any]]:
    """A connection whose session has the views for itself. Raises PrejoinError where another has one of them."""
    with connect(url, group, autocommit=True, name="prejoin rebuild") as connection:
        for name in names:
            (free,) = connection.execute(REBUILD_LOCK, {"group": group, "relation": name}).fetchone() or (False,)
            if not free:
                who, since = generations.runner(connection, name)
                raise PrejoinError(f"{name} is being rebuilt already, by {who} since {since}: wait for that")
        yield connection
