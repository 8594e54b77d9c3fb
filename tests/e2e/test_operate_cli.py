"""migrate, check, verify, status and deadletters as they are called: exit codes, streams, and what they say."""

import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from projector.apply.batch import TopicPartition
from projector.cli import main
from tests.model import Record
from tests.model.histories import CloudEvent, cloud_event, partitioned
from tests.world import World, clear

REPOSITORY = Path(__file__).parents[2]
_groups = itertools.count()


@dataclass
class Done:
    """What a command left: its exit code and both streams."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """Exactly one JSON object, and a line of its own."""
        assert self.out.count("\n") == 1
        report = json.loads(self.out)
        assert isinstance(report, dict)
        return report

    @property
    def line(self) -> str:
        """The one line of an error; nothing was reported."""
        assert (self.code, self.out) == (2, "")
        assert self.err.count("\n") == 1, self.err
        return self.err


Prejoin = Callable[..., Done]


@pytest.fixture
def prejoin(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Prejoin:
    """Run a command in this process, as `prejoin` does; keywords are settings."""
    for name in [name for name in os.environ if name.startswith("PREJOIN_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)  # no .env of ours
    monkeypatch.setattr("projector.ingest.broker.SECONDS_TO_CONNECT", 0.3)  # to one that is not there

    def run(*arguments: str, **settings: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["prejoin", *arguments])
        with monkeypatch.context() as environment:
            for name, value in settings.items():
                environment.setenv(f"PREJOIN_{name.upper()}", value)
            capsys.readouterr()
            with pytest.raises(SystemExit) as left:
                main()
        return Done(int(left.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture
def shop(of_the_shop: World) -> World:
    clear(of_the_shop)
    return of_the_shop


@pytest.fixture
def there(shop: World) -> dict[str, str]:
    """Settings of a group that is migrated."""
    return {"database_url": shop.url, "group": shop.group, "kafka_brokers": "127.0.0.1:1"}


def placed(order: str, **changes: Any) -> CloudEvent:
    data = {"order_id": order, "customer_id": "c1", "currency": "EUR", "placed_at": "2026-01-01T00:00:00Z"}
    return cloud_event("orders.OrderPlaced", **data, product_id="p1", quantity=1, unit_price="5.00", **changes)


def tell(shop: World, *events: CloudEvent) -> list[Record]:
    records = partitioned(events, partitions=1, binary=False)
    shop.given(records)
    return records


CANCELLED = cloud_event("orders.OrderCancelled", order_id="o1", reason="changed my mind")


# migrate


def test_migrate_says_what_it_does_and_does_it_once(prejoin: Prejoin, database_url: str, shop: World) -> None:
    new = {"database_url": database_url, "group": f"cli{os.getpid()}_{next(_groups)}"}
    try:
        dry = prejoin("migrate", "--dry-run", "--json", **new).json
        assert dry["dry_run"] is True
        done = prejoin("migrate", "--json", **new)
        assert done.code == 0
        assert done.json == {"dry_run": False, "steps": dry["steps"], "rebuild": []}
        again = prejoin("migrate", **new)
        assert (again.code, again.out) == (0, "nothing to do\n")
        assert "PREJOIN_READ_DATABASE_URL is not set" in again.err
    finally:
        for schema in ("", "_entities", "_views"):
            shop.execute(f"DROP SCHEMA IF EXISTS {new['group']}{schema} CASCADE")


# check


def test_check_finds_nothing_wrong_and_exports_the_schemas(prejoin: Prejoin, there: dict[str, str]) -> None:
    assert (prejoin("check").code, prejoin("check", "--database", **there).code) == (0, 0)
    report = prejoin("check", "--json").json
    assert report["problems"] == []
    assert report["schemas"]["orders.OrderPlaced.v2"]["type"] == "object"


def test_check_exits_with_1_and_lists_what_is_wrong(
    prejoin: Prejoin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wrong_ones.py").write_text("raise ValueError('first')")
    monkeypatch.syspath_prepend(str(tmp_path))
    done = prejoin("check", "--json", projections="wrong_ones")
    assert done.code == 1
    assert "ValueError: first" in done.json["problems"][0]
    assert prejoin("verify", "--all", projections="wrong_ones").line.startswith("prejoin: ")


# verify


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


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["verify"], "--all"),
        (["verify", "--all", "--sample", "half"], "--sample half: write a share"),
        (["verify", "--all", "--entity", "orders"], "go with --against"),
        (["verify", "--all", "--against", "x"], "give it without views, --all"),
        (["verify", "--against", "x"], "--against needs --entity.*customers"),
        (["verify", "--against", "x", "--entity", "orders"], "--against x: there is no such file"),
        (["verify", "--against", "x", "--entity", "orders", "--map", "=id"], "--map takes COLUMN=FIELD"),
        (["verify", "--against", "x", "--entity", "orders", "--map", "id=id"], "--map id: orders has"),
        (["verify", "--against", "postgresql://u:sesame@h/d", "--entity", "orders"], "needs --table"),
        (["verify", "--against", "x", "--entity", "orders", "--table", "t"], "a file needs none"),
        (["verify", "order_overview", "--all"], "--all"),
        (["verify", "orders"], "there is no view 'orders': there are .*order_overview"),
        (["deadletters", "replay"], "--all"),
        (["deadletters", "replay", "1", "--all"], "--all"),
        (["deadletters", "purge"], "--all"),
        (["deadletters", "show", "7"], "there is no dead letter 7: `prejoin deadletters list`"),
    ],
    ids=" ".join,
)
def test_wrong_use_is_told_in_one_line(
    prejoin: Prejoin, there: dict[str, str], arguments: list[str], said: str
) -> None:
    assert re.search(said, prejoin(*arguments, **there).line)


@pytest.mark.parametrize("arguments", [["deadletters", "show", "x"], ["deadletters", "replay", "x"], ["deadletters"]])
def test_what_typer_refuses_exits_with_2(prejoin: Prejoin, there: dict[str, str], arguments: list[str]) -> None:
    assert prejoin(*arguments, **there).code == 2


# status


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


def test_status_of_a_view_that_is_not_in_the_database_yet(prejoin: Prejoin, there: dict[str, str], shop: World) -> None:
    shop.execute("UPDATE served SET relation = 'old_name' WHERE relation = 'product_sales'")
    try:
        assert "Traceback" not in prejoin("status", **there).err
        states = {v["view"]: v["state"] for v in prejoin("status", "--json", **there).json["views"]}
        assert states["product_sales"] == "building"
    finally:
        shop.execute("UPDATE served SET relation = 'product_sales' WHERE relation = 'old_name'")


# deadletters


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


# Settings and servers

COMMANDS = [["migrate"], ["check", "--database"], ["verify", "--all"], ["status"], ["deadletters", "list"]]
COMMANDS += [["deadletters", "show", "1"], ["deadletters", "replay", "--all"], ["deadletters", "purge", "1"]]
COMMANDS += [["erase", "customer", "c1", "--yes"], ["pause"], ["resume"]]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_setting_that_is_missing_is_named(prejoin: Prejoin, command: list[str]) -> None:
    assert "PREJOIN_DATABASE_URL is not set" in prejoin(*command, kafka_brokers="127.0.0.1:1").line


def test_status_needs_the_brokers(prejoin: Prejoin, there: dict[str, str]) -> None:
    del there["kafka_brokers"]
    assert "PREJOIN_KAFKA_BROKERS is not set" in prejoin("status", **there).line


WRONG = {
    "database_url": ["mysql://u:sesame@h/db", "h:5432/db", "https://u:sesame@h/", "postgresql://u:sesame@h:port/db"],
    "read_database_url": ["sqlite:///sesame"],
    "kafka_brokers": ["sesame", "h:port", ":9092", "h:99999", "h:0"],
    "group": ["Capital", "9", "a-b", "x" * 41],
    "api_port": ["70000", "http"],
    "dead_letter_limit": ["0", "2", "half"],
    "unknown_events": ["drop"],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_setting_that_is_wrong_is_named_without_its_value(
    prejoin: Prejoin, there: dict[str, str], name: str, value: str
) -> None:
    told = prejoin("verify", "--all", **(there | {name: value})).line
    assert f"PREJOIN_{name.upper()}" in told
    assert "sesame" not in told


DOWN = [
    "postgresql://u:sesame@127.0.0.1:1/db",
    "postgresql://u:sesame@no-such-host.invalid/db",
    "postgresql://u:sesame%zz@127.0.0.1:1/db",
    "postgresql://u:sesame@127.0.0.1:1/db?no_such_option=sesame",
    "postgresql://u:ses%61me@127.0.0.1:1/db",
    "postgresql:///db?host=/nowhere&user=u&password=sesame",
]


@pytest.mark.parametrize("url", DOWN)
@pytest.mark.parametrize("command", [["migrate"], ["verify", "--all"], ["deadletters", "list"]], ids=" ".join)
def test_a_server_that_is_down_is_told_in_one_line_without_the_password(
    prejoin: Prejoin, command: list[str], url: str
) -> None:
    told = prejoin(*command, database_url=url).line
    assert "PREJOIN_DATABASE_URL" in told
    assert "sesame" not in told
    assert "ses%61me" not in told


@pytest.mark.parametrize("url", DOWN)
def test_a_source_that_is_down_is_told_in_one_line_without_the_password(
    prejoin: Prejoin, there: dict[str, str], url: str
) -> None:
    told = prejoin("verify", "--against", url, "--entity", "orders", "--table", "orders", **there).err.splitlines()[-1]
    assert told.startswith("prejoin: ")
    assert "--against" in told
    assert "sesame" not in told
    assert "ses%61me" not in told


@pytest.mark.parametrize("change", ["password", "database"])
def test_a_server_that_refuses_is_told_in_one_line(prejoin: Prejoin, database_url: str, change: str) -> None:
    address = urlsplit(database_url)
    wrong = {"password": f"{address.username}:sesame@", "database": f"{address.username}:{address.password}@"}[change]
    path = "/no_such_database" if change == "database" else address.path
    told = prejoin("verify", "--all", database_url=f"postgresql://{wrong}{address.hostname}:{address.port}{path}").line
    assert f"127.0.0.1:{address.port} (PREJOIN_DATABASE_URL)" in told
    assert "sesame" not in told
    assert str(address.password) not in told


@pytest.mark.parametrize("command", [c for c in COMMANDS if c != ["migrate"]], ids=" ".join)
def test_a_group_that_was_not_migrated_says_what_to_run(
    prejoin: Prejoin, there: dict[str, str], command: list[str]
) -> None:
    told = prejoin(*command, **(there | {"group": "nowhere"})).err.splitlines()[-1]
    assert told.startswith("prejoin: ")
    assert "`prejoin migrate`" in told


def test_as_a_process_it_reports_on_stdout_and_leaves_with_the_same_code(there: dict[str, str], shop: World) -> None:
    tell(shop, CANCELLED)
    settings = {f"PREJOIN_{name.upper()}": value for name, value in there.items()}
    done = subprocess.run(
        [sys.executable, "-m", "projector.cli", "deadletters", "list", "--json"],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, **settings},
        timeout=60,
    )
    assert (done.returncode, json.loads(done.stdout)["by_reason"]) == (1, {"orphan": 1})
    assert "Traceback" not in done.stderr
