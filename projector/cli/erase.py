"""`prejoin erase`: what is kept of one person blanked everywhere, for good."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from projector.cli.console import emit_json, note, report
from projector.cli.operate import Json, loaded
from projector.errors import PrejoinError

if TYPE_CHECKING:
    from projector.apply.erasing import Touched


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command(
        short_help="Blank a person's fields everywhere, for good.",
        epilog="Example: prejoin erase customer c1",
        no_args_is_help=True,
    )(erase)


def erase(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="What it is, such as `customer`.")],
    key: Annotated[str, typer.Argument(metavar="ID", help="Its id, as events name it.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Blank the personal fields of one aggregate wherever Prejoin keeps them, now and in every later rebuild.

    Entities, views and their kept copies, dead letters, journals, and the search index, through the indexer. One that
    was never heard of is remembered as erased. It cannot be undone. Kafka's topics and archive files stay as they are;
    what is read from them again stays blank.
    """
    from projector.operate.erase import check_id, entity_of, erase_one

    settings, projections = loaded()
    url = settings.writer_url
    check_id(entity_of(projections, kind), key)
    _ask(kind, key, yes)
    done, waiting = erase_one(url, settings.group, projections, kind, key)
    if as_json:
        copies = [{"group": group, **_told(touched)} for group, touched in done.items()]
        emit_json(
            {"kind": kind, "id": key, "copies": copies, "search": waiting, "not_rewritten": ["topics", "archives"]}
        )
        return
    for group, touched in done.items():
        for line in _lines(touched):
            report(f"{group}: {line}")
    report(f"{kind} {key} is erased, and stays so through every rebuild")
    for view, keys in waiting.items():
        note(f"{view}: {keys:,} keys wait to be sent to the search index, which `prejoin indexer` does")
    note("Kafka's topics and archive files are not rewritten: what they hold is up to their retention")


def _ask(kind: str, key: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise PrejoinError(f"{kind} {key} would be erased, which cannot be undone: say so with --yes")
    typer.confirm(f"Erase {kind} {key}? It cannot be undone.", abort=True, err=True)


def _told(touched: "Touched") -> dict[str, Any]:
    return {
        "entities": dict(+touched.entities),
        "views": dict(+touched.views),
        "kept_copies": dict(+touched.copies),
        "dead_letters": touched.dead_letters,
        "journals": touched.journals,
    }


def _lines(touched: "Touched") -> list[str]:
    """What was blanked, a line for each place that held something."""
    tables = touched.entities + touched.views + touched.copies  # where nothing was left to blank, nothing is told
    found = [f"{rows:,} rows of {table}" for table, rows in tables.items()]
    found += [f"{touched.dead_letters:,} dead letters"] if touched.dead_letters else []
    found += [f"{touched.journals:,} records of journals"] if touched.journals else []
    return found or ["held nothing to blank"]
