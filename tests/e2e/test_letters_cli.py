# ruff: noqa: F401, F811 - fixtures are imported by name
"""deadletters, erase, pause and resume as they are called: what is chosen, exit codes, and what they say."""

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.e2e.test_operate_cli import CANCELLED, Prejoin, placed, prejoin, shop, tell, there
from tests.model import Record
from tests.model.histories import cloud_event
from tests.world import World

Settings = dict[str, str]
REGISTERED = cloud_event("customers.CustomerRegistered", customer_id="c1", name="Zora", email="z@q", country="DE")


@pytest.fixture
def letters(shop: World) -> World:
    """An orphan and a late one of o1, an orphan of o2, and two of nobody."""
    other = CANCELLED | {"id": "other", "data": {"order_id": "o2", "reason": "no"}}
    tell(shop, CANCELLED, placed("o1", sequence=5), placed("o1", sequence=3) | {"id": "late"}, other)
    broken = [Record("customers", 0, n, None, b"{", (), 0) for n in range(2)]
    shop.given(broken)
    shop.execute("UPDATE dead_letters SET arrived_at = '2026-02-01' WHERE topic = 'customers'")
    shop.execute("UPDATE dead_letters SET arrived_at = '2026-01-01' WHERE topic = 'orders'")
    return shop


@pytest.mark.parametrize(
    ("arguments", "counts"),
    [
        ([], {"late": 1, "orphan": 2, "undecodable": 2}),
        (["--reason", "orphan"], {"orphan": 2}),
        (["--topic", "customers"], {"undecodable": 2}),
        (["--entity", "orders"], {"late": 1, "orphan": 2}),
        (["--aggregate", "order:o1"], {"late": 1, "orphan": 1}),
        (["--aggregate", "orders:o2", "--entity", "orders"], {"orphan": 1}),
        (["--type", "orders.OrderCancelled"], {"orphan": 2}),
        (["--since", "2026-02-01T00:00:00Z"], {"undecodable": 2}),
        (["--until", "2026-02-01T00:00:00Z", "--reason", "late"], {"late": 1}),
        (["--state", "purged"], {}),
    ],
    ids=" ".join,
)
def test_filters_choose_what_is_listed_replayed_and_purged(
    prejoin: Prejoin,
    there: Settings,
    letters: World,
    arguments: list[str],
    counts: dict[str, int],
) -> None:
    listed = prejoin("deadletters", "list", *arguments, "--json", **there)
    assert (listed.code, listed.json["dead_letters"], listed.json["by_reason"]) == (1, 5, counts)
    assert len(listed.json["letters"]) == sum(counts.values())
    if arguments and "--state" not in arguments:
        before = letters.dead_letters()
        for act in ("replay", "purge"):
            dry = prejoin("deadletters", act, *arguments, "--dry-run", "--json", **there).json
            assert (dry["done"] + dry["not_done"], dry["dry_run"]) == (sum(counts.values()), True)
            assert letters.dead_letters() == before
        purged = prejoin("deadletters", "purge", *arguments, "--json", **there)
        assert (purged.code, purged.json["dead_letters"]) == (0, 5 - sum(counts.values()))


def test_one_aggregate_is_replayed_in_order_dry_first(prejoin: Prejoin, there: Settings, shop: World) -> None:
    """The order's creating event was broken: what came behind it is an orphan, and can be placed behind it alone."""
    broken = placed("o1")
    broken["data"] |= {"kind": "EUR"}
    del broken["data"]["currency"]
    tell(shop, CANCELLED, broken)
    shop.execute("UPDATE dead_letters SET value = %s WHERE reason = 'invalid'", json.dumps(placed("o1")).encode())
    dry = prejoin("deadletters", "replay", "--aggregate", "order:o1", "--dry-run", "--json", **there)
    assert (dry.code, dry.json["done"], dry.json["dead_letters"]) == (1, 2, 2)
    assert shop.view("order_overview") == {}
    done = prejoin("deadletters", "replay", "--aggregate", "order:o1", "--json", **there)
    assert (done.code, done.json["done"], done.json["dead_letters"]) == (0, 2, 0)
    assert shop.view("order_overview")[("o1",)]["status"] == "cancelled"
    assert prejoin("deadletters", "list", "--state", "replayed", "--json", **there).json["by_reason"] == {
        "invalid": 1,
        "orphan": 1,
    }
    assert shop.drift() == []


