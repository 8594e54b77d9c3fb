"""All views built anew from the entities, beside CREATE TABLE AS of the same queries with the same keys and indexes."""

import time
from collections.abc import Iterator
from contextlib import closing

from bench.applier import GROUP, applied
from bench.place import BenchError, say
from bench.results import Result
from bench.sizes import Size
from projector.declare.projections import Projections
from projector.declare.sql import plain, quoted
from projector.operate.rebuild import Rebuild
from projector.operate.verify import Sample, Verifier
from projector.store.connect import connect
from projector.store.definitions import indexes, served_query, whole_query
from projector.store.names import generation_name

SAMPLE = Sample(rows=1_000)
PEERS = 1_000  # generations that nobody serves: where the peer's tables are


def measure(size: Size) -> Iterator[Result]:
    with applied(size) as found:
        url, projections = found.url, found.projections
        say("rebuilds: building anew")
        started = time.perf_counter()
        rebuild = Rebuild(url, GROUP, projections, projections.relations)
        rebuild.run()
        ours = time.perf_counter() - started
        theirs = create_tables(url, projections)
        say("rebuilds: verifying")
        started, rows = time.perf_counter(), 0
        with closing(Verifier(url, GROUP, projections)) as verifier:
            for relation in projections.relations:
                looked = verifier.verify(relation)
                rows += looked.rows if relation.stored else 0
                if looked.different:
                    raise BenchError(f"{relation.name}: {looked.different} rows differ after the rebuild")
        verified = time.perf_counter() - started
        selected = select_all(url, projections)
        started = time.perf_counter()
        with closing(Verifier(url, GROUP, projections)) as verifier:
            looked_at = sum(verifier.verify(r, sample=SAMPLE).rows for r in projections.relations if r.stored)
        sampled = time.perf_counter() - started
    yield Result("rebuild/CREATE TABLE AS", rows / ours, rows / theirs, "rows/s", "ratio >= 0.5", {"rows": rows})
    yield Result("verify/SELECT of the queries", rows / verified, rows / selected, "rows/s", None, {"rows": rows})
    yield Result("verify/sample of 1,000 rows a view", sampled, verified, "s", None, {"rows": looked_at})


def select_all(url: str, projections: Projections) -> float:
    """Seconds for Postgres to compute what the definitions say over the entities, and to keep and compare nothing."""
    with connect(url, GROUP, autocommit=True) as connection:
        started = time.perf_counter()
        for relation in (r for r in projections.relations if r.stored):
            # OFFSET 0: or columns that nobody asks for are not computed
            query = plain(whole_query(projections, relation))
            connection.execute(f"SELECT count(q) FROM (SELECT * FROM ({query}) AS w OFFSET 0) AS q")
        return time.perf_counter() - started


def create_tables(url: str, projections: Projections) -> float:
    """Seconds for the same tables, made by nobody who must let others work."""
    served = {relation.name: 2 for relation in projections.relations}
    peers = {relation.name: PEERS for relation in projections.relations}
    with connect(url, GROUP, autocommit=True) as connection:
        connection.execute(f'SET search_path = "{GROUP}_views", "{GROUP}_entities"')
        started = time.perf_counter()
        for relation in (r for r in projections.relations if r.stored):
            table, query = quoted(generation_name(relation.name, PEERS)), served_query(projections, relation, served)
            connection.execute(f"CREATE TABLE {table} AS {plain(query)}")
            unique = ", ".join(quoted(k) for k in relation.key)
            connection.execute(f"CREATE UNIQUE INDEX ON {table} ({unique})")
            for ddl in indexes(projections, relation, peers).values():
                connection.execute(ddl)
            connection.execute(f"ANALYZE {table}")
        return time.perf_counter() - started
