"""How the tests look at a page: what the console said, what was asked of whom, what the tables hold."""

import re
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import ConsoleMessage, Locator, Page, Request, expect

PATIENCE = 20_000  # milliseconds
# What chromium needs to run as root without a display, and to leave the network alone.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PAGES = {
    "overview": "#/",
    "search": "#/search/orders?q=shoe",
    "customers": "#/search/customers",
    "order": "#/order/o7",
    "customer": "#/customer/c1",
    "operations": "#/operations",
    "views": "#/view",
    "row": "#/view/product-sales/p1",
}


class Window:
    """A page and what it complained of; `expected` are patterns of complaints that a test provokes."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self._url = page, url
        self.asked = set[str]()  # paths
        self._complaints: list[str] = []
        self.expected: list[str] = []
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self._complaints.append(f"uncaught: {error}"))
        page.on("request", self._asked)

    @property
    def complaints(self) -> list[str]:
        return [said for said in self._complaints if not any(re.search(known, said) for known in self.expected)]

    def open(self, fragment: str = "#/") -> Page:
        """Go to a page and wait until all it shows at first is there."""
        self.page.goto(f"{self._url}/{fragment}")
        self.settled()
        return self.page

    def settled(self) -> None:
        expect(self.page.locator("h1")).to_be_visible()
        expect(self.page.locator(".loading, .boot, main [aria-busy=true]")).to_have_count(0)

    def table(self, label: str) -> list[list[str]]:
        return cells(self.page.get_by_role("region", name=label, exact=True, include_hidden=True).locator("tbody tr"))

    def panel(self, name: str) -> Locator:
        return self.page.get_by_role("region", name=name, exact=True)

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._complaints.append(f"{message.type}: {message.text} ({message.location.get('url', '')})")

    def _asked(self, request: Request) -> None:
        self.asked.add(urlsplit(request.url).path)
        if not request.url.startswith((self._url, "data:", "blob:")):
            self._complaints.append(f"asked elsewhere: {request.url}")


def cells(rows: Locator) -> list[list[str]]:
    """The texts of rows, whether they are open to the eye or not."""
    found: Any = rows.evaluate_all("rows => rows.map(row => [...row.cells].map(cell => cell.textContent.trim()))")
    return list(found)


def overflow(page: Page) -> int:
    """Pixels that the page is wider than the window."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))
