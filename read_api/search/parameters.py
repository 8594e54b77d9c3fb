"""A search's query parameters: `q`, `facets` and what a list takes, every mistake reported at once."""

import re
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from starlette.requests import Request

from read_api import cursors
from read_api.parameters import DEFAULT_LIMIT, OPTIONS, PERSONAL, Reading, near, shown
from read_api.problems import ParameterError, bad_request
from read_api.resource import Resource, Term
from read_api.search.words import Query, QueryError, read_query
from read_api.statements import Condition

_SCORE = re.compile(r"[0-9]{1,9}", re.ASCII)


@dataclass(frozen=True)
class Search:
    """What a search was asked for.

    `after`: where the page before ended, the score first where the order is by relevance, then the order's values;
    empty for the first page. `point`: Elasticsearch's point in time that the page before was read at.
    """

    resource: Resource
    query: Query
    conditions: tuple[Condition, ...]
    sort: tuple[tuple[str, bool], ...]
    facets: tuple[str, ...]
    fields: tuple[str, ...]
    limit: int
    digest: bytes
    after: tuple[Any, ...] = ()
    point: str | None = None

    @property
    def by_relevance(self) -> bool:
        """Whether scores come first in the order; without words to find, or with a sort, they do not."""
        return not self.sort and bool(self.query.wanted)

    @cached_property
    def order(self) -> tuple[Term, ...]:
        """The order by columns: as asked for, then the key."""
        return self.resource.order(self.sort)


def read_search(resource: Resource, request: Request) -> Search:
    """The query of a search request. Raises a 400 Problem that names each parameter that is wrong."""
    reading = Reading(resource, f"{resource.path}/search", ("q", "facets", *OPTIONS))
    pairs, options = reading.options_of(request)
    conditions = reading.conditions(pairs)
    sort = reading.sort(options["sort"]) if "sort" in options else ()
    fields = reading.fields(options["fields"]) if "fields" in options else tuple(resource.fields)
    limit = reading.limit(options["limit"]) if "limit" in options else DEFAULT_LIMIT
    facets = _facets(reading, options["facets"]) if "facets" in options else ()
    query = Query()
    try:
        query = read_query(options.get("q", ""))
    except QueryError as error:
        reading.wrong("q", str(error))
    reading.finish()
    digest = cursors.query_digest(resource, conditions, sort, repr(query))
    search = Search(resource, query, conditions, sort, facets, fields, limit, digest)
    return _behind(search, options["cursor"]) if "cursor" in options else search


def _facets(reading: Reading, text: str) -> tuple[str, ...]:
    assert reading.resource.search is not None
    declared = reading.resource.search.facets
    asked = tuple(dict.fromkeys(text.split(",")))
    for name in asked:
        if name not in declared:
            there = f"there are {', '.join(declared)}" if declared else "there is none"
            reading.wrong("facets", f"{shown(name)!r} is not a facet here{near(name, declared) or f': {there}'}")
        elif reading.resource.hides(name):
            reading.wrong("facets", f"{name} {PERSONAL}")
    return asked


def _behind(search: Search, cursor: str) -> Search:
    """The search, going on where a cursor says."""
    try:
        point, *values = cursors.contents(cursor, search.digest)
        if not (point is None or isinstance(point, str)):
            raise cursors.CursorError
        after: list[Any] = []
        if search.by_relevance:
            score = values.pop(0)
            if not isinstance(score, str) or not _SCORE.fullmatch(score):
                raise cursors.CursorError
            after.append(int(score))
        if len(values) != len(search.order):
            raise cursors.CursorError
        after += [cursors.value_of(term, value) for term, value in zip(search.order, values, strict=True)]
    except (cursors.CursorError, IndexError, ValueError) as error:
        told = error if isinstance(error, cursors.CursorError) else cursors.CursorError()
        raise bad_request([ParameterError("cursor", str(told))]) from None
    return replace(search, after=tuple(after), point=point)