def test_very_many_are_told_in_part_and_counted_whole(
    prejoin: Prejoin,
    there: Settings,
    shop: World,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("projector.cli.deadletters.TOLD", 3)
    monkeypatch.setattr("projector.operate.deadletters.PAGE", 4)
    shop.given([Record("orders", 0, n, None, b"{", (), 0) for n in range(10)])
    done = prejoin("deadletters", "replay", "--all", "--json", **there)
    assert (done.code, done.json["not_done"], len(done.json["results"])) == (1, 10, 3)
    assert "dead letters: 10 of 10" in done.err
    told = prejoin("deadletters", "purge", "--reason", "undecodable", **there)
    assert (told.code, told.out.splitlines()) == (0, ["done: 10, not done: 0", "no dead letters left"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["list", "--state", "odd"], "open, replayed and purged"),
        (["list", "--entity", "order"], "there is no entity 'order': there are customers"),
        (["list", "--aggregate", "o1"], "ENTITY:ID, with one of customers"),
        (["replay", "--aggregate", "ordre:o1"], "ENTITY:ID"),
        (["replay", "--aggregate", "order:o1", "--entity", "stock"], "one of the two"),
        (["purge", "--since", "yesterday"], "RFC 3339"),
        (["purge", "1", "--reason", "late"], "--all"),
        (["purge", "--all", "--reason", "late"], "--all"),
    ],
    ids=" ".join,
)
def test_a_wrong_choice_is_told_in_one_line(
    prejoin: Prejoin,
    there: Settings,
    arguments: list[str],
    said: str,
) -> None:
    assert re.search(said, prejoin("deadletters", *arguments, **there).line)


# erase


def test_erase_says_what_it_touched_once(prejoin: Prejoin, there: Settings, shop: World) -> None:
    tell(shop, REGISTERED, placed("o1"), placed("o2"))
    shop.execute("INSERT INTO search_generations VALUES ('order_overview', 1, 1, 'd', 'live')")
    done = prejoin("erase", "customer", "c1", "--yes", "--json", **there)
    assert done.code == 0
    assert done.json == {
        "kind": "customer",
        "id": "c1",
        "entities": {"customers": 1},
        "views": {"order_overview": 2, "customer_summary": 1},
        "kept_copies": {},
        "dead_letters": 0,
        "journals": 0,
        "search": {"order_overview": 2},
        "not_rewritten": ["topics", "archives"],
    }
    assert "Zora" not in done.out + done.err
    assert shop.view("order_overview")[("o1",)]["customer_name"] is None
    again = prejoin("erase", "customer", "c1", "--yes", **there)
    assert again.code == 0
    assert "held nothing to blank" in again.out
    assert "not rewritten" in again.err
    unknown = prejoin("erase", "customer", "nobody", "--yes", **there)
    assert (unknown.code, shop.view("customer_summary")[("nobody",)]["erased"]) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["customer", "c1"], "cannot be undone: say so with --yes"),
        (["order", "o1", "--yes"], "no kind 'order' with personal fields: there are customer"),
        (["customer", "not an id", "--yes"], "no event could name it"),
    ],
    ids=" ".join,
)
def test_erase_is_not_done_by_mistake(
    prejoin: Prejoin,
    there: Settings,
    shop: World,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    said: str,
) -> None:
    tell(shop, REGISTERED)
    assert said in prejoin("erase", *arguments, **there).line
    assert shop.view("customer_summary")[("c1",)]["name"] == "Zora"


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    ends = pty.openpty()
    yield ends
    for end in ends:
        os.close(end)


@pytest.mark.parametrize(("answer", "code", "name"), [(b"n\n", 1, "Zora"), (b"y\n", 0, None)])
def test_a_terminal_is_asked(
    there: Settings,
    shop: World,
    terminal: tuple[int, int],
    answer: bytes,
    code: int,
    name: str | None,
) -> None:
    tell(shop, REGISTERED)
    os.write(terminal[0], answer)
    done = subprocess.run(
        [sys.executable, "-m", "projector.cli", "erase", "customer", "c1"],
        env={**os.environ, **{f"PREJOIN_{key.upper()}": value for key, value in there.items()}},
        stdin=terminal[1], capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert "Erase customer c1? It cannot be undone." in done.stderr
    assert shop.view("customer_summary")[("c1",)]["name"] == name


# pause and resume


def test_pause_and_resume_say_what_they_changed(prejoin: Prejoin, there: Settings, shop: World) -> None:
    tell(shop, placed("o1"))
    first = prejoin("pause", "--json", **there)
    assert first.code == 0
    assert (first.json["changed"], first.json["positions"]) == (True, ["orders/0@0"])
    second = prejoin("pause", **there)
    assert (second.code, second.out.splitlines()[1]) == (0, "applied up to orders/0@0")
    assert f"by {first.json['paused']['by']} since {first.json['paused']['since']}" in second.out
    status = prejoin("status", **there).out
    assert f"paused by {first.json['paused']['by']}" in status
    told = prejoin("status", "--json", **there).json
    assert (told["paused"], {v["state"] for v in told["views"]}) == (first.json["paused"], {"paused"})
    assert prejoin("resume", "--json", **there).json == {"paused": None, "changed": True, "positions": ["orders/0@0"]}
    assert prejoin("resume", **there).out == "it was not paused\n"
