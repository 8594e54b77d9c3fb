"""The views of a copy, made from its entities by their queries: some at once, each after what it reads."""

from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from graphlib import TopologicalSorter
from typing import Any

import psycopg
from sqlalchemy import Table

from projector.declare.entity import Entity
from projector.declare.projections import Projections, reads
from projector.declare.sql import plain, quoted
from projector.declare.view import Relation, unsound_key
from projector.store import definitions
from projector.store.connect import connect, end_with_client, engine
from projector.store.copies import Copy
from projector.store.entity_tables import bring_along
from projector.store.names import copy_group, generation_name, schemas

_Part = Entity[Any] | Relation
_BUILT = "INSERT INTO served (relation, generation) VALUES (%s, %s)"
_OWN = "INSERT INTO generations (relation, generation, version, digest, state) VALUES (%s, %s, %s, %s, 'live')"


def build_views(
    url: str,
    group: str,
    projections: Projections,
    copy: Copy,
    jobs: int,
    word_indexes: bool,
    tell: Callable[[int, str], None],
) -> None:
    """Give the entities their indexes, and make each view that is not there yet, in a transaction of its own.

    `tell` is told how many views are made, and what begins. Raises DeclarationError where a view's key does not tell
    its rows apart.
    """
    with connect(url, copy_group(group, copy.id), name="prejoin rebuild") as there:
        built = {name for (name,) in there.execute("SELECT relation FROM served")}
    making = _Making(url, group, projections, copy, word_indexes)
    order = _order(projections)
    order.prepare()
    running: dict[Future[None], _Part] = {}
    with ThreadPoolExecutor(jobs, "build") as pool:
        try:
            while order.is_active():
                for each in order.get_ready():
                    if each.name in built and not isinstance(each, Entity):
                        order.done(each)
                        continue
                    tell(len(built), each.name)
                    running[pool.submit(making.make, each)] = each
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    future.result()
                    order.done(each := running.pop(future))
                    if not isinstance(each, Entity):
                        built.add(each.name)
        except BaseException:
            making.cancel()
            raise


def _order(projections: Projections) -> TopologicalSorter[_Part]:
    """Each entity, and each view behind what it reads."""
    of: dict[Table, _Part] = {t: e for e in projections.entities for t in definitions.entity_tables(e)}
    of |= {relation.table: relation for relation in projections.relations}
    order = TopologicalSorter[_Part]()
    for part in dict.fromkeys(of.values()):
        order.add(part, *(() if isinstance(part, Entity) else {of[table] for table in reads(part)}))
    return order


class _Making:
    def __init__(self, url: str, group: str, projections: Projections, copy: Copy, word_indexes: bool) -> None:
        self._url, self._group, self._own = url, group, copy_group(group, copy.id)
        self._projections, self._word_indexes = projections, word_indexes
        self._generations: Mapping[str, int] = copy.generations
        self._digests = definitions.relation_digests(projections)
        self._connections: list[psycopg.Connection[Any]] = []

    def make(self, part: _Part) -> None:
        """Of a view table, rows, indexes and statistics; of an entity, whose rows are there, what is behind them."""
        if isinstance(part, Entity):
            self._complete(part)
        else:
            self._view(part)

    def _complete(self, entity: Entity[Any]) -> None:
        database, schema = engine(self._url, self._own), schemas(self._own)[1]
        with database.begin() as connection:
            driver = connection.connection.driver_connection
            assert isinstance(driver, psycopg.Connection)
            self._connections.append(driver)
            bring_along(connection, schema, entity)
            for table in definitions.entity_tables(entity):
                connection.exec_driver_sql(f"ANALYZE {quoted(schema)}.{quoted(table.name)}")

    def _view(self, relation: Relation) -> None:
        with connect(self._url, self._own, autocommit=True, name="prejoin rebuild") as there:
            end_with_client(there)
            self._connections.append(there)  # a closed one is not cancelled
            # the functions that indexes name are the group's, which stay
            path = ", ".join(f'"{schema}"' for schema in (*schemas(self._own), self._group))
            there.execute(f"SET search_path = {path}")
            with there.transaction(), there.cursor() as cursor:
                self._make(cursor, relation)

    def cancel(self) -> None:
        """End what runs."""
        for connection in self._connections:
            with suppress(psycopg.OperationalError):  # Postgres is away
                connection.cancel_safe()

    def _make(self, cursor: psycopg.Cursor[Any], relation: Relation) -> None:
        cursor.execute("SET LOCAL work_mem = '256MB'")
        cursor.execute("SET LOCAL maintenance_work_mem = '256MB'")
        name, generation, schema = relation.name, self._generations[relation.name], schemas(self._group)[2]
        table = quoted(generation_name(name, generation))
        cursor.execute(definitions.generation_ddl(self._projections, relation, self._generations, schema))
        if relation.stored:
            columns = ", ".join(quoted(c.name) for c in relation.table.c)
            query = plain(definitions.served_query(self._projections, relation, self._generations))
            try:
                cursor.execute(f"INSERT INTO {table} ({columns}) {query}")
            except psycopg.IntegrityError:  # what Postgres says of it holds the row
                raise unsound_key(relation) from None
        for ddl in definitions.indexes(self._projections, relation, self._generations, self._word_indexes).values():
            cursor.execute(ddl)
        if relation.stored:
            cursor.execute(f"ANALYZE {table}")
        cursor.execute(_OWN, (name, generation, relation.version, self._digests[name]))
        cursor.execute(_BUILT, (name, generation))
