"""`prejoin rebuild`: views made anew from the entities beside those that are served, while events go on; then switched.

Under the group's lock the new generations are registered: from then on each batch captures what it changes of entities,
knowing nothing of what is built. They are filled range by range without the lock, get their indexes, and what was
captured is taken in by the plan of this process, until little is left; the rest, and the switch, happen under the lock.
So a row is filled from a snapshot that has a change, or the change is captured behind it.

What reads each other is rebuilt together: a generation reads generations of its own time. So is all whose definition is
another than what is served: from the switch on the declarations of this process are those of the group.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import psycopg

from projector.apply import captured
from projector.declare.projections import Projections
from projector.declare.view import Relation, View
from projector.operate.alone import check_migrated, have, is_mine
from projector.operate.filling import PHASE, Progress, Step
from projector.operate.room import free_bytes
from projector.operate.taking_in import TakingIn
from projector.store import copies, definitions, generations
from projector.store.changed import changed
from projector.store.connect import connect
from projector.store.locks import locked
from projector.store.names import schemas

_SIZES = """
SELECT relation, generation, greatest(reltuples, 0)::bigint, pg_total_relation_size(c.oid)
FROM served JOIN pg_class AS c ON c.oid = to_regclass(quote_ident(relation || '__g' || generation))
WHERE relation = ANY(%s)
"""


class PlannedView(NamedTuple):
    """What is there of a view: its served generation, and about how many rows and bytes that has, indexes included.

    `change` says what its definition has that the served one has not; generation 0: it is new.
    """

    view: str
    generation: int
    rows: int
    bytes: int
    change: str = ""


class Planned(NamedTuple):
    """What would be built; `goes_on` says that an interrupted run has left some of it. `free` are bytes on the disk."""

    rows: list[PlannedView]
    goes_on: bool
    free: int | None

    @property
    def bytes(self) -> int:
        """About how much room it takes."""
        return sum(row.bytes for row in self.rows)


Search = Callable[[View, int], None]


class Rebuild(TakingIn):
    """One run of `prejoin rebuild` over some relations, all that they are connected with, and all that has changed."""

    def __init__(
        self,
        url: str,
        group: str,
        projections: Projections,
        chosen: Sequence[Relation],
        word_indexes: bool = False,
    ) -> None:
        super().__init__(group, projections, word_indexes)
        self._url = url
        self._chosen = list(chosen)
        self._choose({})
        self._strange: list[str] = []  # not declared here: what releases before have left
        self._served: dict[str, int] = {}
        self._runs = 0
        self._making: dict[str, int] = {}  # what an earlier run of this object has begun

    def plan(self) -> Planned:
        """What would be built, read from the statistics of what is served."""
        with connect(self._url, self._group, autocommit=True, name="prejoin rebuild") as connection:
            self._look(connection)
            sizes = {row[0]: row[1:] for row in connection.execute(_SIZES, (self._names,)).fetchall()}
            goes_on, free = bool(generations.left_over(connection.cursor(), self._names)), free_bytes(connection)
        rows = []
        for name in self._names:
            generation, rows_there, bytes_there = sizes.get(name, (0, 0, 0))
            rows.append(PlannedView(name, generation, rows_there, bytes_there, self.changed.get(name, "")))
        return Planned(rows, goes_on, free)

    def run(self, progress: Progress = lambda step: None, search: Search | None = None) -> dict[str, int]:
        """Build and switch; goes on where an interrupted run has stopped, of this object as well.

        Returns the new generations.

        `search` is given each searched view and its generation being built, and has an index of it made. Not where
        definitions have changed: documents of the new form are for the indexer of the new release.
        """
        self._runs += 1
        with self._alone() as connection:
            if self._making and self._making.items() <= generations.served(connection).items():
                return self._making  # the COMMIT came through whose answer was lost
            drop_kept(connection, self._group, [*self._strange, *self._names])
            self._register(connection)
            self._making = self._built()
            for relation in self.relations:
                self._fill(connection, relation, progress)
                self._index(connection, relation, progress)
            self._catch_up(connection, progress)
            for view in self._projections.searched if search and not self.changed else ():
                if search and view.name in self._names:
                    connection.execute(PHASE, ("searching", [view.name]))
                    progress(Step(view.name, "searching", 0, None))
                    search(view, self._generations[view.name])
            self._catch_up(connection, progress)
            while not self._switch(connection):
                self._catch_up(connection, progress)
        return self._built()

    def abort(self) -> list[str]:
        """Drop what was built so far; what is served stays. Returns the tables dropped."""
        with self._alone() as connection, locked(connection, self._group) as cursor:
            dropped = generations.drop_all(cursor, [*self._strange, *self._names], "building")
            captured.forget(cursor)
            return dropped

    def drop_old(self) -> list[str]:
        """Drop the generations that were served before. Returns the tables dropped."""
        with self._alone() as connection:
            # what has changed was brought in, too: behind the switch nothing tells so any more
            return drop_kept(connection, self._group, [*self._strange, *(self._making or self._names)])

    def _choose(self, changes: dict[str, str]) -> None:
        """The relations to be built: a release is switched to as a whole, so what has changed is among them."""
        self.changed = changes
        self.relations = self._projections.connected([*self._chosen, *map(self._projections.relation, changes)])
        self._names = [r.name for r in self.relations]

    def _look(self, connection: psycopg.Connection[Any]) -> None:
        check_migrated(connection, self._group)
        self._choose(changed(connection.cursor(), self._projections))

    @contextmanager
    def _alone(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection whose session has the views for itself. Raises PrejoinError where another has one of them."""
        with connect(self._url, self._group, autocommit=True, name="prejoin rebuild") as connection:
            self._look(connection)
            self._check(connection.cursor())
            have(connection, self._group, self._names, again=self._runs > 1)
            strange = generations.strange(connection, self._projections)
            self._strange = [name for name in strange if is_mine(connection, self._group, name)]
            yield connection

    def _register(self, connection: psycopg.Connection[Any]) -> None:
        """Find what an interrupted run has left, or begin anew."""
        digests = definitions.relation_digests(self._projections)
        with locked(connection, self._group) as cursor:
            self._check(cursor)
            self._look(connection)
            left = generations.left_over(cursor, self._names)
            whole = all(left.get(name, (0, ""))[1] == digests[name] for name in self._names)
            self._plan = None
            self._served = generations.served(cursor)
            self._generations = dict(self._served)
            if whole:
                self._generations |= {name: generation for name, (generation, _) in left.items()}
                generations.take_over(cursor, self._names)
                return
            generations.drop_all(cursor, self._names, "building")
            for relation in self.relations:
                name, schema = relation.name, schemas(self._group)[2]
                served = self._served.get(name, 0)
                self._generations[name] = generations.begin(cursor, name, relation.version, digests[name], served)
                cursor.execute(definitions.generation_ddl(self._projections, relation, self._generations, schema))

    def _switch(self, connection: psycopg.Connection[Any]) -> bool:
        """Take in the rest and switch, while batches wait; not where that is much."""
        with locked(connection, self._group) as cursor:
            if not self._take_rest(cursor):
                return False
            generations.switch(cursor, self._projections, self._served, self._built(), self.changed)
            captured.forget(cursor)
            if self.changed:
                generations.release(cursor, self._projections)
            return True


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


__all__ = ["Planned", "PlannedView", "Progress", "Rebuild", "Search", "Step"]
