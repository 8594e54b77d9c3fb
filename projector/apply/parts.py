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

from projector.declare.shape import Node, Scope, shape_of
from projector.declare.view import View


class Parts:
    """The parts of one view. A query that filters, groups or joins in full has none: it is refreshed by whole rows."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._scope = Scope(view.query, []) if view.keys else shape_of(view.query)
        query = view.query
        filters = query._where_criteria or query._group_by_clauses or query._having_criteria
        if filters or any(node.full for node in self._scope.nodes):
            self.names: frozenset[str] = frozenset()
        else:
            self.names = frozenset(node.name for node in self._scope.nodes if self._is_apart(node))

    def columns(self, parts: Collection[str]) -> list[str]:
        """The view's columns that a change inside these parts reaches."""
        reached = self._reached(parts)
        return [c.key for c in self._view.query.selected_columns if c.key and _mentions(c, reached)]

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
        columns = {*self.columns([node.name])}
        return all(n.outer for n in self._reached([node.name])) and bool(columns) and not columns & {*self._view.key}

    def _reached(self, parts: Collection[str]) -> list[Node]:
        """The nodes of that name, and each that is joined on one of those."""
        reached: list[Node] = []
        for node in self._scope.nodes:
            if node.name in parts or (node.on is not None and _mentions(node.on, reached)):
                reached.append(node)
        return reached


def _mentions(expression: ColumnElement[Any], nodes: Collection[Node]) -> bool:
    return any(table is node.element for table in _tables(expression) for node in nodes)


def _tables(expression: ColumnElement[Any]) -> Iterator[Any]:
    for element in visitors.iterate(expression):
        table = getattr(element, "table", None)
        if table is not None:
            yield table


__all__ = ["Parts"]
