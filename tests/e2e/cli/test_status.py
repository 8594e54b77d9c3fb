"""`prejoin status` as it is called, with a broker and without."""

import json
from pathlib import Path

import pytest

from tests.e2e.cli.calling import CANCELLED, Prejoin, placed, tell
from tests.world import World


def test_status_is_told_without_a_broker_from_what_a_worker_saw_last(
    prejoin: Prejoin, there: dict[str, str], shop: World
) -> None:
    tell(shop, placed("o1"), CANCELLED | {"type": "orders.Odd"})
    done = prejoin("status", "--json", **there)
    report = done.json
    assert set(report) == {
        "state",
        "as_of",
        "lag_seconds",
        "partitions",
        "paused",
        "views",
        "dead_letters",
        "drift",
        "dead_letters_by_reason",
        "workers",
    }
    assert (report["state"], report["dead_letters"]) == ("stopped", 1)
    assert report["partitions"] == [
        {"topic": "orders", "partition": 0, "position": "orders/0@1", "end_offset": None, "lag": None}
    ]
    views = {v["view"]: v for v in report["views"]}
    assert set(views) == {"order_overview", "customer_summary", "fulfilment", "sales_by_day", "product_sales"}
    assert {name: v["rows"] for name, v in views.items()} == dict.fromkeys(views, 1)
    assert "127.0.0.1:1" in done.err
    plain = prejoin("status", **there)
    assert plain.code == done.code
    assert "orders/0@1" in plain.out
    assert "None" not in plain.out


def test_status_without_a_broker_never_says_that_nothing_is_left(
    prejoin: Prejoin, there: dict[str, str], shop: World
) -> None:
    tell(shop, placed("o1"))
    shop.execute("INSERT INTO ends VALUES ('orders', 0, 1, now())")
    done = prejoin("status", "--json", **there)
    assert [p["lag"] for p in done.json["partitions"]] == [0]
    assert done.code == 1


def test_status_exits_with_1_while_keys_are_pending(prejoin: Prejoin, there: dict[str, str], shop: World) -> None:
    shop.execute("INSERT INTO pending (relation, generation, keys) VALUES ('order_overview', 1, '{o1}')")
    done = prejoin("status", "--json", **there)
    assert done.code == 1
    assert {v["view"]: v["pending"] for v in done.json["views"]}["order_overview"] == 1


def test_status_measures_lag_against_the_broker(
    prejoin: Prejoin, there: dict[str, str], kafka_brokers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projector.ingest.broker.SECONDS_TO_CONNECT", 30)
    done = prejoin("status", "--json", **(there | {"kafka_brokers": kafka_brokers}))
    assert done.code in (0, 1)
    assert all(p["lag"] == p["end_offset"] for p in done.json["partitions"])


def test_of_a_topic_that_was_made_again_all_is_left_though_the_one_before_was_longer(
    prejoin: Prejoin,
    there: dict[str, str],
    shop: World,
    kafka_brokers: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("projector.ingest.broker.SECONDS_TO_CONNECT", 30)
    there = there | {"kafka_brokers": kafka_brokers}
    (tmp_path / "order.jsonl").write_text(json.dumps(placed("o1")))
    assert prejoin("publish", str(tmp_path / "order.jsonl"), **there).code == 0
    for place in prejoin("status", "--json", **there).json["partitions"]:
        applied = "INSERT INTO positions (topic, partition, next, topic_id) VALUES (%s, %s, 1000000, 'the one before')"
        shop.execute(applied, place["topic"], place["partition"])
    done = prejoin("status", "--json", **there)
    assert sum(p["lag"] for p in done.json["partitions"]) > 0
    assert all(p["lag"] == p["end_offset"] for p in done.json["partitions"])
    assert done.code == 1


def test_status_of_a_view_that_is_not_in_the_database_yet(prejoin: Prejoin, there: dict[str, str], shop: World) -> None:
    shop.execute("UPDATE served SET relation = 'old_name' WHERE relation = 'product_sales'")
    try:
        assert "Traceback" not in prejoin("status", **there).err
        states = {v["view"]: v["state"] for v in prejoin("status", "--json", **there).json["views"]}
        assert states["product_sales"] == "building"
    finally:
        shop.execute("UPDATE served SET relation = 'product_sales' WHERE relation = 'old_name'")
