"""The columns of a declared table, forgiving enough that `prejoin check` can list every mistake in one run."""

import difflib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Table
from sqlalchemy.types import NullType


class Columns:
    """`orders.c.customer_id`: a table's columns by name; an unknown one is noted as a problem, not raised."""

    def __init__(self, table: Table, problems: list[str]) -> None:
        self._table, self._problems = table, problems

    def __getattr__(self, name: str) -> Column[Any]:
        if name.startswith("__"):
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, name: str) -> Column[Any]:
        if name in self._table.c:
            return self._table.c[name]
        near = difflib.get_close_matches(name, self._table.c.keys(), 1)
        hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(self._table.c.keys())}"
        self._problems.append(f"{_caller()}: {self._table.name} has no column {name!r}; {hint}")
        return Column(name, NullType())

    def __iter__(self) -> Iterator[Column[Any]]:
        return iter(self._table.c)


def _caller() -> str:
    """The file and line of the declaration that asked."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    path = Path(frame.f_code.co_filename)
    return f"{path.parent.name}/{path.name}:{frame.f_lineno}"
