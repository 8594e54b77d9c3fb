"""Captured changes of entities: which values a route is asked with."""

from typing import Any

import pytest

from projector.apply.captured import Captured
from projector.apply.routes import Route
from tests.shelf import make_books

BY_AUTHOR = Route(make_books().table, "author_id", "…", frozenset({"author_id", "title"}))


def row(**values: Any) -> dict[str, Any]:
    return {"book_id": "b1", "title": "T", "author_id": "a1", "pages": 7} | values


@pytest.mark.parametrize(
    ("before", "after", "asked"),
    [
        (None, row(), {"a1"}),
        (row(), None, {"a1"}),
        (row(), row(author_id="a2"), {"a1", "a2"}),
        (row(), row(title="Other"), {"a1"}),
        (row(), row(author_id=None), {"a1"}),
        (row(), row(pages=8), set()),  # which the view does not use
        (None, row(author_id=None), set()),
    ],
)
def test_a_route_is_asked_with_old_and_new_values_of_what_changed_in_what_it_uses(
    before: dict[str, Any] | None, after: dict[str, Any] | None, asked: set[str]
) -> None:
    assert Captured({"books": [(before, after)]}, 1).values(BY_AUTHOR) == asked
    assert Captured({"books__pages": [(before, after)]}, 1).values(BY_AUTHOR) == set()


def test_of_a_value_that_was_there_between_two_captures_nothing_is_lost() -> None:
    changes = [(row(), row(author_id="between")), (row(author_id="between"), row())]
    assert Captured({"books": changes}, 2).values(BY_AUTHOR) == {"a1", "between"}
