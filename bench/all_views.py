"""All five views on the shop's stream by time, as `prejoin generate tpch` tells it."""

from collections.abc import Iterator

from bench import limits
from bench.ingest import ORDERS_ONLY, drain, peer_of
from bench.place import place, say
from bench.results import Result
from bench.sizes import Size
from bench.streams import MASTERS, shop
from projector.tpch import events


def measure(size: Size) -> Iterator[Result]:
    stream = list(events(size.ingest_scale))
    first = next(n for n, message in enumerate(stream) if message.topic not in MASTERS)
    masters, rest = stream[:first], stream[first:]
    with place() as where:
        say(f"all views: ours, {len(rest):,} events")
        group = where.migrated("projections")
        ours = drain(where, lambda: where.worker(group, "projections"), masters, [rest])
        details = {"events": len(rest), "ours_wrong_rows": where.differing(group, "projections")}
        seconds, rows = limits.copy_all(where.endpoints.database_url, group, "projections")
        share = shop(size.ingest_scale).share(size.slow_orders)
        say("all views: the loop, which has one view")
        with peer_of(where, "loop", where.migrated(ORDERS_ONLY)) as (start, _):
            loop = drain(where, start, share.masters, share.adjacent)
    copied = details | {"rows": rows}
    yield Result("all views/COPY", ours.rate, len(rest) / seconds, "events/s", "ours >= 12000", copied)
    yield Result("all views/loop of one view", ours.rate, loop.rate, "events/s", None, details)
