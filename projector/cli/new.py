"""`prejoin new`: the first files of a service and of a view, which pass `make check` as they are."""

import builtins
import keyword
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from projector.cli.console import emit_json, note, report
from projector.cli.operate import Json
from projector.errors import PrejoinError

if TYPE_CHECKING:
    from projector.cli.first_files import Files, NewView
    from projector.declare.entity import Entity
    from projector.declare.projections import Projections

FOLDERS = ("schemas", "projections", "tests")
LONGEST = 24  # letters of a service's name, with which the lines of its first files have room
# What the files' own lines mean: no entity or view can be named so.
TAKEN = {"added", "removed", "select", "state", "entity", "contract", "id", "text", "given", "views"}

new = typer.Typer(
    no_args_is_help=True,
    help="Write the first files of a service or a view.",
    epilog="Example: prejoin new service reviews",
)


class NewError(PrejoinError):
    """There is something in the way of new files; none was written."""


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(new, name="new")


@new.command(
    short_help="Write a service's first contracts and entity.",
    epilog="Example: prejoin new service reviews",
)
def service(
    name: Annotated[str, typer.Argument(help="Its name in the plural, which is its topic's and its entity's.")],
    one: Annotated[str, typer.Option(help="What one of them is called; by itself NAME without its s.")] = "",
    as_json: Json = False,
) -> None:
    """Write the first files of a service: two contracts with golden examples, an entity that folds them, and its test.

    In the working directory, which must be a checkout. Nothing is overwritten, and nothing needs to be registered.
    """
    from projector.cli.first_files import Service

    declared = _declared()
    one = one or _singular(name)
    for word in (name, one):
        _refuse_wrong(word)
        if len(word) > LONGEST:
            raise NewError(f"{word}: is longer than {LONGEST} letters: choose a shorter word")
    _refuse_declared(name, declared)
    if name in declared.topics:
        raise NewError(f"{name}: an entity takes the events of that topic: choose another name")
    made = Service(name, one, declared.name)
    _write(made.files(), as_json)
    note(f"topic {name}, entity {name}; one of them is a {one} (another word: --one)")
    note(f"next: give {made.state}Added the fields that it has, fold them, and run `make check`")
    note(f"then: `prejoin new view {one}_overview --over {name}`")


@new.command(
    short_help="Write a view's first query over an entity.",
    epilog="Example: prejoin new view review_overview --over reviews",
)
def view(
    name: Annotated[str, typer.Argument(help="Its name, which is its table's.")],
    over: Annotated[str, typer.Option(metavar="ENTITY", help="The entity of which it has a row for each.")],
    path: Annotated[str, typer.Option(help="Where it is served; by itself as the entity's name, or its own.")] = "",
    as_json: Json = False,
) -> None:
    """Write the first files of a view: all columns of an entity, served and searched, and its test.

    In the working directory, which must be a checkout. Nothing is overwritten, and nothing needs to be registered.
    """
    declared = _declared()
    _refuse_wrong(name)
    _refuse_declared(name, declared)
    entities = {entity.name: entity for entity in declared.entities}
    if over not in entities:
        raise NewError(f"there is no entity {over!r}: --over takes one of {', '.join(entities)}")
    made = _view(name, entities[over], path or _path(name, over, declared), declared)
    _write(made.files(), as_json)
    note(f"one row for each of {over}, at /v1/{made.path}, searched by {', '.join(made.texts)}")
    note("next: choose and join columns, and run `make check`; `prejoin migrate` says how it is brought in")


def _declared() -> "Projections":
    """What the checkout in the working directory declares; raises NewError where it is none, or not the one in use."""
    from projector.declare.projections import load
    from projector.settings import read_settings

    here = Path.cwd()
    if missing := [folder for folder in FOLDERS if not (here / folder).is_dir()]:
        raise NewError(
            f"{here} has no {missing[0]}/: `prejoin new` writes into a checkout of Prejoin; change to its folder"
        )
    declared = load(read_settings().projections)
    for package in ("schemas", declared.name):
        used = Path(sys.modules[package].__file__ or "").parent
        if used.resolve() != (here / package.replace(".", "/")).resolve():
            raise NewError(
                f"this prejoin uses {used}, not the {package}/ of {here}: run the one of this checkout, "
                "`.venv/bin/prejoin`, which `make` installs"
            )
    return declared


