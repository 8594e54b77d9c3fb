"""`View` and `Rollup`: what is served, each declared as a query over entities or over other views."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ColumnElement, MetaData, Select, Table, UniqueConstraint, cast, func, select
from sqlalchemy.types import BigInteger, NullType, TypeEngine

from projector.declare.columns import Columns
from projector.declare.search import Search
from projector.declare.types import WholeNumber
from projector.errors import DeclarationError

LONGEST = 55  # letters of a relation's name: with the number of its generation, Postgres cuts off none


@dataclass(frozen=True)
class Measure:
    """One column of a rollup. `kind` is count, sum, min or max; `where` says which rows of the source it takes in."""

    kind: str
    of: ColumnElement[Any] | None = None
    where: ColumnElement[bool] | None = None

    @property
    def type(self) -> TypeEngine[Any]:
        """The column's type; sums of whole numbers may outgrow 64 bits."""
        if self.of is None:
            return BigInteger()
        return WholeNumber if self.kind == "sum" and isinstance(self.of.type, BigInteger) else self.of.type

    def over_rows(self) -> ColumnElement[Any]:
        """The measure as an aggregate over the source's rows: what the rollup must equal."""
        aggregate: Any = func.count() if self.of is None else getattr(func, self.kind)(self.of)
        if self.where is not None:
            aggregate = aggregate.filter(self.where)
        whole: ColumnElement[Any] = cast(func.coalesce(aggregate, 0), self.type) if self.moves else aggregate
        return whole

    @property
    def moves(self) -> bool:
        """Whether it moves by differences; a min or max must be looked up when its extreme leaves."""
        return self.kind in ("count", "sum")


def count(where: ColumnElement[bool] | None = None) -> Measure:
    """How many rows of the source."""
    return Measure("count", None, where)


def total(of: ColumnElement[Any], where: ColumnElement[bool] | None = None) -> Measure:
    """The sum of a column, 0 where there is nothing to add."""
    return Measure("sum", of, where)


def least(of: ColumnElement[Any]) -> Measure:
    """The smallest value of a column."""
    return Measure("min", of)


def greatest(of: ColumnElement[Any]) -> Measure:
    """The largest value of a column."""
    return Measure("max", of)


@dataclass(frozen=True)
class Keys:
    """A key query given by hand: from the values of a table's `column`, in its changed rows, to keys of the view.

    `query` selects the view's first key column `WHERE among_keys(some column)`; without it the values are the keys.
    """

    column: Column[Any]
    query: Select[Any] | None = None


class Relation:
    """What `View` and `Rollup` share: a name, a path, a key, a query, and the table that keeps its rows.

    Columns whose name begins with `_` are the engine's or other declarations' own: never served.
    """

    query: Select[Any]

    def __init__(
        self, name: str, path: str | None, key: Sequence[str], version: int, indexes: Sequence[Sequence[str]]
    ) -> None:
        self.name, self.path, self.key, self.version, self.indexes = name, path, tuple(key), version, indexes
        too_long = (
            f"{name}: its name is of more than {LONGEST} letters, which leaves no room for generations: shorten it"
        )
        self.problems: list[str] = [too_long] if len(name) > LONGEST else []

    def _finish(self, query: Select[Any], unique: bool = False) -> None:
        self.query = query
        columns = [
            Column(
                c.key or "",
                c.type,
                nullable=unique or c.key not in self.key,
                primary_key=not unique and c.key in self.key,
            )
            for c in query.selected_columns
        ]
        constraints = [UniqueConstraint(*self.key, postgresql_nulls_not_distinct=True)] if unique else []
        self.problems += [f"{self.name}: its query has no column {k!r}, its key; add it" for k in self.key
                          if k not in query.selected_columns]  # fmt: skip
        self.problems += [f"{self.name}.{c.name}: its type is not known; cast() it" for c in columns
                          if isinstance(c.type, NullType)]  # fmt: skip
        self.problems += [f"{self.name}: no column {name!r} to index" for index in self.indexes for name in index
                          if name.lstrip("-") not in query.selected_columns]  # fmt: skip
        self.table = Table(self.name, MetaData(), *columns, *(constraints if not self.problems else []))
        self.c = Columns(self.table, self.problems)

    @property
    def columns(self) -> list[Column[Any]]:
        """The served columns, in order."""
        return [c for c in self.table.c if not c.name.startswith("_")]

    @property
    def stored(self) -> bool:
        """Whether its rows are kept in a table of its own."""
        return True

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


