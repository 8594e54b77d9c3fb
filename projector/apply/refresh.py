"""The refresh of a view: its query for some keys only, and the one statement that writes what differs.

Two forms are compiled from one declaration: the plain query (build, verify), and this one, with the condition on the
keys pushed into every subquery, which Postgres does not do by itself.
"""

from collections.abc import Callable, Mapping
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
        element = _narrowed(node, targets, condition, full, replaced)
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


def _narrowed(
    node: Node, targets: list[Any], condition: Condition, full: bool, replaced: Mapping[FromClause, FromClause]
) -> FromClause:
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
    return _lateral(node, replaced)


def _lateral(node: Node, replaced: Mapping[FromClause, FromClause]) -> FromClause:
    """A subquery that is not joined on the view's key: asked for each row, by the columns that it is joined on."""
    assert node.inner is not None
    # under names of their own, or what it shares with the query around it would be taken for that
    own_names = {element: table.alias() for element, table in node.inner.leaves()}
    inner: Select[Any] = substitute(node.inner.query, own_names)
    others = [(own, substitute(other, replaced)) for own, other in node.equal]  # which may be of a subquery, too
    for own, other in others:
        inner = inner.where(output(inner, own.key) == other)
    return inner.correlate(*{other.table for _, other in others}).lateral(node.element.name)  # type: ignore[attr-defined]
