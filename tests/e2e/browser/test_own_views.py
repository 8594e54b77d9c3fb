"""The dashboard over projections that are not the shop's: their views and rows, and nothing of the shop."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.browser.looking import PATIENCE, Window, cells
from tests.e2e.browser.shop import Shop
from tests.shelf import book
from tests.world import world

BOOKS = [
    book("b1", title="To the Lighthouse", shelf="A", pages=209, price="9.50"),
    book("b2", title="Ulysses", shelf="A", pages=730),
    book("b3", title="Orlando"),
]


@pytest.fixture(scope="module")
def own(browser: Browser, database_url: str, read_database_url: str) -> Iterator[Shop]:
    with world(database_url, "tests.books", read_database_url) as made:
        made.given(BOOKS)
        opened = Shop(made, read_database_url)
        opened.start()
        yield opened
        opened.stop()


@pytest.fixture
def window(browser: Browser, own: Shop) -> Iterator[Window]:
    own.fresh()
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE)
    looked = Window(context.new_page(), own.url)
    yield looked
    context.close()
    assert looked.complaints == []
    served = {path.split("/")[2] for path in looked.asked if path.startswith("/v1/")}
    assert served <= {"orders", "shelves", "status"}


def test_its_views_are_listed_and_each_row_can_be_opened(window: Window, own: Shop) -> None:
    page = window.open()
    expect(page.locator("h1")).to_have_text("Views")
    assert page.get_by_role("navigation", name="Pages").locator("a").all_text_contents() == [
        "Views", "Search", "Operations", "API",
    ]  # fmt: skip
    assert [(row[0], row[1], row[3]) for row in window.table("Views")] == [
        ("Orders", "book id", "by words"), ("Shelves", "shelf", "–"),
    ]  # fmt: skip
    page.get_by_role("link", name="Shelves").click()
    expect(page.locator("h1")).to_have_text("Shelves")
    window.settled()
    assert [row[:2] for row in window.table("Shelves")] == [["A", "2"], ["–", "1"]]
    page.locator("td a").last.click()  # of no shelf
    expect(page.locator("h1")).to_have_text("~")
    window.settled()
    told = page.locator("dl.whole > *").all_text_contents()
    assert dict(zip(told[::2], told[1::2], strict=True))["Pages"] == "100"
    for fragment in ("#/order/b1", "#/customer/c1"):
        expect(window.open(fragment).locator("h1")).to_have_text("Nothing here")
    expect(window.open("#/view/customers").locator("main")).to_contain_text("There is no view at v1/customers")


def test_a_search_shows_its_columns_and_leads_to_its_rows(window: Window) -> None:
    page = window.open("#/search/orders?q=ulysses")
    shown = page.get_by_role("region", name="Orders that were found")
    assert shown.locator("th").all_text_contents() == ["Book id", "Title", "Shelf", "Pages", "Price", "Author id"]
    assert cells(shown.locator("tbody tr"))[0][:4] == ["b2", "Ulysses", "A", "730"]
    expect(page.get_by_label("Sort").locator("option")).to_have_text(["Most relevant"])
    expect(page.get_by_label("Placed from")).to_have_count(0)
    shown.get_by_role("link", name="b2").click()
    expect(page.locator("h1")).to_have_text("b2")
    expect(page.locator("main")).to_contain_text("Ulysses")


def test_what_changes_shows_in_the_rows_and_in_the_row(window: Window, own: Shop) -> None:
    page = window.open("#/view/orders")
    expect(page.locator("[data-how=live]")).to_be_visible()
    own.world.given([book("b4", title="The Waves")])
    own.fresh()
    expect(page.locator("tbody tr")).to_have_count(4)
    page.get_by_role("link", name="b4").click()
    expect(page.locator("h1")).to_have_text("b4")
    expect(page.locator("[data-how=live]")).to_be_visible()
    own.world.given([book("b4", title="The Years")])
    expect(page.locator("main")).to_contain_text("The Years")


def test_operations_tells_of_its_views_and_leads_to_them(window: Window) -> None:
    page = window.open("#/operations")
    assert [row[0].split()[0] for row in window.table("Views")] == ["book_list", "by_shelf"]
    page.get_by_role("link", name="Their rows").click()
    expect(page.locator("h1")).to_have_text("Views")
