"""What happens while somebody looks: changes come, connections go and come back, keys are asked for."""

import re

from playwright.sync_api import Browser, Route, expect

from tests.e2e.browser.looking import Window
from tests.e2e.browser.shop import Shop

SECONDS = 15_000


def test_a_new_order_and_its_day_appear_without_a_reload(window: Window, shop: Shop) -> None:
    page = window.open()
    page.evaluate("window.notReloaded = true")
    before = dict(window.table("Numbers of Orders by day"))
    shop.order("live1", "c1", "2026-03-09")
    newest = page.get_by_role("region", name="Newest orders", exact=True).locator("tbody tr").first
    expect(newest).to_contain_text("live1", timeout=SECONDS)
    day = page.get_by_role("region", name="Numbers of Orders by day", include_hidden=True).locator(
        "tr", has_text="Mar 9"
    )
    expect(day.locator("td")).to_have_text("1", timeout=SECONDS)
    assert "Mar 9" not in before
    assert page.evaluate("window.notReloaded") is True


def test_a_rename_reaches_the_order_that_is_looked_at(window: Window, shop: Shop) -> None:
    page = window.open("#/order/o9")
    shop.given(("customers.CustomerNameChanged", {"customer_id": "c1", "name": "Anne Wagner-Smith"}))
    expect(page.get_by_role("link", name="Anne Wagner-Smith")).to_be_visible(timeout=SECONDS)
    page.get_by_role("link", name="Anne Wagner-Smith").click()
    expect(page.locator("h1")).to_have_text("Anne Wagner-Smith")
    shop.given(("customers.CustomerNameChanged", {"customer_id": "c1", "name": "Ann Wagner"}))
    expect(page.locator("h1")).to_have_text("Ann Wagner", timeout=SECONDS)


def test_a_lost_connection_is_said_and_what_was_missed_comes_with_the_next(window: Window, shop: Shop) -> None:
    window.expected += ["net::ERR_", "Failed to load resource"]
    page = window.open()
    shop.stop()
    try:
        expect(page.get_by_text("Connection lost.")).to_be_visible(timeout=SECONDS)
        expect(page.locator(".freshness")).to_contain_text("Disconnected")
        shop.order("missed1", "c4", "2026-03-10")
    finally:
        shop.start()
    expect(page.get_by_text("Connection lost.")).to_be_hidden(timeout=SECONDS)
    newest = page.get_by_role("region", name="Newest orders", exact=True).locator("tbody tr").first
    expect(newest).to_contain_text("missed1", timeout=SECONDS)
    shop.order("after1", "c4", "2026-03-11")
    expect(newest).to_contain_text("after1", timeout=SECONDS)


def test_it_says_how_far_the_views_are_behind(window: Window, shop: Shop) -> None:
    page = window.open()
    expect(page.locator(".freshness")).to_contain_text(re.compile(r"\d s behind"))
    shop.fresh(seconds_ago=300)
    page.reload()
    expect(page.get_by_text("The views are 5 min behind Kafka.")).to_be_visible(timeout=SECONDS)
    shop.fresh()
    expect(page.get_by_text("The views are")).to_be_hidden(timeout=SECONDS)


def test_operations_says_what_a_rebuild_counts_events_views_or_rows(window: Window, shop: Shop) -> None:
    insert = (
        "INSERT INTO copies (state, phase, generations, declared, runner, done, total)"
        """ VALUES ('building', 'replaying', '{"order_overview": 2}', '', '', 1200, 5000)"""
    )
    shop.world.execute(insert)
    try:
        window.open("#/operations")
        view = window.panel("Views").locator("tr", has_text="order_overview")
        expect(view).to_contain_text("Replaying generation 21,200 of 5,000 events")
        for phase, done, total, told in (
            ("building", 3, 7, "Building generation 23 of 7 views"),
            ("catching up", 40, 1600, "Catching up generation 240 of 1,600 events"),
            ("searching", 0, None, "Searching generation 20 rows"),
        ):
            shop.world.execute("UPDATE copies SET phase = %s, done = %s, total = %s", phase, done, total)
            expect(view).to_contain_text(told, timeout=SECONDS)
    finally:
        shop.world.execute("DELETE FROM copies")


def test_search_that_lost_elasticsearch_says_who_answers_instead(window: Window, shop: Shop) -> None:
    shop.stop()
    try:
        shop.start(ELASTICSEARCH_URL="http://127.0.0.1:9")
        page = window.open("#/search/orders?q=ann")
        expect(page.get_by_text("Elasticsearch does not answer: Postgres searches instead.")).to_be_visible()
    finally:
        shop.stop()
        shop.start()


def test_with_a_key_for_the_browser_every_page_answers_and_personal_columns_are_left_out(
    browser: Browser, shop: Shop
) -> None:
    key = shop.key("looker")
    credentials = {"username": "any", "password": key}
    context = browser.new_context(base_url=shop.url, http_credentials=credentials)  # type: ignore[arg-type]
    try:
        window = Window(context.new_page(), shop.url)
        window.expected += ["400"]  # a facet that is personal, before it is left out
        window.open()
        assert len(window.table("Newest orders")) == 12
        window.open("#/search/orders?status=returned")
        expect(window.page.get_by_role("region", name="Orders that were found").locator("tbody tr")).to_have_count(2)
        expect(window.page.get_by_role("group", name="Status", exact=True)).to_be_visible()
        expect(window.page.get_by_role("group", name="Segment")).to_have_count(0)
        assert window.complaints == []
    finally:
        context.close()
        shop.forget_keys()


def test_a_key_is_asked_for_and_kept_for_the_tab_alone(window: Window, shop: Shop) -> None:
    window.expected += ["401"]
    seen = []

    def guard(route: Route) -> None:
        given = route.request.headers.get("authorization")
        seen.append(given)
        if given == "Bearer right":
            route.continue_()
        else:
            problem = '{"title": "Unauthorized", "status": 401, "detail": "a key is needed"}'
            route.fulfill(status=401, body=problem, content_type="application/problem+json")

    window.page.route("**/v1/**", guard)
    page = window.page
    page.goto(shop.url)
    dialog = page.get_by_role("dialog", name="This API asks for a key")
    expect(dialog).to_be_visible()
    for key, said in (("wrong", "It refused that one."), ("right", None)):
        dialog.get_by_label("Key").fill(key)
        dialog.get_by_role("button", name="Continue").click()
        if said:
            expect(dialog).to_contain_text(said)
    expect(page.get_by_role("region", name="Newest orders", exact=True).locator("tbody tr").first).to_be_visible()
    seen.clear()
    page.get_by_role("navigation").get_by_role("link", name="Operations").click()  # a notice may have one, too
    window.settled()
    assert set(seen) == {"Bearer right"}
    assert page.evaluate("JSON.stringify(localStorage) + document.cookie + location.href").count("right") == 0
    page.get_by_role("button", name="Forget the key").click()
    expect(dialog).to_be_visible()
