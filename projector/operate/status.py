"""What a group is at now: what Postgres says, against the broker's own end offsets where it could be asked."""

from typing import Any

import psycopg

from projector.declare.projections import Projections
from projector.errors import NotMigrated
from projector.store.connect import connect
from projector.store.status import SUMMARY, Ends, count_rows, report, with_ends


def current_status(url: str, group: str, projections: Projections, ends: Ends | None = None) -> dict[str, Any]:
    """The status in the shape of `prejoin status --json`. Without `ends`, those that a worker noted last."""
    with connect(url, group, name="prejoin status") as connection:
        try:
            summary = _one(connection.execute(SUMMARY).fetchone())
            rows = _one(connection.execute(count_rows(projections, summary)).fetchone())
        except psycopg.errors.UndefinedTable:
            raise NotMigrated(group) from None
    if ends is not None:
        summary["partitions"] = with_ends(summary["partitions"], ends)
    return report(projections, summary, rows)


def _one(row: tuple[Any, ...] | None) -> dict[str, Any]:
    """The JSON object of a statement that answers one."""
    found: dict[str, Any] = (row or ({},))[0]
    return found
