"""`prejoin rebuild --from-events` and `--as-of`: a whole copy, entities included, made from the log.

The log is loaded into the entities of a copy, which is a group of its own; what was replayed, purged and erased is so
there, too; its views are made of its entities. A copy to be switched to then catches up with the log like a worker, and
under the lock of the group takes its place. A snapshot stays what it is.
"""

from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

import psycopg

from projector.apply import captured, positions
from projector.apply.applier import Applier
from projector.apply.batch import TopicPartition
from projector.apply.loading import NoViews, Place
from projector.declare.projections import Projections
from projector.declare.view import View
from projector.errors import PrejoinError
from projector.history.log import History
from projector.operate.copied_views import build_views
from projector.operate.erase import erase_all, erased_keys
from projector.operate.loading import Share, in_batches, load_log
from projector.operate.rebuild import Search, alone, drop_kept, drop_replaced
from projector.operate.replay import Replayer
from projector.operate.room import free_bytes
from projector.store import copies, definitions, generations, takeover
from projector.store.changed import out_of_date
from projector.store.connect import connect
from projector.store.copies import Copy
from projector.store.locks import LOCK
from projector.store.names import copy_group, generation_name, schemas

BATCH = 12_000  # records applied in one transaction while it catches up
FEW = 5_000  # records that may be left for the switch, which batches wait for
FEW_KEYS = 1_000  # rows that the search index may have yet to see at the switch

_PURGED = """SELECT topic, partition, "offset", record_time FROM dead_letters WHERE state = 'purged'"""
_RELEASES = "SELECT declarations, coming FROM projection_group"
_SEARCHED = """
INSERT INTO search_generations (relation, generation, search, digest, state) VALUES (%s, %s, 1, '', 'sending')
ON CONFLICT DO NOTHING
"""
_SIZES = """
SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class AS c JOIN pg_namespace AS n
ON n.oid = relnamespace WHERE relkind = 'r' AND (nspname = %s OR (nspname = %s AND relname = ANY(%s)))
"""


class CopyPlan(NamedTuple):
    """What would be read and made: events in the log, bytes of what is there now, topics that begin later.

    `goes_on` says that an interrupted run has left some of it. `free` are bytes on the disk.
    """

    events: int
    bytes: int
    truncated: dict[TopicPartition, int]
    goes_on: bool
    free: int | None


class CopyStep(NamedTuple):
    """How far it is: `done` of `total` events while replaying, views while building."""

    phase: str
    done: int
    total: int | None
    view: str = ""


Cursor = psycopg.Cursor[Any]
Progress = Callable[[CopyStep], None]


