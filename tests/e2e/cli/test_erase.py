"""`prejoin erase` as it is called: what it says, and that it asks first."""

import os
import pty
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.e2e.cli.calling import Prejoin, Settings, placed, tell
from tests.model.histories import cloud_event
from tests.process import environment_with
from tests.world import World

REGISTERED = cloud_event("customers.CustomerRegistered", customer_id="c1", name="Zora", email="z@q", country="DE")


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
        env=environment_with(**{name.upper(): value for name, value in there.items()}),
        stdin=terminal[1], capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert "Erase customer c1? It cannot be undone." in done.stderr
    assert shop.view("customer_summary")[("c1",)]["name"] == name
