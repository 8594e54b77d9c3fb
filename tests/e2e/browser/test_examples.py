"""The JavaScript of the how-tos, run as it stands."""

import re
from pathlib import Path

from tests.e2e.browser.looking import PATIENCE, Window
from tests.e2e.browser.shop import Shop

HOW_TO = Path(__file__).parents[3] / "docs" / "how-to"


def example(page: str, kind: str) -> str:
    """The only block of this kind on a page."""
    (found,) = re.findall(rf"^```{kind}\n(.*?)^```", (HOW_TO / page).read_text(), re.MULTILINE | re.DOTALL)
    return str(found)


def test_the_loop_over_all_pages_finds_each_order_once_in_its_order(window: Window, shop: Shop) -> None:
    script = example("read-api.md", "js")
    assert all(text in script for text in ("http://127.0.0.1:8000", "console.log(", 'status: "paid"', "limit: 200"))
    script = script.replace("http://127.0.0.1:8000", shop.url).replace("console.log(", "found.push(")
    script = script.replace('status: "paid"', 'status: "pending"').replace("limit: 200", "limit: 7")
    found = window.open().evaluate(f"async () => {{ const found = []; {script}; return found; }}")
    orders = shop.api("orders", status="pending", sort="-placed_at", limit=200)["data"]
    assert len(orders) > 14, "of several pages"
    assert found == [order["order_id"] for order in orders]


def test_who_follows_changes_holds_the_rows_and_reads_the_list_where_told_so(window: Window, shop: Shop) -> None:
    page = window.open()
    script = example("live-changes.md", "javascript")
    page.evaluate(
        f"window.anew = 0; const readTheListAnew = () => {{ window.anew += 1; }}; {script}; window.held = held;"
    )
    page.wait_for_function("window.anew === 1", timeout=PATIENCE)  # it is open
    shop.given(("customers.CustomerNameChanged", {"customer_id": "c1", "name": "Anne Followed"}))
    orders = {order["order_id"]: order for order in shop.api("customers/c1/orders", limit=200)["data"]}
    assert {order["customer_name"] for order in orders.values()} == {"Anne Followed"}
    page.wait_for_function(f"window.held.size === {len(orders)}", timeout=PATIENCE)
    assert page.evaluate("Object.fromEntries(window.held)") == orders
    shop.given(("customers.CustomerNameChanged", {"customer_id": "c1", "name": "Ann Wagner"}))
    page.wait_for_function("[...held.values()].every(row => row.customer_name === 'Ann Wagner')", timeout=PATIENCE)