class Copying:
    """One run of a rebuild from the log, or of a snapshot where `until` and `name` are given."""

    def __init__(
        self,
        url: str,
        group: str,
        projections: Projections,
        history: History,
        *,
        unknown_events: str = "deadletter",
        until: datetime | None = None,
        name: str | None = None,
        allow_truncated: bool = False,
        word_indexes: bool = False,
        jobs: int = 1,
    ) -> None:
        self._url, self._group, self._projections, self._history = url, group, projections, history
        self._unknown, self._until, self._name = unknown_events, until, name
        self._allow_truncated, self._word_indexes, self._jobs = allow_truncated, word_indexes, jobs
        self._names = [r.name for r in projections.relations]
        self.notes: list[str] = []  # what could not be done as it was in what is served

    def plan(self) -> CopyPlan:
        """What would be done."""
        with connect(self._url, self._group, autocommit=True, name="prejoin rebuild") as connection:
            served = [generation_name(*row) for row in connection.execute("SELECT relation, generation FROM served")]
            sizes = connection.execute(_SIZES, (*schemas(self._group)[1:], served)).fetchone() or (0,)
            goes_on, free = bool(copies.in_state(connection, "building")), free_bytes(connection)
        starts, ends = self._history.starts(), self._history.ends()
        events = sum(end - starts.get(tp, 0) for tp, end in ends.items())
        return CopyPlan(events, sizes[0], {tp: at for tp, at in sorted(starts.items()) if at > 0}, goes_on, free)

    def run(self, progress: Progress = lambda step: None, search: Search | None = None) -> Copy:
        """Make it and switch to it, or keep it; goes on where an interrupted run has stopped.

        `search` is given each searched view and its new generation, and has an index of it made.
        """
        with alone(self._url, self._group, self._names) as connection:
            self._connection, self._progress = connection, progress
            self._check_release()
            copy = self._registered()
            if copy.phase == "replaying":
                self._replay(copy)
            tell = lambda done, view: self._tell(copy, CopyStep("building", done, len(self._names), view))  # noqa: E731
            build_views(self._url, self._group, self._projections, copy, self._jobs, self._word_indexes, tell)
            if self._until is None:
                self._switch_to(copy, search)
            else:
                self._keep(copy)
            return copy

    def abort(self) -> list[str]:
        """Drop what an interrupted run has left. Returns what was dropped."""
        with alone(self._url, self._group, self._names) as connection:
            return [table for copy in copies.in_state(connection, "building") for table in self._drop(connection, copy)]

    def drop_old(self) -> list[str]:
        """Drop what was served before, entities included. Returns the tables and schemas dropped."""
        with alone(self._url, self._group, self._names) as connection:
            return drop_kept(connection, self._group, self._names)

    def _drop(self, connection: psycopg.Connection[Any], copy: Copy) -> list[str]:
        return copies.drop_unread(connection, self._group, self._names, copy)

    def _check_release(self) -> None:
        """Raises OutOfDate where the database was not migrated to these declarations: of an older release, perhaps."""
        if self._declared() not in (self._connection.execute(_RELEASES).fetchone() or ()):
            raise out_of_date(self._connection.cursor(), self._projections)

    def _registered(self) -> Copy:
        """What an interrupted run of the same command has left, or a new copy."""
        connection = self._connection
        for left in copies.in_state(connection, "building"):
            if (left.name, left.until) == (self._name, self._until) and left.declared == self._declared():
                self._prepare(left, {})
                return left
            if left.declared == self._declared():
                what = f"the snapshot {left.name}" if left.name else "a rebuild from events"
                raise PrejoinError(f"{what} is half made: give that command again, or give it up with --abort")
            self._drop(connection, left)  # of another release
        if self._name in {copy.name for copy in copies.in_state(connection, "snapshot")} - {None}:
            raise PrejoinError(
                f"there is a snapshot {self._name} already: drop it with `prejoin snapshots drop {self._name}`, or "
                "choose another --name"
            )
        if self._until is None:
            drop_kept(connection, self._group, self._names)
        starts = self._starts()
        with connection.transaction(), connection.cursor() as cursor:
            cursor.execute(LOCK, {"group": self._group})
            digests = definitions.relation_digests(self._projections)
            copy = copies.register(cursor, self._projections, self._name, self._until, digests, self._declared())
        self._prepare(copy, starts)
        return copy

    def _declared(self) -> str:
        return definitions.declarations_digest(self._projections)

    def _starts(self) -> dict[TopicPartition, int]:
        starts = self._history.starts()
        if late := {tp: at for tp, at in sorted(starts.items()) if at > 0}:
            told = ", ".join(f"{tp.topic}/{tp.partition} at offset {at:,}" for tp, at in late.items())
            if not self._allow_truncated:
                raise PrejoinError(
                    f"the log does not reach back to the first event: {told}; give the files of `prejoin archive` with "
                    "--archive DIR, or --allow-truncated to build from what is left"
                )
            self.notes.append(f"built from what is left of the log: {told}")
        return starts

    def _prepare(self, copy: Copy, starts: Mapping[TopicPartition, int]) -> None:
        copies.prepare(self._url, self._group, self._projections, copy, starts)

    def _replay(self, copy: Copy) -> None:
        own = copy_group(self._group, copy.id)
        ends = self._history.ends()
        with connect(self._url, own, autocommit=True, name="prejoin rebuild") as there:
            begin = positions.read(there.cursor())
            total = sum(end - begin.get(tp, 0) for tp, end in ends.items())
            for tp in ends.keys() - begin.keys():  # a partition that came since
                there.execute("INSERT INTO positions (topic, partition, next) VALUES (%s, %s, 0)", tp)

            def look() -> dict[TopicPartition, int]:
                at = positions.read(there.cursor())
                done = total - sum(max(end - at.get(tp, 0), 0) for tp, end in ends.items())
                self._tell(copy, CopyStep("replaying", done, total))
                return at

            share = Share(
                self._url, own, self._projections.name, self._unknown, self._history, ends, self._until, self._purged()
            )
            load_log(share, self._projections, self._jobs, look)
            look()
        with closing(share.loading(self._projections)) as loading:
            self._settle(copy, loading)
        copies.index_entities(self._url, self._group, self._projections, copy)
        copies.tell(self._connection, copy, "building")

    def _purged(self) -> dict[Place, datetime]:
        return {(topic, partition, at): time for topic, partition, at, time in self._connection.execute(_PURGED)}

    def _settle(self, copy: Copy, applier: Applier) -> None:
        """Let what was replayed, purged and erased in the group be so in the copy."""
        self._settle_erasures(copy, applier)
        replayer = Replayer(applier)
        letters = takeover.settled(self._connection, copy_group(self._group, copy.id))
        if purged := [letter for letter, state in letters if state == "purged"]:
            replayer.purge(purged)
        waiting = [letter for letter, state in letters if state == "replayed"]
        while waiting:  # one may wait for another: an orphan for what creates its aggregate
            failed = [answer for answer in map(replayer.attempt, waiting) if not answer.done]
            if len(failed) == len(waiting):
                self.notes += [f"what was replayed before is open again: {answer.said}" for answer in failed]
                return
            waiting = [answer.id for answer in failed]

    def _settle_erasures(self, copy: Copy, applier: Applier) -> None:
        """A snapshot gets nobody who was not there then: of those it is remembered alone."""
        own = copy_group(self._group, copy.id)
        there = {(name, key) for name, keys in erased_keys(self._url, own, self._projections) for key in keys}
        for name, keys in erased_keys(self._url, self._group, self._projections):
            if left := [key for key in keys if (name, key) not in there]:
                erase_all(applier, [(name, left)], create=self._until is None)

    def _keep(self, copy: Copy) -> None:
        own = copy_group(self._group, copy.id)
        with closing(Applier(self._url, own, self._projections, self._unknown)) as applier:
            self._settle_erasures(copy, applier)
            with self._connection.transaction(), self._connection.cursor() as cursor:
                cursor.execute(LOCK, {"group": self._group})
                self._settle_erasures(copy, applier)  # nobody else blanks it before it is a snapshot
                takeover.keep_snapshot(cursor, self._group, self._projections, copy)
        self._progress(CopyStep("done", 1, 1))

    def _switch_to(self, copy: Copy, search: Search | None) -> None:
        own = copy_group(self._group, copy.id)
        with closing(Applier(self._url, own, self._projections, self._unknown, dead_letter_limit=1.0)) as applier:
            self._give_up_rebuild()
            self._catch_up(copy, applier)
            for view in self._projections.searched if search else ():
                if search:
                    self._have_searched(copy, applier, view, search)
            while not self._switch(copy, applier):
                self._catch_up(copy, applier)
        with suppress(PrejoinError):  # somebody reads the entities of before: the next rebuild drops them
            drop_replaced(self._connection, self._group)
        self._progress(CopyStep("done", 1, 1))

    def _catch_up(self, copy: Copy, applier: Applier) -> None:
        """Apply what came meanwhile, until little is left, or as little as it gets."""
        before = None
        while True:
            left = self._read_up_to(
                applier,
                self._history.ends(),
                lambda done, total: self._tell(copy, CopyStep("catching up", done, total)),
            )
            self._settle(copy, applier)
            if left <= FEW or (before is not None and left > before // 2):
                return
            before = left

    def _read_up_to(
        self,
        applier: Applier,
        ends: Mapping[TopicPartition, int],
        tell: Callable[[int, int], None] = lambda done, total: None,
    ) -> int:
        """Apply the log up to `ends`; returns how many records that were. `tell` is told how many are, of how many."""
        at = applier.positions()
        left = {tp: end for tp, end in ends.items() if end > at.get(tp, 0)}
        total = sum(end - at.get(tp, 0) for tp, end in left.items())
        done = 0
        with closing(self._history.read({tp: at.get(tp, 0) for tp in left}, left)) as chunks:
            for batch in in_batches(chunks, BATCH):
                # a partition that came since has no position yet
                applier.apply([replace(c, start=None) if c.partition not in at and not c.start else c for c in batch])
                at |= {chunk.partition: chunk.next for chunk in batch}
                done += sum(len(chunk.records) for chunk in batch)
                tell(done, total)
        while applier.drain():
            pass
        return total

    def _have_searched(self, copy: Copy, applier: Applier, view: View, search: Search) -> None:
        """Have an index of the view's new generation made, and all of it seen that changes meanwhile."""
        own, generation = copy_group(self._group, copy.id), copy.generations[view.name]
        with connect(self._url, own, autocommit=True) as there:
            there.execute(_SEARCHED, (view.name, generation))
        self._tell(copy, CopyStep("searching", 0, None, view.name))
        search(view, generation)
        while True:
            self._catch_up(copy, applier)
            with self._connection.transaction(), self._connection.cursor() as cursor:
                cursor.execute(LOCK, {"group": self._group})
                moved = takeover.move_outbox(cursor, own, view.name)
            if moved <= FEW_KEYS:
                return
            search(view, generation)

    def _switch(self, copy: Copy, applier: Applier) -> bool:
        """Under the group's lock: the rest of what is applied there, and the switch. Not where the rest is much."""
        own = copy_group(self._group, copy.id)
        with (
            connect(self._url, self._group, autocommit=True, name="prejoin rebuild") as connection,
            connection.transaction(),
            connection.cursor() as cursor,
        ):
            cursor.execute(LOCK, {"group": self._group})
            stand, at = positions.read(cursor), applier.positions()
            behind = {tp: next_ for tp, next_ in stand.items() if next_ > at.get(tp, 0)}
            if sum(next_ - at.get(tp, 0) for tp, next_ in behind.items()) > FEW:
                much = behind
            else:
                self._read_up_to(applier, behind)
                _check_reached(behind, applier.positions())
                self._settle(copy, applier)
                erased = takeover.erased(cursor, own)
                takeover.take_over(cursor, self._group, self._projections, copy)
                self._blank(cursor, copy, applier, erased)
                return True
        _check_reached(much, self._history.ends())
        return False

    def _blank(self, cursor: Cursor, copy: Copy, applier: Applier, erased: list[tuple[str, list[str]]]) -> None:
        """Blank what the group keeps of those whom events have erased that the copy has applied ahead of it."""
        plan, entities = NoViews(), {entity.name: entity for entity in self._projections.personal.values()}
        plan.served = copy.generations
        for name, keys in erased:
            applier.erasing.blank(cursor, plan, entities[name], keys)

    def _give_up_rebuild(self) -> None:
        """One that was interrupted is of entities that are to be replaced; while it is there, all is captured."""
        with self._connection.transaction(), self._connection.cursor() as cursor:
            cursor.execute(LOCK, {"group": self._group})
            generations.drop_all(cursor, self._names, "building")
            captured.forget(cursor)

    def _tell_caught_up(self, copy: Copy, done: int, total: int) -> None:
        self._tell(copy, CopyStep("catching up", done, total))

    def _tell(self, copy: Copy, step: CopyStep) -> None:
        copies.tell(self._connection, copy, step.phase, step.done, step.total)
        self._progress(step)


def _check_reached(behind: Mapping[TopicPartition, int], reached: Mapping[TopicPartition, int]) -> None:
    if lost := sorted(tp for tp, next_ in behind.items() if next_ > reached.get(tp, 0)):
        raise PrejoinError(f"{lost[0].topic}/{lost[0].partition} is applied further than its log reaches")
