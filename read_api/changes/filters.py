"""Whether a row passes a list's filters, told here and not by Postgres: thousands may follow, each with its own."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from read_api.kinds import Kind
from read_api.resource import Resource
from read_api.statements import Condition

_COMPARED: dict[str, Callable[[Any, Any], bool]] = {
    "gt": lambda value, bound: value > bound,
    "gte": lambda value, bound: value >= bound,
    "lt": lambda value, bound: value < bound,
    "lte": lambda value, bound: value <= bound,
}


def passes(resource: Resource, conditions: Iterable[Condition], row: Mapping[str, Any]) -> bool:
    """Whether a row, as the API shows it, meets all conditions; as `statements.condition` has them.

    Texts compare by code points, as Postgres' collation "C" does.
    """
    return all(_holds(resource, condition, row) for condition in conditions)


def _holds(resource: Resource, condition: Condition, row: Mapping[str, Any]) -> bool:
    field = resource.filters[condition.field]
    if field.inside:
        column, _, name = field.name.partition(".")
        items = row[column] or ()
        return any(_read(field.kind, item.get(name)) in condition.values for item in items)
    value = _read(field.kind, row[field.name])
    if condition.operator == "null":
        return (value is None) is bool(condition.values[0])
    if value is None:
        return False
    if condition.operator in ("eq", "ne"):
        return (value in condition.values) == (condition.operator == "eq")
    holds: bool = _COMPARED[condition.operator](value, condition.values[0])
    return holds


def _read(kind: Kind, shown: Any) -> Any:
    """The value that JSON shows: money and times are texts there."""
    return kind.read(shown) if isinstance(shown, str) else shown


def asked_keys(resource: Resource, conditions: Sequence[Condition]) -> frozenset[str] | None:
    """The keys, as the feed tells them, that alone can pass; None: any may. Of a key of one column only."""
    if len(resource.key) == 1:
        for condition in conditions:
            if (condition.field, condition.operator) == (resource.key[0].name, "eq"):
                return frozenset(str(value) for value in condition.values)
    return None
