"""A projection group of its own in a Postgres: records go in, and its rows come out as the API would show them."""

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
from projector.settings import read_settings
from projector.store.connect import connect
from projector.store.migrate import migrate
from projector.store.names import generation_name, schemas
from schemas.envelope import RawRecord

Rows = dict[tuple[Any, ...], dict[str, Any]]
"""Rows of a view by key, each column → its value as JSON has it."""

Fields = tuple[Any, ...]
"""A raw Kafka record, field by field as `RawRecord` has them."""

_groups = itertools.count()
_KEPT = ["migrations", "projection_group", "generations", "served"]  # as `migrate` leaves them


class Group:
    """One group, made by its constructor and gone after `drop`."""

    def __init__(self, url: str, projections: Projections, read_url: str | None = None) -> None:
        """Migrates; `url` is the writer's `postgresql://…`, `read_url` that of the role that is to read."""
        self.url, self.projections = url, projections
        self.group = f"t{os.getpid()}_{next(_groups)}"
        migrate(url, read_url, self.group, projections)
        self.applier = Applier(url, self.group, projections, dead_letter_limit=1.0)

    def apply(self, records: Sequence[Fields], batch: int = 5_000) -> Outcome:
        """Apply the records, so many at a time, each batch in chunks of consecutive records of a partition."""
        outcome = Outcome()
        for at in range(0, len(records), batch):
            outcome.add(self.applier.apply(self.chunks(records[at : at + batch])))
        return outcome

    def chunks(self, records: Iterable[Fields]) -> list[Chunk]:
        """The records as the worker would hand them over: partition by partition, from where Postgres stands."""
        start = self.applier.positions()
        by_partition: dict[TopicPartition, list[RawRecord]] = {}
        for raw in (RawRecord(*record) for record in records):
            by_partition.setdefault(TopicPartition(raw.topic, raw.partition), []).append(raw)
        return [Chunk(tp, start.get(tp), its[-1].offset + 1, its) for tp, its in by_partition.items()]

    def connect(self) -> psycopg.Connection[Any]:
        """A connection that commits each statement, with the group's tables in its path."""
        return connect(self.url, self.group, autocommit=True)

    def fetch(self, query: str, *values: Any) -> list[Any]:
        """The rows of a query, with `%s` for each of the values."""
        with self.connect() as connection:
            return connection.execute(query, values).fetchall()

    def execute(self, statement: str, *values: Any) -> None:
        """Run a statement, with `%s` for each of the values."""
        with self.connect() as connection:
            connection.execute(statement, values)

    def view(self, name: str) -> Rows:
        """All rows of a view, served or not. Raises DeclarationError for a name that there is not."""
        relation = self.projections.relation(name)
        columns = ", ".join(f'"{c.name}"' for c in relation.columns)
        rows: Rows = {}
        for row in self.fetch(f"SELECT {columns} FROM {self.table(name)}"):
            shown = {c.name: _shown(value, c.type) for c, value in zip(relation.columns, row, strict=True)}
            rows[tuple(shown[k] for k in relation.key)] = shown
        return rows

    def table(self, name: str) -> str:
        """The table that keeps a view's rows."""
        ((generation,),) = self.fetch("SELECT generation FROM served WHERE relation = %s", name)
        return generation_name(name, generation)

    def verify(self, *names: str, repair: bool = False) -> list[Verified]:
        """Compare views, all by default, with what their definitions say."""
        with closing(Verifier(self.url, self.group, self.projections)) as verifier:
            return [verifier.verify(r, repair) for r in self.projections.relations if r.name in names or not names]

    def drift(self) -> list[Difference]:
        """Each key of each view whose row is not what its definition says."""
        return [difference for found in self.verify() for difference in found.differences]

    def clear(self) -> None:
        """Empty its tables, as `migrate` left them: quicker than another group."""
        name = "format('%%I.%%I', schemaname, tablename)"
        query = f"SELECT {name} FROM pg_tables WHERE schemaname = ANY(%s) AND tablename <> ALL(%s)"
        self.execute("TRUNCATE " + ", ".join(t for (t,) in self.fetch(query, list(schemas(self.group)), _KEPT)))

    def drop(self) -> None:
        """Remove all that is in Postgres of it."""
        self.applier.close()
        copies = self.fetch("SELECT nspname FROM pg_namespace WHERE nspname LIKE %s", f"{self.group}$%")
        for schema in [*(name for (name,) in copies), *schemas(self.group)]:
            self.execute(f'DROP SCHEMA "{schema}" CASCADE')


@contextmanager
def group(url: str, name: str | None = None) -> Iterator[Group]:
    """A group of a package's projections, by default those of PREJOIN_PROJECTIONS, that is gone afterwards."""
    made = Group(url, load(name or read_settings().projections))
    try:
        yield made
    finally:
        made.drop()


def _shown(value: Any, kind: Any) -> Any:
    if isinstance(value, datetime):
        text = value.strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
        return text + (f".{value.microsecond:06}".rstrip("0") if value.microsecond else "") + "Z"
    if isinstance(value, date):
        return value.isoformat()
    if value is not None and isinstance(kind, Numeric):
        return int(value) if kind.scale == 0 else str(value)
    return value
