"""`prejoin deadletters` as it is called: what is chosen, shown, replayed and purged."""

import json
import re

import pytest

from tests.e2e.cli.calling import CANCELLED, Prejoin, Settings, placed, tell
from tests.model import Record
from tests.world import World


def test_dead_letters_are_listed_shown_replayed_and_purged(
    prejoin: Prejoin, there: dict[str, str], shop: World
) -> None:
    assert prejoin("deadletters", "list", **there).code == 0
    tell(shop, CANCELLED, placed("o1"), placed("o2") | {"type": "orders.Odd"})
    listed = prejoin("deadletters", "list", "--json", **there)
    assert (listed.code, listed.json["dead_letters"]) == (1, 2)
    assert listed.json["by_reason"] == {"orphan": 1, "unknown_type": 1}
    orphan, unknown = listed.json["letters"]
    assert (orphan["position"], orphan["reason"], orphan["aggregate"]) == ("orders/0@0", "orphan", "o1")
    assert len(prejoin("deadletters", "list", "--reason", "orphan", "--json", **there).json["letters"]) == 1
    read = prejoin("deadletters", "list", **there)  # not to a terminal: nothing is cut off
    assert "orders.OrderCancelled" in read.out
    assert read.err == ""
    assert prejoin("deadletters", "list", "--limit", "1", "--json", **there).json["dead_letters"] == 2

    shown = prejoin("deadletters", "show", str(orphan["id"]), "--json", **there)
    assert (shown.code, json.loads(shown.json["value"])["data"]) == (0, CANCELLED["data"])

    dry = prejoin("deadletters", "replay", str(orphan["id"]), "--dry-run", "--json", **there)
    assert (dry.code, dry.json["dead_letters"]) == (1, 2)
    assert shop.view("order_overview")[("o1",)]["status"] == "pending"

    one = prejoin("deadletters", "replay", str(orphan["id"]), "--json", **there)
    assert (one.code, one.json["dead_letters"]) == (1, 1)  # one is left
    assert one.json["results"][0]["done"] is True
    assert shop.view("order_overview")[("o1",)]["status"] == "cancelled"

    rest = prejoin("deadletters", "replay", "--all", "--json", **there)
    assert rest.code == 1
    assert rest.json["results"] == [{"id": unknown["id"], "done": False, "said": rest.json["results"][0]["said"]}]
    assert "still bad, unknown_type" in rest.json["results"][0]["said"]

    purged = prejoin("deadletters", "purge", "--all", "--json", **there)
    assert (purged.code, purged.json["dead_letters"]) == (0, 0)
    assert prejoin("deadletters", "list", **there).code == 0
    assert prejoin("deadletters", "replay", "--all", **there).code == 0


def test_replaying_what_is_not_there_is_wrong_use(prejoin: Prejoin, there: dict[str, str]) -> None:
    for act in ("replay", "purge"):
        told = prejoin("deadletters", act, "7", "--json", **there).line
        assert re.match("prejoin: there is no (open )?dead letter 7: `prejoin deadletters list`", told)


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
