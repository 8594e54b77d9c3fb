"""View changes into Elasticsearch: from the outbox by `prejoin indexer`, beside the bulk helper of elasticsearch-py
alone with the same documents ready-made, into an index of the same mapping and settings.

All rows are added first, then changed round by round, ours and the helper in turn.
"""

import statistics
from collections.abc import Iterator

from bench import search_rows
from bench.place import BenchError, Place, say
from bench.results import Result
from bench.search_index import OrdersIndex, orders_index, wrong_documents
from bench.sizes import Size

PROJECTIONS = "projections"


def measure(where: Place, size: Size) -> Iterator[Result]:
    count = size.search_changes
    rows = list(search_rows.rows(search_rows.shop(), count))
    group = where.migrated(PROJECTIONS)
    ours, helpers = list[float](), list[float]()
    with (
        where.indexer(group, PROJECTIONS) as process,
        where.connect(group) as connection,
        orders_index(where, group) as index,
        index.another() as beside,
    ):
        process.until(0)
        say(f"search: {count:,} new documents")
        seconds = -search_rows.add(connection, rows)
        seconds += process.until(0)
        helped = _bulk(index, beside, count)
        for round_ in range(size.search_rounds):
            say(f"search: {count:,} changed documents, round {round_ + 1} of {size.search_rounds}")
            began = search_rows.change(connection, round_)
            ours.append(process.until(0) - began)
            helpers.append(_bulk(index, beside, count))
        wrong = wrong_documents(where, group)
    rate, its = count / statistics.median(ours), count / statistics.median(helpers)
    details = {"documents": count, "rounds": len(ours), "wrong_documents": wrong}
    details |= {"new_documents": count / seconds, "peer_new_documents": count / helped}
    yield Result("search/changes of a view, bulk helper", rate, its, "documents/s", "ratio >= 0.7", details)
    yield Result("search/wrong documents afterwards", wrong, None, "documents", "ours = 0")


def _bulk(index: OrdersIndex, beside: str, count: int) -> float:
    """Seconds that the helper takes to send all documents of our index, as they are now, to the one beside it."""
    seconds = index.send(index.documents(), beside)
    if (there := index.count(beside)) != count:
        raise BenchError(f"the bulk helper made {there} of {count} documents")
    return seconds
