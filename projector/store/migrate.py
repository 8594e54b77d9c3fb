"""`prejoin migrate`: schemas, the engine's tables, entity and view tables, the reading role. One transaction."""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from projector.declare.entity import Entity
from projector.declare.projections import Projections
from projector.declare.sql import plain, quoted
from projector.declare.view import Relation, unsound_key
from projector.errors import OutOfDate, PrejoinError
from projector.store import definitions, generations
from projector.store.connect import engine, unreachable
from projector.store.entity_tables import bring_along
from projector.store.locks import LOCK
from projector.store.names import generation_name, schemas
from projector.store.roles import grant_reading
from projector.store.search_text import functions

POSTGRES = 18
_LAST = text("SELECT relation, max(generation) FROM generations GROUP BY relation")
_ALL = text("SELECT generation FROM generations WHERE relation = :r ORDER BY generation DESC")
_BUILT = text("INSERT INTO generations (relation, generation, version, digest, state) VALUES (:r, :g, :v, :d, 'live')")
_SERVE = text(
    "INSERT INTO served VALUES (:r, :g, NULL) "
    "ON CONFLICT (relation) DO UPDATE SET generation = excluded.generation, search = NULL"
)
_UNSERVE = text("DELETE FROM served WHERE relation = :r")
_NOT_SEARCHED = [
    text("DELETE FROM search_generations WHERE relation = :r"),
    text("DELETE FROM outbox WHERE relation = :r"),
    text("DELETE FROM search_dead_letters WHERE relation = :r"),
    text("UPDATE served SET search = NULL WHERE relation = :r"),
]
_SEARCHED = text("SELECT DISTINCT relation FROM search_generations ORDER BY relation")
_INDEXES = text(
    "SELECT indexname FROM pg_indexes "
    "WHERE schemaname = :schema AND indexname LIKE 'ix\\_%' AND tablename = ANY(:served)"
)


def migrate(
    url: str,
    read_url: str | None,
    group: str,
    projections: Projections,
    dry_run: bool = False,
    word_indexes: bool = False,
) -> list[str]:
    """Bring the database to what the declarations say; returns what was done (or would be), a line each.

    With `word_indexes` Postgres answers searches by an index, which costs each written row of a view that is searched.

    All of it is one transaction under the group's lock: workers wait, readers see the old or the new. With `dry_run`
    it is rolled back. Raises OutOfDate for a change that cannot be made in place.
    """
    database = engine(url, group)
    try:
        connection = database.connect()
    except OperationalError as error:
        raise unreachable("PREJOIN_DATABASE_URL", url, error.orig or error) from None
    try:
        with connection, connection.begin() as transaction:
            done = _Migration(connection, group, projections, word_indexes).run(read_url)
            if dry_run:
                transaction.rollback()
    except DBAPIError as error:
        if not isinstance(error.orig, psycopg.errors.InsufficientPrivilege | psycopg.errors.ReadOnlySqlTransaction):
            raise
        raise PrejoinError(
            f"PREJOIN_DATABASE_URL's role {urlsplit(url).username} may not do this "
            f"({error.orig.diag.message_primary}): give the writer a database of its own, "
            "on a server that is not read-only"
        ) from None
    finally:
        database.dispose()
    return done


