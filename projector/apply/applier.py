"""The applier: one batch of events, one Postgres transaction. What the engine promises happens in `_commit`."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import psycopg

from projector.apply import positions
from projector.apply.aggregates import Aggregate
from projector.apply.batch import Chunk, Outcome, Record, TopicPartition
from projector.apply.clock import Clock
from projector.apply.entities import EntityStore
from projector.apply.erasing import Erasing, Touched
from projector.apply.fold import Aggregates, MostlyBad, broken_state, fold_all
from projector.apply.incoming import Decoded, Decoder, Incoming, Work, cut, middle
from projector.apply.letters import journals
from projector.apply.plan import Plan
from projector.apply.statistics import Statistics
from projector.apply.window import Window
from projector.declare.entity import Entity
from projector.declare.projections import Projections
from projector.errors import NotMigrated, OutOfDate, Paused, TooManyDeadLetters
from projector.store.changed import out_of_date
from projector.store.connect import connect
from projector.store.definitions import declarations_digest, entity_tables
from projector.store.locks import LOCK
from projector.store.names import generation_name
from projector.store.refused import BAD_DATA

_OPEN = """
SELECT declarations, paused_by || ' since ' || to_char(paused_at, 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
       (SELECT coalesce(jsonb_object_agg(relation, generation), '{}') FROM served),
       EXISTS (SELECT FROM generations WHERE state = 'building'),
       EXISTS (SELECT FROM journals),
       EXISTS (SELECT FROM erasures),
       ARRAY(SELECT DISTINCT relation FROM search_generations WHERE state <> 'gone'),
       set_config('plan_cache_mode', 'force_generic_plan', true)  -- see `write.FEW`
FROM projection_group
"""
_PENDING = "SELECT coalesce(sum(cardinality(keys)), 0) FROM pending JOIN served USING (relation, generation)"


class Opened(NamedTuple):
    """Whether there is any journal, and any erasure; by whom, and since when, the group is paused, if it is."""

    journals: bool
    erasures: bool
    paused: str | None


class Applier:
    """Applies batches for one projection group. One thread at a time may use it; it reconnects by itself.

    Raises what may pass as psycopg.OperationalError, InterfaceError or Paused (give the same batch again), and
    TooManyDeadLetters, OutOfDate or FoldError where the process must stop.
    """

    def __init__(
        self,
        url: str,
        group: str,
        projections: Projections,
        unknown_events: str = "deadletter",
        dead_letter_limit: float = 0.5,
    ) -> None:
        self._url, self._group, self._projections = url, group, projections
        self._digest = declarations_digest(projections)
        self._decoder = Decoder(projections, unknown_events)
        self._stores = {entity.name: EntityStore(entity) for entity in projections.entities}
        self._limit: float | None = dead_letter_limit
        self._window = Window()
        self._connection: psycopg.Connection[Any] | None = None
        self._plan: Plan | None = None
        self._captures = False  # what it changes of entities, for generations that are being built
        self._statistics = Statistics()
        self.erasing = Erasing(projections)

    def apply(self, chunks: Iterable[Chunk]) -> Outcome:
        """Decode the chunks and apply them: `apply_decoded` tells more."""
        return self.apply_decoded([self.decode_chunk(chunk) for chunk in chunks])

    def decode_chunk(self, chunk: Chunk) -> Decoded:
        """What each record of a chunk turns out to be. Any thread may ask, while another applies."""
        return chunk, [self._decoder.decode(record) for record in chunk.records]

    def apply_decoded(self, work: Work) -> Outcome:
        """Apply the chunks whose partition stands where they start; see `Outcome` for what was done and refused."""
        clock = Clock()
        try:
            return self._apply(work, clock)
        except MostlyBad as crossed:
            return self._stop_at(crossed, work, clock)

    def _commit(self, work: Work, clock: Clock) -> Outcome:
        outcome = Outcome()
        with self.transaction() as (cursor, plan, opened):
            if opened.paused is not None:
                raise Paused(f"paused by {opened.paused}")
            clock.lap("lock")
            accepted = positions.accept(positions.read(cursor), work, outcome)
            incoming = self._admit(cursor, [each for _, its in accepted for each in its])
            aggregates = self._load(cursor, incoming, opened.journals)
            clock.lap("load")
            letters, window = fold_all(incoming, aggregates, self._window, self._limit, outcome)
            clock.lap("fold")
            hide = [self.erasing.hiding(cursor, letters.kept())] if opened.erasures else []
            self._save(cursor, aggregates, outcome)
            letters.save(cursor, *hide)
            clock.lap("entities")
            for change in plan.refresh(cursor, aggregates.values()):
                outcome.rows[change.relation.name] = len(change.upserted) + len(change.deleted)
            outcome.pending = plan.pended
            self.blank_erased(cursor, plan, aggregates.values())
            clock.lap("views")
            positions.advance(cursor, [chunk for chunk, _ in accepted])
        clock.lap("commit")
        self._keep_statistics(plan, outcome)
        clock.lap("analyze")
        self._window, outcome.seconds = window, clock.spent
        return outcome

    @contextmanager
    def transaction(self) -> Iterator[tuple[psycopg.Cursor[Any], Plan, Opened]]:
        """BEGIN; the group's lock, alone; then what must be known before anything is read."""
        with self._begun() as cursor:
            cursor.execute(LOCK, {"group": self._group})
            yield cursor, *self._open(cursor)

    @contextmanager
    def _begun(self) -> Iterator[psycopg.Cursor[Any]]:
        if self._connection is None or self._connection.closed:
            self._connection = connect(self._url, self._group, name="prejoin worker")
        try:
            with self._connection.transaction(), self._connection.cursor() as cursor:
                yield cursor
        except (psycopg.OperationalError, psycopg.InterfaceError):
            self.close()  # whether it is usable is not worth finding out
            raise
        except psycopg.InternalError as error:  # Postgres ended a transaction that took too long, or only reads for now
            self.close()
            raise psycopg.OperationalError(str(error)) from error

    def _open(self, cursor: psycopg.Cursor[Any]) -> tuple[Plan, Opened]:
        try:
            opened: tuple[Any, ...] = cursor.execute(_OPEN).fetchone() or (None, None, {}, False, False, False, [], "")
        except psycopg.errors.UndefinedTable:
            raise NotMigrated(self._group) from None
        except psycopg.errors.UndefinedColumn:
            raise OutOfDate("the database is of a release before this one: run `prejoin migrate`") from None
        digest, paused, served, self._captures, journals_, erasures, searched, _ = opened
        if digest != self._digest:
            raise out_of_date(cursor, self._projections)
        if self._plan is None or self._plan.served != served:
            self._plan = Plan(self._projections, served)
        self._plan.searched = frozenset(searched)
        return self._plan, Opened(journals_, erasures, paused)

    def _admit(self, cursor: psycopg.Cursor[Any], incoming: list[Incoming]) -> list[Incoming]:
        """Those that count: all, but where only a part of the log is wanted."""
        return incoming

    def _load(self, cursor: psycopg.Cursor[Any], incoming: Iterable[Incoming], any_journal: bool) -> Aggregates:
        keys: dict[str, set[str]] = {}
        for each in incoming:
            if each.entity is not None and each.key is not None:
                keys.setdefault(each.entity.name, set()).add(each.key)
        found: Aggregates = {}
        for name, wanted in keys.items():
            store = self._stores[name]
            found.update(((name, key), aggregate) for key, aggregate in store.load(cursor, wanted).items())
            for key, journal in journals(cursor, store.entity, wanted).items() if any_journal else ():
                found[name, key].journal = journal
        return found

    def _save(self, cursor: psycopg.Cursor[Any], aggregates: Aggregates, outcome: Outcome) -> None:
        with cursor.connection.pipeline():  # rows of one entity are made while Postgres writes those of another
            for name, store in self._stores.items():
                its = (a for a in aggregates.values() if a.entity.name == name)
                outcome.rows[name] = store.save(cursor, its, self._captures)

    def _apply(self, work: Work, clock: Clock) -> Outcome:
        """Commit; where Postgres refuses the data of one record, find it by halves and make it a dead letter.

        What breaks a table's rules is a fold's doing, not a record's: that raises FoldError.
        """
        try:
            return self._commit(work, clock)
        except (*BAD_DATA, psycopg.IntegrityError) as error:
            records = [each for _, its in work for each in its]
            if not records:
                raise
            if len(records) == 1 and isinstance(error, psycopg.IntegrityError):
                raise broken_state(records[0], error) from None
            if len(records) == 1:
                records[0].reject(f"Postgres refuses it: SQLSTATE {error.sqlstate}")
                return self._commit(work, clock)
            first, second = cut(work, middle(records))
            outcome = self._apply(first, clock)
            outcome.add(self._apply(second, Clock()))
            return outcome

    def _stop_at(self, crossed: MostlyBad, work: Work, clock: Clock) -> Outcome:
        limit, self._limit = self._limit, None
        try:
            self._apply(cut(work, crossed.at)[0], clock)
        finally:
            self._limit = limit
        record = crossed.at.record
        raise TooManyDeadLetters(
            f"more than {self._limit:.0%} of the last {self._window.size:,} records were bad, the last at "
            f"{record.topic}/{record.partition}@{record.offset} ({crossed.at.reason or 'orphan or late'}): "
            "`prejoin deadletters list` shows them; mend the producer or the contracts, or raise "
            "PREJOIN_DEAD_LETTER_LIMIT, and start again"
        )

    def _keep_statistics(self, plan: Plan, outcome: Outcome) -> None:
        assert self._connection is not None
        tables = {e.name: [t.name for t in entity_tables(e)] for e in self._projections.entities}
        tables |= {name: [generation_name(name, generation)] for name, generation in plan.served.items()}
        written = {table: rows for name, rows in outcome.rows.items() for table in tables[name]}
        self._statistics.keep(self._connection, written)

    def drain(self) -> int:
        """Refresh one portion of the pending keys, in a transaction of its own; returns how many are left."""
        with self.transaction() as (cursor, plan, _):
            plan.drain(cursor)
            (left,) = cursor.execute(_PENDING).fetchone() or (0,)
            return int(left) + self.erasing.go_on(cursor)[1]

    def erase(self, entity: Entity[Any], keys: Sequence[str], create: bool = True) -> Touched:
        """Erase aggregates of an entity, some thousands at most, in one transaction; what that has touched.

        One that never was is created erased, or, without `create`, only remembered. Where very many rows are
        concerned, some are left to `drain`: `Touched.whole` and what is pending tell.
        """
        with self.transaction() as (cursor, plan, _):
            aggregates = self._stores[entity.name].load(cursor, keys)
            changed = [a for a in aggregates.values() if self.erasing.erase(entity, a, create)]
            for aggregate in changed:
                aggregate.erased = True
            self._stores[entity.name].save(cursor, changed, self._captures)
            changes = plan.refresh(cursor, changed)
            touched = self.erasing.blank(cursor, plan.served, entity, keys)
            touched.entities[entity.name] = len(changed)
            touched.views.update({c.relation.name: len(c.upserted) + len(c.deleted) for c in changes})
            return touched

    def blank_erased(self, cursor: psycopg.Cursor[Any], plan: Plan, aggregates: Iterable[Aggregate]) -> None:
        """Blank what is kept of those that an event has erased in this transaction."""
        for entity in self._projections.personal.values():
            if keys := [a.key for a in aggregates if a.erased and a.entity is entity]:
                self.erasing.blank(cursor, plan.served, entity, keys)

    def positions(self) -> dict[TopicPartition, int]:
        """The next offset to apply of each partition, as committed."""
        with self.transaction() as (cursor, _, _):
            return positions.read(cursor)

    @property
    def entities(self) -> list[Entity[Any]]:
        """The entities that it folds."""
        return self._projections.entities

    def decode(self, record: Record) -> Incoming:
        """What a record turns out to be by the contracts of now."""
        return self._decoder.decode(record)

    def load_one(self, cursor: psycopg.Cursor[Any], entity: Entity[Any], key: str) -> Aggregate:
        """One aggregate as it is in Postgres."""
        return self._stores[entity.name].load(cursor, [key])[key]

    def save_one(self, cursor: psycopg.Cursor[Any], aggregate: Aggregate) -> None:
        """Write one aggregate."""
        self._stores[aggregate.entity.name].save(cursor, [aggregate], self._captures)

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None
