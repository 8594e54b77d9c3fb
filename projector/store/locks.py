"""The group's lock: one writer at a time, over processes and machines."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

# First statement of each writing transaction, alone: under READ COMMITTED what follows it sees all that was committed
# before. Inside the statement that reads, two batches each miss the other's rows and leave a stale join for ever.
LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('prejoin:' || %(group)s, 0))"

# Of a session: whoever rebuilds a view or its index has it, and a process that dies gives it back.
REBUILD_LOCK = (
    "SELECT pg_try_advisory_lock(hashtextextended('prejoin rebuild:' || %(group)s || '/' || %(relation)s, 0))"
)

# Of a session: one indexer at a time keeps a view's index.
SEARCH_LOCK = "SELECT pg_try_advisory_lock(hashtextextended('prejoin search:' || %(group)s || '/' || %(relation)s, 0))"


@contextmanager
def locked(connection: psycopg.Connection[Any], group: str) -> Iterator[psycopg.Cursor[Any]]:
    """A transaction under the group's lock, which batches wait for."""
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(LOCK, {"group": group})
        yield cursor
