"""The search page: facets narrow, links can be shared, exports take the filters along."""

import re

from playwright.sync_api import BrowserContext, Locator, Route, expect

from tests.e2e.browser.looking import Window
from tests.e2e.browser.shop import Shop

FOUND = "Orders that were found"


def ids(window: Window) -> list[str]:
    return [row[0] for row in window.table(FOUND)]


def status(window: Window, value: str) -> Locator:
    return window.page.locator(f"input[name=status][value={value}]")


def total(window: Window, value: int) -> None:
    expect(window.page.locator(".answered")).to_contain_text(re.compile(rf"^{value} found"))


def test_a_facet_narrows_and_another_value_of_it_widens_again(window: Window, shop: Shop) -> None:
    counted = {f["value"]: f["count"] for f in shop.api("orders/search", facets="status", limit=1)["facets"]["status"]}
    page = window.open("#/search/orders")
    total(window, sum(counted.values()))
    status(window, "returned").check()
    total(window, counted["returned"])
    assert len(ids(window)) == counted["returned"]
    assert page.url.endswith("#/search/orders?status=returned")
    status(window, "cancelled").check()
    total(window, counted["returned"] + counted["cancelled"])
    page.get_by_role("button", name="Clear all").click()
    total(window, sum(counted.values()))


def test_a_link_reproduces_the_search_elsewhere_and_back_goes_back(
    window: Window, shop: Shop, context: BrowserContext
) -> None:
    page = window.open("#/search/orders")
    page.get_by_role("searchbox").fill("ann")
    expect(page).to_have_url(re.compile("q=ann"))
    page.get_by_label("Sort").select_option("-total")
    status(window, "pending").check()
    page.get_by_label("Total from").fill("20")
    page.get_by_label("Total from").press("Enter")
    expect(page).to_have_url(re.compile(r"total%5Bgte%5D=20"))
    asked = {"q": "ann", "sort": "-total", "status": "pending", "total[gte]": "20"}
    wanted = [hit["row"]["order_id"] for hit in shop.api("orders/search", **asked)["data"]]
    total(window, len(wanted))
    assert ids(window) == wanted
    other = Window(context.new_page(), shop.url)
    other.page.goto(page.url)
    other.settled()
    total(other, len(wanted))
    assert ids(other) == wanted
    expect(other.page.get_by_role("searchbox")).to_have_value("ann")
    expect(status(other, "pending")).to_be_checked()
    page.go_back()
    expect(page.get_by_label("Total from")).to_have_value("")
    assert other.complaints == []


def test_what_is_being_typed_stays_when_an_answer_comes_and_so_does_the_focus(window: Window, shop: Shop) -> None:
    page = window.open("#/search/orders")
    waiting: list[Route] = []
    page.route("**/orders/search?*", lambda asked: waiting.append(asked))
    with page.expect_request(re.compile("status=pending")):
        status(window, "pending").check()
    field = page.get_by_label("Total from")
    field.fill("20")
    for asked in waiting:
        asked.continue_()
    page.unroute("**/orders/search?*")
    pending = shop.api("orders/search", status="pending", limit=1)["total"]["value"]
    total(window, pending)
    expect(field).to_have_value("20")
    field.press("Enter")
    found = shop.api("orders/search", **{"status": "pending", "total[gte]": "20", "limit": 1})["total"]["value"]
    assert 0 < found < pending
    total(window, found)
    expect(field).to_be_focused()


def test_further_pages_go_on_where_the_first_ends(window: Window, shop: Shop) -> None:
    page = window.open("#/search/orders?sort=placed_at&currency=EUR,USD")
    page.get_by_role("button", name="Show more").click()
    expect(page.get_by_role("region", name=FOUND).locator("tbody tr")).to_have_count(
        shop.api("orders/search", limit=1)["total"]["value"]
    )
    assert ids(window) == [row["order_id"] for row in shop.api("orders", sort="placed_at", limit=200)["data"]]


def test_an_export_takes_the_filters_along_and_says_that_words_do_not_count(window: Window) -> None:
    page = window.open("#/search/orders?q=shoe&status=delivered,paid")
    page.get_by_text("Export", exact=True).click()
    link = page.get_by_role("link", name="CSV").get_attribute("href") or ""
    assert link.endswith("/v1/orders/export?status=delivered%2Cpaid&format=csv")
    expect(page.locator(".menu")).to_contain_text("the words do not narrow it")
    page.keyboard.press("Escape")
    expect(page.get_by_role("link", name="CSV")).to_be_hidden()


def test_a_wrong_filter_in_a_link_is_named(window: Window) -> None:
    window.expected += ["400"]
    page = window.open("#/search/orders?colour=red")
    expect(page.get_by_role("alert")).to_contain_text("colour")


def test_customers_are_found_by_name(window: Window) -> None:
    page = window.open("#/search/customers?q=wagner")
    expect(page.locator("mark")).to_have_text("Wagner")
    page.get_by_role("link", name="Wagner").click()
    expect(page.locator("h1")).to_have_text("Ann Wagner")
