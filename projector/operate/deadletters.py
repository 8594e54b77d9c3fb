"""Dead letters for operators: what there is. (`replay` puts right, or gives up.)"""

import base64
import json
from typing import Any

import psycopg
from psycopg.rows import dict_row

from projector.errors import NotMigrated, PrejoinError
from projector.store.connect import connect

_LIST = """
SELECT id, topic || '/' || partition || '@' || "offset" AS position, reason, detail, type, entity, aggregate, arrived_at
FROM dead_letters WHERE state = 'open' AND (%(reason)s::text IS NULL OR reason = %(reason)s)
AND (%(topic)s::text IS NULL OR topic = %(topic)s) ORDER BY id LIMIT %(limit)s
"""
_COUNT = "SELECT reason, count(*) AS letters FROM dead_letters WHERE state = 'open' GROUP BY reason ORDER BY reason"


class DeadLetters:
    """The dead letters of one group."""

    def __init__(self, url: str, group: str) -> None:
        self._connection: psycopg.Connection[Any] = connect(url, group, autocommit=True)
        if self._connection.execute("SELECT to_regclass('dead_letters')").fetchone() == (None,):
            self._connection.close()
            raise NotMigrated(group)
        self._connection.row_factory = dict_row

    def oldest(self, limit: int, reason: str | None = None, topic: str | None = None) -> list[dict[str, Any]]:
        """The oldest open ones: id, position, reason, detail, type, entity, aggregate, arrived_at."""
        values = {"limit": limit, "reason": reason, "topic": topic}
        return self._connection.execute(_LIST, values).fetchall()

    def counts(self) -> dict[str, int]:
        """How many are open, by reason."""
        return {row["reason"]: row["letters"] for row in self._connection.execute(_COUNT)}

    def ids(self) -> list[int]:
        """The open ones' ids, oldest first."""
        query = "SELECT id FROM dead_letters WHERE state = 'open' ORDER BY id"
        return [row["id"] for row in self._connection.execute(query)]

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


def _shown(value: bytes | None) -> str | None:
    if value is None:
        return None
    try:
        return bytes(value).decode()
    except UnicodeDecodeError:
        return "base64:" + base64.b64encode(value).decode()
