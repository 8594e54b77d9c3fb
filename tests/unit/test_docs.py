"""What the documentation says, held against the repository: links, commands, settings, tables, examples."""

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from projector.apply.plan import FAN_OUT, PORTION
from projector.cli.commands import app
from projector.declare.projections import load
from projector.operate.check import problems
from projector.settings import Settings
from projector.store.tables import STATUS_VIEWS, metadata
from tests import shop

REPOSITORY = Path(__file__).parents[2]
TUTORIAL = "docs/tutorial.md"  # names files that it writes; test_tutorial.py does
TOP = ("README.md", "CHANGELOG.md", "bench/README.md")
PAGES = {str(p.relative_to(REPOSITORY)): p.read_text() for p in (REPOSITORY / "docs").rglob("*.md")}
PAGES |= {name: (REPOSITORY / name).read_text() for name in TOP}
README, ARCHITECTURE = PAGES["README.md"], PAGES["docs/architecture.md"]

LINK = re.compile(r"\[[^\]]+\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`]+)`")
EXAMPLE = re.compile(r"<!-- example: projections/(\w+\.py) -->\n```python\n(.*?)```", re.DOTALL)
SETTING = re.compile(r"PREJOIN_[A-Z_]+[A-Z]")
# No setting of the processes: what the embedded servers alone take from the environment.
EMBEDDED = {"PREJOIN_CACHE"}


def without_blocks(page: str) -> str:
    return BLOCK.sub("", page)


