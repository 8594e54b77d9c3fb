"""Parts: how much of a view's row a change can reach, so that a refresh asks for no more than that.

A part is one thing that a view's query left-joins, by its name there: a table, or a subquery. What changes inside it
changes neither which rows the view has, nor any column but those made from it, or from what is joined on it. A
customer's new name leaves an order's lines alone, a payment leaves alone both; the stored row has them already.
"""

from collections.abc import Collection, Iterator
from typing import Any

from sqlalchemy import ColumnElement, Select, select
from sqlalchemy.sql import visitors
from sqlalchemy.sql.elements import _anonymous_label
from sqlalchemy.sql.functions import FunctionElement

from projector.declare.shape import Node, Scope, shape_of
from projector.declare.view import View

# Functions of Postgres that return sets: in a column they make a row for each element, and for none no row.
_ROWS = frozenset(
    ["generate_series", "generate_subscripts", "regexp_matches", "regexp_split_to_table", "string_to_table", "unnest"]
) | {
    f"{kind}_{name}"
    for kind in ("json", "jsonb")
    for name in ("array_elements", "array_elements_text", "each", "each_text", "object_keys", "path_query")
}


class Parts:
    """The parts of one view. A query that filters, groups or joins in full has none: it is refreshed by whole rows."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._scope = Scope(view.query, []) if view.keys else shape_of(view.query)
        query, nodes = view.query, self._scope.nodes
        self.names: frozenset[str] = frozenset()
        if nodes and not (query._where_criteria or query._group_by_clauses or query._having_criteria):
            self.names = frozenset(node.name for node in nodes if self._is_apart(node))

    def columns(self, parts: Collection[str]) -> list[str]:
        """The view's columns that a change inside these parts reaches."""
        reached = self._reached(parts)
        return [c.key for c in self._made_from(reached) if c.key]

    def query(self, parts: Collection[str]) -> Select[Any]:
        """The view's key and those columns, from no more than they take."""
        columns = [self._view.query.selected_columns[c] for c in (*self._view.key, *self.columns(parts))]
        needed: list[Node] = []
        for node in reversed(self._scope.nodes):  # what a node is joined on stands before it
            wanted: list[ColumnElement[Any]] = [*columns, *(n.on for n in needed if n.on is not None)]
            if not node.outer or any(_mentions(each, [node]) for each in wanted):  # an inner join filters, too
                needed.insert(0, node)
        source: Any = needed[0].element
        for node in needed[1:]:
            source = source.join(node.element, node.on, isouter=node.outer)
        return select(*columns).select_from(source)

    def _is_apart(self, node: Node) -> bool:
        if isinstance(node.name, _anonymous_label):  # another one in each process, and pending keys outlive them
            return False
        reached = self._reached([node.name])
        columns = self._made_from(reached)
        if not columns or any(c.key in self._view.key or _makes_rows(c) for c in columns):
            return False
        return all(n.outer and not n.full for n in reached)

    def _made_from(self, nodes: Collection[Node]) -> list[ColumnElement[Any]]:
        return [c for c in self._view.query.selected_columns if _mentions(c, nodes)]

    def _reached(self, parts: Collection[str]) -> list[Node]:
        """The nodes of that name, and each that is joined on one of those."""
        reached: list[Node] = []
        for node in self._scope.nodes:
            if node.name in parts or (node.on is not None and _mentions(node.on, reached)):
                reached.append(node)
        return reached


def _mentions(expression: ColumnElement[Any], nodes: Collection[Node]) -> bool:
    return any(table is node.element for table in _tables(expression) for node in nodes)


def _makes_rows(expression: ColumnElement[Any]) -> bool:
    return any(isinstance(e, FunctionElement) and e.name.lower() in _ROWS for e in visitors.iterate(expression))


def _tables(expression: ColumnElement[Any]) -> Iterator[Any]:
    for element in visitors.iterate(expression):
        table = getattr(element, "table", None)
        if table is not None:
            yield table


__all__ = ["Parts"]
