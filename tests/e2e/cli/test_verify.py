"""`prejoin verify` as it is called: exit codes, what it says, samples, and comparisons with a source."""

import json
import re
from pathlib import Path

from projector.apply.batch import TopicPartition
from tests.e2e.cli.calling import Prejoin, placed, tell
from tests.model import Record
from tests.model.histories import cloud_event
from tests.world import World


def test_verify_exits_with_1_on_drift_and_with_0_once_it_is_mended(
    prejoin: Prejoin, there: dict[str, str], shop: World
) -> None:
    tell(shop, placed("o1"), placed("o2"))
    assert prejoin("verify", "--all", **there).code == 0
    shop.execute("UPDATE order_overview__g1 SET status = 'odd' WHERE order_id = 'o2'")
    found = prejoin("verify", "order_overview", "customer_summary", "--json", **there)
    assert (found.code, found.json["drift"]) == (1, 1)
    assert [v["view"] for v in found.json["views"]] == ["order_overview", "customer_summary"]
    assert found.json["views"][0]["differences"] == [{"key": ["o2"], "kind": "different", "columns": ["status"]}]
    told = prejoin("verify", "order_overview", **there)
    assert told.code == 1
    assert "order_overview o2: different in status\n" in told.out
    assert prejoin("verify", "--all", "--repair", "--json", **there).code == 0
    assert prejoin("verify", "--all", "--json", **there).json["drift"] == 0


def test_a_sample_says_what_share_was_looked_at(prejoin: Prejoin, there: dict[str, str], shop: World) -> None:
    tell(shop, *(placed(f"o{n}") for n in range(40)))
    told = prejoin("verify", "order_overview", "--sample", "50%", "--json", **there)
    (view,) = told.json["views"]
    assert (told.code, view["sample"]) == (0, {"of": 40, "share": view["rows"] / 40})
    shop.execute("UPDATE order_overview__g1 SET total = 1")
    told = prejoin("verify", "order_overview", "--sample", "1000", **there)
    assert told.code == 1
    assert "100.00% of some 40" in told.out
    assert "order_overview: drift was seen: 40 different; `prejoin verify order_overview`" in prejoin(
        "status", **there
    ).out.replace("\n", " ")
    assert prejoin("status", "--json", **there).json["drift"] == {"order_overview": {"different": 40}}
    assert prejoin("verify", "--all", "--repair", **there).code == 0
    assert prejoin("status", "--json", **there).json["drift"] == {}


def test_progress_of_verify_is_a_line_a_view_with_rate(prejoin: Prejoin, there: dict[str, str], shop: World) -> None:
    tell(shop, placed("o1"), placed("o2"))
    told = prejoin("verify", "order_overview", "product_sales", **there)
    assert re.search("^order_overview: rows verified: 2 of 2(, [0-9,]+ a second)?$", told.err, re.MULTILINE)
    assert "product_sales: rows verified: 1 of 1" in told.err


def test_an_entity_is_compared_with_an_export_and_its_corrections_are_published(
    prejoin: Prejoin, there: dict[str, str], shop: World, tmp_path: Path
) -> None:
    ann = {"customer_id": "c1", "name": "Ann", "email": "ann@example.org", "country": "DE"}
    tell(shop, cloud_event("customers.CustomerRegistered", **ann), placed("o1"))
    rows = [{"id": "c1", "name": "Änne", "email": "ann@example.org", "country": "DE"}, {**ann, "id": "c2"}]
    export, events = tmp_path / "export.jsonl", tmp_path / "events.jsonl"
    export.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ["verify", "--against", str(export), "--entity", "customers", "--map", "customer_id=id"]
    found = prejoin(*command, "--emit", str(events), "--json", **there)
    assert found.code == 1
    assert found.json["differences"] == [
        {"key": "c1", "kind": "different", "columns": ["name"]},
        {"key": "c2", "kind": "missing", "columns": []},
    ]
    assert (found.json["emitted"]["events"], found.json["not_expressible"]) == (2, {"count": 0, "keys": []})
    assert events.stat().st_mode & 0o077 == 0
    plain = prejoin(*command, **there)
    assert "customers c1: different in name\n" in plain.out
    assert "Änne" not in plain.out + plain.err + found.out + found.err
    assert "'Änne' in the source, 'Ann' here" in prejoin(*command, "--show-values", **there).out

    offset = shop.applier.positions()[TopicPartition("customers", 0)]
    lines = events.read_bytes().splitlines()
    shop.given([Record("customers", 0, offset + n, None, line) for n, line in enumerate(lines)])
    assert prejoin(*command, **there).code == 0
    assert shop.view("order_overview")[("o1",)]["customer_name"] == "Änne"
