"""What no projection can beat on the same tables: COPY of the same rows, UPDATE of the same column."""

import time

import psycopg

from projector.declare.entity import FILLFACTOR
from projector.declare.projections import load
from projector.store.connect import connect
from projector.store.definitions import entity_tables
from projector.store.names import generation_name

SCHEMA = "bench_copy"


def copy_all(url: str, group: str, projections: str) -> tuple[float, int]:
    """Seconds and rows: the group's end state once more, a transaction of one COPY a table, indexes in place."""
    declared = load(projections)
    tables = [table.name for entity in declared.entities for table in entity_tables(entity)]
    tables += [generation_name(r.name, 1) for r in declared.relations if r.stored]
    seconds, rows = 0.0, 0
    with connect(url, group, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {SCHEMA}")
        for table in tables:
            target = f'{SCHEMA}."{table}"'
            connection.execute(f'CREATE TABLE {target} (LIKE "{table}" INCLUDING ALL) WITH (fillfactor = {FILLFACTOR})')
            with connection.cursor().copy(f'COPY "{table}" TO STDOUT (FORMAT binary)') as copy:
                data = b"".join(bytes(part) for part in copy)
            seconds += _copy_in(connection, target, data)
            rows += (connection.execute(f"SELECT count(*) FROM {target}").fetchone() or (0,))[0]
        connection.execute(f"DROP SCHEMA {SCHEMA} CASCADE")
    return seconds, rows


def _copy_in(connection: psycopg.Connection, target: str, data: bytes) -> float:
    started = time.perf_counter()
    with connection.cursor().copy(f"COPY {target} FROM STDIN (FORMAT binary)") as copy:
        copy.write(data)
    return time.perf_counter() - started
