"""The end of a run: everything in Postgres against the independent model of what Kafka holds."""

from collections.abc import Sequence
from typing import Any

from tests.model import Model, Record
from tests.torture.failed import TortureFailed
from tests.torture.stream import Ends
from tests.world import Rows, World

SHOWN = 5


def judge(world: World, log: Sequence[Record], ends: Ends, positions: Ends) -> None:
    """Raise TortureFailed with all that differs: positions, dead letters, each row of each view, drift."""
    model = Model().apply_all(log)
    wrong = [f"positions are {positions}, ends {ends}"] if positions != ends else []
    wrong += _letters(world.dead_letters(), sorted(tuple(letter) for letter in model.dead_letters))
    expected = model.views()
    for name, rows in world.views().items():
        wrong += _rows(name, rows, expected[name])
    wrong += [f"verify: {found.view} differs in {found.different}: {found.differences[:SHOWN]}"
              for found in world.verify() if found.different]  # fmt: skip
    if wrong:
        raise TortureFailed("\n".join(wrong))


def _letters(found: list[Any], expected: list[Any]) -> list[str]:
    extra, missing = sorted(set(found) - set(expected)), sorted(set(expected) - set(found))
    if found == expected:
        return []
    return [f"dead letters: {len(extra)} too many, {extra[:SHOWN]}; {len(missing)} missing, {missing[:SHOWN]}"]


def _rows(name: str, found: Rows, expected: Rows) -> list[str]:
    keys = sorted((key for key in found.keys() | expected.keys() if found.get(key) != expected.get(key)), key=str)
    told = [f"  {key}: {_difference(found.get(key), expected.get(key))}" for key in keys[:SHOWN]]
    return [f"{name}: {len(keys)} of {len(expected)} rows differ", *told] if keys else []


def _difference(found: dict[str, Any] | None, expected: dict[str, Any] | None) -> str:
    if found is None or expected is None:
        return "missing" if found is None else "too many"
    return ", ".join(f"{c} is {found[c]!r}, not {expected[c]!r}" for c in found if found[c] != expected[c])
