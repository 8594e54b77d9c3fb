"""The refresh of a view: its query for some keys only, and the one statement that writes what differs.

Two forms are compiled from one declaration: the plain query (build, verify), and this one, with the condition on the
keys pushed into every subquery, which Postgres does not do by itself.
"""

from collections.abc import Callable
from typing import Any

from sqlalchemy import ColumnElement, Select, select
from sqlalchemy.sql.selectable import FromClause

from projector.declare.shape import Node, Scope, shape_of
from projector.declare.sql import output, substitute
from projector.declare.view import View

Condition = Callable[[Any], ColumnElement[bool]]


def restricted(view: View, condition: Condition, query: Select[Any] | None = None) -> Select[Any]:
    """The view's query, or one of some of its columns, for rows only whose first key column meets the condition."""
    if view.keys:
        whole = view.query.subquery("whole")
        return select(*whole.c).where(condition(whole.c[view.key[0]]))
    scope = shape_of(view.query if query is None else query)
    return _restrict(scope, scope.targets(view.key[0]), condition)


def _restrict(scope: Scope, targets: list[Any], condition: Condition) -> Select[Any]:
    replaced: dict[FromClause, FromClause] = {}
    full = any(node.full for node in scope.nodes)
    source: Any = None
    for node in scope.nodes:
        element = _narrowed(node, targets, condition, full)
        if element is not node.element:
            replaced[node.element] = element
        if source is None:
            source = element
        else:
            source = source.join(element, substitute(node.on, replaced), isouter=node.outer, full=node.full)
    query = scope.query
    parts = [substitute(c, replaced) for c in query.selected_columns]
    narrowed = select(*parts).select_from(source)
    for criterion in query._where_criteria:
        narrowed = narrowed.where(substitute(criterion, replaced))
    if not full:
        narrowed = narrowed.where(condition(substitute(targets[0], replaced)))
    if query._group_by_clauses:
        narrowed = narrowed.group_by(*(substitute(c, replaced) for c in query._group_by_clauses))
    for criterion in query._having_criteria:
        narrowed = narrowed.having(substitute(criterion, replaced))
    return narrowed


def _narrowed(node: Node, targets: list[Any], condition: Condition, full: bool) -> FromClause:
    """What stands in the node's place: a subquery with the condition inside it."""
    mine = [t for t in targets if t.table is node.element]
    if node.inner is None:
        if not full:
            return node.element
        columns = select(*node.element.c).where(condition(mine[0]))
        return columns.subquery(node.element.name)  # type: ignore[attr-defined]
    if mine:
        inner = _restrict(node.inner, node.inner.targets(mine[0].key), condition)
        return inner.subquery(node.element.name)  # type: ignore[attr-defined]
    return _lateral(node)


def _lateral(node: Node) -> FromClause:
    """A subquery that is not joined on the view's key: asked for each row, by the columns that it is joined on."""
    assert node.inner is not None
    # under names of their own, or the tables that it shares with the query around it would be taken for those
    inner: Select[Any] = substitute(node.inner.query, {t: t.alias(f"{t.name}_inside") for t in node.inner.tables()})
    for own, other in node.equal:
        inner = inner.where(output(inner, own.key) == other)
    return inner.correlate(*{other.table for _, other in node.equal}).lateral(node.element.name)  # type: ignore[attr-defined]
