"""The outbox: which rows of a view the search index has yet to see."""

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg

# One row a key, however often it changes; all keys of a statement have one revision, drawn under the group's lock, so
# that a later change always has a higher one. In the order of keys, as all who lock these rows take them. The NOTIFY
# wakes the indexers at the commit; `current_schema()` is the group's.
PUT = """
WITH put AS (
  INSERT INTO outbox (relation, key, revision)
  SELECT %(relation)s, key, (SELECT nextval('revisions')) FROM unnest(%(keys)s::text[]) AS key ORDER BY key COLLATE "C"
  ON CONFLICT (relation, key) DO UPDATE SET revision = excluded.revision
)
SELECT pg_notify('prejoin:' || current_schema(), '')
"""


def put(cursor: psycopg.Cursor[Any], keys: Mapping[str, Sequence[str]]) -> None:
    """Add keys, by relation, in a transaction that holds the group's lock."""
    found = [{"relation": relation, "keys": its} for relation, its in keys.items() if its]
    if found:
        cursor.executemany(PUT, found)
