"""Parts: which columns of a view a change reaches, and that no more than what they take is asked for."""

from sqlalchemy import func, select

from projections.customer_summary import customer_summary
from projections.order_overview import order_overview
from projections.product_sales import order_products
from projector.apply.parts import Parts
from projector.apply.routes import routes_of
from projector.declare import View
from tests.shelf import make_authors, make_books


def shown(query: object) -> View:
    return View("shown", key="book_id", query=query)  # type: ignore[arg-type]


def test_an_orders_parts_are_what_it_left_joins() -> None:
    parts = Parts(order_overview)
    assert parts.names == {"customers", "lines", "paid", "stock", "sent"}
    assert parts.columns(["lines"]) == ["lines"]
    assert parts.columns(["stock"]) == ["stock_status", "updated_at"]
    assert set(parts.columns(["customers", "stock"])) == {
        "customer_name", "customer_email", "customer_country", "customer_segment", "stock_status", "updated_at",
    }  # fmt: skip


def test_a_query_for_parts_reads_only_what_their_columns_take() -> None:
    text = str(Parts(order_overview).query(["customers"]))
    assert "JOIN" in text
    assert not any(table in text for table in ("orders__lines", "payments", "shipments", "stock"))
    assert "orders__lines" not in str(Parts(order_overview).query(["paid"]))


def test_what_is_in_the_order_itself_reaches_the_whole_row_also_where_a_part_reads_it_too() -> None:
    by_table = {route.table.name: route.parts for route in routes_of(order_overview)}
    assert by_table["orders"] is None
    assert by_table["customers"] == {"customers"}
    assert by_table["products"] == by_table["orders__lines"] == {"lines"}


def test_a_full_join_and_a_grouped_query_have_no_parts() -> None:
    assert Parts(customer_summary).names == Parts(order_products).names == frozenset()


def test_what_is_joined_on_a_part_belongs_to_it() -> None:
    books, authors = make_books(), make_authors()
    teachers = authors.table.alias("teachers")
    joined = books.table.outerjoin(authors.table, authors.c.author_id == books.c.author_id)
    columns = [books.c.book_id, authors.c.name, teachers.c.name.label("teacher")]
    taught = shown(
        select(*columns).select_from(joined.outerjoin(teachers, teachers.c.author_id == authors.c.teacher_id))
    )
    assert Parts(taught).names == {"authors", "teachers"}
    assert Parts(taught).columns(["authors"]) == ["name", "teacher"]
    assert Parts(taught).columns(["teachers"]) == ["teacher"]
    # an inner join on it: a change there may make rows come and go
    needed = shown(select(*columns).select_from(joined.join(teachers, teachers.c.author_id == authors.c.teacher_id)))
    assert Parts(needed).names == frozenset()


def test_a_query_that_filters_has_no_parts() -> None:
    books, authors = make_books(), make_authors()
    joined = books.table.outerjoin(authors.table, authors.c.author_id == books.c.author_id)
    query = select(books.c.book_id, func.upper(authors.c.name).label("name")).select_from(joined)
    assert Parts(shown(query)).names == {"authors"}
    assert Parts(shown(query.where(authors.c.name != "x"))).names == frozenset()
