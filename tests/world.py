"""A projection group of its own in the tests' Postgres, fed with records and read as the API would show it."""

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import date, datetime
from typing import Any

import psycopg
from sqlalchemy import Numeric

from projector.apply.applier import Applier
from projector.apply.batch import Chunk, Outcome, TopicPartition
from projector.declare.projections import Projections, load
from projector.operate.verify import Difference, Verified, Verifier
from projector.store.connect import connect
from projector.store.migrate import migrate
from projector.store.names import generation_name, schemas
from schemas.envelope import RawRecord
from tests.model import Record

Rows = dict[tuple[Any, ...], dict[str, Any]]
_groups = itertools.count()


class World:
    """One group: `given` records, then `views`, `dead_letters` and so on, as they are in Postgres."""

    def __init__(self, url: str, projections: Projections, read_url: str | None = None) -> None:
        self.url, self.projections = url, projections
        self.group = f"t{os.getpid()}_{next(_groups)}"
        migrate(url, read_url, self.group, projections)
        self.applier = Applier(url, self.group, projections, dead_letter_limit=1.0)

    def given(self, records: Sequence[Record], batch: int = 5_000) -> Outcome:
        """Apply the records, so many at a time, each batch in chunks of consecutive records of a partition."""
        outcome = Outcome()
        for at in range(0, len(records), batch):
            outcome.add(self.applier.apply(self.chunks(records[at : at + batch])))
        return outcome

    def chunks(self, records: Iterable[Record]) -> list[Chunk]:
        """The records as the worker would hand them over: partition by partition, from where Postgres stands."""
        start = self.applier.positions()
        by_partition: dict[TopicPartition, list[RawRecord]] = {}
        for record in records:
            by_partition.setdefault(TopicPartition(record.topic, record.partition), []).append(RawRecord(*record))
        return [Chunk(tp, start.get(tp), its[-1].offset + 1, its) for tp, its in by_partition.items()]

    def connect(self) -> psycopg.Connection[Any]:
        return connect(self.url, self.group, autocommit=True)

    def fetch(self, query: str, *values: Any) -> list[Any]:
        with self.connect() as connection:
            return connection.execute(query, values).fetchall()

    def execute(self, statement: str, *values: Any) -> None:
        with self.connect() as connection:
            connection.execute(statement, values)

    def views(self) -> dict[str, Rows]:
        return {relation.name: self.view(relation.name) for relation in self.projections.served}

    def view(self, name: str) -> Rows:
        relation = self.projections.relation(name)
        columns = ", ".join(f'"{c.name}"' for c in relation.columns)
        rows: Rows = {}
        for row in self.fetch(f"SELECT {columns} FROM {self.table(name)}"):
            shown = {c.name: _shown(value, c.type) for c, value in zip(relation.columns, row, strict=True)}
            rows[tuple(shown[k] for k in relation.key)] = shown
        return rows

    def table(self, name: str) -> str:
        ((generation,),) = self.fetch("SELECT generation FROM served WHERE relation = %s", name)
        return generation_name(name, generation)

    def dead_letters(self) -> list[tuple[str, int, int, str]]:
        query = 'SELECT topic, partition, "offset", reason FROM dead_letters'
        return self.fetch(f"{query} WHERE state = 'open' ORDER BY 1, 2, 3")

    def verify(self, *names: str, repair: bool = False) -> list[Verified]:
        with closing(Verifier(self.url, self.group, self.projections)) as verifier:
            return [verifier.verify(r, repair) for r in self.projections.relations if r.name in names or not names]

    def drift(self) -> list[Difference]:
        return [difference for found in self.verify() for difference in found.differences]

    def drop(self) -> None:
        self.applier.close()
        copies = self.fetch("SELECT nspname FROM pg_namespace WHERE nspname LIKE %s", f"{self.group}$%")
        for schema in [*(name for (name,) in copies), *schemas(self.group)]:
            self.execute(f'DROP SCHEMA "{schema}" CASCADE')


@contextmanager
def world(url: str, name: str = "projections", read_url: str | None = None) -> Iterator[World]:
    """A world that is gone afterwards."""
    made = World(url, load(name), read_url)
    try:
        yield made
    finally:
        made.drop()


def clear(made: World) -> None:
    """Empty its tables, as migrate left them: quicker than another world."""
    kept = ["migrations", "projection_group", "generations", "served"]
    name = "format('%%I.%%I', schemaname, tablename)"
    query = f"SELECT {name} FROM pg_tables WHERE schemaname = ANY(%s) AND tablename <> ALL(%s)"
    made.execute("TRUNCATE " + ", ".join(table for (table,) in made.fetch(query, list(schemas(made.group)), kept)))


def _shown(value: Any, kind: Any) -> Any:
    if isinstance(value, datetime):
        text = value.strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
        return text + (f".{value.microsecond:06}".rstrip("0") if value.microsecond else "") + "Z"
    if isinstance(value, date):
        return value.isoformat()
    if value is not None and isinstance(kind, Numeric):
        return int(value) if kind.scale == 0 else str(value)
    return value