def anchors(page: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", without_blocks(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_how_large_a_fan_out_is_finished_in_portions_is_what_the_engine_does() -> None:
    assert f"reaches more than {PORTION:,} rows of others is finished in portions" in README
    told = f"At most {FAN_OUT:,} keys of a view are refreshed in a transaction"
    assert f"{told}, of those that a key query found {PORTION:,}." in " ".join(ARCHITECTURE.split())


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_somewhere(name: str) -> None:
    for target, anchor in LINK.findall(without_blocks(PAGES[name])):
        path = (REPOSITORY / name).parent / target if target else REPOSITORY / name
        assert path.exists(), target
        if anchor:
            assert anchor in anchors(path.read_text()), f"{target}#{anchor}"


def calls(page: str) -> Iterator[list[str]]:
    """The words behind each `prejoin` in code: in spans, and in blocks after a prompt or in a pipe."""
    code = SPAN.findall(without_blocks(page))
    code += [line for kind, block in BLOCK.findall(page) if kind == "console" for line in block.splitlines()]
    for line in code:
        for found in re.findall(r"(?:^|[$|(] |\$\(|; |until )prejoin((?: [^|;&#)\s]+)*)", line):
            yield found.split()


@pytest.mark.parametrize("name", [name for name, page in PAGES.items() if any(calls(page))])
def test_every_command_shown_is_one_of_the_command_line(name: str) -> None:
    for words in calls(PAGES[name]):
        command: Any = typer.main.get_command(app)
        while hasattr(command, "commands") and words and not words[0].startswith("-"):
            assert words[0] in command.commands, words
            command, words = command.commands[words[0]], words[1:]
        options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        assert {word for word in words if word.startswith("--")} <= options, (command.name, words)


def test_the_commands_of_the_guides_are_found_at_all() -> None:
    assert ["stack", "env"] in list(calls(README))
    assert ["publish", "-"] in list(calls(README))
    assert ["deadletters", "replay", "--all"] in list(calls(PAGES["docs/how-to/operate.md"]))


@pytest.mark.parametrize("name", PAGES)
def test_every_setting_named_is_one(name: str) -> None:
    known = {f"PREJOIN_{field.upper()}" for field in Settings.model_fields} | EMBEDDED
    assert set(SETTING.findall(PAGES[name])) <= known


def test_the_table_of_settings_is_complete_and_tells_the_defaults() -> None:
    rows = re.findall(r"^\| `(PREJOIN_\w+)` \| (.*?) \|", PAGES["docs/how-to/configure.md"], re.MULTILINE)
    told = {name: default.strip("`") for name, default in rows}
    for field, about in Settings.model_fields.items():
        default = {None: "–", "": "empty"}.get(about.default, str(about.default))
        assert told.pop(f"PREJOIN_{field.upper()}") == (default.lower() if isinstance(about.default, bool) else default)
    assert set(told) == EMBEDDED
    assert any("PREJOIN_CACHE" in path.read_text() for path in (REPOSITORY / "projector/embedded").glob("*.py"))


@pytest.mark.parametrize("name", [name for name in PAGES if name != TUTORIAL])
def test_every_file_named_is_there(name: str) -> None:
    folders = "projector|read_api|projections|schemas|tests|docs|bench|tools|docker"
    examples = {f"projections/{file}" for file, _ in EXAMPLE.findall(PAGES[name])}
    examples |= {"schemas/orders/v3.py", "schemas/orders/examples/OrderPlaced.v3.json"}  # which a how-to has one write
    for path in re.findall(rf"(?:{folders})/[\w/.-]*\w", PAGES[name]):
        assert path in examples or (REPOSITORY / path).exists() or name.startswith("docs/decisions"), path


def test_every_make_target_shown_is_one() -> None:
    targets = set(re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    shown = {target for page in PAGES.values() for target in re.findall(r"(?:`|\$ )make ([a-z]+)", page)}
    assert {"demo", "test"} <= shown <= targets


def test_the_ci_script_can_be_run() -> None:
    script = REPOSITORY / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    assert re.findall(r"^make \w+$", script.read_text(), re.MULTILINE) == ["make check", "make test"]


def test_the_readme_names_every_served_view_with_its_path() -> None:
    for view in shop.served(load("projections")):
        assert f"| `{view.name}` | `/v1/{view.path}` |" in README


def test_the_architecture_names_every_table() -> None:
    named = set(SPAN.findall(without_blocks(ARCHITECTURE)))
    assert {*metadata.tables, *STATUS_VIEWS} <= named
    for entity in (entity for entity in load("projections").entities if entity.topic in shop.TOPICS):
        assert {entity.name, *(child.table.name for child in entity.children)} <= named


def test_the_list_of_decisions_has_each_once_in_order_under_its_title() -> None:
    listed = re.findall(r"^(\d+)\. \[(.+)\]\((.+)\)", PAGES["docs/decisions/README.md"], re.MULTILINE)
    there = sorted((REPOSITORY / "docs/decisions").glob("[0-9]*.md"))
    assert [file for _, _, file in listed] == [path.name for path in there]
    for number, title, file in listed:
        assert file.startswith(f"{int(number):04}-")
        assert PAGES[f"docs/decisions/{file}"].startswith(f"# {number}. {title}")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the projections under another name, `documented`, with the examples of the documentation in it."""
    copy = tmp_path / "documented"
    shutil.copytree(REPOSITORY / "projections", copy, ignore=shutil.ignore_patterns("__pycache__"))
    for page in PAGES.values():
        for file, text in EXAMPLE.findall(page):
            (copy / file).write_text(text)
    for path in copy.glob("*.py"):
        path.write_text(path.read_text().replace("from projections.", "from documented."))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield copy
    for module in [module for module in sys.modules if module.split(".")[0] == "documented"]:
        del sys.modules[module]


def test_the_example_views_pass_check(package: Path) -> None:
    declared, found = problems("documented")
    assert found == []
    assert {"payment_overview", "carriers"} <= {view.name for view in declared.served}


def test_a_mistake_in_an_example_view_would_be_found(package: Path) -> None:
    path = package / "payment_overview.py"
    path.write_text(path.read_text().replace("payments.c.captured", "payments.c.capturd"))
    _, found = problems("documented")
    assert any("payments has no column 'capturd'; did you mean 'captured'?" in problem for problem in found)
