"""`Entity`: the current state of one kind of aggregate, folded from its events into a row."""

import hashlib
import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import msgspec
from sqlalchemy import BigInteger, Column, Index, LargeBinary, MetaData, Table
from sqlalchemy.dialects.postgresql import JSONB

from projector.declare.columns import Columns
from projector.declare.erasure import Erasure
from projector.declare.types import Instant, MoneyByCurrency, column_type
from projector.errors import DeclarationError

# Kept by the engine beside each state: the aggregate's version, the ranges of sequence numbers it has not seen,
# what tells repeats of its last 1,000 events, and the latest `time` among its applied events.
META = ("_version", "_gaps", "_recent", "updated_at")
FILLFACTOR = 80  # leaves room for HOT updates: a new row version on the same page, no index touched


class State(msgspec.Struct, frozen=True):
    """The base of an entity's state, and of a row of a child table: frozen, compared by value."""

    def replace(self, **changes: Any) -> Self:
        """The same state with some fields changed."""
        return msgspec.structs.replace(self, **changes)


S = TypeVar("S", bound=State)
Fold = TypeVar("Fold", bound=Callable[..., State])


@dataclass(frozen=True)
class Folding:
    """How one contract folds: the function, and whether it may create (its state parameter takes None)."""

    function: Callable[[Any, Any], State]
    creates: bool


@dataclass(frozen=True)
class Child:
    """A collection inside a state, kept as rows: table `parent__name`, key (parent's key, first field)."""

    name: str
    state: type[State]
    key: str
    table: Table


class Entity(Generic[S]):
    """The state of one kind of aggregate.

    `key` is the field of the state, and of the data of its events, that holds the aggregate's id. `topic` is where
    its events come from. `children` names the fields that are collections (`tuple[Line, …]`) and their row class,
    whose first field tells one row of an aggregate from another. `indexes` are for the key queries of views. `erasure`
    says what of it is personal.
    """

    def __init__(
        self,
        name: str,
        *,
        state: type[S],
        key: str,
        topic: str,
        children: Mapping[str, type[State]] | None = None,
        indexes: Sequence[str] = (),
        erasure: Erasure | None = None,
    ) -> None:
        self.name, self.state, self.key, self.topic, self.erasure = name, state, key, topic, erasure
        self.problems: list[str] = []
        self.folds: dict[type[Any], Folding] = {}
        self.fields = [f for f in _hints(state) if f not in (children or {})]
        self.table = _table(name, {f: _hints(state)[f] for f in self.fields}, [key], indexes, self.problems, meta=True)
        self.children = [
            _child(self, child, row, [i for i in indexes if i.startswith(f"{child}.")])
            for child, row in (children or {}).items()
        ]
        self.c = Columns(self.table, self.problems)

    def rows(self, child: str) -> Columns:
        """The columns of a child table."""
        for each in self.children:
            if each.name == child:
                return Columns(each.table, self.problems)
        there = ", ".join(each.name for each in self.children) or "none"
        self.problems.append(f"{self.name} has no child {child!r}; it has: {there}")
        return Columns(Table(f"{self.name}__{child}", MetaData()), [])

    def on(self, contract: type[Any]) -> Callable[[Fold], Fold]:
        """Declare the fold of one event: `(state, event) -> state`, pure, with both parameters annotated.

        An event of an aggregate that was never created reaches the fold only if its first parameter may be None;
        otherwise it is a dead letter (`orphan`).
        """

        def declare(fold: Fold) -> Fold:
            if contract in self.folds:
                self.problems.append(f"{self.name}: {contract.__name__} has two folds; keep one")
            self.folds[contract] = Folding(cast(Callable[[Any, Any], State], fold), self._creates(fold))
            return fold

        return declare

    def _creates(self, fold: Callable[..., State]) -> bool:
        names = list(inspect.signature(fold).parameters)
        hint = get_type_hints(fold).get(names[0]) if names else None
        if len(names) != 2 or hint is None:
            self.problems.append(
                f"{self.name}: fold {fold.__name__} needs two annotated parameters, "
                f"(state: {self.state.__name__} | None, event: …)"
            )
        return get_origin(hint) in (Union, types.UnionType) and type(None) in get_args(hint)

    def __repr__(self) -> str:
        return f"Entity({self.name!r})"


def _hints(state: type[State]) -> dict[str, Any]:
    return get_type_hints(state, include_extras=True)


def _table(
    name: str,
    fields: Mapping[str, Any],
    key: Sequence[str],
    indexes: Sequence[str],
    problems: list[str],
    meta: bool = False,
) -> Table:
    columns: list[Column[Any]] = []
    for field, annotation in fields.items():
        try:
            kind, nullable = column_type(annotation)
        except DeclarationError as error:
            problems.append(f"{name}.{field}: {error}")
            continue
        columns.append(Column(field, kind, primary_key=field in key, nullable=nullable and field not in key))
    if meta:
        columns += [
            Column("_version", BigInteger, nullable=False),
            Column("_gaps", JSONB),
            Column("_recent", LargeBinary, nullable=False),
            Column("updated_at", Instant),  # null: erased by command before any event of it came
        ]
    problems.extend(f"{name}: its state has no field {k!r}, its key; add it" for k in key if k not in fields)
    table = Table(name, MetaData(), *columns)
    for column in indexes:
        if "." in column:
            continue
        if column in table.c:
            Index(_index_name(name, column), table.c[column])
        else:
            problems.append(f"{name}: no column {column!r} to index")
    return table


def _index_name(table: str, column: str) -> str:
    """A name that Postgres does not cut off, which it would do at 63 characters."""
    name = f"ix_{table}_{column}"
    return name if len(name) <= 63 else f"{name[:50]}_{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def _child(parent: Entity[Any], name: str, state: type[State], indexes: Sequence[str]) -> Child:
    hints, full = _hints(state), f"{parent.name}__{name}"
    key = next(iter(hints))
    parent_key = _hints(parent.state).get(parent.key, str)
    fields = {parent.key: parent_key, **hints}
    own = [i.removeprefix(f"{name}.") for i in indexes]
    table = _table(full, fields, [parent.key, key], own, parent.problems)
    parent.problems.extend(  # rows are told apart by their values, and no dict has a hash
        f"{full}.{c.name}: a row of a collection holds no amounts by currency: give {parent.name} the field, or each "
        "row an amount and its currency"
        for c in table.c
        if isinstance(c.type, MoneyByCurrency)
    )
    return Child(name, state, key, table)


__all__ = ["META", "Child", "Entity", "Folding", "State"]
