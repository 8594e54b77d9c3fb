"""`prejoin new`: what it writes passes the checks as it is, and nothing that is there is touched."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.process import environment_with

REPOSITORY = Path(__file__).parents[2]
LONGEST = "abcdefghijklmnopqrstuvws"


def copied(folder: Path) -> Path:
    """The parts of a checkout that `prejoin new` is about."""
    left_out = shutil.ignore_patterns("__pycache__", "integration", "e2e", "torture")
    for part in ("schemas", "projections", "tests"):
        shutil.copytree(REPOSITORY / part, folder / part, ignore=left_out)
    for part in ("projector", "read_api", "pyproject.toml"):
        (folder / part).symlink_to(REPOSITORY / part)
    return folder


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copied(tmp_path_factory.mktemp("checkout"))


def run(folder: Path, *command: str, path: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """A module of Python's in the folder, with what `path` has to import: the folder's own, by default."""
    return subprocess.run(
        [sys.executable, "-P", "-m", *command],
        cwd=folder, env=environment(path or folder), capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def environment(path: Path) -> dict[str, str]:
    return environment_with() | {"PYTHONPATH": str(path)}


def new(folder: Path, *arguments: str) -> list[str]:
    """The files that it wrote."""
    done = run(folder, "projector.cli", "new", *arguments)
    assert done.returncode == 0, done.stderr
    return [line.removeprefix("wrote ") for line in done.stdout.splitlines()]


def contents(folder: Path) -> dict[Path, bytes | None]:
    """All that is in it, but for what Python compiles."""
    return {
        path: path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
        if "__pycache__" not in path.parts
    }


def refused(folder: Path, *arguments: str, path: Path | None = None) -> str:
    """The one line that it says; nothing was written."""
    before = contents(folder)
    done = run(folder, "projector.cli", "new", *arguments, path=path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert contents(folder) == before
    return done.stderr.removeprefix("prejoin: ").rstrip()


def forget(checkout: Path, files: list[str]) -> None:
    """Take away what was written, for the tests behind."""
    for file in files:
        (checkout / file).unlink()


@pytest.mark.parametrize("name", ["gift_cards", LONGEST])
def test_what_is_written_passes_the_checks_and_its_own_tests_as_it_is(checkout: Path, name: str) -> None:
    files = new(checkout, "service", name)
    files += new(checkout, "view", f"{name}_seen", "--over", name)
    code = [file for file in files if file.endswith(".py")]
    for command in (["ruff", "format", "--check", *code], ["ruff", "check", *code], ["projector.cli", "check"]):
        done = run(checkout, *command)
        assert done.returncode == 0, done.stdout
    tests = [f"tests/unit/test_{name}.py", "tests/unit/test_schemas_examples.py"]
    done = run(checkout, "pytest", "-p", "no:cacheprovider", *tests)
    assert done.returncode == 0, done.stdout
    forget(checkout, files)


def test_each_service_is_told_what_one_of_it_is_called(checkout: Path) -> None:
    written = json.loads(run(checkout, "projector.cli", "new", "service", "categories", "--json").stdout)["written"]
    assert "schemas/categories/examples/CategoryAdded.v1.json" in written
    written += new(checkout, "service", "freight", "--one", "parcel")
    assert "schemas/freight/examples/ParcelAdded.v1.json" in written
    forget(checkout, written)


WRONG = [
    (["service", "Reviews"], "Reviews: a name is a lower-case letter, then letters, digits and _, 40 at most"),
    (["service", "../reviews"], "../reviews: a name is a lower-case letter"),
    (["service", "review"], "review is no plural: name a service as many of what it tells of, such as reviews, or"),
    (["service", "lambda", "--one", "it"], "lambda: means something else in Python"),
    (["service", "texts"], "text: means something else in Python, or in these files: choose another name"),
    (["service", "a_service_with_too_long_a_names"], "a_service_with_too_long_a_names: is longer than 24 letters"),
    (["service", "positions"], "positions: the engine has a table of that name; choose another"),
    (["service", "payments"], "payments: there is an entity of that name: choose another"),
    (["service", "catalog", "--one", "item"], "catalog: an entity takes the events of that topic"),
    (["service", "contracts"], "contract: means something else"),
    (["service", "docs"], "tests/unit/test_docs.py is there: choose another name, or move it away"),
    (["view", "order_overview", "--over", "orders"], "order_overview: there is a view of that name"),
    (
        ["view", "seen", "--over", "reviews"],
        "there is no entity 'reviews': --over takes one of customers, orders, ",
    ),
    (
        ["view", "seen", "--over", "orders", "--path", "orders"],
        "/v1/orders is order_overview's: choose another with",
    ),
    (["view", "seen", "--over", "orders", "--path", "a/b"], "path 'a/b' is a lower-case letter, then letters"),
]
# All of them in one process, which takes a second to begin.
ASK = """
import json, sys
from projector.cli.commands import app
from projector.errors import PrejoinError

for words in json.load(sys.stdin):
    try:
        app(["new", *words], standalone_mode=False)
    except PrejoinError as error:
        print(json.dumps(str(error)))
    else:
        print(json.dumps("it was done"))
"""


def test_a_wrong_word_is_told_and_nothing_is_written(checkout: Path) -> None:
    before = contents(checkout)
    asked = [sys.executable, "-P", "-c", ASK]
    done = subprocess.run(
        asked, cwd=checkout, env=environment(checkout), input=json.dumps([words for words, _ in WRONG]),
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(words, told[: len(wanted)]) for (words, wanted), told in zip(WRONG, said, strict=True)] == WRONG
    assert not any("\n" in told for told in said)
    assert contents(checkout) == before


def test_nothing_is_overwritten(checkout: Path) -> None:
    written = new(checkout, "view", "payments_seen", "--over", "payments")
    (checkout / written[0]).rename(checkout / "kept")  # the test is still there
    assert refused(checkout, "view", "payments_seen", "--over", "payments").startswith(f"{written[1]} is there")
    forget(checkout, ["kept", written[1]])


def test_a_view_over_an_entity_that_others_have_the_path_of_gets_one_of_its_own(checkout: Path) -> None:
    written = new(checkout, "view", "stock_seen", "--over", "orders")
    assert 'path="stock-seen"' in (checkout / written[0]).read_text()
    forget(checkout, written)


def test_it_writes_into_a_checkout_only_and_into_the_one_that_it_runs_from(checkout: Path, tmp_path: Path) -> None:
    elsewhere = refused(tmp_path, "service", "reviews", path=checkout)
    assert elsewhere.startswith(f"{tmp_path} has no schemas/: `prejoin new` writes into a checkout of Prejoin;")
    another = refused(copied(tmp_path), "service", "reviews", path=checkout)
    assert another.startswith(f"this prejoin uses {checkout}/schemas, not the schemas/ of {tmp_path}: run the one of")
