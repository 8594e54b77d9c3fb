"""What a search found, whichever backend it was, and how it is answered."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from read_api import cursors
from read_api.freshness import Freshness
from read_api.search.highlights import highlights
from read_api.search.parameters import Search
from read_api.search.scores import shown


class Hit(NamedTuple):
    """A row as the API shows it, what it counts, and its values in the order, as texts."""

    row: Mapping[str, Any]
    score: int
    values: Sequence[str | None]


class Total(NamedTuple):
    """How many rows were found; `relation` is gte where there are more than were counted."""

    value: int
    relation: str


class Found(NamedTuple):
    """One page. `point` is the point in time to go on in, where there is one."""

    hits: Sequence[Hit]
    more: bool
    total: Total
    facets: Mapping[str, Sequence[Mapping[str, Any]]]
    freshness: Freshness
    point: str | None = None


def answer(search: Search, found: Found, backend: str, degraded: bool) -> str:
    """The answer as JSON."""
    following = None
    if found.more:
        values = json.dumps([found.point, *found.hits[-1].values], ensure_ascii=False)
        following = cursors.encode(search.digest, values)
    told = {
        "data": [_shown(search, hit) for hit in found.hits],
        "total": found.total._asdict(),
        "facets": found.facets,
        "has_more": found.more,
        "next_cursor": following,
        "backend": backend,
        "degraded": degraded,
    }
    return json.dumps(told, ensure_ascii=False, separators=(",", ":"))


def _shown(search: Search, hit: Hit) -> dict[str, Any]:
    assert search.resource.search is not None
    marked = highlights(search.query, search.resource.search.text, hit.row)
    return {
        "score": shown(hit.score),
        "highlights": marked,
        "row": {name: hit.row[name] for name in search.fields},
    }
