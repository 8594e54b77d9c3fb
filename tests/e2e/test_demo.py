"""`prejoin demo`, as a newcomer runs it: in an empty folder, from start to end."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import psutil
import pytest

from projector.embedded.ports import free_port
from tests.conftest import JARS
from tests.process import environment_with


def demo(folder: Path, *options: str, stderr: int = subprocess.STDOUT) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "projector.cli", "demo", *options],
        cwd=folder,
        env=environment_with(CACHE=str(JARS)),
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        start_new_session=True,
    )


def left_behind(folder: Path) -> list[str]:
    """What still runs of the demo in this folder."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        told = " ".join(process.info["cmdline"] or []) + f" {process.info['cwd']}"
        if str(folder) in told and process.pid != os.getpid():
            found.append(told)
    return found


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.mark.timeout(300)
def test_once_ends_by_itself_with_a_summary_and_leaves_nothing_running(folder: Path) -> None:
    running = demo(folder, "--once", "--scale", "0.001", "--port", str(free_port()), stderr=subprocess.PIPE)
    said, noted = running.communicate(timeout=280)
    assert running.returncode == 0, noted
    assert re.search(r"[\d,]+ events in [\d.]+ s: [\d,]+ events/s", said), said
    assert re.search(r"order_overview\s+│ 1,500 ", said), said
    assert "verify found no drift" in said
    assert re.search(r"1,6[\d]{2} documents in the search index, [\d.]+ s behind", said), said
    assert "elasticsearch: ready" not in said
    assert "elasticsearch: ready" in noted
    assert left_behind(folder) == []


@pytest.mark.timeout(300)
def test_it_lives_on_until_ctrl_c(folder: Path) -> None:
    port = free_port()
    running = demo(folder, "--scale", "0.001", "--rate", "50", "--port", str(port))
    assert running.stdout is not None
    for line in running.stdout:
        if "new events a second" in line:
            break
    first = position(port)
    deadline = time.monotonic() + 30
    while position(port) == first:
        assert time.monotonic() < deadline, "no new event became visible"
    try:
        trials(folder, port)
    finally:
        os.killpg(running.pid, signal.SIGINT)
    rest, _ = running.communicate(timeout=60)
    assert running.returncode == 130, rest
    assert "Traceback" not in rest
    assert left_behind(folder) == []


def trials(folder: Path, port: int) -> None:
    """What the dashboard says there is to try."""

    def tried(*words: str) -> str:
        done = demo(folder, *words)
        said, _ = done.communicate(timeout=100)
        assert done.returncode == 0, said
        return said

    def asked(path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return json.load(answer)

    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
        page = answer.read().decode()
    assert 'data-demo="true" data-shop="true"' in page
    assert re.search(r"c7, .* before, is Zoë Ünal now, in all of its [0-9]+ orders", tried("rename", "c7", "Zoë Ünal"))
    named = {order["customer_name"] for order in asked("/v1/orders?customer_id=c7&limit=200")["data"]}
    assert named == {"Zoë Ünal"}
    assert "Elasticsearch is stopped" in tried("search", "off")
    assert asked("/v1/orders/search?q=unal&limit=1")["degraded"]
    assert "Elasticsearch runs" in tried("search", "on")
    assert "customer_summary is served from generation 2" in tried("rebuild", "customer_summary")


def test_what_there_is_to_try_needs_a_demo_that_runs(folder: Path) -> None:
    for words in (["rename"], ["search", "off"], ["rebuild"]):
        done = demo(folder, *words)
        said, _ = done.communicate(timeout=60)
        assert done.returncode == 2
        assert said == f"prejoin: no demo runs in {folder}/.prejoin/demo: start one with `prejoin demo`\n"


def position(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/orders?limit=1", timeout=10) as answer:
        return str(answer.headers["Prejoin-Position"])


def test_a_port_in_use_is_told_before_anything_starts(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        running = demo(folder, "--port", str(taken.getsockname()[1]))
        said, _ = running.communicate(timeout=60)
    assert running.returncode == 2
    assert "is in use: choose another with --port" in said
    assert not (folder / ".prejoin" / "demo").exists()


@pytest.mark.timeout(300)
def test_a_second_one_is_refused_and_a_killed_one_is_cleared_away(folder: Path) -> None:
    port = free_port()
    running = demo(folder, "--scale", "0.001", "--port", str(port))
    assert running.stdout is not None
    for line in running.stdout:
        if "the API answers" in line:
            break
    second = demo(folder, "--port", str(free_port()))
    said, _ = second.communicate(timeout=60)
    assert second.returncode == 2
    assert (
        said
        == f"prejoin: a demo runs in {folder}/.prejoin/demo already: stop that one, or start this in another folder\n"
    )
    assert position(port)  # the first one goes on

    running.kill()
    running.communicate()
    assert left_behind(folder)  # its worker, its API, its servers
    again = demo(folder, "--once", "--scale", "0.001", "--port", str(port))
    said, _ = again.communicate(timeout=200)
    assert again.returncode == 0, said
    assert left_behind(folder) == []
