"""`prejoin rebuild`: views, or their search indexes alone, built anew beside those that are served."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from projector.cli.console import emit_json, note, progress, report
from projector.cli.interrupts import run
from projector.cli.operate import All, Json, loaded, named
from projector.cli.search import Place, quiet
from projector.errors import PrejoinError

if TYPE_CHECKING:
    from projector.declare.projections import Projections
    from projector.declare.view import Relation, View
    from projector.operate.rebuild import Planned, Step
    from projector.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command(short_help="Build views anew, beside those that are served.", epilog="Example: prejoin rebuild --all")(
        rebuild
    )


def rebuild(
    views: Annotated[list[str] | None, typer.Argument(help="Names of views.", metavar="VIEW")] = None,
    every: All = False,
    search_only: Annotated[
        bool, typer.Option("--search-only", help="A new search index beside the old one, then the switch.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be built, and do nothing.")] = False,
    drop_old: Annotated[bool, typer.Option("--drop-old", help="Do not keep the copy that was served before.")] = False,
    abort: Annotated[bool, typer.Option("--abort", help="Give up what an interrupted rebuild has left.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Build views anew from the entities, beside those that are served, while events go on; then switch at once.

    Readers see the copy before until the switch, with its search index. An interrupted rebuild goes on when the command
    is given again. Views that read each other are built together. The copy before is kept until the next rebuild.

    It brings in views that are new or have changed, all of them, whichever are named: workers of the release before go
    on until the switch, and its API serves the copies before behind it, as they were.
    """
    settings, projections = loaded()
    chosen = named(projections, views, every, "rebuild")
    quiet()
    if search_only:
        if dry_run or drop_old or abort:
            raise PrejoinError("--search-only builds indexes alone: give it without --dry-run, --drop-old and --abort")
        _search_only(settings, projections, projections.searched if every else chosen, as_json)
    else:
        _rebuild(settings, projections, chosen, dry_run, drop_old, abort, yes, as_json)


def _rebuild(
    settings: "Settings",
    projections: "Projections",
    chosen: "Sequence[Relation]",
    dry_run: bool,
    drop_old: bool,
    abort: bool,
    yes: bool,
    as_json: bool,
) -> None:
    from projector.operate.rebuild import Rebuild

    urls = settings.search_urls if settings.elasticsearch_url else []
    at = Place(settings.writer_url, urls, settings.group, projections)
    with closing(Rebuild(at.url, at.group, projections, chosen, settings.word_indexes)) as made:
        if abort:
            _say_dropped(made.abort(), "nothing was being built", as_json)
            return
        plan = made.plan()
        if dry_run:
            _say_plan(plan, as_json)
            return
        _ask(plan, yes)
        with _showing(plan, as_json) as tell:
            built = made.run(tell, _following(at) if urls else None)
        for view in projections.searched if urls and made.changed else ():
            if view.name in built:
                note(f"{view.name}: Postgres answers searches until an indexer of this release has made the index")
        dropped = made.drop_old() if drop_old else []
    if as_json:
        emit_json({"views": [{"view": name, "generation": g} for name, g in built.items()], "dropped": dropped})
        return
    for name, generation in built.items():
        report(f"{name} is served from generation {generation}")
    for table in dropped:
        report(f"dropped {table}")


def _ask(plan: "Planned", yes: bool) -> None:
    if not yes and sys.stdin.isatty() and sys.stdout.isatty():
        _say_plan(plan, as_json=False)
        typer.confirm("Build?", default=True, abort=True)


def _say_plan(plan: "Planned", as_json: bool) -> None:
    if as_json:
        emit_json({"goes_on": plan.goes_on, "views": [row._asdict() for row in plan.rows]})
        return
    from rich.table import Table

    table = Table("view", "served", "rows, about", "bytes, about", "definition")
    for row in plan.rows:
        generation = str(row.generation or "–")
        table.add_row(row.view, generation, f"{row.rows:,}", f"{row.bytes:,}", row.change or "the same")
    report(table)
    total = sum(row.bytes for row in plan.rows)
    report(f"needs some {total / 1e6:,.0f} MB beside what is there")
    if plan.goes_on:
        report("an interrupted rebuild goes on")


def _say_dropped(tables: list[str], nothing: str, as_json: bool) -> None:
    if as_json:
        emit_json({"dropped": tables})
    else:
        for table in tables:
            report(f"dropped {table}")
        if not tables:
            report(nothing)


@contextmanager
def _showing(plan: "Planned", as_json: bool) -> "Iterator[Callable[[Step], None]]":
    """How far it is: JSON lines on stdout, or rows on stderr with a line for each phase of each view."""
    if as_json:
        yield lambda step: emit_json(step._asdict())
        return
    before, told = dict[str, int](), None
    with progress("rows built", sum(row.rows for row in plan.rows)) as advance:

        def tell(step: "Step") -> None:
            nonlocal told
            if step.phase == "filling":
                advance(step.rows - before.get(step.view, 0))
                before[step.view] = step.rows
            elif told != (told := (step.view, step.phase)):
                note(f"{step.phase} {step.view}".strip())

        yield tell


def _following(at: Place) -> "Callable[[View, int], None]":
    """Has a generation that is being built indexed before the switch."""
    from projector.search.keeping import SearchUnreachable, keeping
    from projector.search.rebuild import follow

    async def have_followed(view: "View", generation: int) -> bool:
        async with keeping(*at, view) as kept:
            return await follow(kept, generation)

    def search(view: "View", generation: int) -> None:
        try:
            whole = run(have_followed(view, generation))
        except SearchUnreachable as error:
            note(str(error))
            whole = False
        if not whole:
            note(f"{view.name}: its new search index is not whole: Postgres answers searches until an indexer made it")

    return search


def _search_only(settings: "Settings", projections: "Projections", chosen: "Sequence[Relation]", as_json: bool) -> None:
    at = Place(settings.writer_url, settings.search_urls, settings.group, projections)
    for relation in chosen:
        if relation not in projections.searched:
            raise PrejoinError(f"{relation.name} declares no search=: there is no index to rebuild")
    with progress("keys sent") as advance:
        built = {v.name: run(_rebuild_index(at, v, advance)) for v in projections.searched if v in chosen}
    if as_json:
        emit_json({"views": [{"view": view, "index": index} for view, index in built.items()]})
    else:
        for view, index in built.items():
            report(f"{view} is searched in {index}")


async def _rebuild_index(at: Place, view: "View", advance: Any) -> str:
    from projector.search.keeping import keeping
    from projector.search.rebuild import rebuild as anew

    before = 0

    def tell(left: int) -> None:
        nonlocal before
        advance(max(before - left, 0))
        before = left

    async with keeping(*at, view) as kept:
        return await anew(kept, tell)
