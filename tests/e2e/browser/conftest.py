"""Debian's chromium, headless, before a shop that all these tests share. Without a browser they are skipped."""

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.e2e.browser.looking import ARGUMENTS, PATIENCE, Window
from tests.e2e.browser.shop import Shop
from tests.world import world

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("there is no chromium on this machine: `make browser` installs Debian's, as root")
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield launched
        launched.close()


@pytest.fixture(scope="package")
def shop(browser: Browser, database_url: str, read_database_url: str) -> Iterator[Shop]:
    with world(database_url, read_url=read_database_url) as made:
        opened = Shop(made, read_database_url)
        opened.open_up()
        opened.start()
        yield opened
        opened.stop()


@pytest.fixture
def context(browser: Browser, shop: Shop) -> Iterator[BrowserContext]:
    made = browser.new_context(viewport={"width": 1280, "height": 900}, base_url=shop.url)
    made.set_default_timeout(PATIENCE)
    yield made
    made.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


@pytest.fixture
def window(page: Page, shop: Shop) -> Iterator[Window]:
    """A page that is looked over at the end: nothing went wrong in it, and nothing came from elsewhere."""
    shop.fresh()
    looked = Window(page, shop.url)
    yield looked
    assert looked.complaints == []
