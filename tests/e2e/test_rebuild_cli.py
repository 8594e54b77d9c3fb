"""`prejoin rebuild` as a process: its plan, a kill, what status says, going on, the switch, what it leaves."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.model import Model
from tests.model.histories import random_stream
from tests.process import environment_with
from tests.world import World, world


@pytest.fixture
def shop(database_url: str, read_database_url: str) -> Iterator[World]:
    with world(database_url, read_url=read_database_url) as made:
        yield made


def environment(shop: World) -> dict[str, str]:
    return environment_with(DATABASE_URL=shop.url, ELASTICSEARCH_URL="", KAFKA_BROKERS="127.0.0.1:9", GROUP=shop.group)


def prejoin(shop: World, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "projector.cli", *arguments]
    return subprocess.run(command, env=environment(shop), capture_output=True, text=True, timeout=120, check=False)


def test_from_the_plan_to_the_switch_with_a_kill_between(shop: World) -> None:
    records = random_stream(3, customers=10, products=10, orders=120)
    shop.given(records)
    shop.execute("ANALYZE")
    plan = json.loads(prejoin(shop, "rebuild", "--all", "--dry-run", "--json").stdout)
    orders = next(v for v in plan["views"] if v["view"] == "order_overview")
    assert (plan["goes_on"], orders["generation"], orders["rows"]) == (False, 1, len(shop.view("order_overview")))

    with shop.connect() as holder, holder.transaction():  # whoever fills it waits here
        holder.execute("LOCK TABLE shipments IN ACCESS EXCLUSIVE MODE")
        command = [sys.executable, "-m", "projector.cli", "rebuild", "order_overview"]
        process = subprocess.Popen(command, env=environment(shop), stderr=subprocess.DEVNULL)
        until = time.monotonic() + 30
        while not shop.fetch("SELECT FROM rebuilds") and time.monotonic() < until:
            time.sleep(0.05)
        second = prejoin(shop, "rebuild", "sales_by_day")
        assert second.returncode == 2
        assert f"process {process.pid} since 2" in second.stderr
        process.send_signal(signal.SIGKILL)
        process.wait()
    told = json.loads(prejoin(shop, "status", "--json").stdout)
    built = {v["view"]: v["rebuild"] for v in told["views"]}
    assert built["order_overview"].items() >= {"generation": 2, "phase": "waiting"}.items()
    assert built["product_sales"] is None
    for ago, silent in (("-1 hour", False), ("2 minutes", True)):
        shop.execute("UPDATE rebuilds SET beat_at = now() - %s::interval", ago)
        said = prejoin(shop, "status").stdout
        assert "is being built" in said
        assert ("--abort gives it up" in said) is silent
    assert json.loads(prejoin(shop, "rebuild", "order_overview", "--dry-run", "--json").stdout)["goes_on"]

    done = prejoin(shop, "rebuild", "order_overview", "--json")
    assert done.returncode == 0, done.stderr
    last = json.loads(done.stdout)
    assert {"filling", "indexing"} <= {json.loads(line)["phase"] for line in done.stderr.splitlines()}
    assert {v["view"]: v["generation"] for v in last["views"]}["order_overview"] == 2
    assert shop.views() == Model().apply_all(records).views()
    assert json.loads(prejoin(shop, "verify", "--all", "--json").stdout)["drift"] == 0

    again = prejoin(shop, "rebuild", "--all", "--drop-old")
    assert again.returncode == 0, again.stderr
    assert "order_overview is served from generation 3" in again.stdout
    assert "dropped order_overview__g2" in again.stdout
    assert "rows built" in again.stderr
    assert shop.fetch("SELECT FROM generations WHERE state <> 'live'") == []


def test_aborting_and_what_cannot_be_asked_together(shop: World) -> None:
    nothing = prejoin(shop, "rebuild", "--all", "--abort")
    assert (nothing.returncode, nothing.stdout) == (0, "nothing was being built\n"), nothing.stderr
    for wrong in (["rebuild"], ["rebuild", "fulfilment", "--all"], ["rebuild", "--all", "--search-only", "--abort"]):
        told = prejoin(shop, *wrong)
        assert (told.returncode, told.stderr.count("\n")) == (2, 1)
    assert "there is no view 'nonsense'" in prejoin(shop, "rebuild", "nonsense").stderr


def on_a_terminal(shop: World, typed: str, *arguments: str) -> "tuple[int, str]":
    """Run a command on a terminal, where something is typed; returns its exit code and what the terminal shows."""
    command = [sys.executable, "-m", "projector.cli", *arguments]
    ours, its = pty.openpty()
    with subprocess.Popen(command, env=environment(shop), stdin=its, stdout=its, stderr=its, close_fds=True) as process:
        os.close(its)
        os.write(ours, typed.encode())
        shown = b""
        while True:
            try:
                shown += os.read(ours, 4_096)
            except OSError:  # the other end is closed: it has ended
                break
    os.close(ours)
    return process.returncode, shown.decode()


def test_on_a_terminal_it_shows_the_plan_and_asks_unless_told_not_to(shop: World) -> None:
    shop.given(random_stream(3, customers=5, products=5, orders=20))
    refused, shown = on_a_terminal(shop, "n\n", "rebuild", "--all")
    assert "Build?" in shown
    assert (refused, generation(shop)) == (1, 1)
    assert on_a_terminal(shop, "y\n", "rebuild", "--all")[0] == 0
    assert generation(shop) == 2
    done, shown = on_a_terminal(shop, "", "rebuild", "--all", "--yes")
    assert "Build?" not in shown
    assert (done, generation(shop)) == (0, 3)


def generation(shop: World) -> int:
    ((found,),) = shop.fetch("SELECT generation FROM served WHERE relation = 'order_overview'")
    return int(found)
