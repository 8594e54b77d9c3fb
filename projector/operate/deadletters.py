"""Dead letters for operators: what there is. (`replay` puts right, or gives up.)"""

import base64
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row

from projector.declare.projections import Projections
from projector.errors import NotMigrated, PrejoinError
from projector.store.connect import connect

PAGE = 1_000  # ids read at a time: memory is bounded, however many there are

_MATCHING = """
FROM dead_letters WHERE state = %(state)s
AND (%(reason)s::text IS NULL OR reason = %(reason)s) AND (%(topic)s::text IS NULL OR topic = %(topic)s)
AND (%(entity)s::text IS NULL OR entity = %(entity)s) AND (%(aggregate)s::text IS NULL OR aggregate = %(aggregate)s)
AND (%(type)s::text IS NULL OR type = %(type)s)
AND (%(since)s::timestamptz IS NULL OR arrived_at >= %(since)s)
AND (%(until)s::timestamptz IS NULL OR arrived_at < %(until)s)
"""
_LIST = f"""
SELECT id, topic || '/' || partition || '@' || "offset" AS position, reason, detail, type, entity, aggregate,
  arrived_at, state
{_MATCHING} ORDER BY id LIMIT %(limit)s
"""
_COUNT = f"SELECT reason, count(*) AS letters {_MATCHING} GROUP BY reason ORDER BY reason"
_PAGE = f"SELECT id {_MATCHING} AND id > %(after)s AND id <= %(last)s ORDER BY id LIMIT {PAGE}"
_IN_ORDER = f'SELECT id {_MATCHING} ORDER BY topic COLLATE "C", partition, "offset", id'


@dataclass(frozen=True)
class Filter:
    """Which letters are meant: those that are what each field says, where it says anything. `until` is not in it."""

    state: str = "open"
    reason: str | None = None
    topic: str | None = None
    entity: str | None = None
    aggregate: str | None = None
    type: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def is_whole_aggregate(self) -> bool:
        """Whether it names one aggregate, all of whose letters are meant."""
        return self == Filter(entity=self.entity, aggregate=self.aggregate) and None not in (
            self.entity,
            self.aggregate,
        )


class DeadLetters:
    """The dead letters of one group."""

    def __init__(self, url: str, group: str) -> None:
        self._connection: psycopg.Connection[Any] = connect(url, group, autocommit=True)
        if self._connection.execute("SELECT to_regclass('dead_letters')").fetchone() == (None,):
            self._connection.close()
            raise NotMigrated(group)
        self._connection.row_factory = dict_row

    def oldest(self, limit: int, those: Filter = Filter()) -> list[dict[str, Any]]:
        """The oldest of them: id, position, reason, detail, type, entity, aggregate, arrived_at, state."""
        return self._connection.execute(_LIST, asdict(those) | {"limit": limit}).fetchall()

    def counts(self, those: Filter = Filter()) -> dict[str, int]:
        """How many there are, by reason."""
        return {row["reason"]: row["letters"] for row in self._connection.execute(_COUNT, asdict(those))}

    def pages(self, those: Filter) -> Iterator[list[int]]:
        """Their ids, oldest first, some at a time; what comes meanwhile is not among them."""
        row = self._connection.execute("SELECT coalesce(max(id), 0) AS last FROM dead_letters").fetchone()
        values = asdict(those) | (row or {}) | {"after": 0}
        while found := [each["id"] for each in self._connection.execute(_PAGE, values)]:
            yield found
            values["after"] = found[-1]

    def in_order(self, those: Filter) -> list[int]:
        """Their ids, in the order in which their records came."""
        return [row["id"] for row in self._connection.execute(_IN_ORDER, asdict(those))]

    def show(self, letter: int) -> dict[str, Any]:
        """All of one, its record as it came: text where it is text, else base64. Raises PrejoinError."""
        row = self._connection.execute("SELECT * FROM dead_letters WHERE id = %s", (letter,)).fetchone()
        if row is None:
            raise PrejoinError(f"there is no dead letter {letter}: `prejoin deadletters list` shows those there are")
        for name in ("key", "value"):
            row[name] = _shown(row[name])
        row["headers"] = [[name, _shown(base64.b64decode(value))] for name, value in json.loads(row["headers"])]
        return dict(row)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def aggregate_of(projections: Projections, text: str) -> tuple[str, str]:
    """`customer:c1` or `customers:c1` as entity and key. Raises PrejoinError with the names there are."""
    kinds = {entity.name: entity.name for entity in projections.entities}
    kinds |= {name.removesuffix("s"): name for name in kinds}
    kind, _, key = text.partition(":")
    if not key or kind not in kinds:
        there = ", ".join(sorted(entity.name for entity in projections.entities))
        raise PrejoinError(f"--aggregate {text!r} names none: write ENTITY:ID, with one of {there}")
    return kinds[kind], key


def _shown(value: bytes | None) -> str | None:
    if value is None:
        return None
    try:
        return bytes(value).decode()
    except UnicodeDecodeError:
        return "base64:" + base64.b64encode(value).decode()
