"""docs/how-to/analyse.md is run as it stands, over the shop that it speaks of."""

import doctest
from collections.abc import Iterator
from pathlib import Path

import pytest

from projector import tpch
from tests.api import served_world
from tests.integration.serving import environment_of, serving
from tests.model import Record

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "analyse.md"
ALIKE = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.fixture
def address(database_url: str, read_database_url: str) -> Iterator[str]:
    """An API over the shop."""
    with served_world(database_url, read_database_url) as shop:
        shop.given([Record(m.topic, 0, n, m.key, m.value, m.headers, 0) for n, m in enumerate(tpch.events(0.001))])
        with serving(environment_of(shop, read_database_url)) as (_, its):
            yield its


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # pandas leaves sockets to the collector
def test_the_walk_prints_what_it_says(address: str) -> None:
    page = PAGE.read_text().replace("http://127.0.0.1:8000", address).replace("\n```", "\n\n```")
    test = doctest.DocTestParser().get_doctest(page, {}, PAGE.name, str(PAGE), 0)
    said: list[str] = []
    doctest.DocTestRunner(optionflags=ALIKE).run(test, out=said.append)
    assert len(test.examples) > 10
    assert not said, "".join(said)
