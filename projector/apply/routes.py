"""Key queries: which rows of a view a changed row touches.

For each occurrence of a table in a view's query there is one route from a column of that table, through the columns
that are equal to it, up to the view's first key column. It is asked once, after the change, with the values of that
column in the changed rows as they were and as they are. That finds every key: of the changed rows behind a view row,
take the one nearest to the key; all rows between are unchanged, so the way up from it is there to be walked.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ColumnElement, Select, Table, select
from sqlalchemy.sql import visitors
from sqlalchemy.sql.selectable import Alias, FromClause

from projector.apply.parts import Parts
from projector.declare.projections import reads
from projector.declare.shape import Node, Scope, Unsupported, shape_of
from projector.declare.sql import among_keys, render, substitute
from projector.declare.view import View


@dataclass(frozen=True)
class Route:
    """From the values of `column` in changed rows of `table` to view keys: by `query`, or they are the keys.

    `uses` are the table's columns that the view reads: a change of others touches nothing. `parts` are those of the
    view (see `Parts`) that the changed rows lie in; None where they may touch the whole row.
    """

    table: Table
    column: str
    query: str | None
    uses: frozenset[str]
    parts: frozenset[str] | None = None


def routes_of(view: View, names: Mapping[Table, Table] | None = None) -> list[Route]:
    """The view's routes, without repeats, reading `names` in place of the declared tables.

    Raises Unsupported where a row cannot be followed to its keys.
    """
    found: dict[tuple[int, str, str | None], Route] = {}
    apart = Parts(view).names
    for part, (table, occurrence, column, query) in _by_hand(view) if view.keys else _derived(view):
        text = None if query is None else render(substitute(query, names or {}))
        uses, parts = _uses(view.query, occurrence), frozenset([part]) if part in apart else None
        if (known := found.get((id(table), column.name, text))) is not None:
            uses |= known.uses
            parts = None if parts is None or known.parts is None else parts | known.parts
        found[id(table), column.name, text] = Route(table, column.name, text, uses, parts)
    return list(found.values())


def _derived(view: View) -> "Iterator[tuple[str | None, _Found]]":
    scope = shape_of(view.query)
    targets = scope.targets(view.key[0])
    for node in scope.nodes:
        for found in _routes_from(scope, node, targets):
            yield node.name, found


def _by_hand(view: View) -> "Iterator[tuple[str | None, _Found]]":
    missing = {t.name for t in reads(view)} - {keys.column.table.name for keys in view.keys}
    if missing:
        raise Unsupported(f"keys= by hand names no key query for {', '.join(sorted(missing))}, which it reads")
    for keys in view.keys:
        yield None, (keys.column.table, keys.column.table, keys.column, keys.query)


_Found = tuple[Table, FromClause, Column[Any], Select[Any] | None]


def _routes_from(scope: Scope, node: Node, targets: list[Any]) -> Iterator[_Found]:
    if node.table is not None:
        column, query = _climb(scope, node, targets)
        yield node.table, node.element, column, query
    elif node.inner is not None:
        yield from _routes_through(scope, node, node.inner, targets)


def _routes_through(scope: Scope, node: Node, inner: Scope, targets: list[Any]) -> Iterator[_Found]:
    """Routes that begin inside a subquery: up to a column that it hands out, and on from there."""
    handed, outer = _climb(scope, node, targets)
    within = inner.targets(handed.key)
    for each in inner.nodes:
        for table, occurrence, column, query in _routes_from(inner, each, within):
            yield table, occurrence, column, query if outer is None else _chain(query, outer)


def _climb(scope: Scope, node: Node, targets: list[Any]) -> tuple[Any, Select[Any] | None]:
    """The node's column to begin from, and the query for targets by its values (None: they are the targets)."""
    for target in targets:
        if target.table is node.element:
            return target, None
    if not node.equal:
        raise Unsupported(f"{node.element} has no column that leads to the view's key")
    own, other = node.equal[0]
    parent = scope.node_of(other)
    source: FromClause = parent.element
    while not (found := [t for t in targets if t.table is parent.element]):
        if not parent.equal:
            raise Unsupported(f"the way from {own} to the view's key ends at {parent.element}: join on equal columns")
        below, above = parent.equal[0]
        parent = scope.node_of(above)
        source = source.join(parent.element, below == above)
    return own, select(found[0]).select_from(source).where(among_keys(other)).distinct()


def _chain(first: Select[Any] | None, then: Select[Any]) -> Select[Any]:
    """The second query asked with the answers of the first."""
    if first is None:
        return then
    (condition,) = then._where_criteria
    other: ColumnElement[Any] = condition.left
    column = next(iter(then.selected_columns))
    return select(column).select_from(then.get_final_froms()[0]).where(other.in_(first)).distinct()


def _uses(query: Select[Any], table: FromClause) -> frozenset[str]:
    """The columns of one table that a query names anywhere, subqueries included."""
    element = table.element if isinstance(table, Alias) else table
    named = [e for e in visitors.iterate(query) if isinstance(e, Column)]
    return frozenset(c.name for c in named if c.table is table or c.table is element)


__all__ = ["Route", "routes_of"]
