"""Kafka to committed rows: one process drains what was published before it was let go.

Each consumer gets the same events in topics of their own. Customers and products come first and are not timed; then
the consumer is stopped where it is, the backlog is published, and the time runs from the moment it is let go until all
is committed, phase by phase.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from bench import libraries, limits
from bench.peers import tables
from bench.place import Place, Process, place, say
from bench.results import Result
from bench.sizes import Size
from bench.streams import TOPICS, Shop, count, shop
from projector.declare.entity import FILLFACTOR
from projector.publish import Message

ORDERS_ONLY = "bench.orders_only"
POSITIONS = "SELECT coalesce(sum(next), 0) FROM positions"
Start = Callable[[], AbstractContextManager[Process]]
Phases = list[list[Message]]


@dataclass
class Drained:
    """How fast a consumer was, and how long it took from its start to its first commit."""

    rate: float
    start_seconds: float


def drain(place: Place, start: Start, masters: Sequence[Message], phases: Phases) -> Drained:
    place.fresh_topics(TOPICS)
    place.publish(masters)
    begin = time.monotonic()
    with start() as process:
        started = process.until(1) - begin
        process.until(done := len(masters))
        seconds = 0.0
        for phase in phases:
            process.freeze()
            place.publish(phase)
            done += len(phase)
            seconds -= process.thaw()
            seconds += process.until(done)
    return Drained(count(phases) / seconds, started)


def measure(size: Size) -> Iterator[Result]:
    whole = shop(size.ingest_scale)
    share = whole.share(size.slow_orders)
    with place() as where:
        for name, phases in (("adjacent", whole.adjacent), ("phased", whole.phased)):
            yield from _order(where, name, whole, share, phases, size)
        yield _concurrency(where, whole.share(size.race_orders), size)


def _order(where: Place, name: str, whole: Shop, share: Shop, phases: Phases, size: Size) -> Iterator[Result]:
    adjacent = name == "adjacent"
    slow = share.adjacent if adjacent else share.phased
    say(f"{name}: ours, {count(phases):,} events")
    group = where.migrated(ORDERS_ONLY)
    ours = drain(where, lambda: where.worker(group, ORDERS_ONLY), whole.masters, phases)
    details = {"events": count(phases), "ours_wrong_rows": where.differing(group, ORDERS_ONLY)}
    details["ours_start_seconds"] = ours.start_seconds

    def against(peer: str, module: str, aim: str | None, from_shop: Shop, its_phases: Phases) -> Result:
        say(f"{name}: {peer}, {count(its_phases):,} events")
        with peer_of(where, module, group) as (start, schema):
            drained = drain(where, start, from_shop.masters, its_phases)
            wrong = wrong_rows(where, schema, group, list(from_shop.orders))
        more = {"peer_events": count(its_phases), "peer_start_seconds": drained.start_seconds}
        return result(peer, drained.rate, aim, more | {"exact": wrong == 0, "wrong_rows": wrong})

    def result(peer: str, rate: float, aim: str | None, more: dict[str, Any]) -> Result:
        return Result(f"ingest/{name}/{peer}", ours.rate, rate, "events/s", aim, details | more)

    yield against("loop", "loop", f"ratio >= {20 if adjacent else 10}", share, slow)
    yield against("floor", "floor", "ratio >= 0.6", whole, phases)
    if adjacent or not size.quick:
        yield against("stock faust", "stock_faust", None, share, slow)
    if adjacent:
        yield from _eventsourcing(where, group, share, result)
    seconds, rows = limits.copy_all(where.endpoints.database_url, group, ORDERS_ONLY)
    yield result("COPY", count(phases) / seconds, None, {"rows": rows})
    if not adjacent:
        where.drop(group)


def _eventsourcing(where: Place, group: str, share: Shop, result: Callable[..., Result]) -> Iterator[Result]:
    if reason := libraries.EVENTSOURCING.install():
        say(f"adjacent: eventsourcing is left out, for it cannot be installed: {reason}")
        return
    say("adjacent: eventsourcing")
    with peer_of(where, "loop", group) as (_, schema):
        told = libraries.eventsourcing(where, schema, share)
        wrong = wrong_rows(where, schema, group, list(share.orders))
    exact = {"peer_events": told["events"], "exact": wrong == 0, "wrong_rows": wrong}
    yield result("eventsourcing", told["events"] / told["seconds"], None, exact)


def _concurrency(where: Place, share: Shop, size: Size) -> Result:
    """What three actors of a stock faust agent leave behind; ours is what ours left on the same events."""
    group, left = "ours1", list[int]()
    for run in range(size.faust_runs):
        say(f"stock faust with three actors, run {run + 1} of {size.faust_runs}")
        with peer_of(where, "stock_faust", group, CONCURRENCY="3") as (start, schema):
            drain(where, start, share.masters, share.adjacent)
            left.append(wrong_rows(where, schema, group, list(share.orders)))
    wrong_runs = sum(wrong > 0 for wrong in left)
    ours = where.differing(group, ORDERS_ONLY)
    details = {"runs": len(left), "wrong_runs": wrong_runs, "wrong_rows": left, "rows": len(share.orders)}
    return Result("ingest/stock faust, three actors", ours, sum(left) / len(left), "wrong rows", "ours = 0", details)


@contextmanager
def peer_of(where: Place, module: str, like: str, **environment: str) -> Iterator[tuple[Start, str]]:
    """A peer with tables of its own, its joined rows in a table like the group's view."""
    where.runs += 1
    schema = f"peer{where.runs}"
    with where.connect(schema) as connection:
        connection.execute(f"CREATE SCHEMA {schema}")
        connection.execute(tables.TABLES)
        source = f"{like}_views.order_overview__g1"
        connection.execute(f"CREATE TABLE overview (LIKE {source} INCLUDING ALL) WITH (fillfactor = {FILLFACTOR})")
    command = [sys.executable, "-m", f"bench.peers.{module}"]
    if faust := module == "stock_faust":
        command += ["--datadir", str(where.folder / schema), "worker", "--without-web", "-l", "error"]
    settings = {**where.endpoints.environment(), "PEER": schema, **environment}
    try:
        yield lambda: where.running(schema, command, "" if faust else POSITIONS, settings), schema
    finally:
        where.drop(schema)


def wrong_rows(where: Place, schema: str, group: str, orders: list[str]) -> int:
    """The peer's joined rows of these orders that differ from the group's view, or are missing on either side."""
    columns = [c for c in tables.COLUMNS if c != "_units"]
    ours, theirs = (f"({', '.join(f'{side}.{c}' for c in columns)})" for side in "ot")
    query = (
        f"SELECT count(*) FROM (SELECT * FROM {group}_views.order_overview__g1 WHERE order_id = ANY(%s)) o "
        f"FULL JOIN {schema}.overview t USING (order_id) WHERE {ours} IS DISTINCT FROM {theirs}"
    )
    with where.connect(group) as connection:
        (wrong,) = connection.execute(query, [orders]).fetchone() or (0,)
    return int(wrong)
