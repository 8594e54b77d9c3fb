"""A package of projections that is not the shop's: books, searched, at a path that the shop has as well; shelves."""

from projector.declare import Search
from tests.shelf import make_books, make_list, make_rollup, registry

__all__ = ["registry"]

books = make_books()
book_list = make_list(books, path="orders", search=Search({"title": 1}, facets=["shelf"]))
by_shelf = make_rollup(book_list)
