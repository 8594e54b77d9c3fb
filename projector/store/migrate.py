"""`prejoin migrate`: schemas, the engine's tables, entity and view tables, the reading role. One transaction."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import OperationalError

from projector.declare.projections import Projections
from projector.declare.sql import plain, quoted
from projector.declare.view import Relation, View
from projector.store import definitions
from projector.store.connect import engine, unreachable
from projector.store.entity_tables import bring_along
from projector.store.locks import LOCK
from projector.store.names import generation_name, generation_table, schemas
from projector.store.roles import grant_reading

_BUILT = text("INSERT INTO generations (relation, generation, version, digest, state) VALUES (:r, :g, :v, :d, 'live')")
_SERVE = text(
    "INSERT INTO served VALUES (:r, :g) ON CONFLICT (relation) DO UPDATE SET generation = excluded.generation"
)
_KIND = text("SELECT relkind FROM pg_class WHERE oid = to_regclass(:t)")


def migrate(url: str, read_url: str | None, group: str, projections: Projections, dry_run: bool = False) -> list[str]:
    """Bring the database to what the declarations say; returns what was done (or would be), a line each.

    All of it is one transaction under the group's lock: workers wait, readers see the old or the new. With `dry_run`
    it is rolled back. Raises OutOfDate for a change that cannot be made in place.
    """
    database = engine(url, group)
    try:
        connection = database.connect()
    except OperationalError as error:
        raise unreachable("PREJOIN_DATABASE_URL", url, error.orig or error) from None
    with connection, connection.begin() as transaction:
        done = _Migration(connection, group, projections).run(read_url)
        if dry_run:
            transaction.rollback()
    database.dispose()
    return done


class _Migration:
    def __init__(self, connection: Connection, group: str, projections: Projections) -> None:
        self.connection, self.group, self.projections = connection, group, projections
        self.done: list[str] = []

    def run(self, read_url: str | None) -> list[str]:
        self.connection.exec_driver_sql(LOCK, {"group": self.group})
        self._schemas()
        self._engine_tables()
        for entity in self.projections.entities:
            self.done += bring_along(self.connection, schemas(self.group)[1], entity)
        served = self._relations()
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
        command.upgrade(config, "head")
        if (after := self._revision()) != before:
            self.done.append(f"the engine's tables: {before or 'none'} → {after}")

    def _revision(self) -> str | None:
        if not inspect(self.connection).has_table("migrations", self.group):
            return None
        return self.connection.execute(text("SELECT version_num FROM migrations")).scalar()

    def _relations(self) -> dict[str, int]:
        """Build what is new or differs from what is served; returns the served generations."""
        digests = definitions.relation_digests(self.projections)
        rows = self.connection.execute(
            text("SELECT relation, generation, digest FROM served JOIN generations USING (relation, generation)")
        ).all()
        before = {r.relation: (r.generation, r.digest) for r in rows}
        served: dict[str, int] = {}
        for relation in self.projections.relations:
            generation, digest = before.get(relation.name, (0, ""))
            served[relation.name] = generation
            if digest != digests[relation.name]:
                served[relation.name] = generation + 1
                self._build(relation, served, digests[relation.name])
        for name in [
            n
            for r in reversed(self.projections.relations)
            for n in [r.name]
            if before.get(n, (served[n],))[0] != served[n]
        ]:
            self._drop(self.projections.relation(name), before[name][0])
        for name in before.keys() - served.keys():
            self._forget(name, before[name][0])
        for relation in self.projections.relations:
            self._indexes(relation, served)
        return served

    def _build(self, relation: Relation, served: dict[str, int], digest: str) -> None:
        generation = served[relation.name]
        name = generation_name(relation.name, generation)
        query = plain(definitions.served_query(self.projections, relation, served))
        full = f"{quoted(schemas(self.group)[2])}.{quoted(name)}"
        if isinstance(relation, View) and relation.virtual:
            self._sql(f"CREATE VIEW {full} AS {query}")
        else:
            self._sql(definitions.table_ddl(generation_table(relation, generation), schemas(self.group)[2]))
            columns = ", ".join(quoted(c.name) for c in relation.table.c)
            self._sql(f"INSERT INTO {full} ({columns}) {query}")
            self._sql(f"ANALYZE {full}")
        values = {"r": relation.name, "g": generation, "v": relation.version, "d": digest}
        self.connection.execute(_BUILT, values)
        self.connection.execute(_SERVE, values)
        self.done.append(f"build {relation.name}, version {relation.version}, generation {generation}")

    def _indexes(self, relation: Relation, served: dict[str, int]) -> None:
        base = None
        if isinstance(relation, View) and relation.virtual:
            over = next(r for r in self.projections.relations if r.table is relation.query.get_final_froms()[0])
            base = (over, served[over.name])
        schema = schemas(self.group)[2]
        for name, ddl in definitions.relation_indexes(relation, served[relation.name], base).items():
            if not self.connection.execute(
                text("SELECT to_regclass(:name)"), {"name": f'"{schema}"."{name}"'}
            ).scalar():
                self._sql(ddl)

    def _drop(self, relation: Relation, generation: int) -> None:
        kind = "VIEW" if isinstance(relation, View) and relation.virtual else "TABLE"
        self._sql(f"DROP {kind} IF EXISTS {quoted(generation_name(relation.name, generation))} CASCADE")
        values = {"r": relation.name, "g": generation}
        for table in ("generations", "pending"):
            self.connection.execute(text(f"DELETE FROM {table} WHERE relation = :r AND generation = :g"), values)

    def _forget(self, name: str, generation: int) -> None:
        table = quoted(generation_name(name, generation))
        kind = self.connection.execute(_KIND, {"t": table}).scalar()
        self._sql(f"DROP {'VIEW' if kind == 'v' else 'TABLE'} IF EXISTS {table} CASCADE")
        for engine_table in ("generations", "pending", "served"):
            self.connection.execute(text(f"DELETE FROM {engine_table} WHERE relation = :r"), {"r": name})
        self.done.append(f"drop {name}, which is no longer declared")
