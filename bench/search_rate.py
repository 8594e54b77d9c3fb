"""View changes into Elasticsearch: from the outbox by `prejoin indexer`, beside the bulk helper of elasticsearch-py
alone with the same documents ready-made, into an index of the same mapping and settings.

All rows are added first, then changed round by round, ours and the helper in turn.
"""

import statistics
import time
from collections.abc import Iterator

from elasticsearch.helpers import bulk, parallel_bulk

from bench import search_rows
from bench.place import BenchError, Place, say
from bench.results import Result
from bench.search_index import OrdersIndex, orders_index, wrong_documents
from bench.sizes import Size
from projector.search.indexer import IN_FLIGHT
from projector.search.rows import MOST_KEYS as DOCUMENTS_A_BULK

PROJECTIONS = "projections"


def measure(where: Place, size: Size) -> Iterator[Result]:
    count = size.search_changes
    rows = list(search_rows.rows(search_rows.shop(count), count))
    group = where.migrated(PROJECTIONS)
    ours, helpers, threads = list[float](), list[float](), list[float]()
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
            threads.append(_bulk(index, beside, count, threads=True))
        wrong = wrong_documents(where, group)
    rate, its, fast = (count / statistics.median(seconds) for seconds in (ours, helpers, threads))
    details = {"documents": count, "rounds": len(ours), "wrong_documents": wrong}
    details |= {"new_documents": count / seconds, "peer_new_documents": count / helped}
    yield Result("search/changes of a view, bulk helper", rate, its, "documents/s", "ratio >= 0.7", details)
    yield Result("search/changes of a view, parallel bulk helper", rate, fast, "documents/s", None, details)
    yield Result("search/wrong documents afterwards", wrong, None, "documents", "ours = 0")


def _bulk(index: OrdersIndex, beside: str, count: int, threads: bool = False) -> float:
    """Seconds that the helper takes to send all documents of our index, as they are now, to the one beside it.

    With `threads` it is the one that has as many bulks on their way as the indexer.
    """
    documents, done = index.documents(), 0
    began = time.monotonic()
    if threads:
        sent = parallel_bulk(index.client, documents, IN_FLIGHT, DOCUMENTS_A_BULK, index=beside)
        done = sum(succeeded for succeeded, _ in sent)
    else:
        done, _ = bulk(index.client, documents, index=beside, chunk_size=DOCUMENTS_A_BULK, stats_only=True)
    seconds = time.monotonic() - began
    if (done, len(documents), index.count(beside)) != (count, count, count):
        raise BenchError(f"the bulk helper sent {done} of {count} documents")
    return seconds
