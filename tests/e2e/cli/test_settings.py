"""Wrong use, settings and servers: what every command says of them, in one line."""

import json
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.e2e.cli.calling import CANCELLED, Prejoin, tell
from tests.process import environment_with
from tests.world import World


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


REPOSITORY = Path(__file__).parents[3]
COMMANDS = [["migrate"], ["check", "--database"], ["verify", "--all"], ["status"], ["deadletters", "list"]]
COMMANDS += [["deadletters", "show", "1"], ["deadletters", "replay", "--all"], ["deadletters", "purge", "1"]]
COMMANDS += [["erase", "customer", "c1", "--yes"], ["pause"], ["resume"]]
COMMANDS += [["keys", "create", "x"], ["keys", "list"], ["keys", "revoke", "x"]]
COMMANDS += [["rebuild", "--all"], ["rebuild", "--all", "--from-events"], ["rebuild", "--all", "--abort"]]
COMMANDS += [["snapshots", "list"], ["snapshots", "drop", "x"]]


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
    done = subprocess.run(
        [sys.executable, "-m", "projector.cli", "deadletters", "list", "--json"],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env=environment_with(**{name.upper(): value for name, value in there.items()}),
        timeout=60,
    )
    assert (done.returncode, json.loads(done.stdout)["by_reason"]) == (1, {"orphan": 1})
    assert "Traceback" not in done.stderr
