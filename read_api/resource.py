"""A served view as the API sees it: its path, its columns and their kinds, its key."""

from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sqlalchemy import Column, FromClause, cast, null, select
from sqlalchemy.types import TypeEngine

from projector.declare.search import Search, plain_fields
from projector.declare.types import ListOf
from projector.declare.view import Relation, View
from projector.store.names import generation_table
from read_api.kinds import Kind, kind_of

NULL_KEY = "~"
"""What stands for null in a path."""


@dataclass(frozen=True)
class Field:
    """One served column, or `lines.product_id`: a field of the objects in a column that is a list."""

    name: str
    kind: Kind
    nullable: bool

    @property
    def plain(self) -> bool:
        """Whether it filters and sorts."""
        return self.kind.bind is not None

    @property
    def inside(self) -> bool:
        """Whether it is a field of the objects in a list: it filters, and does not sort."""
        return "." in self.name


@dataclass(frozen=True)
class Term:
    """One column of an order: nulls come last ascending and first descending, as Postgres's indexes have them."""

    field: Field
    descending: bool = False


class Resource:
    """One served view; all that the API does with it follows from its declaration."""

    def __init__(
        self, relation: Relation, definition: str = "", personal: Iterable[str] = (), hides: bool = False
    ) -> None:
        self.definition = definition  # its digest, by which generations that were built from it are told
        self.snapshot: str | None = None
        self.name, self.relation, self.personal = relation.name, relation, frozenset(personal)
        self.hidden = self.personal if hides else frozenset[str]()
        self.path = f"/v1/{relation.path}"
        names = [str(c.name) for c in relation.columns]  # no quoted_name, which is more than a text
        columns = zip(names, relation.columns, strict=True)
        self.fields = {name: Field(name, kind_of(c.type), bool(c.nullable)) for name, c in columns}
        self._types = plain_fields(relation.columns)
        self.inside = {f.name: f for column in relation.columns for f in _inside(column)}

    @cached_property
    def masked(self) -> "Resource":
        """The view for those who may not see personal columns: null in each row, and of no use to find rows by."""
        return Resource(self.relation, self.definition, self.personal, hides=True) if self.personal else self

    def at(self, snapshot: str) -> "Resource":
        """The view as a named snapshot has it."""
        made = copy(self)
        made.snapshot, made.definition = snapshot, f"{self.definition}@{snapshot}"
        return made

    def __eq__(self, other: object) -> bool:
        """Whether the same statements read both, whatever they are given to read."""
        return isinstance(other, Resource) and (self.relation, self.hidden) == (other.relation, other.hidden)

    def __hash__(self) -> int:
        return hash((self.relation, self.hidden))

    def hides(self, name: str) -> bool:
        """Whether a column, or a field inside one, may not be seen."""
        return name.partition(".")[0] in self.hidden

    def source(self, generation: int) -> FromClause:
        """The rows of one generation, from which every answer is made, whatever its form.

        What is hidden is null in here: so no filter, order, word, count or tag of an answer can tell it.
        """
        table = generation_table(self.relation, generation)
        if not self.hidden:
            return table
        columns = [table.c[column.name] for column in self.relation.columns]
        shown = [cast(null(), c.type).label(c.name) if c.name in self.hidden else c for c in columns]
        return select(*shown).subquery("masked")

    @cached_property
    def key(self) -> tuple[Field, ...]:
        """The columns that tell its rows apart."""
        return tuple(self.fields[name] for name in self.relation.key)

    def type_of(self, name: str) -> TypeEngine[Any]:
        """The column type of what filters."""
        return self._types[name]

    @property
    def search(self) -> Search | None:
        """What is searched of it; None: nothing."""
        return self.relation.search if isinstance(self.relation, View) else None

    @cached_property
    def filters(self) -> dict[str, Field]:
        """What filters: plain columns, and plain fields inside lists."""
        found = {**self.fields, **self.inside}.items()
        return {name: f for name, f in found if f.plain and not self.hides(name)}

    @cached_property
    def indexed(self) -> frozenset[str]:
        """Columns that an index answers alone: the first of each index and of the key."""
        return frozenset([self.relation.key[0], *(index[0].removeprefix("-") for index in self.relation.indexes)])

    @property
    def one_path(self) -> str:
        """The route template of one row."""
        return self.path + "".join(f"/{{{field.name}}}" for field in self.key)

    def order(self, sort: tuple[tuple[str, bool], ...]) -> tuple[Term, ...]:
        """The whole order of a list: (column, descending) as asked for, then the key, which makes it total."""
        asked = tuple(Term(self.fields[name], descending) for name, descending in sort)
        return asked + tuple(Term(f) for f in self.key if f.name not in dict(sort))


def _inside(column: Column[Any]) -> list[Field]:
    kinds = column.type.fields if isinstance(column.type, ListOf) else {}
    return [Field(f"{column.name}.{name}", kind_of(kind), True) for name, kind in kinds.items()]


def nested(resources: Iterable[Resource]) -> list[tuple[Resource, Resource, str]]:
    """Lists under a row of another view: parent, child, and the route, `/v1/customers/{customer_id}/orders`.

    There is one wherever a view has the key of another, a single column, as a column that is not its own key.
    """
    resources = list(resources)
    return [
        (parent, child, f"{parent.one_path}/{child.relation.path}")
        for parent in resources
        for child in resources
        if len(parent.key) == 1
        and (column := child.fields.get(parent.key[0].name)) is not None
        and column.kind == parent.key[0].kind
        and column not in child.key
    ]
