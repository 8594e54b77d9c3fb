"""The first files of a service and of a view, as `prejoin new` writes them: each path with its text.

Their lines are broken as `ruff format` breaks them, for names of any length that `prejoin new` takes.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Template
from typing import Any

Files = dict[str, str]
"""Path, from the folder of the checkout → text."""


@dataclass(frozen=True)
class Service:
    """A service: its name, which is its topic and its entity's, what one of its aggregates is called, and where its
    entity goes.
    """

    name: str
    one: str
    package: str

    @property
    def state(self) -> str:
        """The class of the state: `GiftCard` of a `gift_card`."""
        return "".join(word.capitalize() for word in self.one.split("_"))

    def files(self) -> Files:
        """Two contracts with examples, the entity that folds them, and its test."""
        words = {"name": self.name, "one": self.one, "State": self.state, "words": self.one.replace("_", " ")}
        words["package"] = self.package
        folder = f"schemas/{self.name}"
        files = {
            f"{folder}/__init__.py": _EXPORTS,
            f"{folder}/v1.py": _CONTRACTS,
            f"{folder}/examples/{self.state}Added.v1.json": _ADDED,
            f"{folder}/examples/{self.state}Removed.v1.json": _REMOVED,
            f"{self.package.replace('.', '/')}/{self.name}.py": _ENTITY,
            f"tests/unit/test_{self.name}.py": _FOLDS,
        }
        return _filled(files, words)


@dataclass(frozen=True)
class NewView:
    """A view of one entity: `variable` in `module`, with these columns, of which `texts` are searched.

    `example` is the wire type of the event that makes a row, `row` what it shows of it, by column, with the key first.
    """

    name: str
    path: str
    package: str
    entity: str
    module: str
    variable: str
    columns: Sequence[str]
    texts: Sequence[str]
    example: str
    row: Mapping[str, Any]

    def files(self) -> Files:
        """The view and its test."""
        key, *_ = self.row
        of = self.variable
        words = {
            "name": self.name,
            "path": self.path,
            "entity": self.entity,
            "module": self.module,
            "variable": of,
            "key": key,
            "columns": "\n".join(f"        {of}.c.{column}," for column in self.columns),
            "texts": "\n".join(f'            "{text}": {5 if text == key else 1},' for text in self.texts),
            "example": self.example,
            "one": json.dumps(self.row[key]),
            "row": "\n".join(f'                "{column}": {_literal(value)},' for column, value in self.row.items()),
        }
        files = {
            f"{self.package.replace('.', '/')}/{self.name}.py": _VIEW,
            f"tests/integration/test_{self.name}.py": _ROWS,
        }
        return _filled(files, words)


def _filled(files: Files, words: Mapping[str, str]) -> Files:
    return {path: Template(text.lstrip("\n")).substitute(words) for path, text in files.items()}


def _literal(value: Any) -> str:
    return repr(value) if isinstance(value, bool | int) else json.dumps(value, ensure_ascii=False)


_EXPORTS = '''
"""What the $name service publishes, each type in its newest version."""

from schemas.$name.v1 import ${State}Added, ${State}Removed

__all__ = ["${State}Added", "${State}Removed"]
'''

_CONTRACTS = '''
"""Version 1 of what the $name service publishes."""

from schemas.contract import Contract, Id, Text


class ${State}Added(Contract, type="$name.${State}Added"):
    """There is a new $words; told again, it replaces all that it carries."""

    ${one}_id: Id
    title: Text


class ${State}Removed(Contract, type="$name.${State}Removed"):
    """It is gone; it stays so."""

    ${one}_id: Id
'''

_ADDED = """
{
  "specversion": "1.0",
  "id": "01985b2e-7000-7000-8000-000000000001",
  "source": "/$name",
  "type": "$name.${State}Added",
  "subject": "$one-1",
  "time": "2026-03-14T09:26:53.589793Z",
  "datacontenttype": "application/json",
  "sequence": 1,
  "data": {
    "${one}_id": "$one-1",
    "title": "The first"
  }
}
"""

_REMOVED = """
{
  "specversion": "1.0",
  "id": "01985b2e-7000-7000-8000-000000000002",
  "source": "/$name",
  "type": "$name.${State}Removed",
  "subject": "$one-1",
  "time": "2026-03-14T09:26:53.589793Z",
  "datacontenttype": "application/json",
  "sequence": 2,
  "data": {
    "${one}_id": "$one-1"
  }
}
"""

_ENTITY = '''
"""The $name, as their own service tells them."""

from projector.declare import Entity, State
from schemas.$name import ${State}Added, ${State}Removed


class $State(State, frozen=True):
    """One $words."""

    ${one}_id: str
    title: str
    removed: bool = False


$name = Entity(
    "$name",
    state=$State,
    key="${one}_id",
    topic="$name",
)


@$name.on(${State}Added)
def added(state: $State | None, event: ${State}Added) -> $State:
    """Added, or added anew: all that the event carries replaces what was; removed stays."""
    return $State(
        ${one}_id=event.${one}_id,
        title=event.title,
        removed=state is not None and state.removed,
    )


@$name.on(${State}Removed)
def removed(state: $State, event: ${State}Removed) -> $State:
    """Gone, but not forgotten: views leave it out, or say so."""
    return state.replace(removed=True)
'''

_FOLDS = '''
"""The $name: given these events, when this one comes, then this is the state."""

from $package.$name import $State
from projector.testing import given
from schemas.$name import ${State}Added, ${State}Removed
from tests.unit.events import data_of

ADDED = ${State}Added(${one}_id="$one-1", title="The first")
REMOVED = ${State}Removed(${one}_id="$one-1")
FIRST = $State("$one-1", "The first")


def test_the_golden_examples_are_read() -> None:
    assert data_of("$name.${State}Added") == ADDED
    assert data_of("$name.${State}Removed") == REMOVED


def test_one_is_added() -> None:
    given().when(ADDED).then(FIRST)


def test_one_that_is_removed_stays_so() -> None:
    given(ADDED).when(REMOVED).then(FIRST.replace(removed=True))
    given(ADDED, REMOVED).when(ADDED).then(FIRST.replace(removed=True))


def test_one_that_was_never_added_cannot_be_removed() -> None:
    given().when(REMOVED).then(None)
'''

_VIEW = '''
"""The $entity: one row for each."""

from sqlalchemy import select

from $module import $variable
from projector.declare import Search, View

$name = View(
    "$name",
    path="$path",
    key="$key",
    query=select(
$columns
    ).select_from($variable.table),
    indexes=[("-updated_at",)],
    search=Search(
        text={
$texts
        },
    ),
)
'''

_ROWS = '''
"""`$name`: given these events, when this one comes, then this is the row."""

from projector.testing import Views
from tests.unit.events import data_of

EXAMPLE = data_of("$example")


def test_one_that_is_told_is_a_row(views: Views) -> None:
    views.given().when(EXAMPLE).then(
        "$name",
        {
            $one: {
$row
            },
        },
    )
'''