def _singular(plural: str) -> str:
    """By English rules that mostly hold; raises NewError where the word is no plural that they know."""
    if plural.endswith("ies"):
        return plural.removesuffix("ies") + "y"
    if plural.endswith(("sses", "shes", "ches", "xes")):
        return plural.removesuffix("es")
    if plural.endswith("s") and not plural.endswith(("ss", "us")):
        return plural.removesuffix("s")
    raise NewError(
        f"{plural} is no plural: name a service as many of what it tells of, such as {plural}s, or say what one of "
        "them is called, with --one"
    )


def _refuse_wrong(name: str) -> None:
    from projector.operate.check import wrong_name

    if wrong := wrong_name(name):
        raise NewError(wrong[0])
    if name in TAKEN or keyword.iskeyword(name) or hasattr(builtins, name):
        raise NewError(f"{name}: means something else in Python, or in these files: choose another name")


def _refuse_declared(name: str, declared: "Projections") -> None:
    for kind, there in (("an entity", declared.entities), ("a view", declared.relations)):
        if any(each.name == name for each in there):
            raise NewError(f"{name}: there is {kind} of that name: choose another")


def _path(name: str, over: str, declared: "Projections") -> str:
    plain = over.replace("_", "-")
    return plain if all(view.path != plain for view in declared.served) else name.replace("_", "-")


def _view(name: str, entity: "Entity[Any]", path: str, declared: "Projections") -> "NewView":
    """What a view's files tell of its entity. Raises NewError where the path is taken, or no event makes one."""
    from sqlalchemy import String

    from projector.cli.first_files import NewView
    from projector.operate.check import wrong_path

    if wrong := wrong_path(path):
        raise NewError(wrong[0])
    if taken := next((view.name for view in declared.served if view.path == path), None):
        raise NewError(f"/v1/{path} is {taken}'s: choose another with --path")
    creating = next((contract for contract, fold in entity.folds.items() if fold.creates), None)
    if creating is None:
        raise NewError(f"{entity.name}: no event makes one: give it a fold whose state may be None")
    module = sys.modules[entity.folds[creating].function.__module__]
    columns = [column for column in entity.table.c if not column.name.startswith("_")]
    return NewView(
        name=name,
        path=path,
        package=declared.name,
        entity=entity.name,
        module=module.__name__,
        variable=next(name for name, value in vars(module).items() if value is entity),
        columns=[column.name for column in columns],
        texts=[column.name for column in columns if isinstance(column.type, String)],
        example=creating.wire_type,
        row=_row(entity, creating, declared),
    )


def _row(entity: "Entity[Any]", contract: Any, declared: "Projections") -> dict[str, Any]:
    """What the contract's golden example makes of the entity: its key, and the fields that are short to write."""
    from schemas.envelope import RawRecord
    from schemas.registry import example_path

    raw = RawRecord(contract.topic, 0, 0, None, example_path(contract).read_bytes(), (), 0)
    state = entity.folds[contract].function(None, declared.registry.decode(raw).data)
    fields = {field: getattr(state, field) for field in entity.fields}
    short = {field: value for field, value in fields.items() if isinstance(value, bool | int | str)}
    return {entity.key: fields[entity.key]} | {f: value for f, value in short.items() if len(str(value)) <= LONGEST}


def _write(files: "Files", as_json: bool) -> None:
    """Write all of them; raises NewError, with nothing written, where one is there."""
    for path in files:
        if Path(path).exists():
            raise NewError(f"{path} is there: choose another name, or move it away")
    for path, text in files.items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with Path(path).open("x", encoding="utf-8") as file:
            file.write(text)
    if as_json:
        emit_json({"written": list(files)})
    else:
        for path in files:
            report(f"wrote {path}")
