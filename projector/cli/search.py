"""`prejoin rebuild`, and what `prejoin verify` does with the search index."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from projector.cli.console import emit_json, progress, report
from projector.cli.interrupts import run
from projector.cli.operate import All, Json, loaded
from projector.errors import PrejoinError

if TYPE_CHECKING:
    from projector.declare.projections import Projections
    from projector.declare.view import Relation, View
    from projector.search.verify import SearchVerified


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command(short_help="Build a view's search index anew.", epilog="Example: prejoin rebuild --all --search-only")(
        rebuild
    )


def rebuild(
    views: Annotated[list[str] | None, typer.Argument(help="Names of views.", metavar="VIEW")] = None,
    every: All = False,
    search_only: Annotated[
        bool, typer.Option("--search-only", help="A new search index beside the old one, then the switch.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Build search indexes anew, beside those that are searched; searches go on meanwhile, and then see the new ones.

    An interrupted rebuild goes on when the command is given again.
    """
    if not search_only:
        raise PrejoinError(
            "rebuild makes search indexes only so far: say --search-only; views are built by `prejoin migrate`"
        )
    settings, projections = loaded()
    at = Place(settings.writer_url, settings.search_urls, settings.group, projections)
    if bool(views) == every:
        raise PrejoinError("name the views to rebuild, or say --all")
    chosen = projections.searched if every else [_searched(projections, name) for name in views or ()]
    _quiet()
    with progress("keys sent") as advance:
        built = {view.name: run(_rebuild(at, view, advance)) for view in chosen}
    if as_json:
        emit_json({"views": [{"view": view, "index": index} for view, index in built.items()]})
    else:
        for view, index in built.items():
            report(f"{view} is searched in {index}")


class Place(NamedTuple):
    """Where a group's views are kept and searched."""

    url: str
    search_urls: list[str]
    group: str
    projections: "Projections"


def verify_search(at: Place, chosen: "Sequence[Relation]", repair: bool = False) -> "dict[str, SearchVerified]":
    """Verify the search indexes of those of the relations that have one, by view."""
    _quiet()
    views = [view for view in at.projections.searched if view in chosen]
    with progress("documents verified") as advance:
        return {view.name: run(_verify(at, view, repair, advance)) for view in views}


def _searched(projections: "Projections", name: str) -> "View":
    relation = projections.relation(name)
    for view in projections.searched:
        if view is relation:
            return view
    raise PrejoinError(f"{name} declares no search=: there is no index to rebuild")


async def _rebuild(at: Place, view: "View", advance: Any) -> str:
    from projector.search.keeping import keeping
    from projector.search.rebuild import rebuild

    before = 0

    def tell(left: int) -> None:
        nonlocal before
        advance(max(before - left, 0))
        before = left

    async with keeping(*at, view) as kept:
        return await rebuild(kept, tell)


async def _verify(at: Place, view: "View", repair: bool, advance: Any) -> "SearchVerified":
    from projector.search.keeping import keeping
    from projector.search.verify import SearchVerifier

    async with keeping(*at, view) as kept:
        return await SearchVerifier(kept).verify(repair, advance)


def _quiet() -> None:
    from projector import logs

    logs.configure("warning")
    logging.getLogger("elastic_transport").setLevel(logging.CRITICAL)  # what it logs comes as an error, in one line
