"""`prejoin rebuild --from-events` and `--as-of`: a whole copy, entities included, made from the log.

The log is loaded into the entities of a copy, which is a group of its own; what was replayed, purged and erased is so
there, too; its views are made of its entities. A copy to be switched to then catches up with the log like a worker, and
under the lock of the group takes its place. A snapshot stays what it is.
"""

from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from datetime import datetime
from typing import NamedTuple

from projector.apply import positions
from projector.apply.applier import Applier
from projector.apply.batch import TopicPartition
from projector.apply.loading import Place
from projector.declare.projections import Projections
from projector.errors import PrejoinError
from projector.history.log import History
from projector.operate.alone import alone, check_migrated
from projector.operate.copied_log import CopiedLog
from projector.operate.copied_views import build_views
from projector.operate.loading import Share, load_log
from projector.operate.rebuild import Search, drop_kept, drop_replaced
from projector.operate.room import free_bytes
from projector.operate.settling import Settling
from projector.operate.switching import Switching
from projector.store import copies, generations, takeover
from projector.store.changed import check_release
from projector.store.connect import connect
from projector.store.copies import Copy
from projector.store.definitions import declarations_digest
from projector.store.locks import locked
from projector.store.names import copy_group, generation_name, schemas

_PURGED = """SELECT topic, partition, "offset", record_time FROM dead_letters WHERE state = 'purged'"""
_APPLIED = "SELECT DISTINCT topic, topic_id FROM positions WHERE topic_id IS NOT NULL"
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
        self._word_indexes, self._jobs = word_indexes, jobs
        self._log = CopiedLog(history, allow_truncated, self._note)
        self._names, self._declared = [r.name for r in projections.relations], declarations_digest(projections)
        self.notes: list[str] = []  # what could not be done as it was in what is served
        self._runs = 0
        self._making: Copy | None = None  # since when, where it is run again behind an outage

    def plan(self) -> CopyPlan:
        """What would be done."""
        with connect(self._url, self._group, autocommit=True, name="prejoin rebuild") as connection:
            check_migrated(connection, self._group)
            served = [generation_name(*each) for each in generations.served(connection).items()]
            sizes = connection.execute(_SIZES, (*schemas(self._group)[1:], served)).fetchone() or (0,)
            goes_on, free = bool(copies.in_state(connection, "building")), free_bytes(connection)
        starts, ends, *_ = self._log.look()
        events = sum(end - starts.get(tp, 0) for tp, end in ends.items())
        return CopyPlan(events, sizes[0], {tp: at for tp, at in sorted(starts.items()) if at > 0}, goes_on, free)

    def run(self, progress: Progress = lambda step: None, search: Search | None = None) -> Copy:
        """Make it and switch to it, or keep it; goes on where an interrupted run has stopped, of this object as well.

        `search` is given each searched view and its new generation, and has an index of it made.
        """
        self._runs += 1
        with alone(self._url, self._group, self._names, again=self._runs > 1) as connection:
            self._connection, self._progress = connection, progress
            if self._making is not None and copies.is_made(connection, self._making):
                return self._making
            check_release(connection.cursor(), self._projections)
            copy = self._making = self._registered()
            settling = Settling(connection, self._group, self._projections, copy, self._note)
            if copy.phase == "replaying":
                self._replay(copy, settling)
            self._build(copy)
            own = copy_group(self._group, copy.id)
            with closing(Applier(self._url, own, self._projections, self._unknown, dead_letter_limit=1.0)) as applier:
                if self._until is None:
                    self._switch_to(copy, settling, applier, search)
                else:
                    self._keep(copy, settling, applier)
            progress(CopyStep("done", 1, 1))
            return copy

    def abort(self) -> list[str]:
        """Drop what an interrupted run has left. Returns what was dropped."""
        with alone(self._url, self._group, self._names) as connection:
            return [
                table
                for copy in copies.in_state(connection, "building")
                for table in copies.drop_unread(connection, self._group, self._names, copy)
            ]

    def drop_old(self) -> list[str]:
        """Drop what was served before, entities included. Returns the tables and schemas dropped."""
        with alone(self._url, self._group, self._names) as connection:
            return drop_kept(connection, self._group, self._names)

    def _registered(self) -> Copy:
        """What an interrupted run of the same command has left, or a new copy."""
        connection = self._connection
        for left in copies.in_state(connection, "building"):
            if (left.name, left.until) == (self._name, self._until) and left.declared == self._declared:
                self._begin(copies.begun(connection, self._group, left))
                self._prepare(left)
                return left
            if left.declared == self._declared:
                what = f"the snapshot {left.name}" if left.name else "a rebuild from events"
                raise PrejoinError(f"{what} is half made: give that command again, or give it up with --abort")
            copies.drop_unread(connection, self._group, self._names, left)  # of another release
        if self._name in {copy.name for copy in copies.in_state(connection, "snapshot")} - {None}:
            raise PrejoinError(
                f"there is a snapshot {self._name} already: drop it with `prejoin snapshots drop {self._name}`, or "
                "choose another --name"
            )
        if self._until is None:
            drop_kept(connection, self._group, self._names)
        self._begin({})
        with locked(connection, self._group) as cursor:
            copy = copies.register(cursor, self._projections, self._name, self._until)
        self._prepare(copy)
        return copy

    def _begin(self, begun: Mapping[tuple[str, int], str | None]) -> None:
        applied = dict(self._connection.execute(_APPLIED).fetchall())
        self._log.begin({TopicPartition(*place): topic_id for place, topic_id in begun.items()}, applied)

    def _prepare(self, copy: Copy) -> None:
        copies.prepare(self._url, self._group, self._projections, copy, self._log.starts, self._log.ids)

    def _replay(self, copy: Copy, settling: Settling) -> None:
        own = copy_group(self._group, copy.id)
        ends = self._log.ends()
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
            settling.settle(loading)
        copies.tell(self._connection, copy, "building")

    def _purged(self) -> dict[Place, datetime]:
        return {(topic, partition, at): time for topic, partition, at, time in self._connection.execute(_PURGED)}

    def _build(self, copy: Copy) -> None:
        def tell(done: int, view: str) -> None:
            self._tell(copy, CopyStep("building", done, len(self._names), view))

        build_views(self._url, self._group, self._projections, copy, self._jobs, self._word_indexes, tell)

    def _keep(self, copy: Copy, settling: Settling, applier: Applier) -> None:
        settling.erasures(applier)
        with locked(self._connection, self._group) as cursor:
            settling.erasures(applier)  # nobody else blanks it before it is a snapshot
            takeover.keep_snapshot(cursor, self._group, self._projections, copy)

    def _switch_to(self, copy: Copy, settling: Settling, applier: Applier, search: Search | None) -> None:
        def tell(phase: str, done: int, total: int | None, view: str) -> None:
            self._tell(copy, CopyStep(phase, done, total, view))

        given = (self._connection, self._url, self._group, self._projections, self._log, copy)
        Switching(*given, settling, tell).run(applier, search)
        with suppress(PrejoinError):  # somebody reads the entities of before: the next rebuild drops them
            drop_replaced(self._connection, self._group)

    def _note(self, line: str) -> None:
        if line not in self.notes:
            self.notes.append(line)

    def _tell(self, copy: Copy, step: CopyStep) -> None:
        copies.tell(self._connection, copy, step.phase, step.done, step.total)
        self._progress(step)