class _Migration:
    def __init__(self, connection: Connection, group: str, projections: Projections, word_indexes: bool) -> None:
        self.connection, self.group, self.projections = connection, group, projections
        self.word_indexes = word_indexes
        self.done: list[str] = []

    def run(self, read_url: str | None) -> list[str]:
        version = self.connection.exec_driver_sql("SHOW server_version").scalar() or ""
        if int(version.split(".")[0].split()[0]) < POSTGRES:
            raise PrejoinError(f"Postgres is {version}: Prejoin needs {POSTGRES} or newer, for RETURNING old and new")
        self.connection.exec_driver_sql(LOCK, {"group": self.group})
        self._schemas()
        self._engine_tables()
        for ddl in functions().values():
            self._sql(ddl.replace("%", "%%"))
        for entity in self.projections.entities:
            self.done += bring_along(self.connection, schemas(self.group)[1], entity)
            self._remember_erased(entity)
        served = self._relations()
        self._end_searches()
        digest = definitions.declarations_digest(self.projections)
        self.connection.execute(text("UPDATE projection_group SET declarations = :digest"), {"digest": digest})
        if read_url:
            self.done += grant_reading(self.connection, read_url, self.group, self.projections, served)
        return self.done

    def _sql(self, statement: str) -> None:
        self.connection.exec_driver_sql(statement)

    def _schemas(self) -> None:
        there = inspect(self.connection).get_schema_names()
        for schema in schemas(self.group):
            if schema not in there:
                self._sql(f"CREATE SCHEMA {quoted(schema)}")
                self.done.append(f"create schema {schema}")

    def _engine_tables(self) -> None:
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        config.attributes["connection"] = self.connection
        before = self._revision()
        try:
            command.upgrade(config, "head")
        except CommandError:
            raise OutOfDate(
                f"group {self.group} is at migration {before}, which this release does not know: run the newer one"
            ) from None
        if (after := self._revision()) != before:
            self.done.append(f"the engine's tables: {before or 'none'} → {after}")

    def _revision(self) -> str | None:
        if not inspect(self.connection).has_table("migrations", self.group):
            return None
        return self.connection.execute(text("SELECT version_num FROM migrations")).scalar()

    def _remember_erased(self, entity: Entity[Any]) -> None:
        """Those erased before erasures were noted, or before the entity said what of it is personal."""
        if entity.erasure is not None:
            self._sql(
                f"INSERT INTO erasures (entity, key) SELECT '{entity.name}', {quoted(entity.key)} "
                f"FROM {quoted(entity.table.name)} WHERE {quoted(entity.erasure.mark)} ON CONFLICT DO NOTHING"
            )

    def _relations(self) -> dict[str, int]:
        """Build what is new or differs from what is served; returns the served generations."""
        digests = definitions.relation_digests(self.projections)
        rows = self.connection.execute(
            text("SELECT relation, generation, digest FROM served JOIN generations USING (relation, generation)")
        ).all()
        before = {r.relation: (r.generation, r.digest) for r in rows}
        last = {r.relation: r.max for r in self.connection.execute(_LAST)}
        served: dict[str, int] = {}
        for relation in self.projections.relations:
            generation, digest = before.get(relation.name, (0, ""))
            served[relation.name] = generation
            if digest != digests[relation.name]:
                served[relation.name] = last.get(relation.name, 0) + 1
                self._build(relation, served, digests[relation.name])
        for name in reversed(list(before)):
            if name not in served:
                self._drop(name, None)
                self.connection.execute(_UNSERVE, {"r": name})
                self.done.append(f"drop {name}, which is no longer declared")
            elif before[name][0] != served[name]:
                self._drop(name, served[name])
        self._indexes(served)
        return served

    def _end_searches(self) -> None:
        """What is not searched any more: batches must not fill an outbox that nobody empties."""
        searched = {view.name for view in self.projections.searched}
        for name in self.connection.execute(_SEARCHED).scalars().all():
            if name not in searched:
                self._end_search(name)
                self.done.append(f"end the search of {name}, which is no longer declared")

    def _end_search(self, name: str) -> None:
        for statement in _NOT_SEARCHED:
            self.connection.execute(statement, {"r": name})

    def _build(self, relation: Relation, served: dict[str, int], digest: str) -> None:
        generation = served[relation.name]
        name = generation_name(relation.name, generation)
        query = plain(definitions.served_query(self.projections, relation, served))
        full = f"{quoted(schemas(self.group)[2])}.{quoted(name)}"
        self._sql(definitions.generation_ddl(self.projections, relation, served, schemas(self.group)[2]))
        if relation.stored:
            columns = ", ".join(quoted(c.name) for c in relation.table.c)
            try:
                self._sql(f"INSERT INTO {full} ({columns}) {query}")
            except IntegrityError:  # what Postgres says of it holds the row
                raise unsound_key(relation) from None
            self._sql(f"ANALYZE {full}")
        values = {"r": relation.name, "g": generation, "v": relation.version, "d": digest}
        self.connection.execute(_BUILT, values)
        self.connection.execute(_SERVE, values)
        self.done.append(f"build {relation.name}, version {relation.version}, generation {generation}")

    def _indexes(self, served: dict[str, int]) -> None:
        """Make the declared indexes, and drop those that were declared before: each costs every write."""
        wanted: dict[str, str] = {}
        for relation in self.projections.relations:
            wanted |= definitions.indexes(self.projections, relation, served, self.word_indexes)
        schema = schemas(self.group)[2]
        tables = [generation_name(name, generation) for name, generation in served.items()]
        there = set(self.connection.execute(_INDEXES, {"schema": schema, "served": tables}).scalars())
        for name in sorted(there - wanted.keys()):
            self._sql(f"DROP INDEX {quoted(schema)}.{quoted(name)}")
            self.done.append(f"drop index {name}")
        for name in sorted(wanted.keys() - there):
            self._sql(wanted[name])

    def _drop(self, name: str, but: int | None) -> None:
        """Drop the generations of a relation, those kept and those being built, too, but for one."""
        driver = self.connection.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        for generation in self.connection.execute(_ALL, {"r": name}).scalars().all():
            if generation != but:
                generations.drop(driver.cursor(), name, generation)
        self._end_search(name)  # an indexer begins anew with what is served then
