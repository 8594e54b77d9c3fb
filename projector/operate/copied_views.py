"""The views of a copy, made from its entities by their queries: some at once, each after what it reads."""

from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from functools import partial
from graphlib import TopologicalSorter
from typing import Any, NamedTuple

import psycopg
from sqlalchemy import Table

from projector.declare.entity import Entity
from projector.declare.projections import Projections, reads
from projector.declare.sql import plain, quoted
from projector.declare.view import Relation
from projector.store import definitions
from projector.store.connect import connect, end_with_client, engine_over
from projector.store.copies import Copy
from projector.store.entity_tables import bring_along
from projector.store.names import copy_group, generation_name, schemas
from projector.store.refused import storing

SECONDS_BETWEEN_CANCELS = 0.1

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
    """Make each view that is not there yet, in a transaction of its own, and the indexes of entities.

    `tell` is told how many views are made, and what begins. Raises DeclarationError where a view's key does not tell
    its rows apart.
    """
    with connect(url, copy_group(group, copy.id), name="prejoin rebuild") as there:
        built = {name for (name,) in there.execute("SELECT relation FROM served")}
    making = _Making(url, group, projections, copy, word_indexes)
    order = _order(projections, making, built)
    order.prepare()
    running: dict[Future[None], _Step] = {}
    with ThreadPoolExecutor(jobs, "build") as pool:
        try:
            while order.is_active():
                for step in order.get_ready():
                    tell(len(built), step.name)
                    running[pool.submit(step.run)] = step
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    future.result()
                    order.done(step := running.pop(future))
                    built |= {step.name} & copy.generations.keys()
        except BaseException:
            begun = [future for future in running if not future.cancel()]  # the others do not begin
            making.cancel()
            while wait(begun, SECONDS_BETWEEN_CANCELS).not_done:
                making.cancel()  # again: one that was between two statements has not heard of it
            raise


class _Step(NamedTuple):
    name: str
    run: Callable[[], None]


def _order(projections: Projections, making: "_Making", built: Collection[str]) -> TopologicalSorter[_Step]:
    """Statistics of the entities, then each view behind what it reads, and what nobody waits for, their indexes."""
    order = TopologicalSorter[_Step]()
    behind: dict[Table, _Step] = {}
    for entity in projections.entities:
        order.add(step := _Step(f"statistics of {entity.name}", partial(making.analyze, entity)))
        behind |= dict.fromkeys(definitions.entity_tables(entity), step)
    known = list(dict.fromkeys(behind.values()))
    for relation in projections.relations:
        if relation.name not in built:
            step = behind[relation.table] = _Step(relation.name, partial(making.make, relation))
            order.add(step, *{behind[table] for table in reads(relation) if table in behind})
    for entity in projections.entities:
        order.add(_Step(f"indexes of {entity.name}", partial(making.index, entity)), *known)
    return order


class _Making:
    def __init__(self, url: str, group: str, projections: Projections, copy: Copy, word_indexes: bool) -> None:
        self._url, self._group, self._own = url, group, copy_group(group, copy.id)
        self._projections, self._word_indexes = projections, word_indexes
        self._generations: Mapping[str, int] = copy.generations
        self._digests = definitions.relation_digests(projections)
        self._connections: list[psycopg.Connection[Any]] = []

    def analyze(self, entity: Entity[Any]) -> None:
        """What Postgres must know of an entity to plan well."""
        with self._connected() as there:
            for table in definitions.entity_tables(entity):
                there.execute(f"ANALYZE {quoted(table.name)}")

    def index(self, entity: Entity[Any]) -> None:
        """The indexes that key queries need."""
        with self._connected() as there, engine_over(there).connect() as connection:
            there.execute("SET maintenance_work_mem = '256MB'")
            bring_along(connection, schemas(self._own)[1], entity)

    def make(self, relation: Relation) -> None:
        """Table, rows, indexes, statistics."""
        with self._connected() as there:
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

    @contextmanager
    def _connected(self) -> Iterator[psycopg.Connection[Any]]:
        with connect(self._url, self._own, autocommit=True, name="prejoin rebuild") as there:
            end_with_client(there)
            self._connections.append(there)  # a closed one is not cancelled
            yield there

    def _make(self, cursor: psycopg.Cursor[Any], relation: Relation) -> None:
        cursor.execute("SET LOCAL work_mem = '256MB'")
        cursor.execute("SET LOCAL maintenance_work_mem = '256MB'")
        name, generation, schema = relation.name, self._generations[relation.name], schemas(self._group)[2]
        table = quoted(generation_name(name, generation))
        if relation.stored:
            without_key, key = definitions.keyless_ddl(relation, generation, schema)
            columns = ", ".join(quoted(c.name) for c in relation.table.c)
            query = plain(definitions.served_query(self._projections, relation, self._generations))
            cursor.execute(without_key)
            with storing(relation):
                cursor.execute(f"INSERT INTO {table} ({columns}) {query}")
                cursor.execute(key)
        else:
            cursor.execute(definitions.generation_ddl(self._projections, relation, self._generations, schema))
        for ddl in definitions.indexes(self._projections, relation, self._generations, self._word_indexes).values():
            with definitions.indexing(ddl):
                cursor.execute(ddl)
        if relation.stored:
            cursor.execute(f"ANALYZE {table}")
        cursor.execute(_OWN, (name, generation, relation.version, self._digests[name]))
        cursor.execute(_BUILT, (name, generation))
