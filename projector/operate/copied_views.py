"""The views of a copy, made from its entities by their queries: some at once, each after those that it reads."""

from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from graphlib import TopologicalSorter
from typing import Any

import psycopg

from projector.declare.projections import Projections, reads
from projector.declare.sql import plain, quoted
from projector.declare.view import Relation, unsound_key
from projector.store import definitions
from projector.store.connect import connect, end_with_client
from projector.store.copies import Copy
from projector.store.names import copy_group, generation_name, schemas

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
    """Make each view that is not there yet, in a transaction of its own; `tell` is told how many are and what begins.

    Raises DeclarationError where a view's key does not tell its rows apart.
    """
    with connect(url, copy_group(group, copy.id), name="prejoin rebuild") as there:
        built = {name for (name,) in there.execute("SELECT relation FROM served")}
    names = {relation.table: relation.name for relation in projections.relations}
    order = TopologicalSorter({r.name: {names[t] for t in reads(r) if t in names} for r in projections.relations})
    order.prepare()
    making = _Making(url, group, projections, copy, word_indexes)
    running: dict[Future[None], str] = {}
    with ThreadPoolExecutor(jobs, "build") as pool:
        try:
            while order.is_active():
                for name in order.get_ready():
                    if name in built:
                        order.done(name)
                    else:
                        tell(len(built), name)
                        running[pool.submit(making.make, projections.relation(name))] = name
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    future.result()
                    built.add(name := running.pop(future))
                    order.done(name)
        except BaseException:
            making.cancel()
            raise


class _Making:
    def __init__(self, url: str, group: str, projections: Projections, copy: Copy, word_indexes: bool) -> None:
        self._url, self._group, self._own = url, group, copy_group(group, copy.id)
        self._projections, self._word_indexes = projections, word_indexes
        self._generations: Mapping[str, int] = copy.generations
        self._digests = definitions.relation_digests(projections)
        self._connections: list[psycopg.Connection[Any]] = []

    def make(self, relation: Relation) -> None:
        """Table, rows, indexes, statistics."""
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
