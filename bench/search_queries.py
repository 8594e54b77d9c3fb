"""Searches as people make them, one after another through the API: Elasticsearch, and Postgres beside it.

The rows are put into the view's table by COPY. Postgres has its index of words, as it has where there is no
Elasticsearch. Both backends are asked the same, and must answer the same.
"""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import aiohttp

from bench import search_rows
from bench.latency import middle, unexpected, worst
from bench.place import BenchError, Place, say
from bench.results import Result
from bench.search_index import orders_index
from bench.search_rows import Shop
from bench.sizes import Size
from projector.declare.projections import load
from projector.store.migrate import migrate
from projector.text import fold, words
from projector.tpch.dice import roll

PROJECTIONS = "projections"
FACETS = "status,customer_country,customer_segment,lines.category"
TOO_SLOW = 503  # the answer of Postgres to a search that took more than it may
PAGES = 20  # of one search, by its cursors
Parameters = dict[str, str]
Searches = list[list[Parameters]]  # each is its parameters, as often as it has pages
Kinds = dict[str, Searches]
Answer = tuple[Any, ...] | None
Answers = dict[tuple[str, int], Answer]


def kinds(shop: Shop, count: int) -> Kinds:
    """So many searches of each kind."""
    found: Kinds = {}
    for n in range(count):
        product = words(shop.products[roll(n, 31) % len(shop.products)]["name"])
        person = fold(shop.customers[roll(n, 32) % len(shop.customers)]["name"])
        country = shop.customers[roll(n, 33) % len(shop.customers)]["country"]
        given, family = person.split(" ")
        one: dict[str, Parameters] = {
            "words": {"q": f"{product[0]} {product[1]} {given}"},
            "filters and facets": {"q": product[0], "status": "paid,shipped", "customer_country": country}
            | {"facets": FACETS},
            "all, facets": {"facets": FACETS},
            "prefix": {"q": f"{given} {family[:3]}"},
            "typo": {"q": f"{given} {family[0]}{family[2]}{family[1]}{family[3:]}"},
            "by date": {"q": f"{product[0]} {product[1]}", "sort": "-placed_at"},
        }
        for kind, parameters in one.items():
            found.setdefault(kind, []).append([parameters])
        if n % PAGES == 0:
            found.setdefault("pages by cursor", []).append([{"q": product[0]}] * PAGES)
    return found


def measure(where: Place, size: Size) -> Iterator[Result]:
    shop = search_rows.shop()
    group = where.migrated(PROJECTIONS)
    with where.connect(group) as connection:
        say(f"search: {size.search_documents:,} rows")
        search_rows.copy(connection, search_rows.rows(shop, size.search_documents))
        connection.execute("ANALYZE order_overview__g1")
    asked = kinds(shop, size.searches)
    filled = _fill(where, group, size)
    with where.api(group, PROJECTIONS) as url:
        ours, answers = asyncio.run(_ask_all(url, asked, "elasticsearch", size))
    say("search: the index of words in Postgres")
    at = where.endpoints
    migrate(at.database_url, at.read_database_url, group, load(PROJECTIONS), word_indexes=True)
    with where.connect(group) as connection:
        connection.execute("VACUUM ANALYZE order_overview__g1")
    with where.api(group, PROJECTIONS, PREJOIN_ELASTICSEARCH_URL="") as url:
        theirs, others = asyncio.run(_ask_all(url, asked, "postgres", size))
    for kind, seconds in ours.items():
        details = {"documents": size.search_documents, "samples": len(seconds), "peer_samples": len(theirs[kind])}
        details |= {"p99": worst(seconds), "peer_p99": worst(theirs[kind])}
        yield Result(f"search/{kind}, p50, Postgres", middle(seconds), middle(theirs[kind]), "ms", None, details)
    every, its = ([s for seconds in of.values() for s in seconds] for of in (ours, theirs))
    yield Result("search/all of these, p99, Postgres", worst(every), worst(its), "ms", None, {"samples": len(every)})
    both = answers.keys() & others.keys()
    compared = [(answers[key], others[key]) for key in sorted(both) if answers[key] and others[key]]
    wrong = sum(a != b for a, b in compared)
    details = {"compared": len(compared), "degraded_answers": sum(a is None for a in answers.values())} | filled
    yield Result("search/answers that differ", wrong, None, "answers", "ours = 0", details)


def _fill(where: Place, group: str, size: Size) -> dict[str, float]:
    """Let an index be made of the rows that are there; how fast that was."""
    began = time.monotonic()
    with where.indexer(group, PROJECTIONS) as process, orders_index(where, group) as index:
        rate = size.search_documents / (process.until(0) - began)
        if (there := index.count()) != size.search_documents:
            raise BenchError(f"the index has {there:,} of {size.search_documents:,} documents")
    say(f"search: {rate:,.0f} documents/s into a new index")
    return {"first_documents_per_second": rate}


async def _ask_all(url: str, asked: Kinds, backend: str, size: Size) -> tuple[dict[str, list[float]], Answers]:
    """Kind → seconds of each answer; and the answers, each by its kind and number."""
    seconds: dict[str, list[float]] = {}
    answers: Answers = {}
    async with aiohttp.ClientSession() as session:
        for kind, searches in asked.items():
            say(f"search: {kind}, {backend}")
            await _ask(session, url, searches[:1], backend, 0)  # once before: statements are made, caches filled
            told = await _ask(session, url, searches, backend, size.search_budget)
            seconds[kind] = [each for each, _ in told]
            answers |= {(kind, n): answer for n, (_, answer) in enumerate(told)}
    return seconds, answers


async def _ask(
    session: aiohttp.ClientSession, url: str, searches: Searches, backend: str, budget: float
) -> list[tuple[float, Answer]]:
    """Seconds and answer of each page; no further search is begun when so many seconds are over."""
    told: list[tuple[float, Answer]] = []
    until = time.monotonic() + budget
    for pages in searches:
        cursor: Parameters = {}
        for parameters in pages:
            began = time.monotonic()
            async with session.get(f"{url}/v1/orders/search", params=parameters | cursor) as response:
                if response.status not in (200, TOO_SLOW):
                    raise await unexpected(response)
                answer = await response.json()
            told.append((time.monotonic() - began, _essence(answer, backend) if response.status == 200 else None))
            if not answer.get("next_cursor"):
                break
            cursor = {"cursor": answer["next_cursor"]}
        if time.monotonic() > until:
            break
    return told


def _essence(answer: dict[str, Any], backend: str) -> Answer:
    """What both backends must say; None where it is not the one that was asked (it was too slow)."""
    if answer["backend"] != backend:
        return None
    return answer["total"], [(hit["row"]["order_id"], hit["score"]) for hit in answer["data"]], answer["facets"]
