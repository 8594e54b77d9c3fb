"""Every page: it is whole, it is everybody's, and its numbers are the API's."""

from collections import Counter
from decimal import Decimal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Request, expect

from tests.e2e.browser.looking import PAGES, Window, cells, overflow
from tests.e2e.browser.shop import LONG, RIGHT_TO_LEFT, SCRIPT, Shop


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_open_to_everybody_in_light_and_dark_and_fits_wide_and_narrow(window: Window, name: str) -> None:
    page = window.open(PAGES[name])
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme, reduced_motion="reduce")
        found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
        serious = [
            (v["id"], [n["html"][:120] for n in v["nodes"]]) for v in found if v["impact"] in ("serious", "critical")
        ]
        assert serious == [], theme
    assert overflow(page) == 0
    page.set_viewport_size({"width": 360, "height": 780})
    window.settled()
    assert overflow(page) == 0


def test_the_first_page_is_drawn_after_few_requests_and_little_data(window: Window, shop: Shop) -> None:
    """45 requests and 94 kB as it is. How long those take is the machine's affair: the aim is 1 s."""
    page, asked = window.page, list[Request]()
    page.on("requestfinished", lambda request: asked.append(request))
    page.goto(shop.url)
    expect(page.get_by_role("table").first).to_be_visible()
    sizes = {request.url: request.sizes()["responseBodySize"] for request in asked}
    assert 20 < len(sizes) <= 60
    assert 50_000 < sum(sizes.values()) <= 150_000


def test_the_charts_show_the_sums_of_what_the_api_says(window: Window, shop: Shop) -> None:
    rows = shop.api("sales-by-day", limit=200)["data"]
    orders, gross = Counter[str](), Counter[str]()
    for row in rows:
        orders[row["day"]] += row["orders"]
        if row["currency"] == "EUR":
            gross[row["day"]] += Decimal(row["gross"])
    window.open("#/?currency=EUR&days=14")
    assert [n for _, n in window.table("Numbers of Orders by day")] == [str(orders[day]) for day in sorted(orders)]
    shown = [n for _, n in window.table("Numbers of Revenue by day in EUR")]
    assert shown == [f"{gross[day]:,.2f} EUR" for day in sorted(orders)]
    figure = window.page.locator(".figure", has_text="Orders").first
    expect(figure).to_contain_text(str(orders.total()))
    countries = Counter[str]()
    for row in rows:
        countries[row["customer_country"]] += row["orders"]
    told = {row[0]: row[2] for row in cells(window.panel("By country").locator("tbody tr"))}
    assert told == {n: str(countries[c]) for c, n in (("DE", "Germany"), ("FR", "France"), ("EG", "Egypt"))}


def test_statuses_and_what_fulfilment_waits_for_are_counted_as_the_api_counts(window: Window, shop: Shop) -> None:
    facets = shop.api("orders/search", facets="status", limit=1)["facets"]["status"]
    waiting = Counter(row["waiting_for"] for row in shop.api("fulfilment", limit=200)["data"])
    window.open()
    shown = cells(window.panel("Orders by status").locator("tbody tr"))
    assert {row[0].lower(): int(row[1]) for row in shown} == {f["value"]: f["count"] for f in facets}
    rows = cells(window.panel("Fulfilment waits for").locator("tbody tr"))
    assert {row[0].lower().replace(" ", "_"): int(row[2]) for row in rows} == {k: n for k, n in waiting.items() if k}


def test_names_that_are_scripts_or_endless_or_right_to_left_stay_names(window: Window, shop: Shop) -> None:
    page = window.open()
    assert page.title() == "Prejoin"
    shown = window.panel("Newest orders").locator("bdi.name")
    assert {SCRIPT, LONG, RIGHT_TO_LEFT} <= set(shown.all_text_contents())
    assert shown.get_by_text(RIGHT_TO_LEFT).first.evaluate("e => getComputedStyle(e).direction") == "rtl"
    for customer, name in (("c2", SCRIPT), ("c3", LONG), ("c4", RIGHT_TO_LEFT)):
        for width in (1280, 360):
            page.set_viewport_size({"width": width, "height": 800})
            window.open(f"#/customer/{customer}")
            assert page.locator("h1 bdi").text_content() == name
            assert overflow(page) == 0
    window.open("#/order/o20")  # cancelled for a reason that is a script
    expect(window.panel("Timeline")).to_contain_text(SCRIPT)
    window.open("#/search/orders?q=script")
    expect(page.locator("mark").first).to_be_visible()
    assert page.locator("main script, main img").count() == 0
    assert page.title() == "Prejoin"


def test_an_order_tells_what_became_of_it(window: Window) -> None:
    window.open("#/order/o7")
    told = window.panel("Timeline").locator("li b").all_text_contents()
    assert told == ["Placed", "Paid", "Stock reserved", "Dispatched", "Delivered"]
    window.open("#/order/o11")
    assert window.panel("Timeline").locator("li b").all_text_contents()[-1] == "Came back"


def test_what_is_not_there_is_said(window: Window) -> None:
    window.expected += ["404"]
    for fragment, said in (("#/order/nope", "No order has this id"), ("#/customer/nope", "No customer has this id")):
        expect(window.open(fragment).locator("main")).to_contain_text(said)
    expect(window.open("#/nowhere").locator("h1")).to_have_text("Nothing here")


def test_the_keyboard_reaches_everything(window: Window) -> None:
    page = window.open()
    tag = "e => [...document.querySelectorAll('a[href], button, select, input, summary, [tabindex=\"0\"]')]"
    wanted = page.evaluate(
        f"""({tag}.filter(e => e.checkVisibility() && !(e.type === 'radio' && !e.checked))
            .map((e, n) => (e.dataset.reach = n)).length)(0)"""
    )
    reached = set()
    for _ in range(wanted + 5):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement?.dataset?.reach"))
    reached.discard(None)
    missed = {str(n) for n in range(wanted)} - reached
    assert missed == set(), [
        page.locator(f"[data-reach='{n}']").evaluate("e => e.outerHTML.slice(0, 120)") for n in missed
    ]
    page.keyboard.press("/")  # from anywhere: to the search
    expect(page).to_have_url(f"{page.url.split('#')[0]}#/search")
    window.settled()
    page.keyboard.press("/")
    page.keyboard.type("ann")
    expect(page.get_by_role("link", name="Ann Wagner").first).to_be_visible()
    page.locator("input[name=status]").first.focus()
    page.keyboard.press("Space")
    expect(page.get_by_role("list", name="Filters in use")).to_be_visible()
    page.locator("td a").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text("Order")


def test_a_theme_that_is_chosen_stays(window: Window) -> None:
    page = window.open()
    page.emulate_media(color_scheme="light")
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_label("Theme").select_option("dark")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert light != dark
    page.reload()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark
