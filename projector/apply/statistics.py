"""ANALYZE of tables that grow: autovacuum looks once a minute, and a plan made for an empty table lasts too long."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import psycopg

from projector.declare.sql import quoted

FIRST = 1_000  # rows written to a table before it is looked at for the first time
# Plans for keys want the order of magnitude: 3,000 rows instead of 30,000 tell it. Autovacuum looks closer.
_SAMPLE = "SET LOCAL default_statistics_target = 10"


class Statistics:
    """Counts rows written by table, and has a table analyzed each time that the count has doubled."""

    def __init__(self) -> None:
        self._written: Counter[str] = Counter()
        self._due: dict[str, int] = defaultdict(lambda: FIRST)

    def keep(self, connection: psycopg.Connection[Any], written: Mapping[str, int]) -> None:
        """Take in how many rows a batch wrote to each table; outside of a transaction."""
        self._written.update(written)
        for table in [t for t in written if self._written[t] >= self._due[t]]:
            self._due[table] = 2 * self._written[table]
            # dropped since the batch: another generation is served
            with suppress(psycopg.errors.UndefinedTable), connection.transaction():
                connection.execute(_SAMPLE)
                connection.execute(f"ANALYZE {quoted(table)}")
