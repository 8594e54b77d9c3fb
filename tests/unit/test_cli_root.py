"""The command line as a whole: help, versions, exit codes, and what goes to which stream."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import typer

from projector.cli.commands import app
from projector.cli.console import _Lines, emit_json, progress

REPOSITORY = Path(__file__).parents[2]
# A command line with commands that fail in each way; what follows `main` is what `prejoin` runs.
FAILING = """
import os, signal, sys
from projector.cli import main
from projector.cli.commands import app
from projector.errors import PrejoinError

@app.command()
def wrong() -> None:
    raise PrejoinError("kafka: does not answer:\\n start it")

@app.command()
def defect() -> None:
    raise ZeroDivisionError("a defect")

@app.command()
def unwritable() -> None:
    open("/nowhere/at/all", "w")

@app.command()
def refused() -> None:
    import psycopg
    raise psycopg.errors.InsufficientPrivilege("permission denied for table dead_letters")

@app.command()
def gone() -> None:
    import psycopg
    raise psycopg.OperationalError("server closed the connection unexpectedly\\n\\tThis probably means …")

@app.command()
def signalled(name: str) -> None:
    try:
        os.kill(os.getpid(), getattr(signal, name))
        signal.pause()
    finally:
        print("cleaned up")

main()
"""


def python(*arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment, timeout=30)


def prejoin(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return python("-m", "projector.cli", *arguments)


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command of the group that is no group itself, with the words that call it."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


def test_help_is_quick_and_loads_none_of_the_heavy_libraries() -> None:
    loaded = python("-c", "import sys, projector.cli.commands; print(*sys.modules)").stdout.split()
    heavy = {"faust", "fastapi", "aiokafka", "sqlalchemy", "psycopg", "pydantic", "pyarrow", "psutil", "alembic"}
    assert not heavy & set(loaded)

    before = os.times()
    assert prejoin("--help").returncode == 0
    after = os.times()
    spent = after.children_user - before.children_user + after.children_system - before.children_system
    assert spent < 0.5  # seconds of processor time, which depends little on what else the machine does


COMMANDS = dict(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_explains_itself_with_an_example(path: tuple[str, ...]) -> None:
    command = COMMANDS[path]
    assert command.help
    assert command.epilog, f"{path} has no example"
    assert "prejoin " + " ".join(path) in command.epilog


@pytest.mark.parametrize("group", [[], ["stack"], ["deadletters"], ["generate"]], ids=str)
def test_the_lists_of_commands_say_each_in_a_line_that_is_not_cut_off(group: list[str]) -> None:
    told = prejoin(*group, "--help").stdout
    assert "Example: prejoin " in told
    assert "..." not in told.partition("Commands:")[2].partition("Example:")[0]


def test_the_version_is_told() -> None:
    told = prejoin("--version")
    assert told.returncode == 0
    assert told.stdout.startswith("prejoin ")


@pytest.mark.parametrize("arguments", [["nonsense"], ["stack", "nonsense"], ["stack", "up", "--nonsense"]])
def test_wrong_use_exits_with_2_and_says_why_on_stderr(arguments: list[str]) -> None:
    done = prejoin(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "nonsense" in done.stderr


def test_an_error_of_the_users_is_one_line_and_exits_with_2() -> None:
    done = python("-c", FAILING.replace("main()\n", "sys.argv = ['prejoin', 'wrong']; main()\n"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "prejoin: kafka: does not answer: start it\n"


def test_a_defect_does_not_exit_with_the_code_for_no() -> None:
    done = python("-c", FAILING.replace("main()\n", "sys.argv = ['prejoin', 'defect']; main()\n"))
    assert done.returncode == 2
    assert "ZeroDivisionError" in done.stderr


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("unwritable", "/nowhere/at/all: No such file or directory: see that it can be read and written"),
        ("refused", "the role of PREJOIN_DATABASE_URL may not do this (permission denied for table dead_letters)"),
        ("gone", "Postgres (PREJOIN_DATABASE_URL) gave up: server closed the connection unexpectedly; give the"),
    ],
)
def test_what_the_environment_does_is_told_in_one_line(command: str, said: str) -> None:
    done = python("-c", FAILING.replace("main()\n", f"sys.argv = ['prejoin', '{command}']; main()\n"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"prejoin: {said}")
    assert done.stderr.count("\n") == 1


def test_ctrl_c_while_the_commands_are_still_being_imported_leaves_no_traceback() -> None:
    # an import that takes for ever, of a module that every command needs
    done = python(
        "-c",
        "import os, signal, sys\nfrom projector.cli import main\n"
        "class Slow:\n    def find_spec(self, *_): os.kill(os.getpid(), signal.SIGINT); signal.pause()\n"
        "sys.meta_path.insert(0, Slow()); sys.argv = ['prejoin', 'status']; main()",
    )
    assert (done.returncode, done.stderr) == (130, "prejoin: interrupted\n")


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interrupted_command_cleans_up_and_exits_with_130(name: str) -> None:
    done = python("-c", FAILING.replace("main()\n", f"sys.argv = ['prejoin', 'signalled', '{name}']; main()\n"))
    assert (done.returncode, done.stdout) == (130, "cleaned up\n")
    assert "Traceback" not in done.stderr


def test_without_the_embedded_extra_the_stack_says_what_to_install() -> None:
    done = python(
        "-c",
        "import sys; sys.modules['psutil'] = None\nfrom projector.cli import main\n"
        "sys.argv = ['prejoin', 'stack', 'status']; main()",
    )
    assert done.returncode == 2
    assert done.stderr == "prejoin: psutil is not installed: pip install 'prejoin[embedded]'\n"


def test_json_is_one_object_on_stdout_with_times_in_utc(capsys: pytest.CaptureFixture[str]) -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=1)))
    emit_json({"as_of": noon, "total": Decimal("12.50"), "name": "Zoë"})
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {"as_of": "2026-01-01T11:00:00Z", "total": "12.50", "name": "Zoë"}
    assert printed.out.count("\n") == 1
    assert printed.err == ""


def test_progress_without_a_terminal_is_plain_lines_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("events", 2000) as advance:
        for _ in range(2000):
            advance(1)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "events: 2,000 of 2,000\n"


def test_a_guess_that_was_too_low_is_dropped_rather_than_exceeded(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("events", 100) as advance:
        advance(101)
    assert capsys.readouterr().err == "events: 101\n"


def test_a_long_job_says_a_line_every_few_seconds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter(range(100))
    monkeypatch.setattr("projector.cli.console.monotonic", lambda: float(next(seconds)))
    lines = _Lines("events", None)
    for _ in range(4):
        lines.advance(10)
    assert capsys.readouterr().err == "events: 30, 8 a second\n"
