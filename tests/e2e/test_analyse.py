"""docs/how-to/analyse.md is run as it stands, over the shop that it speaks of; so is what read-api.md has of pandas."""

import ast
import doctest
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from projector import tpch
from tests.api import served_world
from tests.integration.serving import environment_of, serving
from tests.model import Record

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"
PAGE = HOW_TO / "analyse.md"
ALIKE = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.fixture(scope="module")
def address(database_url: str, read_database_url: str) -> Iterator[str]:
    """An API over the shop."""
    with served_world(database_url, read_database_url) as shop:
        shop.given([Record(m.topic, 0, n, m.key, m.value, m.headers, 0) for n, m in enumerate(tpch.events(0.001))])
        with serving(environment_of(shop, read_database_url)) as (_, its):
            yield its


# pandas leaves sockets to the collector
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def test_the_walk_prints_what_it_says(address: str) -> None:
    page = PAGE.read_text().replace("http://127.0.0.1:8000", address).replace("\n```", "\n\n```")
    test = doctest.DocTestParser().get_doctest(page, {}, PAGE.name, str(PAGE), 0)
    said: list[str] = []
    doctest.DocTestRunner(optionflags=ALIKE).run(test, out=said.append)
    assert len(test.examples) > 10
    assert not said, "".join(said)


def test_pandas_and_duckdb_read_an_export_as_the_page_says(address: str) -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```", (HOW_TO / "read-api.md").read_text(), re.MULTILINE | re.DOTALL)
    countries, categories = answers_of(block.replace("http://127.0.0.1:8000", address))
    totals: dict[str, Decimal] = defaultdict(Decimal)
    amounts: dict[str, Decimal] = defaultdict(Decimal)
    for line in httpx.get(f"{address}/v1/orders/export?format=ndjson&status=paid").iter_lines():
        order = msgspec.json.decode(line)
        totals[order["customer_country"]] += Decimal(order["total"])
        for item in order["lines"]:
            amounts[item["category"]] += Decimal(item["amount"])
    assert len(totals) > 5
    assert countries == Counter(totals).most_common(5)
    assert dict(categories) == amounts


def answers_of(code: str) -> list[Any]:
    """What the expressions of a script find, in order."""
    names: dict[str, Any] = {}
    found = []
    for part in ast.parse(code).body:
        text = ast.unparse(part)
        if isinstance(part, ast.Expr):
            found.append(eval(text, names).fetchall())
        else:
            exec(text, names)
    return found
