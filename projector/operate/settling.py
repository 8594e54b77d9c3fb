"""What was decided in a group, let be so in a copy of it: dead letters replayed and purged, and who is erased."""

from collections.abc import Callable
from typing import Any

import psycopg

from projector.apply.applier import Applier
from projector.declare.projections import Projections
from projector.operate.erase import erase
from projector.operate.replay import Replayer
from projector.store import takeover
from projector.store.copies import Copy
from projector.store.names import copy_group


class Settling:
    """What the group at one connection has decided, for one of its copies. `note` hears what could not be done so."""

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        group: str,
        projections: Projections,
        copy: Copy,
        note: Callable[[str], None],
    ) -> None:
        self._connection, self._group, self._personal = connection, group, projections.personal.values()
        self._own, self._create = copy_group(group, copy.id), copy.until is None
        self._note = note

    def settle(self, applier: Applier) -> None:
        """Settle all of it, by an applier of the copy."""
        self.erasures(applier)
        replayer = Replayer(applier)
        letters = takeover.settled(self._connection, self._own)
        if purged := [letter for letter, state in letters if state == "purged"]:
            replayer.purge(purged)
        waiting = [letter for letter, state in letters if state == "replayed"]
        while waiting:  # one may wait for another: an orphan for what creates its aggregate
            failed = [answer for answer in map(replayer.attempt, waiting) if not answer.done]
            if len(failed) == len(waiting):
                for answer in failed:
                    self._note(f"what was replayed before is open again: {answer.said}")
                return
            waiting = [answer.id for answer in failed]

    def erasures(self, applier: Applier) -> None:
        """Erase who is erased. A snapshot gets nobody who was not there then: of those it is remembered alone."""
        left = takeover.erased(self._connection, self._group, self._own)
        for entity in self._personal:
            if keys := left.get(entity.name):
                erase(applier, entity, keys, create=self._create)
