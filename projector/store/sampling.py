"""Keys chosen at random, at a cost that follows how many they are, not how large the tables."""

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

from projector.declare.sql import quoted

SPAN = 100  # rows of one range, at most
FEWEST = 20  # ranges of a choice that is large enough
_MORE = 5  # pages, so that a small choice is not empty


class Ranges(NamedTuple):
    """So many ranges of keys at random places, each of so many rows."""

    many: int
    span: int

    @classmethod
    def of(cls, rows: int) -> "Ranges":
        """Those of so many rows together."""
        span = max(1, min(SPAN, rows // FEWEST))
        return cls(-(-rows // span), span)

    def starts(self, keys: Sequence[str]) -> list[str | None]:
        """Behind which keys they begin. Now and then, or always where they are many, before the first key of all."""
        return [None, *keys] if not keys or random.random() < self.many / FEWEST else list(keys)  # noqa: S311


def random_keys(sources: Sequence[tuple[str, str]], many: int) -> tuple[str, dict[str, Any]]:
    """A statement of so many keys at most, texts in the keys' order, from tables and their columns; and its values.

    It reads random pages of the tables, as many as it chooses keys, and some more.
    """
    parts, values = [], dict[str, Any]({"many": many, "pages": many + many // 2 + _MORE})
    for n, (table, column) in enumerate(sources):
        parts.append(
            f"SELECT {quoted(column)} AS key FROM {quoted(table)} TABLESAMPLE SYSTEM (least(100, 100.0 * %(pages)s / "
            f"greatest(pg_relation_size(%(table{n})s::regclass) / 8192, 1))) WHERE {quoted(column)} IS NOT NULL"
        )
        values[f"table{n}"] = quoted(table)
    some = f"SELECT key FROM ({' UNION ALL '.join(parts)}) AS s ORDER BY random() LIMIT %(many)s"
    return f"SELECT key::text FROM ({some}) AS chosen GROUP BY chosen.key ORDER BY chosen.key", values
