"""`prejoin migrate`: schemas, the engine's tables, entity and view tables, the reading role. One transaction.

Views that are new or have changed are built in it only where that is soon done; else they wait for `prejoin rebuild`,
and the database goes on serving the release before: its workers' declarations stay those of the group until the switch.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError, OperationalError

from projector.declare.entity import Entity
from projector.declare.projections import Projections
from projector.declare.sql import plain, quoted
from projector.declare.view import Relation
from projector.errors import OutOfDate, PrejoinError
from projector.store import definitions, generations
from projector.store.changed import changed, rebuilding
from projector.store.connect import engine, unreachable
from projector.store.definitions import entity_tables
from projector.store.entity_tables import bring_along
from projector.store.generations import end_searches, keep, release
from projector.store.locks import LOCK
from projector.store.names import generation_name, schemas
from projector.store.refused import storing
from projector.store.roles import grant_reading
from projector.store.search_text import functions

POSTGRES = 18
FEW = 5_000  # rows of entities up to which views are built at once: in a second or so, which workers wait for
_LAST = text("SELECT relation, max(generation) FROM generations GROUP BY relation")
_OTHERS = text(
    "SELECT generation FROM generations WHERE relation = :r AND state NOT IN ('copy', 'snapshot') "
    "ORDER BY generation DESC"
)
_BUILT = text("INSERT INTO generations (relation, generation, version, digest, state) VALUES (:r, :g, :v, :d, 'live')")
_SERVE = text("INSERT INTO served VALUES (:r, :g, NULL)")
_COMING = text(
    "UPDATE projection_group SET coming = :digest, declarations = CASE WHEN :stop THEN NULL ELSE declarations END"
)
_INDEXES = text(
    "SELECT indexname FROM pg_indexes "
    "WHERE schemaname = :schema AND indexname LIKE 'ix\\_%' AND tablename = ANY(:served)"
)

_INDEXED = text(
    "SELECT DISTINCT tablename FROM pg_indexes WHERE schemaname = :schema AND indexname = ANY(:names) ORDER BY 1"
)


class Steps(list[str]):
    """What was done, or would be, a line each; `rebuild` are the relations that wait for `prejoin rebuild`."""

    rebuild: tuple[str, ...] = ()


def migrate(
    url: str,
    read_url: str | None,
    group: str,
    projections: Projections,
    dry_run: bool = False,
    word_indexes: bool = False,
) -> Steps:
    """Bring the database to what the declarations say; returns what was done (or would be), a line each.

    Where entities hold more than a few rows, a view that is new or has changed is left to `prejoin rebuild`. With
    `word_indexes` Postgres answers searches by an index, which costs each written row of a view that is searched.

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
        self.done = Steps()
        driver = connection.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        self.cursor = driver.cursor()

    def run(self, read_url: str | None) -> Steps:
        version = self.connection.exec_driver_sql("SHOW server_version").scalar() or ""
        if int(version.split(".")[0].split()[0]) < POSTGRES:
            raise PrejoinError(f"Postgres is {version}: Prejoin needs {POSTGRES} or newer, for RETURNING old and new")
        self.connection.exec_driver_sql(LOCK, {"group": self.group})
        self._schemas()
        before, after = upgrade_engine(self.connection, self.group)
        if after != before:
            self.done.append(f"the engine's tables: {before or 'none'} → {after}")
        upgraded = before not in (None, after)
        for ddl in functions().values():
            self._sql(ddl.replace("%", "%%"))
        changes = changed(self.cursor, self.projections)
        waits = bool(changes) and self._is_much()
        for entity in self.projections.entities:
            self.done += bring_along(self.connection, schemas(self.group)[1], entity, drop=not waits)
            self._remember_erased(entity)
        if waits:
            self._wait(changes, upgraded)
            served = self._served()
        else:
            served = self._build_all(changes)
            self.done += release(self.cursor, self.projections)
        if read_url:
            as_declared = [r for r in self.projections.served if r.name not in self.done.rebuild]
            self.done += grant_reading(self.connection, read_url, self.group, as_declared, served)
        return self.done

    def _is_much(self) -> bool:
        """Whether entities hold more rows than views are built from at once."""
        rows = 0
        there = set(inspect(self.connection).get_table_names(schemas(self.group)[1]))
        names = {table.name for entity in self.projections.entities for table in entity_tables(entity)}
        for name in sorted(names & there):
            some = f"SELECT FROM {quoted(schemas(self.group)[1])}.{quoted(name)} LIMIT {FEW + 1}"
            rows += self.connection.exec_driver_sql(f"SELECT count(*) FROM ({some}) AS found").scalar() or 0
        return rows > FEW

    def _wait(self, changes: dict[str, str], upgraded: bool) -> None:
        """Leave what has changed as it is; all else is made as declared, and nothing is dropped."""
        self.done.rebuild = tuple(changes)
        self._indexes([r for r in self.projections.relations if r.name not in changes], self._served(), drop=False)
        values = {"digest": definitions.declarations_digest(self.projections), "stop": upgraded}
        self.connection.execute(_COMING, values)
        for name, what in changes.items():
            self.done.append(f"leave {name}, {what}: run {rebuilding([name])}")
        if upgraded:
            self.done.append("stop workers of the release before until then, which do not know the engine's new tables")

    def _sql(self, statement: str) -> None:
        self.connection.exec_driver_sql(statement)

    def _schemas(self) -> None:
        there = inspect(self.connection).get_schema_names()
        for schema in schemas(self.group):
            if schema not in there:
                self._sql(f"CREATE SCHEMA {quoted(schema)}")
                self.done.append(f"create schema {schema}")

    def _remember_erased(self, entity: Entity[Any]) -> None:
        """Those erased before erasures were noted, or before the entity said what of it is personal."""
        if entity.erasure is not None:
            self._sql(
                f"INSERT INTO erasures (entity, key) SELECT '{entity.name}', {quoted(entity.key)} "
                f"FROM {quoted(entity.table.name)} WHERE {quoted(entity.erasure.mark)} ON CONFLICT DO NOTHING"
            )

    def _served(self) -> dict[str, int]:
        return generations.served(self.cursor)

    def _build_all(self, changes: dict[str, str]) -> dict[str, int]:
        """Build what is new or differs from what is served; returns the served generations."""
        digests = definitions.relation_digests(self.projections)
        served, last = self._served(), {r.relation: r.max for r in self.connection.execute(_LAST)}
        for name in changes:
            self._drop_others(name, served.get(name))
        end_searches(self.cursor, list(changes))  # an indexer begins anew with what is served then
        keep(self.cursor, list(changes))
        for relation in self.projections.relations:
            if relation.name in changes:
                served[relation.name] = last.get(relation.name, 0) + 1
                self._build(relation, served, digests[relation.name])
        self._indexes(self.projections.relations, served)
        return served

    def _build(self, relation: Relation, served: dict[str, int], digest: str) -> None:
        generation = served[relation.name]
        name = generation_name(relation.name, generation)
        query = plain(definitions.served_query(self.projections, relation, served))
        full = f"{quoted(schemas(self.group)[2])}.{quoted(name)}"
        self._sql(definitions.generation_ddl(self.projections, relation, served, schemas(self.group)[2]))
        if relation.stored:
            columns = ", ".join(quoted(c.name) for c in relation.table.c)
            with storing(relation):
                self._sql(f"INSERT INTO {full} ({columns}) {query}")
            self._sql(f"ANALYZE {full}")
        values = {"r": relation.name, "g": generation, "v": relation.version, "d": digest}
        self.connection.execute(_BUILT, values)
        self.connection.execute(_SERVE, values)
        self.done.append(f"build {relation.name}, version {relation.version}, generation {generation}")

    def _indexes(self, relations: Sequence[Relation], served: dict[str, int], drop: bool = True) -> None:
        """Make the declared indexes, and drop those that were declared before: each costs every write."""
        wanted: dict[str, str] = {}
        for relation in relations:
            wanted |= definitions.indexes(self.projections, relation, served, self.word_indexes)
        schema = schemas(self.group)[2]
        tables = [generation_name(name, generation) for name, generation in served.items()]
        there = set(self.connection.execute(_INDEXES, {"schema": schema, "served": tables}).scalars())
        for name in sorted(there - wanted.keys()) if drop else ():
            self._sql(f"DROP INDEX {quoted(schema)}.{quoted(name)}")
            self.done.append(f"drop index {name}")
        lacking = sorted(wanted.keys() - there)
        for name in lacking:
            with definitions.indexing(wanted[name]):
                self._sql(wanted[name])
        # what an index is of may be an expression, of which nothing is known yet: searches would read all rows
        for (table,) in self.connection.execute(_INDEXED, {"schema": schema, "names": lacking}).all():
            full = f"{quoted(schema)}.{quoted(table)}"
            if self.connection.exec_driver_sql(f"SELECT EXISTS (SELECT FROM {full})").scalar():
                self._sql(f"ANALYZE {full}")

    def _drop_others(self, name: str, but: int | None) -> None:
        """Drop the generations of a relation, those kept and those being built, but for the one that is served.

        A copy belongs to whoever makes it, and a snapshot stays until it is dropped.
        """
        for generation in self.connection.execute(_OTHERS, {"r": name}).scalars().all():
            if generation != but:
                generations.drop(self.cursor, name, generation)


def upgrade_engine(connection: Connection, group: str) -> tuple[str | None, str | None]:
    """Bring the engine's own tables to the newest migration; returns which it was before and is. Raises OutOfDate."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    before = _revision(connection, group)
    try:
        command.upgrade(config, "head")
    except CommandError:
        raise OutOfDate(
            f"group {group} is at migration {before}, which this release does not know: run the newer one"
        ) from None
    return before, _revision(connection, group)


def _revision(connection: Connection, group: str) -> str | None:
    if not inspect(connection).has_table("migrations", group):
        return None
    return connection.execute(text("SELECT version_num FROM migrations")).scalar()
