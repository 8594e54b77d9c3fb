"""Relations that one session has for itself, so that no two rebuild one of them at a time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg

from projector.errors import NotMigrated, Passing, PrejoinError
from projector.store import generations
from projector.store.connect import connect, end_with_client
from projector.store.locks import REBUILD_LOCK

_IS_MIGRATED = "SELECT coming FROM projection_group"


def check_migrated(connection: psycopg.Connection[Any], group: str) -> None:
    """Raises NotMigrated where the group has no tables, or those of a release before."""
    try:
        connection.execute(_IS_MIGRATED)
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn):
        raise NotMigrated(group) from None


@contextmanager
def alone(url: str, group: str, names: Sequence[str], again: bool = False) -> Iterator[psycopg.Connection[Any]]:
    """A connection whose session has the relations for itself; see `have`."""
    with connect(url, group, autocommit=True, name="prejoin rebuild") as connection:
        check_migrated(connection, group)
        have(connection, group, names, again)
        yield connection


def have(connection: psycopg.Connection[Any], group: str, names: Sequence[str], again: bool = False) -> None:
    """Let this session have the relations for itself. Raises PrejoinError where another has one of them.

    That one passes `again`, where this process had them before: its own session of then may not have ended yet.
    """
    end_with_client(connection)
    for name in names:
        if not is_mine(connection, group, name):
            who, since = generations.runner(connection, name)
            kind = Passing if again else PrejoinError
            raise kind(f"{name} is being rebuilt already, by {who} since {since}: wait for that")


def is_mine(connection: psycopg.Connection[Any], group: str, name: str) -> bool:
    """Let this session have one relation for itself; whether it has, for another may."""
    (mine,) = connection.execute(REBUILD_LOCK, {"group": group, "relation": name}).fetchone() or (False,)
    return bool(mine)