class View(Relation):
    """A query over entities (and other views and rollups), kept up to date row by row.

    The query joins tables and grouped subqueries by inner, left or full joins on equality; `prejoin check` refuses
    what the engine cannot follow. `key` tells its rows apart; rows are refreshed by its first column. `indexes` are
    tuples of column names, `-name` for descending; each serves filters and sorts of the API. A `virtual` view
    computes over one other view's row and has no rows of its own: a plain SQL view. A view without `path` is not
    served: other declarations read it. `keys` are key queries by hand, for each table that the query reads, where it
    uses what the engine cannot follow (windows, UNION, LIMIT and so on); such a view is refreshed from its whole query.
    `search` keeps it in the search index.
    """

    def __init__(
        self,
        name: str,
        *,
        query: Select[Any],
        key: str | Sequence[str],
        version: int = 1,
        path: str | None = None,
        indexes: Sequence[Sequence[str]] = (),
        virtual: bool = False,
        keys: Sequence[Keys] = (),
        search: Search | None = None,
    ) -> None:
        super().__init__(name, path, (key,) if isinstance(key, str) else key, version, indexes)
        self.virtual, self.keys, self.search = virtual, tuple(keys), search
        self._finish(query)
        if search is not None and not self.problems:
            self.problems += self._wrong_search(search)

    def _wrong_search(self, search: Search) -> list[str]:
        if self.virtual:
            return [f"{self.name}: a virtual view has no rows of its own to search; give search= to a stored one"]
        unserved = [f"{self.name}: search= is part of what is served; give the view a path"] if not self.path else []
        return unserved + search.problems(self.name, self.columns, self.key)

    @property
    def stored(self) -> bool:
        """False for a virtual view."""
        return not self.virtual


class Rollup(Relation):
    """Counts and sums over the rows of a view, by group. It moves by differences of those rows: what it costs
    follows what changed, not how large a group is. A group without rows has no row.

    `by` names the group's columns, its key; null is a group of its own.
    """

    def __init__(
        self,
        name: str,
        *,
        source: View,
        by: Mapping[str, ColumnElement[Any]],
        measures: Mapping[str, Measure],
        version: int = 1,
        path: str | None = None,
        indexes: Sequence[Sequence[str]] = (),
    ) -> None:
        super().__init__(name, path, tuple(by), version, indexes)
        self.source, self.by, self.measures = source, dict(by), dict(measures)
        columns = [expression.label(name) for name, expression in by.items()]
        columns += [measure.over_rows().label(name) for name, measure in measures.items()]
        rows = cast(func.count(), BigInteger).label("_rows")
        self._finish(select(*columns, rows).select_from(source.table).group_by(*by.values()), unique=True)


def unsound_key(relation: Relation) -> DeclarationError:
    """The mistake that shows with data only: two rows of one key, or a row without."""
    key = ", ".join(relation.key)
    return DeclarationError(
        f"{relation.name}: its key ({key}) is null in a row of its query, or the same in two: choose another"
    )


def unstorable_row(relation: Relation) -> DeclarationError:
    """The mistake that shows with data only: a row that no table with these columns and indexes can hold."""
    return DeclarationError(
        f"{relation.name}: Postgres refuses a row of its query, for a value that is out of bounds or too long for an "
        "index: declare another column, or no index of it; or bound it in its contract, and rebuild from events"
    )
