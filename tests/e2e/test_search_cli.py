"""The commands of search, as processes: status, verify and rebuild beside `prejoin indexer`."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.integration.test_search_indexer import History, placed, registered
from tests.process import environment_with
from tests.search import Searched, searched
from tests.world import World


@pytest.fixture
async def index(of_the_shop: World, elasticsearch_url: str) -> AsyncIterator[Searched]:
    async with searched(of_the_shop, elasticsearch_url) as made:
        yield made


def prejoin(index: Searched, *arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    own = environment_with(
        DATABASE_URL=index.world.url, ELASTICSEARCH_URL=index.url, KAFKA_BROKERS="127.0.0.1:9", GROUP=index.world.group
    )
    command = [sys.executable, "-m", "projector.cli", *arguments]
    return subprocess.run(command, env=own | settings, capture_output=True, text=True, timeout=120, check=False)


def search_of(status: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    return {view["view"]: view["search"] for view in json.loads(status.stdout)["views"]}


async def test_from_no_index_to_one_built_anew(index: Searched) -> None:
    History(index.world).tell(registered("c1", "Ann"), placed(1), placed(2))
    told = search_of(prejoin(index, "status", "--json"))
    assert told["order_overview"] == {"backend": "postgres", "outbox": 0, "refused": 0, "as_of": None}
    assert told["product_sales"] is None
    first = prejoin(index, "verify", "order_overview", "--json")
    assert (first.returncode, json.loads(first.stdout)["views"][0]["search"]) == (0, None)

    built = prejoin(index, "rebuild", "--all", "--search-only", "--json")
    assert built.returncode == 0, built.stderr
    names = {view["view"]: view["index"] for view in json.loads(built.stdout)["views"]}
    assert names["order_overview"].endswith(".order_overview__g1_s1")
    await index.client.indices.refresh(index=names["order_overview"])
    await index.equals_postgres()
    told = search_of(prejoin(index, "status", "--json"))
    assert (told["order_overview"]["backend"], told["order_overview"]["outbox"]) == ("elasticsearch", 0)
    index.world.execute("INSERT INTO search_dead_letters VALUES ('order_overview', 'o1', 1, 'refused')")
    assert search_of(prejoin(index, "status", "--json"))["order_overview"]["refused"] == 1

    await index.client.delete(index=names["order_overview"], id="o1")
    drift = prejoin(index, "verify", "--all", "--json")
    assert (drift.returncode, json.loads(drift.stdout)["drift"]) == (1, 1)
    views = {view["view"]: view for view in json.loads(drift.stdout)["views"]}
    assert views["order_overview"]["search"] == {
        "documents": 1, "different": 1, "repaired": 0, "differences": [{"key": ["o1"], "kind": "missing"}],
    }  # fmt: skip
    assert "o1: missing" in prejoin(index, "verify", "order_overview").stdout
    assert prejoin(index, "verify", "--all", "--repair").returncode == 0
    assert prejoin(index, "verify", "--all").returncode == 0
    again = prejoin(index, "rebuild", "order_overview", "--search-only")
    assert again.stdout.strip().endswith(".order_overview__g1_s2"), again.stderr


@pytest.mark.parametrize(
    ("settings", "there"), [({}, 2), ({"PREJOIN_FALLBACK_INDEX": "false"}, 0), ({"PREJOIN_ELASTICSEARCH_URL": ""}, 2)]
)
def test_postgres_keeps_indexes_of_words_where_it_is_to_search(
    index: Searched, settings: dict[str, str], there: int
) -> None:
    done = prejoin(index, "migrate", **settings)
    assert done.returncode == 0, done.stderr
    words = "SELECT count(*) FROM pg_indexes WHERE schemaname = %s AND indexname LIKE '%%_words_%%'"
    assert index.world.fetch(words, f"{index.world.group}_views") == [(there,)]


@pytest.mark.parametrize(
    ("arguments", "settings", "said"),
    [
        (["rebuild", "product_sales", "--search-only"], {}, "product_sales declares no search="),
        (["rebuild", "--search-only"], {}, "name the views to rebuild, or say --all"),
        (["indexer"], {"PREJOIN_ELASTICSEARCH_URL": ""}, "PREJOIN_ELASTICSEARCH_URL is not set"),
        (["indexer"], {"PREJOIN_ELASTICSEARCH_URL": "localhost"}, "PREJOIN_ELASTICSEARCH_URL must look like http"),
        (["indexer"], {"PREJOIN_DATABASE_URL": "postgresql://a:secret@127.0.0.1:9/x"}, "cannot connect to Postgres"),
        (["verify", "--all"], {"PREJOIN_ELASTICSEARCH_URL": "http://u:secret@127.0.0.1:9"}, "Elasticsearch"),
        (
            ["indexer"],
            {"PREJOIN_PROJECTIONS": "tests.tiny", "TINY_TOPIC": "t"},
            "no view of tests.tiny declares search=",
        ),
    ],
)
def test_wrong_use_is_one_line(index: Searched, arguments: list[str], settings: dict[str, str], said: str) -> None:
    if arguments[0] == "verify":
        index.world.execute(
            "INSERT INTO search_generations (relation, generation, search, digest, state)"
            " VALUES ('order_overview', 1, 1, '', 'live') ON CONFLICT DO NOTHING"
        )
    done = prejoin(index, *arguments, **settings)
    assert done.returncode == 2
    assert said in done.stderr.splitlines()[-1]
    assert "secret" not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
