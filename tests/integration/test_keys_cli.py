"""`prejoin keys`, as its user meets it."""

import hashlib
import json
import subprocess
import sys

import pytest

from tests.process import environment_with
from tests.world import World


@pytest.fixture
def environment(shop: World, database_url: str) -> dict[str, str]:
    shop.clear()
    return environment_with(DATABASE_URL=database_url, GROUP=shop.group)


def keys(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "projector.cli", "keys", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_a_key_is_told_once_and_kept_as_a_digest(shop: World, environment: dict[str, str]) -> None:
    made = json.loads(keys(environment, "create", "a b", "--views", "orders,customer_summary", "--json").stdout)
    assert (made["views"], made["pii"], made["expires_at"]) == (["customer_summary", "order_overview"], False, None)
    assert made["key"].startswith(f"prejoin_{made['id']}_")
    assert len(made["key"].split("_", 2)[2]) == 43
    stored = shop.fetch("SELECT id, name, digest FROM api_keys")
    assert stored == [(made["id"], "a b", hashlib.sha256(made["key"].encode()).digest())]
    plain = keys(environment, "create", "other", "--pii", "--expires", "2999-01-01")
    assert plain.stdout.count("\n") == 1
    listed = keys(environment, "list", "--json").stdout
    assert [(k["name"], k["state"], k["expires_at"]) for k in json.loads(listed)["keys"]] == [
        ("a b", "active", None),
        ("other", "active", "2999-01-01T00:00:00Z"),
    ]
    assert made["key"] not in listed
    assert "digest" not in listed
    assert json.loads(keys(environment, "revoke", "a b", "--json").stdout) == {"revoked": [made["id"]]}
    shown = keys(environment, "list").stdout
    assert "revoked" in shown
    assert made["key"][-43:] not in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("create", "x", "--views", "ordres"), "no view 'ordres'"),
        (("create", "x", "--expires", "tomorrow"), "--expires"),
        (("create", "x", "--expires", "2001-01-01"), "is past"),
        (("create", " "), "name"),
        (("revoke", "nobody"), "nobody"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(environment: dict[str, str], words: tuple[str, ...], said: str) -> None:
    ended = keys(environment, *words)
    assert (ended.returncode, ended.stdout, len(ended.stderr.splitlines())) == (2, "", 1)
    assert said in ended.stderr
