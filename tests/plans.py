"""What Postgres did for an answer: the nodes of its plan, with what each was run for."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import psycopg

from read_api.resource import Resource
from read_api.statements import Shape, statement
from tests.world import World


def ran(shop: World, resource: Resource, shape: Shape, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The nodes of the plan by which the first generation of a view was read."""
    found = statement(resource, 1, shape)
    return nodes_of(shop, found.sql, found.values(values))


def nodes_of(shop: World, sql: str, values: Sequence[Any]) -> list[dict[str, Any]]:
    """The nodes of the plan by which a statement of the API was run."""
    with shop.connect() as connection:
        explain = f"EXPLAIN (ANALYZE, VERBOSE, FORMAT JSON) {sql}"
        ((plan,),) = psycopg.RawCursor(connection).execute(explain, values).fetchall()
    return list(_nodes(plan[0]["Plan"]))


def rows_read(nodes: list[dict[str, Any]]) -> int:
    """How many rows of views were looked at."""
    return sum(
        int(node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)))
        for node in nodes
        if "__g" in node.get("Relation Name", "")
    )


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", []):
        yield from _nodes(inner)
