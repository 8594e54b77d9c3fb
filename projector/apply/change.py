"""What changed in a relation, and how a statement tells it."""

from dataclasses import dataclass

from projector.declare.sql import quoted
from projector.declare.view import Relation


@dataclass(frozen=True)
class Change:
    """What one statement did to a relation: keys as the change feed tells them, values for routes that begin here."""

    relation: Relation
    upserted: list[str]
    deleted: list[str]
    values: dict[str, list[str]]

    def __add__(self, later: "Change") -> "Change":
        """Both, one after the other: of a key the later one tells what it is now."""
        last = {*later.upserted, *later.deleted}
        return Change(
            self.relation,
            [key for key in self.upserted if key not in last] + later.upserted,
            [key for key in self.deleted if key not in last] + later.deleted,
            {column: sorted({*found, *later.values[column]}) for column, found in self.values.items()},
        )


def key_text(key: tuple[str, ...], prefix: str = "") -> str:
    """The key of a row as the change feed and the outbox have it: a text; a JSON array of several columns as text."""
    columns = [quoted(prefix + k) for k in key]
    return f"{columns[0]}::text" if len(key) == 1 else f"jsonb_build_array({', '.join(columns)})::text"


def key_texts(source: str, key: tuple[str, ...], prefix: str, where: str = "true") -> str:
    """The keys of a CTE's rows as an array of texts."""
    return f"(SELECT coalesce(array_agg({key_text(key, prefix)}), '{{}}') FROM {source} WHERE {where})"


def distinct_values(source: str, column: str) -> str:
    """The distinct values of a CTE's column, as an array of texts."""
    name = quoted(column)
    return f"(SELECT coalesce(array_agg(DISTINCT {name}), '{{}}') FROM {source} WHERE {name} IS NOT NULL)"
