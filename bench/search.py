"""Search: the way from a view's row into Elasticsearch, and searches there, all on the same servers."""

from collections.abc import Iterator

from bench import search_latency, search_queries, search_rate, search_rename
from bench.place import place
from bench.results import Result
from bench.sizes import Size


def measure(size: Size) -> Iterator[Result]:
    with place("elasticsearch") as where:
        # first, for it restarts Postgres
        yield from search_rename.measure(where, size)
        yield from search_rate.measure(where, size)
        yield from search_latency.measure(where, size)
        yield from search_queries.measure(where, size)
