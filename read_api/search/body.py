"""A search as Elasticsearch is asked: term, prefix, fuzzy and phrase queries that are made here, none of a caller's.

Each word is a `dis_max` of constant scores, so that a hit counts what `scores` says. How much a caller can ask for is
bounded by what `words` lets through: 12 words over the view's text fields, three ways each.
"""

from collections.abc import Mapping
from typing import Any

from projector.search.document import STATE, STATE_FIELD
from projector.search.sortable import sortable
from read_api.resource import Resource, Term
from read_api.search.parameters import Search
from read_api.search.scores import EXACT, PREFIX, TYPO, points, whole_bonus
from read_api.search.words import Phrase, Word
from read_api.statements import Condition

Body = dict[str, Any]

COUNTED = 10_000  # hits that are counted one by one; above it the total is "at least"
FACET_VALUES = 100
_MOST_TYPOS = 1_000  # words of the index that one typo may lead to
IS_STATE: Body = {"term": {STATE_FIELD: STATE}}


def search_body(search: Search, size: int) -> Body:
    """The request but for the point in time; one document more than `size` tells whether there are more."""
    body: Body = {
        "query": _query(search),
        "size": size,
        "sort": _sort(search),
        "track_scores": True,
        "track_total_hits": COUNTED,
        "_source": ["row"],
        "aggs": {name: _facet(name) for name in search.facets},
    }
    if search.after:
        body["search_after"] = _after(search)
    return body


def _query(search: Search) -> Body:
    declared = search.resource.search
    assert declared is not None
    query = search.query
    counts = {field: count for field, count in points(declared).items() if not search.resource.hides(field)}
    asked: Body = {
        "must": [_phrase(w, counts) if isinstance(w, Phrase) else _word(w, counts) for w in query.wanted],
        "filter": [f for c in search.conditions for f in _condition(search.resource, c)],
        "must_not": [IS_STATE, *(_phrase(phrase, counts) for phrase in query.unwanted)],
    }
    key = search.resource.key[0].name
    if query.wholes and key in counts:
        bonus = whole_bonus(declared, query)
        asked["should"] = [
            {"constant_score": {"filter": {"terms": {f"whole.{key}": list(query.wholes)}}, "boost": bonus}}
        ]
        asked["minimum_should_match"] = 0
    return {"bool": asked}


def _word(word: Word, counts: Mapping[str, int]) -> Body:
    ways: list[Body] = []
    for field, count in counts.items():
        name = f"text.{field}"
        ways.append(_counting({"term": {name: word.text}}, count * EXACT))
        if word.prefix:
            ways.append(_counting({"prefix": {name: word.text}}, count * PREFIX))
        if word.forgiving:
            fuzzy = {"value": word.text, "fuzziness": 1, "max_expansions": _MOST_TYPOS, "rewrite": "constant_score"}
            ways.append(_counting({"fuzzy": {name: fuzzy}}, count * TYPO))
    return {"dis_max": {"queries": ways}}


def _phrase(phrase: Phrase, counts: Mapping[str, int]) -> Body:
    text = " ".join(phrase.words)
    ways = [_counting({"match_phrase": {f"text.{f}": text}}, count * EXACT) for f, count in counts.items()]
    return {"dis_max": {"queries": ways}}


def _counting(query: Body, boost: int) -> Body:
    return {"constant_score": {"filter": query, "boost": boost}}


def _condition(resource: Resource, condition: Condition) -> list[Body]:
    name, kind = f"is.{condition.field}", resource.type_of(condition.field)
    there: Body = {"exists": {"field": name}}
    if condition.operator == "null":
        return [{"bool": {"must_not": [there]}}] if condition.values[0] else [there]
    values = [sortable(kind, value) for value in condition.values]
    if condition.operator == "eq":
        return [{"terms": {name: values}}]
    if condition.operator == "ne":
        return [there, {"bool": {"must_not": [{"terms": {name: values}}]}}]
    return [{"range": {name: {condition.operator: values[0]}}}]


def _sort(search: Search) -> list[Body]:
    by_score: list[Body] = [{"_score": {"order": "desc"}}] if search.by_relevance else []
    return [*by_score, *(_by(term) for term in search.order)]


def _by(term: Term) -> Body:
    order, missing = ("desc", "_first") if term.descending else ("asc", "_last")
    return {f"is.{term.field.name}": {"order": order, "missing": missing}}


def _after(search: Search) -> list[Any]:
    scores = list(search.after[:1]) if search.by_relevance else []
    values = zip(search.order, search.after[len(scores) :], strict=True)
    kinds = search.resource
    return scores + [None if v is None else sortable(kinds.type_of(term.field.name), v) for term, v in values]


def _facet(name: str) -> Body:
    return {"terms": {"field": f"is.{name}", "size": FACET_VALUES, "order": [{"_count": "desc"}, {"_key": "asc"}]}}
