"""ANALYZE of tables that grow: autovacuum looks once a minute, and a plan made for an empty table lasts too long."""

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import psycopg

from projector.declare.sql import quoted

FIRST = 1_000  # rows written to a table before it is looked at for the first time
# Plans for keys want the order of magnitude: 3,000 rows instead of 30,000 tell it. Autovacuum looks closer.
_SAMPLE = "SET LOCAL default_statistics_target = 10"
_KNOWN = "SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = to_regclass(%s)"


class Statistics:
    """Counts rows by table, and has a table analyzed each time that it may have doubled."""

    def __init__(self) -> None:
        self._rows: Counter[str] = Counter()  # written, and those there before that Postgres knew of
        self._due: dict[str, int] = {}

    def keep(self, connection: psycopg.Connection[Any], written: Mapping[str, int]) -> None:
        """Take in how many rows a batch wrote to each table; outside of a transaction."""
        self._rows.update(written)
        for table in [t for t in written if self._rows[t] >= self._due.get(t, FIRST)]:
            # dropped since the batch: another generation is served
            with suppress(psycopg.errors.UndefinedTable), connection.transaction():
                self._look_at(connection, table)
            self._due[table] = 2 * self._rows[table]

    def _look_at(self, connection: psycopg.Connection[Any], table: str) -> None:
        """Have it analyzed, unless Postgres knows what was just built, or is of a run before: batches would wait."""
        if table not in self._due:
            (known,) = connection.execute(_KNOWN, (quoted(table),)).fetchone() or (0,)
            if known >= self._rows[table]:
                self._rows[table] += known
                return
        connection.execute(_SAMPLE)
        connection.execute(f"ANALYZE {quoted(table)}")
