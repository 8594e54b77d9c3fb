"""The change feed: what is put into it; its partitions, one a UTC day, made ahead, dropped when nobody may resume from
them any more.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import psycopg

from projector.declare.sql import quoted
from projector.store.locks import LOCK

# Readers may resume for 24 hours (CONTRACT, section 5): today, yesterday, and the day before to be safe.
DAYS_KEPT = 2
SECONDS_TO_LOCK = 5
# The NOTIFY wakes the API's readers of the feed at the commit; `current_schema()` is the group's.
_NEXT_REVISION = "SELECT nextval('revisions'), pg_notify('prejoin_changes:' || current_schema(), '')"
_APPEND = "INSERT INTO changes (revision, relation, upserted, deleted) VALUES (%s, %s, %s, %s)"
_PARTITIONS = """
SELECT c.relname FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent = 'changes'::regclass AND c.relname ~ '^changes_[0-9]{8}$'
"""


def append(cursor: psycopg.Cursor[Any], keys: Mapping[str, tuple[list[str], list[str]]]) -> None:
    """Tell which keys of each relation were upserted and which deleted, in a transaction that has the group's lock."""
    if keys:
        revision, _ = cursor.execute(_NEXT_REVISION).fetchone() or (0, "")
        cursor.executemany(_APPEND, [(revision, relation, *its) for relation, its in keys.items()])


def keep_partitions(connection: psycopg.Connection[Any], group: str) -> list[str]:
    """Make the partitions of today and tomorrow, drop those older than two days; returns what was done, a line each.

    One transaction under the group's lock, so that no batch writes meanwhile; it gives up after some seconds
    (psycopg.errors.LockNotAvailable) where readers hold the feed.
    """
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL lock_timeout = '{SECONDS_TO_LOCK}s'")
        cursor.execute(LOCK, {"group": group})
        today = cursor.execute("SELECT (now() AT TIME ZONE 'UTC')::date").fetchone()[0]  # type: ignore[index]
        have = {name for (name,) in cursor.execute(_PARTITIONS)}
        oldest = today - timedelta(days=DAYS_KEPT)
        done = [_make(cursor, day) for day in (today, today + timedelta(days=1)) if _name(day) not in have]
        done += [_drop(cursor, name) for name in sorted(have) if name < _name(oldest)]
        cursor.execute("DELETE FROM changes_default WHERE at < %s", [_midnight(oldest)])
    return done


def _make(cursor: psycopg.Cursor[Any], day: date) -> str:
    """Make a day's partition; rows of that day that lie in the default partition already move there."""
    name, bounds = _name(day), [_midnight(day), _midnight(day + timedelta(days=1))]
    cursor.execute(f"CREATE TABLE {quoted(name)} (LIKE changes INCLUDING ALL)")
    cursor.execute(
        f"WITH moved AS (DELETE FROM changes_default WHERE at >= %s AND at < %s RETURNING *) "
        f"INSERT INTO {quoted(name)} SELECT * FROM moved",
        bounds,
    )
    begin, end = (bound.isoformat() for bound in bounds)
    cursor.execute(f"ALTER TABLE changes ATTACH PARTITION {quoted(name)} FOR VALUES FROM ('{begin}') TO ('{end}')")
    return f"create partition {name}"


def _drop(cursor: psycopg.Cursor[Any], name: str) -> str:
    cursor.execute(f"DROP TABLE {quoted(name)}")
    return f"drop partition {name}"


def _name(day: date) -> str:
    return f"changes_{day:%Y%m%d}"


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
