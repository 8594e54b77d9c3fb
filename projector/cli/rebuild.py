"""`prejoin rebuild`: views, or their search indexes alone, built anew beside those that are served."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from projector.cli.console import ask_to_build, emit_json, note, progress, report, say_dropped, say_served
from projector.cli.copying import Wish, copy
from projector.cli.interrupts import run
from projector.cli.operate import All, Json, loaded, named
from projector.cli.search import Place, following, quiet
from projector.errors import PrejoinError

if TYPE_CHECKING:
    from projector.declare.projections import Projections
    from projector.declare.view import Relation, View
    from projector.operate.rebuild import Planned, Step
    from projector.settings import Settings

ROWS_A_SECOND = 50_000  # of a rebuild that is being estimated


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
    from_events: Annotated[
        bool, typer.Option("--from-events", help="All of them from the topics' first events on, entities included.")
    ] = False,
    as_of: Annotated[
        str | None, typer.Option("--as-of", metavar="TIME", help="A snapshot as of then, beside what is served.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="The snapshot's name; by itself its time, as 20260301T000000Z.")
    ] = None,
    archive: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Read what `prejoin archive` wrote first, Kafka for the rest.")
    ] = None,
    allow_truncated: Annotated[
        bool, typer.Option("--allow-truncated", help="Build from what is left of a log that lost its beginning.")
    ] = False,
    jobs: Annotated[
        int | None, typer.Option(min=1, max=64, help="Processes that load events; by itself one a CPU.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be built, and do nothing.")] = False,
    drop_old: Annotated[bool, typer.Option("--drop-old", help="Do not keep the copy that was served before.")] = False,
    abort: Annotated[bool, typer.Option("--abort", help="Give up what an interrupted rebuild has left.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Build views anew from the entities, beside those that are served, while events go on; then switch at once.

    Readers see the copy before until the switch, with its search index. An interrupted rebuild goes on when the command
    is given again. Views that read each other are built together. The copy before is kept until the next rebuild.

    Views that are new or have changed are brought in with them, whichever are named: workers of the release before go
    on until the switch, and its API serves the copies before behind it, as they were.

    With --from-events entities are folded anew, too, and all views made of them. With --as-of that copy has of each
    aggregate the events up to the first with a later time, and is kept as a snapshot: `?snapshot=NAME` in the API.
    """
    settings, projections = loaded()
    chosen = named(projections, views, every, "rebuild")
    quiet()
    if from_events or as_of is not None:
        if search_only or (from_events and as_of is not None):
            raise PrejoinError("give one of --from-events, --as-of and --search-only")
        if not every and not abort:
            note("entities are folded anew, so all views are made of them, not those alone that were named")
        wish = Wish(as_of, name, archive, allow_truncated, jobs, dry_run, abort, drop_old, yes, as_json)
        copy(settings, projections, wish)
    elif name is not None or archive is not None or allow_truncated or jobs is not None:
        raise PrejoinError(
            "--name goes with --as-of; --archive, --allow-truncated and --jobs with that or --from-events"
        )
    elif search_only:
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
    from projector.outages import through_outages

    urls = settings.search_urls if settings.elasticsearch_url else []
    at = Place(settings.writer_url, urls, settings.group, projections)
    made = Rebuild(at.url, at.group, projections, chosen, settings.word_indexes)
    if abort:
        say_dropped(made.abort(), "nothing was being built", as_json)
        return
    plan = made.plan()
    if dry_run:
        _say_plan(plan, as_json)
        return
    ask_to_build(lambda: _say_plan(plan, as_json=False), yes)
    with _showing(plan, as_json) as tell:
        search = following(at) if urls else None
        built = through_outages(lambda told: made.run(told, search), tell, note)
    for view in projections.searched if urls and made.changed else ():
        if view.name in built:
            note(f"{view.name}: Postgres answers searches until an indexer of this release has made the index")
    dropped = made.drop_old() if drop_old else []
    if as_json:
        emit_json({"views": [{"view": name, "generation": g} for name, g in built.items()], "dropped": dropped})
        return
    say_served(built, dropped)


def _say_plan(plan: "Planned", as_json: bool) -> None:
    from projector.operate.room import too_small

    if lacks := too_small(plan.bytes, plan.free):
        note(lacks)
    seconds = round(sum(row.rows for row in plan.rows) / ROWS_A_SECOND)
    if as_json:
        views = [row._asdict() for row in plan.rows]
        emit_json({"goes_on": plan.goes_on, "bytes": plan.bytes, "free": plan.free, "seconds": seconds, "views": views})
        return
    from rich.table import Table

    table = Table("view", "served", "rows, about", "bytes, about", "definition")
    for row in plan.rows:
        generation = str(row.generation or "–")
        table.add_row(row.view, generation, f"{row.rows:,}", f"{row.bytes:,}", row.change or "the same")
    report(table)
    report(f"needs some {plan.bytes / 1e6:,.0f} MB beside what is there, and may take {seconds:,} s")
    if plan.goes_on:
        report("an interrupted rebuild goes on")


@contextmanager
def _showing(plan: "Planned", as_json: bool) -> "Iterator[Callable[[Step], None]]":
    """How far it is, on stderr: lines of JSON, or rows with a line for each phase of each view."""
    if as_json:
        yield lambda step: note(json.dumps(step._asdict()))
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
