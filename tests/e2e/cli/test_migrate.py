"""`prejoin migrate` and `check` as they are called."""

import itertools
import os
from pathlib import Path

import pytest

from tests.e2e.cli.calling import Prejoin
from tests.world import World

_groups = itertools.count()


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
