"""The API held against its own OpenAPI document: by schemathesis, and by a client that is generated from it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api import applied, key_of, served_world
from tests.integration.serving import environment_of, serving
from tests.model.histories import random_stream
from tests.world import World

SCHEMATHESIS = str(Path(sys.executable).with_name("schemathesis"))
# 503 is what the contract has for a position that is not reached
CONFIG = """
[checks]
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 503]
positive_data_acceptance.expected-statuses = ["2xx", "3xx", 404, 503]
"""
OPEN = "ignored_auth.enabled = false\n"  # to all who come


@pytest.fixture(scope="module")
def address(shop: World, read_database_url: str) -> Iterator[str]:
    """An API over a small shop."""
    shop.clear()
    shop.given(random_stream(21, customers=10, products=10, orders=60))
    applied(shop, "orders", 0, 1241)  # beyond the position that the document has for an example
    with serving(environment_of(shop, read_database_url)) as (_, its):
        yield its


def what_a_schema_can_tell(document: dict[str, Any]) -> dict[str, Any]:
    """The document without what is right or wrong by more than its form: cursors, how many words there are,
    a column that is sorted by twice; and without answers that do not end."""
    document["paths"] = {path: its for path, its in document["paths"].items() if not path.endswith("/changes")}
    for path in document["paths"].values():
        taken = [p for p in path["get"].get("parameters", []) if p.get("name") != "cursor"]
        for parameter in taken:
            if parameter.get("name") == "sort":  # a column once, up or down
                columns = [name for name in parameter["schema"]["items"]["enum"] if name[0] != "-"]
                parameter["schema"]["items"]["enum"] = [f"{'-' * (n % 2)}{name}" for n, name in enumerate(columns)]
            if parameter.get("name") == "q":
                parameter["schema"] = {"type": "string", "pattern": '^[a-zA-Z0-9]{1,20}( [a-z"-]{0,3}[a-z]{1,9}){0,5}$'}
        path["get"]["parameters"] = taken
    return document


@pytest.fixture(scope="module")
def guarded(database_url: str, read_database_url: str) -> Iterator[tuple[str, dict[str, str]]]:
    """An API that asks for a key, and the header with one."""
    with served_world(database_url, read_database_url) as shop:
        shop.given(random_stream(21, customers=10, products=10, orders=60))
        applied(shop, "orders", 0, 1241)
        key = key_of(shop, "schemathesis")
        with serving(environment_of(shop, read_database_url)) as (_, its):
            yield its, key


def hold_against_the_document(where: Path, address: str, config: str, examples: int, **headers: str) -> None:
    """All of schemathesis's checks, but for its phase of coverage: that makes headers that break their own patterns."""
    document = what_a_schema_can_tell(httpx.get(f"{address}/openapi.json", headers=headers).json())
    (where / "openapi.json").write_text(json.dumps(document))
    (where / "schemathesis.toml").write_text(config)
    command = [SCHEMATHESIS, "run", "openapi.json", "--url", address, "--no-color", "--checks", "all"]
    command += ["--phases", "examples,fuzzing", "--max-examples", str(examples), "--seed", "1", "--continue-on-failure"]
    command += [word for name, value in headers.items() for word in ("--header", f"{name}: {value}")]
    found = subprocess.run(command, cwd=where, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout[-20_000:]


def test_schemathesis_finds_nothing_that_is_not_as_the_document_says(address: str, tmp_path: Path) -> None:
    hold_against_the_document(tmp_path, address, CONFIG + OPEN, 5)


def test_nor_does_it_where_keys_are_asked_for(guarded: tuple[str, dict[str, str]], tmp_path: Path) -> None:
    address, key = guarded
    assert httpx.get(f"{address}/v1/orders").status_code == 401
    hold_against_the_document(tmp_path, address, CONFIG, 2, **key)


GENERATOR = Path(__file__).parents[1] / "client-requirements.txt"
USE = """
import sys
from prejoin_client import Client
from prejoin_client.api.order_overview import get_order_overview, list_order_overview
from prejoin_client.models import ListOrderOverviewCount, ListOrderOverviewSortItem

client = Client(base_url=sys.argv[1], raise_on_unexpected_status=True)
sort, count = ListOrderOverviewSortItem("-total"), ListOrderOverviewCount("exact")
page = list_order_overview.sync(client=client, limit=3, sort=[sort], statusne=["cancelled"], count=count)
print(page.total_count, *(row.order_id for row in page.data))
one = get_order_overview.sync(page.data[0].order_id, client=client)
print(one.order_id, one.total, one.lines[0].product_id, one.placed_at.isoformat())
missing = get_order_overview.sync_detailed("none", client=client)
print(missing.status_code.value, missing.parsed.title)
"""


def test_a_client_generated_from_the_document_works(address: str, tmp_path: Path) -> None:
    """Nobody maintains a client: what a generator makes of the document can be used as it is."""

    def run(*command: str | Path) -> str:
        ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    run(sys.executable, "-m", "venv", "generator")
    python = tmp_path / "generator" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", GENERATOR)
    options = ["--url", f"{address}/openapi.json", "--meta", "none", "--output-path", "prejoin_client"]
    told = run(python.with_name("openapi-python-client"), "generate", *options)
    assert "WARNING" not in told.upper(), told
    listed, one, missing = (line.split() for line in run(python, "-c", USE, address).splitlines())
    rows = httpx.get(f"{address}/v1/orders?limit=3&sort=-total&status[ne]=cancelled&count=exact").json()
    assert listed == [str(rows["total_count"]), *(row["order_id"] for row in rows["data"])]
    first = httpx.get(f"{address}/v1/orders/{rows['data'][0]['order_id']}").json()
    placed_at = datetime.fromisoformat(first["placed_at"]).isoformat()
    assert one == [first["order_id"], first["total"], first["lines"][0]["product_id"], placed_at]
    assert missing == ["404", *httpx.get(f"{address}/v1/orders/none").json()["title"].split()]
