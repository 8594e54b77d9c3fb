"""`make screenshots`: every page of the dashboard, light and dark, wide and narrow, over a demo of its own.

Needs chromium (`make browser`). With an address it looks at what runs there: make screenshots ARGS="http://127.0.0.1:8000"
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from playwright.sync_api import Browser, sync_playwright

from projector.embedded.ports import free_port
from tests.e2e.browser.looking import ARGUMENTS

REPOSITORY = Path(__file__).parents[1]
FOLDER = REPOSITORY / "build" / "screenshots"
SIZES = {"wide": (1360, 900), "narrow": (390, 844)}
SECONDS_OF_LIFE = 20  # of the demo, so that there is something to see of it


@contextmanager
def demo() -> Iterator[str]:
    """A small demo in a folder of its own; its address."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="prejoin-screenshots-") as folder:
        Path(folder).chmod(0o755)  # Postgres runs as another user
        command = [
            sys.executable,
            "-m",
            "projector.cli",
            "demo",
            "--scale",
            "0.004",
            "--rate",
            "6",
            "--port",
            str(port),
        ]
        environment = os.environ | {"PREJOIN_CACHE": str(REPOSITORY / ".prejoin/lib"), "PYTHONPATH": str(REPOSITORY)}
        with subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True) as running:
            assert running.stderr is not None
            for line in running.stderr:
                print(line, end="", file=sys.stderr)
                if "new events a second" in line:
                    break
            try:
                time.sleep(SECONDS_OF_LIFE)
                yield f"http://127.0.0.1:{port}"
            finally:
                running.send_signal(signal.SIGINT)
                running.communicate(timeout=90)


def take(browser: Browser, url: str) -> None:
    """One picture of each page, theme and size."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    asked = {"status": "delivered", "sort": "-total", "limit": "1"}
    order = httpx.get(f"{url}/v1/orders", params=asked).json()["data"][0]
    pages = {
        "overview": "#/",
        "search": "#/search/orders?q=maria&status=delivered,paid",
        "order": f"#/order/{order['order_id']}",
        "customer": f"#/customer/{order['customer_id']}",
        "operations": "#/operations",
    }
    for size, (width, height) in SIZES.items():
        for theme in ("light", "dark"):
            context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme)
            page = context.new_page()
            for name, fragment in pages.items():
                page.goto(f"{url}/{fragment}")
                page.locator(".loading").first.wait_for(state="detached", timeout=90_000)
                page.wait_for_timeout(12_000 if name == "operations" and size == "wide" else 1_500)  # lines need time
                page.screenshot(path=FOLDER / f"{name}-{size}-{theme}.png", full_page=True)
                print(f"{name}, {size}, {theme}", file=sys.stderr)
            context.close()


def main() -> None:
    """Take all pictures of the address given, or of a demo of its own."""
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("screenshots: there is no chromium: `make browser` installs Debian's, as root")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        if len(sys.argv) > 1:
            take(browser, sys.argv[1].rstrip("/"))
        else:
            with demo() as url:
                take(browser, url)
        browser.close()
    print(f"{len(list(FOLDER.glob('*.png')))} pictures in {FOLDER}", file=sys.stderr)


if __name__ == "__main__":
    main()
