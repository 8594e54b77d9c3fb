"""A worker group held, and let go: a flag in Postgres that each batch's transaction reads under the group's lock."""

import getpass
import os
import socket
from dataclasses import dataclass
from typing import Any

import psycopg

from projector.errors import NotMigrated
from projector.store.connect import connect
from projector.store.locks import locked
from projector.store.shown import utc_text

_PAUSE = "UPDATE projection_group SET paused_at = clock_timestamp(), paused_by = %s WHERE paused_at IS NULL"
_RESUME = "UPDATE projection_group SET paused_at = NULL, paused_by = NULL WHERE paused_at IS NOT NULL"
_NOW = f"""
SELECT {utc_text("paused_at")}, paused_by,
  ARRAY(SELECT topic || '/' || partition || '@' || next - 1 FROM positions WHERE next > 0
    ORDER BY topic COLLATE "C", partition)
FROM projection_group
"""


@dataclass(frozen=True)
class Held:
    """Whether a group is paused, and whether that is news. `positions` are the last offsets applied."""

    changed: bool
    since: str | None
    by: str | None
    positions: list[str]


def pause(url: str, group: str) -> Held:
    """Hold the group. It waits for the batch in flight: once it returns, nothing more is applied until `resume`."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # in a container, whose user may have no name
        user = str(os.getuid())
    return _set(url, group, _PAUSE, f"{user}@{socket.gethostname()}")


def resume(url: str, group: str) -> Held:
    """Let the group go on, which its workers see within a second."""
    return _set(url, group, _RESUME)


def _set(url: str, group: str, statement: str, *values: Any) -> Held:
    with connect(url, group, autocommit=True, name="prejoin pause") as connection, locked(connection, group) as cursor:
        try:
            changed = cursor.execute(statement, values).rowcount > 0
        except psycopg.errors.UndefinedTable:
            raise NotMigrated(group) from None
        since, by, positions = cursor.execute(_NOW).fetchone() or (None, None, [])
        return Held(changed, since, by, positions)
