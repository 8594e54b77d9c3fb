"""What a hit counts: for each word the boost of the best field that has it, less for a prefix, less for a typo.

Whole numbers, the same in both backends, so that a page goes on in one where it ended in the other. Elasticsearch adds
scores as 32-bit floats, which hold whole numbers up to 2^24 exactly: the most that a query can reach is far below.
"""

from projector.declare.search import Search
from projector.store.search_text import grades
from read_api.search.words import Query

EXACT, PREFIX, TYPO = 4, 2, 1
UNIT = 100  # a boost of 1; what is shown is in boosts


def points(search: Search) -> dict[str, int]:
    """Field → what a word found in it counts, before it is told how. Fields of one grade count the same."""
    by_field = grades(search)
    best: dict[int, float] = {}
    for field, grade in by_field.items():
        best[grade] = max(best.get(grade, 0), search.text[field])
    return {field: max(1, round(best[grade] * UNIT)) for field, grade in by_field.items()}


def whole_bonus(search: Search, query: Query) -> int:
    """What a row counts whose id is asked for: more than words alone can reach."""
    return max(points(search).values()) * EXACT * len(query.wanted) + 1


def shown(score: float) -> float:
    """A score as the answer tells it: 1 is a word found as it is in a field of boost 1."""
    return round(score / (EXACT * UNIT), 4)
