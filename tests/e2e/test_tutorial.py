"""docs/tutorial.md, from its first line to its last: its files are written, its commands run, what they print compared.

In a copy of the checkout, on servers of its own. In what the page prints, `…` stands for anything: on a line of its
own for any lines.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from projector.embedded.ports import free_port
from tests.conftest import JARS
from tests.process import environment_with

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs" / "tutorial.md").read_text()
BLOCK = re.compile(r"(?:<!-- file: (\S+) -->\n)?```(\w+)\n(.*?)```", re.DOTALL)
NEEDED = ("bash", "curl", "git", "make")
END = "— the command has ended —"

pytestmark = pytest.mark.skipif(not all(map(shutil.which, NEEDED)), reason=f"needs {', '.join(NEEDED)}")


class Step(NamedTuple):
    """A file to write, or a command to run; `text` is what is in the one, or what the other prints."""

    file: str
    command: str
    text: str


def steps(page: str) -> Iterator[Step]:
    for file, kind, text in BLOCK.findall(page):
        if file:
            yield Step(file, "", text)
        else:
            assert kind == "console", text
            for asked in re.findall(r"^\$ .*\n(?:(?!\$ ).*\n)*", text, re.MULTILINE):
                command, _, printed = asked.removeprefix("$ ").partition("\n")
                yield Step("", command, printed)


def copied(folder: Path) -> Path:
    """The checkout as it is, with the environment that runs this test for its own."""
    left_out = shutil.ignore_patterns(".git", ".venv", ".prejoin", "build", "__pycache__", "*.egg-info", ".hypothesis")
    shutil.copytree(REPOSITORY, folder, ignore=left_out)
    (folder / ".venv").mkdir()
    (folder / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    (folder / ".venv" / ".done").touch()
    (folder / ".prejoin").mkdir()
    (folder / ".prejoin" / "lib").symlink_to(JARS)
    subprocess.run(["git", "init", "--quiet", folder], check=True)
    return folder


class Shell:
    """One bash in a folder, which keeps its variables and jobs from command to command."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self._script = folder, folder / ".prejoin" / "command.sh"
        self._environment = environment
        self._bash = subprocess.Popen(
            ["bash", "--norc"], cwd=folder, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    def run(self, command: str) -> str:
        """What it prints, on stdout and stderr."""
        self._script.write_text(command + "\n")
        assert self._bash.stdin
        assert self._bash.stdout
        self._bash.stdin.write(f"source {self._script} </dev/null; printf '\\n{END}\\n'\n")
        self._bash.stdin.flush()
        lines = []
        for line in self._bash.stdout:
            if line == f"{END}\n":
                return "".join(lines).removesuffix("\n")
            lines.append(line)
        raise AssertionError(f"the shell ended: {''.join(lines)}")

    def close(self) -> None:
        """End what a failed page has left running."""
        with suppress(ProcessLookupError):
            os.killpg(self._bash.pid, signal.SIGTERM)  # with all that runs in its background
        self._bash.communicate(timeout=60)
        down = [sys.executable, "-m", "projector.cli", "stack", "down"]
        subprocess.run(down, cwd=self.folder, env=self._environment, capture_output=True, timeout=100)


@pytest.fixture
def ports() -> dict[str, str]:
    """The page's ports, and those in their place."""
    first = free_port()
    return {"8000": str(first), "8001": str(free_port({first}))}


@pytest.fixture
def shell(tmp_path_factory: pytest.TempPathFactory, ports: dict[str, str]) -> Iterator[Shell]:
    folder = copied(tmp_path_factory.mktemp("tutorial") / "prejoin")
    outer = ("GIT_", "PYTEST_", "MAKE", "MFLAGS", "ARGS")  # of who runs the test, under make perhaps
    settings = environment_with(API_PORT=ports["8000"], METRICS_PORT="0")
    kept = {name: value for name, value in settings.items() if not name.startswith(outer)}
    # unbuffered: stdout and stderr in the order in which a terminal shows them
    shell = Shell(folder, kept | {"PYTHONPATH": str(folder), "PYTHONUNBUFFERED": "1"})
    try:
        yield shell
    finally:
        shell.close()


def pattern(printed: str) -> str:
    lines = [
        r"(?:.*\n)*?" if line == "…\n" else re.escape(line).replace("…", ".*") for line in printed.splitlines(True)
    ]
    return "".join(lines)


def placed(text: str, ports: dict[str, str]) -> str:
    return re.sub(r"(127\.0\.0\.1:|API_PORT=)(\d+)", lambda found: found[1] + ports[found[2]], text)


@pytest.mark.timeout(400)
def test_the_tutorial_does_what_it_says_from_its_first_line_to_its_last(shell: Shell, ports: dict[str, str]) -> None:
    before = shell.run("git add --all && git status --short")
    for file, command, text in steps(PAGE):
        if file:
            (shell.folder / file).write_text(text)
            continue
        said = shell.run(placed(command, ports))
        wanted = pattern(placed(text, ports))
        assert re.fullmatch(wanted, said if said.endswith("\n") or not said else said + "\n"), f"{command}\n{said}"
    assert shell.run("git status --short") == before
