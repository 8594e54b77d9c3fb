"""Named snapshots: what there is, and what is dropped."""

from typing import Any

import psycopg
from psycopg.rows import dict_row

from projector.declare.projections import Projections
from projector.errors import NotMigrated, PrejoinError
from projector.operate.alone import alone
from projector.store import copies
from projector.store.connect import connect
from projector.store.shown import utc_text

_LIST = f"""
SELECT name, {utc_text("until")} AS as_of, {utc_text("started_at")} AS made_at,
  (SELECT sum(pg_total_relation_size(to_regclass(quote_ident(relation || '__g' || generation))))::bigint
   FROM jsonb_each_text(generations) AS g (relation, generation)) AS bytes, state = 'building' AS half_made
FROM copies WHERE state IN ('snapshot', 'building') AND name IS NOT NULL ORDER BY until, name
"""


def snapshots(url: str, group: str) -> list[dict[str, Any]]:
    """The group's snapshots by time: name, as_of, made_at (RFC 3339 texts), bytes of their views, whether half made."""
    with connect(url, group, name="prejoin snapshots") as connection, connection.cursor(row_factory=dict_row) as cursor:
        try:
            return cursor.execute(_LIST).fetchall()
        except psycopg.errors.UndefinedTable:
            raise NotMigrated(group) from None


def drop_snapshots(url: str, group: str, projections: Projections, names: list[str] | None) -> list[str]:
    """Drop the snapshots named, or all where None, half-made ones, too; returns their names.

    Raises PrejoinError for one that is not there, or is being made.
    """
    order = [r.name for r in projections.relations]
    with alone(url, group, order) as connection:
        found = [copy for state in ("snapshot", "building") for copy in copies.in_state(connection, state)]
        there = {copy.name: copy for copy in found if copy.name is not None}
        for name in names or ():
            if name not in there:
                raise PrejoinError(f"there is no snapshot {name!r}: `prejoin snapshots list` shows those there are")
        dropped = [copy for name, copy in there.items() if names is None or name in names]
        for copy in dropped:
            copies.drop_unread(connection, group, order, copy)
    return [str(copy.name) for copy in dropped]
