"""The shape of a view's query: what it joins, on which equal columns. Raises Unsupported for what cannot be followed.

Supported: inner and left joins on equality of tables and of (grouped) subqueries, and one full join of two.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Column, ColumnElement, Select, Table
from sqlalchemy.sql import operators, visitors
from sqlalchemy.sql.elements import BinaryExpression, BooleanClauseList, Over, TextClause
from sqlalchemy.sql.functions import FunctionElement, coalesce
from sqlalchemy.sql.selectable import CTE, Alias, CompoundSelect, Exists, FromClause, Join, ScalarSelect, Subquery

from projector.declare.sql import output
from projector.errors import DeclarationError

_VOLATILE = frozenset(
    [
        "now",
        "current_date",
        "current_time",
        "current_timestamp",
        "localtime",
        "localtimestamp",
        "clock_timestamp",
        "statement_timestamp",
        "transaction_timestamp",
        "timeofday",
        "age",
        "sysdate",
        "random",
        "random_normal",
        "gen_random_uuid",
        "uuidv4",
        "uuidv7",
        "nextval",
        "user",
        "current_user",
        "session_user",
    ]
)


class Unsupported(DeclarationError):
    """A view's query uses what the engine cannot follow from a changed row to the rows it touches."""


@dataclass
class Node:
    """One thing that a query joins: a table, or a subquery with a scope of its own."""

    element: FromClause
    on: ColumnElement[bool] | None = None
    outer: bool = False
    full: bool = False
    equal: list[tuple[Any, Any]] = field(default_factory=list)  # (column of this node, column of an earlier one)
    inner: "Scope | None" = None

    @property
    def name(self) -> str:
        """What the query calls it."""
        return _name(self.element)

    @property
    def table(self) -> Table | None:
        """The base table, also behind an alias; None for a subquery."""
        element = self.element.element if isinstance(self.element, Alias) else self.element
        return element if isinstance(element, Table) else None


@dataclass
class Scope:
    """One SELECT: its nodes in join order, and which of their columns are equal."""

    query: Select[Any]
    nodes: list[Node]

    def node_of(self, column: Any) -> Node:
        """The node that a column belongs to."""
        return next(node for node in self.nodes if node.element is column.table)

    def equal_to(self, *columns: Any) -> list[Any]:
        """Every column that equals one of these wherever both are joined, themselves included."""
        found = list(columns)
        pairs = [pair for node in self.nodes for pair in node.equal]
        grew = True
        while grew:
            grew = False
            for a, b in [*pairs, *((b, a) for a, b in pairs)]:
                if any(a is f for f in found) and not any(b is f for f in found):
                    found.append(b)
                    grew = True
        return found

    def targets(self, name: str) -> list[Any]:
        """The columns equal to one column of the result, which must be a plain column (or a full join's coalesce)."""
        expression = output(self.query, name)
        parts = list(expression.clauses) if isinstance(expression, coalesce) else [expression]
        if not all(hasattr(part, "table") for part in parts) or (len(parts) > 1 and not self.nodes[-1].full):
            raise Unsupported(f"its column {name!r} must be a plain column, for rows are found by it")
        equal = self.equal_to(parts[0])
        if not all(any(part is e for e in equal) for part in parts):
            raise Unsupported(f"its column {name!r} is of columns that the full join does not hold equal: join on them")
        return equal

    def leaves(self) -> Iterator[tuple[FromClause, Table]]:
        """Each thing joined that is no subquery, and the base table that it is or stands for; subqueries' too."""
        for node in self.nodes:
            if node.table is not None:
                yield node.element, node.table
            elif node.inner is not None:
                yield from node.inner.leaves()


def shape_of(query: Select[Any]) -> Scope:
    """The scope of a query; raises Unsupported, in one line that names the construct and the way out."""
    if isinstance(query, CompoundSelect) or not isinstance(query, Select):
        raise Unsupported("UNION and its like are not supported: make a view of each part")
    _refuse(query)
    froms = query.get_final_froms()
    if len(froms) != 1:
        raise Unsupported(f"it reads {len(froms)} things that are not joined: join them on equal columns")
    nodes = list(_nodes(froms[0]))
    if any(node.full for node in nodes) and len(nodes) != 2:
        raise Unsupported("a full join is supported for two tables or subqueries only: join the rest inside them")
    return Scope(query, nodes)


def _refuse(query: Select[Any]) -> None:
    if query._limit_clause is not None or query._offset_clause is not None:
        raise Unsupported("LIMIT is not supported: a changed row would move others in and out")
    if query._distinct:
        raise Unsupported("DISTINCT is not supported: use GROUP BY")
    _refuse_parts([*query.selected_columns, *query._where_criteria, *query._group_by_clauses, *query._having_criteria])


def _refuse_parts(parts: Iterable[Any]) -> None:
    for part in parts:
        for element in visitors.iterate(part):
            if isinstance(element, Over):
                raise Unsupported("window functions are not supported: use a grouped subquery")
            if isinstance(element, ScalarSelect | Exists | CTE):
                raise Unsupported("subqueries inside expressions are not supported: join a grouped subquery")
            if isinstance(element, FunctionElement) and getattr(element, "name", "").lower() in _VOLATILE:
                raise Unsupported(f"{element.name}() is not supported: nothing in a view may come from clock or chance")
            if isinstance(element, TextClause):
                raise Unsupported("text() is not supported: use SQLAlchemy's columns and functions")


def _nodes(source: FromClause) -> Iterator[Node]:
    if isinstance(source, Join):
        earlier = list(_nodes(source.left))
        yield from earlier
        if isinstance(source.right, Join):
            raise Unsupported("a join inside the right side of a join is not supported: join one after the other")
        node = _leaf(source.right)
        _refuse_parts([source.onclause])
        node.on, node.outer, node.full = source.onclause, source.isouter, source.full
        node.equal = list(_equalities(source.onclause, node.element, [n.element for n in earlier]))
        if not node.equal:
            raise Unsupported(f"the join of {_name(node.element)} has no equality with what is joined before it")
        yield node
    else:
        yield _leaf(source)


def _leaf(element: FromClause) -> Node:
    if isinstance(element, Subquery) and not isinstance(element, CTE):
        if not isinstance(element.element, Select):
            raise Unsupported(f"{_name(element)} is not a SELECT: UNION and its like are not supported")
        return Node(element, inner=shape_of(element.element))
    node = Node(element)
    if node.table is None:
        raise Unsupported(f"{_name(element)} is neither a table nor a subquery: join one of those")
    return node


def _equalities(on: Any, mine: FromClause, earlier: list[FromClause]) -> Iterator[tuple[Any, Any]]:
    conditions = on.clauses if isinstance(on, BooleanClauseList) and on.operator is operators.and_ else [on]
    for condition in conditions:
        sides = (condition.left, condition.right) if isinstance(condition, BinaryExpression) else ()
        tables = [getattr(side, "table", None) for side in sides]
        if sides and condition.operator is operators.eq and all(t is not None for t in tables):
            own, other = sides if tables[0] is mine else sides[::-1]
            if own.table is mine and any(other.table is e for e in earlier):
                yield own, other
                continue
        if any(isinstance(e, Column) and e.table is not mine for e in visitors.iterate(condition)):
            raise Unsupported(f"the join of {_name(mine)} is not on equal columns: only equality can be followed")


def _name(element: FromClause) -> str:
    return getattr(element, "name", None) or str(element)
