"""What the declarations of this process have that the database does not serve as they say: what needs a rebuild."""

from collections.abc import Iterable
from typing import Any

import psycopg

from projector.declare.projections import Projections
from projector.declare.view import Relation
from projector.errors import OutOfDate
from projector.store.definitions import declarations_digest, relation_digests
from projector.store.names import generation_name

_SERVED = "SELECT relation, generation, digest FROM served JOIN generations USING (relation, generation)"
_COMING = "SELECT coming FROM projection_group"
_RELEASES = "SELECT declarations, coming FROM projection_group"
_COLUMNS = """
SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(quote_ident(%s)) AND attnum > 0 AND NOT attisdropped
"""
OTHERS = (
    "the database was made from other declarations than this process has: run `prejoin migrate` with the newer "
    "release, and the `prejoin rebuild` that it asks for; stop what runs an older one"
)

Cursor = psycopg.Cursor[Any]


def changed(cursor: Cursor, projections: Projections) -> dict[str, str]:
    """Each relation that is not served as it is declared, and what differs, in dependency order."""
    digests = relation_digests(projections)
    served = {name: (generation, digest) for name, generation, digest in cursor.execute(_SERVED).fetchall()}
    found: dict[str, str] = {}
    for relation in projections.relations:
        generation, digest = served.get(relation.name, (None, None))
        if generation is None:
            found[relation.name] = "new"
        elif digest != digests[relation.name]:
            found[relation.name] = _what(cursor, relation, generation)
    return found


def rebuilding(names: Iterable[str]) -> str:
    """The command that brings these relations in."""
    return f"`prejoin rebuild {' '.join(names)}`"


def check_release(cursor: Cursor, projections: Projections) -> None:
    """Raises OutOfDate where the database is not, and is not about to be, what these declarations say."""
    if declarations_digest(projections) not in (cursor.execute(_RELEASES).fetchone() or ()):
        raise out_of_date(cursor, projections)


def out_of_date(cursor: Cursor, projections: Projections) -> OutOfDate:
    """Why a process with these declarations may not write: they wait for a rebuild, or are not the newest."""
    try:
        (coming,) = cursor.execute(_COMING).fetchone() or (None,)
    except psycopg.errors.UndefinedColumn:  # of a release before this one
        coming = None
    if coming == declarations_digest(projections):
        names = changed(cursor, projections)
        return OutOfDate(
            f"{', '.join(names)}: not served yet as this process declares: run {rebuilding(names)}, then start this "
            "again; until then workers of the release before go on"
        )
    return OutOfDate(OTHERS)


def _what(cursor: Cursor, relation: Relation, generation: int) -> str:
    there = [name for (name,) in cursor.execute(_COLUMNS, (generation_name(relation.name, generation),))]
    declared = [c.name for c in relation.table.c]
    added, removed = [c for c in declared if c not in there], [c for c in there if c not in declared]
    told = [f"{how}: {', '.join(which)}" for how, which in (("added", added), ("removed", removed)) if which]
    return f"changed ({'; '.join(told) or 'its query, its key, its version, or what it reads'})"
