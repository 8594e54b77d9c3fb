"""`prejoin check`: everything wrong with contracts and projections that shows before the first event."""

import re
from typing import Any

import psycopg
from sqlalchemy import Table, Text
from sqlalchemy.types import TypeEngine

from projector.apply.refresh import restricted
from projector.apply.rollups import Moving
from projector.apply.routes import routes_of
from projector.declare.projections import Projections, read
from projector.declare.shape import Unsupported, shape_of
from projector.declare.sql import among_keys, render, substitute
from projector.declare.types import ListOf, MoneyByCurrency
from projector.declare.view import Relation, Rollup, View
from projector.errors import NotMigrated, OutOfDate
from projector.store import generations, tables
from projector.store.changed import changed
from projector.store.connect import connect
from projector.store.names import generation_table

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_PATH = re.compile(r"[a-z][a-z0-9-]{0,39}")
_ENGINES = {*tables.metadata.tables, *tables.STATUS_VIEWS, *tables.SEARCH_VIEWS, *tables.DRIFT_VIEWS, "migrations"}


def problems(name: str) -> tuple[Projections, list[str]]:
    """The declarations of a package, and every mistake in them and in its contracts, one line each."""
    projections = read(name)
    found = list(projections.problems)
    if projections.registry is not None:
        found += projections.registry.problems()
        found += _unhandled(projections)
    for name_ in [*(e.name for e in projections.entities), *(r.name for r in projections.relations)]:
        found += wrong_name(name_)
    stored = [r.table for r in projections.relations if r.stored]
    for relation in projections.relations:
        found += _relation(relation, stored)
    return projections, list(dict.fromkeys(found))


def wrong_name(name: str) -> list[str]:
    """What is wrong with the name of an entity, a view or a rollup; [] where nothing is."""
    if not _NAME.fullmatch(name):
        return [f"{name}: a name is a lower-case letter, then letters, digits and _, 40 at most"]
    return [f"{name}: the engine has a table of that name; choose another"] if name in _ENGINES else []


def wrong_path(path: str) -> list[str]:
    """What is wrong with the path of a view; [] where nothing is."""
    return [] if _PATH.fullmatch(path) else [f"path {path!r} is a lower-case letter, then letters, digits and -"]


def _unhandled(projections: Projections) -> list[str]:
    found = [
        f"{contract.__name__}: no entity folds it; add a fold with @….on({contract.__name__})"
        for contract in projections.registry.newest.values()
        if contract not in projections.by_contract
    ]
    for entity in projections.entities:
        for contract in entity.folds:
            if contract not in projections.registry.newest.values():
                found.append(f"{entity.name}: folds {contract.__name__}, which is not the newest version of a contract")
            elif entity.key not in contract.model_fields:
                found.append(f"{entity.name}: {contract.__name__} has no field {entity.key!r}, the aggregate's id")
            elif contract.topic != entity.topic:
                found.append(
                    f"{entity.name}: takes events of {entity.topic}; {contract.__name__} is of {contract.topic}"
                )
    return found


def _relation(relation: Relation, stored: list[Table]) -> list[str]:
    if relation.problems:
        return []  # told already; what follows needs a sound table
    found = []
    if relation.path is not None:
        found += [f"{relation.name}: {wrong}" for wrong in wrong_path(relation.path)]
    indexed = {name.lstrip("-") for index in relation.indexes for name in index}
    found += [f"{relation.name}: {c.name} is an object or a list, which no index of rows in order can hold"
              for c in relation.table.c if c.name in indexed and _is_object(c.type)]  # fmt: skip
    try:
        if isinstance(relation, Rollup):
            found += (
                [] if relation.source.stored else [f"{relation.name}: its source is virtual; give it a stored view"]
            )
        elif isinstance(relation, View) and relation.virtual:
            found += _virtual(relation, stored)
        elif isinstance(relation, View):
            routes_of(relation)
            restricted(relation, among_keys)
            if not isinstance(relation.table.c[relation.key[0]].type, Text):
                found.append(f"{relation.name}: its first key column {relation.key[0]!r} must be text; put one first")
    except Unsupported as error:
        found.append(f"{relation.name}: {error}")
    return found


def _virtual(view: View, stored: list[Table]) -> list[str]:
    nodes = shape_of(view.query).nodes
    over = [node.element for node in nodes]
    if len(over) == 1 and any(over[0] is table for table in stored) and not view.query._group_by_clauses:
        return []
    return [f"{view.name}: a virtual view computes over the rows of one other view; drop virtual=True to join or group"]


def _is_object(kind: TypeEngine[Any]) -> bool:
    return isinstance(kind, ListOf | MoneyByCurrency)


def unindexed(url: str, group: str, projections: Projections) -> list[str]:
    """Each statement of the hot path that no index answers, as the planner sees it, one line each."""
    found = []
    with connect(url, group, name="prejoin check") as connection:
        served = _served(connection, group, projections)
        connection.execute("SET LOCAL enable_seqscan = off")
        for relation, what, statement in _hot_statements(projections, served):
            for table in _scanned(connection, statement):
                found.append(
                    f"{relation}: {what} reads all of {table}: declare an index on the column that it is found by"
                )
    return list(dict.fromkeys(found))


def _served(connection: psycopg.Connection[Any], group: str, projections: Projections) -> dict[str, int]:
    try:
        served = generations.served(connection)
    except (psycopg.errors.UndefinedTable, psycopg.errors.InsufficientPrivilege):
        raise NotMigrated(group) from None
    if missing := changed(connection.cursor(), projections):
        raise OutOfDate(
            f"{', '.join(missing)}: not in the database yet as declared: run `prejoin migrate`, and the rebuild that "
            "it asks for"
        )
    return served


def _hot_statements(projections: Projections, served: dict[str, int]) -> list[tuple[str, str, str]]:
    names = {r.table: generation_table(r, served[r.name]) for r in projections.relations}
    found = []
    for view in projections.views:
        for route in routes_of(view, names):
            if route.query is not None:
                # for DISTINCT alone a whole index is walked in order, where the table is as small as a new one
                query = route.query.replace("SELECT DISTINCT", "SELECT")
                found.append((view.name, f"the key query from {route.table.name}", query))
        refresh = substitute(restricted(view, among_keys), names)
        found.append((view.name, "its refresh", render(refresh)))
    for rollup in projections.rollups:
        if any(not measure.moves for measure in rollup.measures.values()):
            found.append((rollup.name, "looking up an extreme", Moving(rollup, served, []).recompute))
    return found


def _scanned(connection: psycopg.Connection[Any], statement: str) -> list[str]:
    parameters = {"keys": ["x"], "groups": ["x"], "nulls": False}
    ((plan,),) = connection.execute(f"EXPLAIN (FORMAT JSON) {statement}", parameters).fetchall()
    found, nodes = [], [plan[0]["Plan"]]
    while nodes:
        node = nodes.pop()
        nodes += node.get("Plans", [])
        walks_index = node["Node Type"] in ("Index Scan", "Index Only Scan") and "Index Cond" not in node
        if node["Node Type"] == "Seq Scan" or walks_index:
            found.append(node["Relation Name"])
    return found
