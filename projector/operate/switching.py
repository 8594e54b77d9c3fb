"""How a whole copy comes to be served: it catches up with the log like a worker, and takes the group's place."""

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any

import psycopg

from projector.apply import captured, positions
from projector.apply.applier import Applier
from projector.apply.batch import TopicPartition
from projector.declare.projections import Projections
from projector.declare.view import View
from projector.errors import PrejoinError
from projector.operate.copied_log import CopiedLog
from projector.operate.loading import in_batches
from projector.operate.rebuild import Search
from projector.operate.settling import Settling
from projector.store import generations, takeover
from projector.store.changed import check_release
from projector.store.connect import connect
from projector.store.copies import Copy
from projector.store.locks import locked
from projector.store.names import copy_group

BATCH = 12_000  # records applied in one transaction while it catches up
FEW = 1_000  # records that are left for the switch, which batches wait for: less than 100 ms
MOST = 5_000  # that may be left for it, where they come so fast that it is never less
FEW_KEYS = 1_000  # rows that the search index may have yet to see at the switch

_SEARCHED = """
INSERT INTO search_generations (relation, generation, search, digest, state) VALUES (%s, %s, 1, '', 'sending')
ON CONFLICT DO NOTHING
"""

Tell = Callable[[str, int, int | None, str], None]
"""Is told a phase, how much of it is done, of how much, and of which view."""


class Switching:
    """One copy on its way to be served. `connection` is of the group, and has its relations for itself."""

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        url: str,
        group: str,
        projections: Projections,
        log: CopiedLog,
        copy: Copy,
        settling: Settling,
        tell: Tell,
    ) -> None:
        self._connection, self._url, self._group, self._projections = connection, url, group, projections
        self._log, self._copy, self._own = log, copy, copy_group(group, copy.id)
        self._settling, self._tell = settling, tell

    def run(self, applier: Applier, search: Search | None) -> None:
        """Catch up and switch, by an applier of the copy; see `Copying.run` for `search`."""
        self._give_up_rebuild()
        self._catch_up(applier)
        for view in self._projections.searched if search else ():
            if search:
                self._have_searched(applier, view, search)
        while not self._switch(applier):
            self._catch_up(applier)

    def _give_up_rebuild(self) -> None:
        """One that was interrupted is of entities that are to be replaced; while it is there, all is captured."""
        with locked(self._connection, self._group) as cursor:
            generations.drop_all(cursor, [r.name for r in self._projections.relations], "building")
            captured.forget(cursor)

    def _catch_up(self, applier: Applier) -> None:
        """Apply what came meanwhile, until little is left, or as little as it gets."""
        before = None
        while True:
            left = self._read_up_to(
                applier, self._log.ends(), lambda done, total: self._tell("catching up", done, total, "")
            )
            self._settling.settle(applier)
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
        with closing(self._log.read({tp: at.get(tp, 0) for tp in left}, left)) as chunks:
            for batch in in_batches(chunks, BATCH):
                # a partition that came since has no position yet
                applier.apply([replace(c, start=None) if c.partition not in at and not c.start else c for c in batch])
                at |= {chunk.partition: chunk.next for chunk in batch}
                done += sum(len(chunk.records) for chunk in batch)
                tell(done, total)
        while applier.drain():
            pass
        return total

    def _have_searched(self, applier: Applier, view: View, search: Search) -> None:
        """Have an index of the view's new generation made, and all of it seen that changes meanwhile."""
        generation = self._copy.generations[view.name]
        with connect(self._url, self._own, autocommit=True) as there:
            there.execute(_SEARCHED, (view.name, generation))
        self._tell("searching", 0, None, view.name)
        search(view, generation)
        while True:
            self._catch_up(applier)
            with locked(self._connection, self._group) as cursor:
                moved = takeover.move_outbox(cursor, self._own, view.name)
            if moved <= FEW_KEYS:
                return
            search(view, generation)

    def _switch(self, applier: Applier) -> bool:
        """Under the group's lock: the rest of what is applied there, and the switch. Not where the rest is much.

        Raises OutOfDate where another release was migrated to meanwhile, which the switch would take back.
        """
        with locked(self._connection, self._group) as cursor:
            check_release(cursor, self._projections)
            stand, at = positions.read(cursor), applier.positions()
            behind = {tp: next_ for tp, next_ in stand.items() if next_ > at.get(tp, 0)}
            if sum(next_ - at.get(tp, 0) for tp, next_ in behind.items()) <= MOST:
                self._read_up_to(applier, behind)
                _check_reached(behind, applier.positions())
                self._settling.settle(applier)
                erased = takeover.erased(self._connection, self._own, self._group)
                takeover.take_over(cursor, self._group, self._projections, self._copy)
                self._blank(cursor, applier, erased)
                return True
        _check_reached(behind, self._log.ends())
        return False

    def _blank(self, cursor: psycopg.Cursor[Any], applier: Applier, erased: dict[str, list[str]]) -> None:
        """Blank what the group keeps of those whom events have erased that the copy has applied ahead of it."""
        for entity in self._projections.personal.values():
            if keys := erased.get(entity.name):
                applier.erasing.blank(cursor, self._copy.generations, entity, keys)


def _check_reached(behind: Mapping[TopicPartition, int], reached: Mapping[TopicPartition, int]) -> None:
    if lost := sorted(tp for tp, next_ in behind.items() if next_ > reached.get(tp, 0)):
        raise PrejoinError(f"{lost[0].topic}/{lost[0].partition} is applied further than its log reaches")
