"""What the measurements lean on: aims, the table, the orders of events."""

import asyncio
import json
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bench.place import BenchError
from bench.results import END, START, Result, table, write_into
from bench.search_latency import looking, searched
from bench.shop_now import follow_up, order
from bench.streams import Shop


@pytest.mark.parametrize(
    ("aim", "met"),
    [("ratio >= 4", True), ("ratio >= 4.1", False), ("ours < 9", True), ("ours < 8", False), ("highest < 300", False)],
)
def test_an_aim_is_of_ratio_ours_or_a_detail(aim: str, met: bool) -> None:
    result = Result("m", 8.0, 2.0, "s", aim, {"highest": 300})
    told = json.loads(result.line())
    assert (told["ratio"], told["met"]) == (4.0, met)


def test_without_a_peer_or_an_aim_there_is_no_ratio_and_nothing_met() -> None:
    told = json.loads(Result("m", 8.0, None, "s").line())
    assert told == {"measure": "m", "ours": 8.0, "peer": None, "ratio": None, "unit": "s", "aim": None, "met": None}


def test_the_table_replaces_what_is_between_the_markers_alone(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text(f"before\n{START}\nold\n{END}\nafter\n")
    write_into(page, table([Result("m", 20_000.4, 1_000.0, "events/s", "ratio >= 20")], "today"))
    row = "| m | 20,000 | 1,000 | 20.0 | events/s | ratio >= 20 | yes |"
    text = page.read_text()
    assert text.startswith(f"before\n{START}\n\ntoday\n")
    assert text.endswith(f"{row}\n\n{END}\nafter\n")
    assert "old" not in text


def test_phased_has_a_topic_a_phase_and_first_events_before_second_ones() -> None:
    told = {key: [order(key, "c", ["p"]), *(follow_up(key, step) for step in range(1, 6))] for key in ("a", "b")}
    phases = Shop([], told).phased
    assert [{message.topic for message in phase} for phase in phases] == [
        {"orders"}, {"payments"}, {"inventory"}, {"shipping"},
    ]  # fmt: skip
    assert phases[1] == [told["a"][1], told["b"][1], told["a"][3], told["b"][3]]


async def test_a_search_that_fails_ends_the_measurement_with_what_the_answer_says() -> None:
    async def refuse(_: web.Request) -> web.Response:
        return web.json_response({"detail": "order_id: too many values"}, status=400)

    async def measure(url: str, session: aiohttp.ClientSession) -> None:
        async with looking(lambda keys: searched(session, url, keys)) as look:
            await asyncio.gather(look("o1"), asyncio.Event().wait())  # which does not end by itself

    app = web.Application()
    app.router.add_get("/v1/orders/search", refuse)
    async with TestServer(app) as server, aiohttp.ClientSession() as session, asyncio.timeout(20):
        with pytest.raises(BenchError, match=r"^GET /v1/orders/search answers 400: .*order_id: too many values"):
            await measure(str(server.make_url("")), session)


async def test_a_look_ends_when_its_key_is_found() -> None:
    there = ["o1", "o2"]

    async def search(keys: list[str]) -> list[str]:
        return [key for key in keys if key in there]

    async with asyncio.timeout(20), looking(search) as look:
        assert [*await asyncio.gather(look("o2"), look("o1"))] == [True, True]
