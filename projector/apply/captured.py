"""What batches changed of entities while generations are being built, for whoever builds them, perhaps by definitions
that those batches know nothing of: each changed row as it was and as it is, with all of its columns.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import psycopg

from projector.apply.routes import Route
from projector.declare.entity import META

_NOT_FOLDED = "{" + ",".join(name for name in META if name.startswith("_")) + "}"
_CAPTURE = """
WITH changed AS ({statement} RETURNING {before} AS before, {after} AS after)
INSERT INTO captured (source, before, after) SELECT '{table}', before, after FROM changed
WHERE before IS DISTINCT FROM after
"""
_TAKE = """
SELECT id, source, before::text, after::text FROM captured
WHERE id > (SELECT min(captured_to) FROM rebuilds WHERE relation = ANY(%s)) ORDER BY id LIMIT %s
"""
_TAKEN = "UPDATE rebuilds SET captured_to = %s, beat_at = now() WHERE relation = ANY(%s)"
# as far as all who build have them; all, where nobody does
_FORGET = """
DELETE FROM captured
WHERE id <= coalesce((SELECT min(captured_to) FROM rebuilds), (SELECT max(id) FROM captured))
"""
_LEFT = "SELECT count(*) FROM captured WHERE id > (SELECT min(captured_to) FROM rebuilds WHERE relation = ANY(%s))"
_BEHIND = "SELECT max(id) - (SELECT min(captured_to) FROM rebuilds WHERE relation = ANY(%s)) FROM captured"

Cursor = psycopg.Cursor[Any]
Row = Mapping[str, Any]


def capturing(statement: str, table: str, writes: bool) -> str:
    """A statement that upserts rows of a table (else deletes some), and captures what it changes."""
    before, after = (f"to_jsonb({which}) - '{_NOT_FOLDED}'::text[]" for which in ("old", "new"))
    values = {"statement": statement, "before": before, "after": after if writes else "NULL::jsonb"}
    return _CAPTURE.format(**values, table=table)


@dataclass(frozen=True)
class Captured:
    """Changed rows by table, each before and after (None: it was, or is, not there), and the last one's number."""

    rows: dict[str, list[tuple[Row | None, Row | None]]]
    last: int

    def values(self, route: Route) -> set[str]:
        """The values of the route's column in the rows of its table that changed in what it uses, old and new."""
        found: set[Any] = set()
        for before, after in self.rows.get(route.table.name, ()):
            if before is None or after is None or any(before.get(c) != after.get(c) for c in route.uses):
                found |= {row.get(route.column) for row in (before, after) if row is not None}
        return {str(value) for value in found if value is not None}

    @property
    def count(self) -> int:
        """How many changes there are."""
        return sum(map(len, self.rows.values()))


def take(cursor: Cursor, relations: list[str], most: int) -> Captured:
    """The next changes, in order, that the generations being built of some relations have yet to take in."""
    rows, last = dict[str, list[tuple[Row | None, Row | None]]](), 0
    for last, source, before, after in cursor.execute(_TAKE, (relations, most)).fetchall():  # noqa: B007
        rows.setdefault(source, []).append((_read(before), _read(after)))
    return Captured(rows, last)


def taken(cursor: Cursor, relations: list[str], last: int) -> None:
    """Note that these generations have all up to a change, and forget what all have."""
    cursor.execute(_TAKEN, (last, relations))
    forget(cursor)


def forget(cursor: Cursor) -> None:
    """Forget the changes that no generation being built has yet to take in."""
    cursor.execute(_FORGET)


def left(cursor: Cursor, relations: list[str]) -> int:
    """How many changes they have yet to take in."""
    (count,) = cursor.execute(_LEFT, (relations,)).fetchone() or (0,)
    return int(count)


def behind(cursor: Cursor, relations: list[str]) -> int:
    """About how many, soon said: by their numbers, of which a batch that was rolled back leaves some out."""
    (numbers,) = cursor.execute(_BEHIND, (relations,)).fetchone() or (0,)
    return max(numbers or 0, 0)


def _read(row: str | None) -> Row | None:
    return None if row is None else json.loads(row, parse_float=Decimal)
