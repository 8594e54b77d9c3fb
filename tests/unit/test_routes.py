"""Routes: from a changed row of each table to the view's keys, asked by a query or read from the row itself."""

import re

import pytest
from sqlalchemy import func, select

from projections.customer_summary import customer_summary
from projections.order_overview import order_overview
from projections.product_sales import order_products, product_sales
from projector.apply.refresh import restricted
from projector.apply.routes import Route, routes_of
from projector.declare import View
from projector.declare.sql import among_keys, render
from tests.shelf import make_authors, make_books


def told(routes: list[Route]) -> set[tuple[str, str, str | None]]:
    return {(r.table.name, r.column, None if r.query is None else _one_line(r.query)) for r in routes}


def _one_line(query: str) -> str:
    return re.sub(r"\s+", " ", query).replace("%(keys)s::text[]", "keys")


def shown(query: object, key: str = "book_id") -> View:
    return View("shown", key=key, query=query)  # type: ignore[arg-type]


def test_an_order_is_found_from_everything_that_shows_in_it() -> None:
    of_customer = "SELECT DISTINCT orders.order_id FROM orders WHERE orders.customer_id = ANY (keys)"
    of_product = "SELECT DISTINCT orders__lines.order_id FROM orders__lines WHERE orders__lines.product_id = ANY (keys)"
    assert told(routes_of(order_overview)) == {
        ("orders", "order_id", None),
        ("orders__lines", "order_id", None),
        ("payments", "order_id", None),
        ("stock", "order_id", None),
        ("shipments", "order_id", None),
        ("customers", "customer_id", of_customer),
        ("products", "product_id", of_product),
    }


def test_a_customer_is_found_from_itself_and_from_what_its_orders_add_up_to() -> None:
    expected = {("customers", "customer_id", None), ("customer_orders", "customer_id", None)}
    assert told(routes_of(customer_summary)) == expected


def test_a_product_is_found_from_itself_and_from_its_sales() -> None:
    assert told(routes_of(product_sales)) == {("products", "product_id", None), ("product_orders", "product_id", None)}
    assert told(routes_of(order_products)) == {("orders__lines", "order_id", None), ("orders", "order_id", None)}


@pytest.mark.parametrize(
    ("table", "unused"),
    [
        ("customers", {"erased", "updated_at"}),
        ("products", {"price", "brand", "discontinued"}),
        ("payments", {"payment_id"}),
        ("shipments", set()),
    ],
)
def test_columns_that_an_order_does_not_show_are_no_change_to_it(table: str, unused: set[str]) -> None:
    (route,) = [r for r in routes_of(order_overview) if r.table.name == table]
    declared = {c.name for c in route.table.c if not c.name.startswith("_")}
    assert declared - route.uses == unused | ({"updated_at"} if table == "products" else set())


def test_the_same_table_twice_has_a_route_for_each_time() -> None:
    books, authors = make_books(), make_authors()
    teachers = authors.table.alias("teachers")
    query = select(books.c.book_id, authors.c.name, teachers.c.name.label("teacher")).select_from(
        books.table.outerjoin(authors.table, authors.c.author_id == books.c.author_id).outerjoin(
            teachers, teachers.c.author_id == authors.c.teacher_id
        )
    )
    of_author = "SELECT DISTINCT books.book_id FROM books WHERE books.author_id = ANY (keys)"
    of_teacher = (
        "SELECT DISTINCT books.book_id FROM authors JOIN books ON authors.author_id = books.author_id "
        "WHERE authors.teacher_id = ANY (keys)"
    )
    assert told(routes_of(shown(query))) == {
        ("books", "book_id", None),
        ("authors", "author_id", of_author),
        ("authors", "author_id", of_teacher),
    }


def test_a_grouped_subquery_joined_on_another_column_is_asked_for_each_row() -> None:
    books = make_books()
    others = books.table.alias("others")
    shelves = select(others.c.shelf, func.count().label("n")).group_by(others.c.shelf).subquery("shelves")
    query = select(books.c.book_id, shelves.c.n).select_from(
        books.table.join(shelves, shelves.c.shelf == books.c.shelf)
    )
    of_shelf = "SELECT DISTINCT books.book_id FROM books WHERE books.shelf = ANY (keys)"
    assert told(routes_of(shown(query))) == {("books", "book_id", None), ("books", "shelf", of_shelf)}
    refresh = _one_line(render(restricted(shown(query), among_keys)))
    inside = re.search(r"JOIN LATERAL \(SELECT (books_\d+)\.shelf", refresh)
    assert inside
    assert f"WHERE {inside[1]}.shelf = books.shelf" in refresh


def test_a_join_inside_a_subquery_is_followed_through_it() -> None:
    books, authors = make_books(), make_authors()
    inside = authors.table.join(books.table, books.c.author_id == authors.c.author_id)
    pupils = select(authors.c.teacher_id, func.count().label("n")).select_from(inside).group_by(authors.c.teacher_id)
    grouped, teachers = pupils.subquery("pupils"), authors.table.alias("teachers")
    query = select(teachers.c.author_id, grouped.c.n).select_from(
        teachers.outerjoin(grouped, grouped.c.teacher_id == teachers.c.author_id)
    )
    of_book = "SELECT DISTINCT authors.teacher_id FROM authors WHERE authors.author_id = ANY (keys)"
    assert told(routes_of(shown(query, "author_id"))) == {
        ("authors", "author_id", None),
        ("authors", "teacher_id", None),
        ("books", "author_id", of_book),
    }


def test_a_full_join_is_followed_from_both_sides_and_refreshed_on_both() -> None:
    books, authors = make_books(), make_authors()
    written = select(books.c.author_id, func.count().label("n")).group_by(books.c.author_id).subquery("written")
    key = func.coalesce(authors.c.author_id, written.c.author_id).label("author_id")
    joined = authors.table.join(written, written.c.author_id == authors.c.author_id, full=True)
    query = select(key, written.c.n).select_from(joined)
    assert told(routes_of(shown(query, "author_id"))) == {("authors", "author_id", None), ("books", "author_id", None)}
    refresh = _one_line(render(restricted(shown(query, "author_id"), among_keys)))
    assert refresh.count("= ANY (keys)") == 2


def test_constants_with_percent_signs_and_quotes_reach_postgres_as_they_are() -> None:
    books = make_books()
    query = select(books.c.book_id).where(books.c.title.not_in(["100 %", "it's", "a:b"]))
    text = render(restricted(shown(query), among_keys))
    assert "'100 %%'" in text
    assert "'it''s'" in text
    assert "'a:b'" in text
