"""Dead letters put right, or given up.

After a replay the aggregate is what it would be, had the mended event come in its place.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg

from projector.apply.aggregates import Aggregate, Verdict
from projector.apply.applier import Applier
from projector.apply.incoming import Incoming
from projector.apply.letters import JOURNAL_RECORDS, raw, thaw, unraw
from projector.apply.plan import Plan
from projector.declare.entity import Entity
from projector.errors import PrejoinError
from projector.store.refused import BAD_DATA
from schemas.envelope import RawRecord

_COLUMNS = 'topic, partition, "offset", key, value, headers, record_time'
_LETTER = f"SELECT {_COLUMNS}, entity, aggregate, state FROM dead_letters WHERE id = %s FOR UPDATE"
_BASE = "SELECT base FROM journals WHERE entity = %s AND aggregate = %s"
_RECORDS = f"""
SELECT {_COLUMNS}, EXISTS (SELECT FROM dead_letters d WHERE d.state = 'replayed'
    AND (d.topic, d.partition, d."offset", d.record_time) = (r.topic, r.partition, r."offset", r.record_time))
FROM journal_records r WHERE entity = %s AND aggregate = %s ORDER BY n
"""
_CLEAR = "DELETE FROM journal_records WHERE entity = %s AND aggregate = %s"
_APPEND = f"INSERT INTO journal_records (entity, aggregate, {_COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)"
_COUNTED = "UPDATE journals SET records = %s WHERE entity = %s AND aggregate = %s"
_LATE = """
SELECT sequence FROM dead_letters
WHERE entity = %s AND aggregate = %s AND reason = 'late' AND id <> %s AND state <> 'replayed' AND sequence IS NOT NULL
"""
_PURGE = """
UPDATE dead_letters SET state = 'purged', key = NULL, value = NULL, headers = '[]'
WHERE id = ANY(%s) AND state = 'open' RETURNING id, entity, aggregate
"""
_OPEN = "SELECT count(*) FROM dead_letters WHERE entity = %s AND aggregate = %s AND state = 'open'"
_END = "DELETE FROM journals WHERE entity = %s AND aggregate = %s"


class NotReplayed(PrejoinError):
    """A dead letter that cannot be replayed (yet), and why."""


@dataclass(frozen=True)
class Answer:
    """What became of one letter, in a line."""

    id: int
    done: bool
    said: str


@dataclass
class _Refolding:
    """One aggregate folded anew: `records` in the order in which they took effect."""

    aggregate: Aggregate
    records: list[Incoming] = field(default_factory=list)
    skipped: Verdict | None = None  # what became of the mended event, if it was not applied


class Replayer:
    """Replays dead letters of one group, each in a transaction of its own."""

    def __init__(self, applier: Applier) -> None:
        self._applier = applier

    def replay(self, letter: int, dry_run: bool = False) -> str:
        """Replay one dead letter by id; returns one line of what was done. Raises NotReplayed with the reason."""
        try:
            return self._replay(letter, dry_run)
        except BAD_DATA as error:
            raise NotReplayed(_refused(letter, error)) from None

    def attempt(self, letter: int, dry_run: bool = False) -> Answer:
        """Replay one dead letter by id: whether it could be, and what was done, or the reason."""
        try:
            return Answer(letter, True, self.replay(letter, dry_run))
        except NotReplayed as error:
            return Answer(letter, False, str(error))

    def replay_together(self, letters: Sequence[int], dry_run: bool = False) -> list[Answer]:
        """Replay letters of one aggregate in one transaction, so that each finds what those before it have mended.

        What still cannot be placed is tried again behind the others: an orphan waits for its creating event.
        """
        answers: dict[int, Answer] = {}
        with self._applier.transaction() as (cursor, plan, _):
            waiting, left = list(letters), len(letters) + 1
            while len(waiting) < left:
                left = len(waiting)
                for letter in tuple(waiting):
                    answers[letter] = self._attempt(cursor, plan, letter)
                    if answers[letter].done:
                        waiting.remove(letter)
            if dry_run:
                raise psycopg.Rollback()
        return [answers[letter] for letter in letters]

    def _attempt(self, cursor: psycopg.Cursor[Any], plan: Plan, letter: int) -> Answer:
        try:
            with cursor.connection.transaction():  # a savepoint
                return Answer(letter, True, self._replay_in(cursor, plan, letter))
        except NotReplayed as error:
            return Answer(letter, False, str(error))
        except BAD_DATA as error:
            return Answer(letter, False, _refused(letter, error))

    def _replay(self, letter: int, dry_run: bool) -> str:
        with self._applier.transaction() as (cursor, plan, _):
            said = self._replay_in(cursor, plan, letter)
            if dry_run:
                raise psycopg.Rollback()
        return said

    def _replay_in(self, cursor: psycopg.Cursor[Any], plan: Plan, letter: int) -> str:
        row = cursor.execute(_LETTER, (letter,)).fetchone()
        if row is None or row[-1] == "purged":
            raise PrejoinError(f"there is no dead letter {letter}: `prejoin deadletters list` shows those there are")
        if row[-1] == "replayed":
            return f"dead letter {letter} was replayed before"
        incoming = self._mended(letter, row)
        entity, key = incoming.entity, incoming.key
        assert entity is not None
        assert key is not None
        refolded = self._refold(cursor, letter, entity, key, incoming)
        if refolded.skipped is None:
            self._save(cursor, entity, key, refolded)
            plan.refresh(cursor, [refolded.aggregate])
            self._applier.blank_erased(cursor, plan, [refolded.aggregate])
        cursor.execute("UPDATE dead_letters SET state = 'replayed' WHERE id = %s", (letter,))
        self._close(cursor, entity, key, refolded.aggregate)
        if refolded.skipped is Verdict.DUPLICATE:
            return f"dead letter {letter} changes nothing: its event was applied already"
        return f"dead letter {letter} replayed into {entity.name} {key}"

    def purge(self, letters: Sequence[int], dry_run: bool = False, missing_ok: bool = False) -> list[Answer]:
        """Give letters up for good, in one transaction: what they hold is blanked; their records make no second one.

        Raises PrejoinError, with nothing purged, where one of them is not open, unless that is all right.
        """
        with self._applier.transaction() as (cursor, _, _):
            purged = cursor.execute(_PURGE, (list(letters),)).fetchall()
            if not missing_ok and (missing := sorted(set(letters) - {letter for letter, _, _ in purged})):
                raise PrejoinError(
                    f"there is no open dead letter {missing[0]}: `prejoin deadletters list` shows those there are"
                )
            entities = {entity.name: entity for entity in self._applier.entities}
            for name, key in sorted({(name, key) for _, name, key in purged if name in entities}):
                entity = entities[name]
                self._close(cursor, entity, key, self._applier.load_one(cursor, entity, key))
            if dry_run:
                raise psycopg.Rollback()
        return [Answer(letter, True, f"dead letter {letter} purged") for letter, _, _ in sorted(purged)]

    def _mended(self, letter: int, row: tuple[Any, ...]) -> Incoming:
        """The record decoded by the contracts of now."""
        *columns, entity, aggregate, _ = row
        incoming = self._applier.decode(RawRecord(*unraw(tuple(columns))))
        if incoming.record.value is None and columns[3:6] == [None, None, "[]"]:
            raise NotReplayed(f"dead letter {letter} is still bad, and was blanked by an erasure: purge it")
        if incoming.reason is not None:
            raise NotReplayed(f"dead letter {letter} is still bad, {incoming.reason}: {incoming.detail}")
        if incoming.event is None or incoming.entity is None:
            raise NotReplayed(f"dead letter {letter} is of a type that is ignored now: purge it")
        if aggregate is None:
            raise NotReplayed(
                f"dead letter {letter} names {incoming.entity.name} {incoming.key} only now: its aggregate could not "
                "be told when it came, so what came behind it was not kept; have its service publish the event again"
            )
        if (entity, aggregate) != (incoming.entity.name, incoming.key):
            raise NotReplayed(
                f"dead letter {letter} belonged to {entity} {aggregate} when it came, not to {incoming.key}"
            )
        return incoming

    def _kept(self, letter: int, row: Sequence[Any]) -> Incoming:
        """A record of the journal, which was applied once, decoded by the contracts of now."""
        record = RawRecord(*unraw(tuple(row)))
        kept = self._applier.decode(record)
        if kept.event is None:
            raise NotReplayed(
                f"dead letter {letter} cannot be placed: {record.topic}/{record.partition}@{record.offset}, applied to "
                f"its aggregate since, is {kept.reason or 'ignored'} by the contracts of now: let them take it again"
            )
        return kept

    def _refold(
        self, cursor: psycopg.Cursor[Any], letter: int, entity: Entity[Any], key: str, mended: Incoming
    ) -> _Refolding:
        base = cursor.execute(_BASE, (entity.name, key)).fetchone()
        if base is None or base[0] is None:
            raise NotReplayed(
                f"dead letter {letter} cannot be placed: of {entity.name} {key} more than {JOURNAL_RECORDS:,} "
                "records came since its first gap or dead letter, and no more are kept; have its service publish the "
                "event again"
            )
        arrived: list[Incoming] = []
        replayed = [mended]
        for *row, was_replayed in cursor.execute(_RECORDS, (entity.name, key)).fetchall():
            (replayed if was_replayed else arrived).append(self._kept(letter, row))
        before = self._applier.load_one(cursor, entity, key)
        refolded = _Refolding(thaw(entity, key, base[0]))
        placed = _placed(replayed, arrived, refolded.aggregate.state is not None)
        if self._applier.erasing.remembered(cursor, [(entity.name, key)]):  # which no fold takes back
            self._applier.erasing.erase(entity, refolded.aggregate)
        for each in placed:
            verdict = refolded.aggregate.judge(each.event)
            if verdict in (Verdict.NEXT, Verdict.LATE):  # late only behind what created the aggregate: its place
                refolded.aggregate.apply(each.event)
                refolded.records.append(each)
            elif each is mended:
                refolded.skipped = verdict
        if refolded.skipped is Verdict.ORPHAN:
            raise NotReplayed(f"dead letter {letter} is still an orphan: nothing has created {entity.name} {key} yet")
        for (sequence,) in cursor.execute(_LATE, (entity.name, key, letter)):
            refolded.aggregate.fill(sequence)
        refolded.aggregate.before, refolded.aggregate.updated_before = before.state, before.updated_at
        return refolded

    def _save(self, cursor: psycopg.Cursor[Any], entity: Entity[Any], key: str, refolded: _Refolding) -> None:
        self._applier.save_one(cursor, refolded.aggregate)
        cursor.execute(_CLEAR, (entity.name, key))
        cursor.executemany(_APPEND, [(entity.name, key, *raw(each.record)) for each in refolded.records])
        cursor.execute(_COUNTED, (len(refolded.records), entity.name, key))

    @staticmethod
    def _close(cursor: psycopg.Cursor[Any], entity: Entity[Any], key: str, aggregate: Aggregate) -> None:
        """End the journal once nothing can be put into it any more."""
        (still_open,) = cursor.execute(_OPEN, (entity.name, key)).fetchone() or (0,)
        if not still_open and not aggregate.gaps:
            cursor.execute(_CLEAR, (entity.name, key))
            cursor.execute(_END, (entity.name, key))


def _refused(letter: int, error: psycopg.Error) -> str:
    return f"dead letter {letter} is still refused by Postgres: SQLSTATE {error.sqlstate}"


def _placed(replayed: list[Incoming], arrived: list[Incoming], exists: bool) -> list[Incoming]:
    """The records of a journal with the replayed ones in their places, whatever the order in which they were replayed.

    By sequence where both have one, else by offset; what cannot create comes no earlier than right behind the event
    that created the aggregate. So those that can create are placed first.
    """
    placed = list(arrived)
    for each in sorted(replayed, key=lambda e: (not _creates(e), e.event.sequence or 0, e.record.offset)):
        place = _place(each, placed, behind_first=not exists and not _creates(each))
        placed.insert(place, each)
    return placed


def _place(each: Incoming, placed: list[Incoming], behind_first: bool) -> int:
    sequence, numbers = each.event.sequence, [other.event.sequence for other in placed]
    first, last = 0, len(placed)
    if sequence is not None:
        first = max((at + 1 for at, n in enumerate(numbers) if n is not None and n < sequence), default=0)
        last = min((at for at, n in enumerate(numbers) if n is not None and n > sequence), default=last)
    if behind_first and placed:
        first = max(first, 1)
    last = max(first, last)
    return next((at for at in range(first, last) if placed[at].record.offset > each.record.offset), last)


def _creates(each: Incoming) -> bool:
    assert each.entity is not None
    return each.entity.folds[type(each.event.data)].creates
