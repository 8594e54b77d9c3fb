"""What operators ask and do: migrate, check, status."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from projector.cli.console import emit_json, note, report
from projector.cli.interrupts import run
from projector.errors import PrejoinError

if TYPE_CHECKING:
    from projector.declare.projections import Projections
    from projector.declare.view import Relation
    from projector.settings import Settings
    from projector.store.status import Ends

SILENT = 60  # seconds without a word of a rebuild, which may have been interrupted then

Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
All = Annotated[bool, typer.Option("--all", help="All of them.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command(short_help="Create or upgrade the schema.", epilog="Example: prejoin migrate --dry-run")(migrate)
    app.command(short_help="Find what is wrong with contracts and views.", epilog="Example: prejoin check --database")(
        check
    )
    app.command(short_help="Say how far partitions and views are.", epilog="Example: prejoin status --json")(status)


def migrate(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Create or upgrade the schema: the engine's tables, entities, views, the reading role.

    Views that are new or have changed are built at once where entities hold few rows. Else it says which `prejoin
    rebuild` brings them in; until then workers and API of the release before go on.
    """
    from projector.store.changed import rebuilding
    from projector.store.migrate import migrate as apply

    settings, projections = loaded()
    read_url = settings.read_database_url.get_secret_value() if settings.read_database_url else None
    done = apply(settings.writer_url, read_url, settings.group, projections, dry_run, settings.word_indexes)
    if as_json:
        emit_json({"dry_run": dry_run, "steps": done, "rebuild": done.rebuild})
        return
    for step in done:
        report(f"{'would ' if dry_run else ''}{step}")
    report("nothing to do" if not done else "nothing was changed" if dry_run else "done")
    if done.rebuild:
        note(f"now run {rebuilding(done.rebuild)}; workers and API of the release before go on until then")
    if not read_url:
        note("PREJOIN_READ_DATABASE_URL is not set: no reading role was made, which `prejoin api` needs")


def check(
    database: Annotated[
        bool, typer.Option("--database", help="Also ask the database which key queries no index answers.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Find everything wrong with contracts and projections; exit 1 if there is anything."""
    from projector.operate.check import problems, unindexed
    from projector.settings import read_settings

    settings = read_settings()
    projections, found = problems(settings.projections)
    if database and not found:
        found = unindexed(settings.writer_url, settings.group, projections)
    if as_json:
        schemas = projections.registry.json_schemas() if projections.registry is not None else {}
        emit_json({"problems": found, "schemas": schemas})
    else:
        for problem in found:
            report(problem)
        parts = f"{len(projections.entities)} entities, {len(projections.relations)} views and rollups"
        report(f"{len(found)} problem{'s' * (len(found) > 1)}" if found else f"nothing wrong: {parts}")
    raise typer.Exit(1 if found else 0)


def named(projections: "Projections", views: list[str] | None, every: bool, what_for: str) -> "list[Relation]":
    """The views that a command names, or all. Raises PrejoinError for neither, and both."""
    if bool(views) == every:
        raise PrejoinError(f"name the views to {what_for}, or say --all")
    return projections.relations if every else [projections.relation(name) for name in views or ()]


def status(as_json: Json = False) -> None:
    """Say how far each partition and view is; exit 1 while anything is left to do, or Kafka does not answer."""
    from projector.operate.status import current_status

    settings, projections = loaded()
    url, brokers = settings.writer_url, settings.brokers  # both are needed: the one that is missing is told first
    ends = _broker_ends(brokers, projections.topics)
    told = current_status(url, settings.group, projections, ends)
    if as_json:
        emit_json(told)
    else:
        _print_status(told)
    # where nobody knows the lag, nobody may read "nothing left"
    left = (
        ends is None
        or any(p["lag"] != 0 for p in told["partitions"])
        or any(v["pending"] or (v["search"] or {}).get("outbox") for v in told["views"])
    )
    raise typer.Exit(1 if left else 0)


def _broker_ends(brokers: list[str], topics: list[str]) -> "Ends | None":
    """The end of each partition as the broker has it now; None, with a note, where it does not answer."""
    from projector.cli.ends import broker_ends
    from projector.ingest.broker import PASSING, KafkaUnreachable

    try:
        return run(broker_ends(brokers, topics))
    except (KafkaUnreachable, *PASSING) as error:
        note(f"{error}; the ends shown are those that a worker saw last")
        return None


def _print_status(told: dict[str, Any]) -> None:
    from rich.table import Table

    lag = "" if told["lag_seconds"] is None else f" ({told['lag_seconds']:,.1f} s ago)"
    report(f"{told['state']}, as of {told['as_of'] or 'never'}{lag}; {told['dead_letters']:,} dead letters")
    if held := told["paused"]:
        report(f"paused by {held['by']} since {held['since']}: `prejoin resume` lets its workers go on")
    views = Table("view", "state", "rows", "pending", "search", "to be sent", "refused", "search as of")
    for v in told["views"]:
        search = v["search"] or {}
        sent = [search.get("backend", "–"), *(_known(search.get(name)) for name in ("outbox", "refused"))]
        views.add_row(v["view"], v["state"], _known(v["rows"]), f"{v['pending']:,}", *sent, search.get("as_of") or "–")
    partitions = Table("partition", "position", "end", "lag")
    for p in told["partitions"]:
        name = f"{p['topic']}/{p['partition']}"
        partitions.add_row(name, p["position"] or "–", _known(p["end_offset"]), _known(p["lag"]))
    report(views)
    for view, kinds in told["drift"].items():
        seen = ", ".join(f"{keys:,} {kind.replace('search_', 'in its search index ')}" for kind, keys in kinds.items())
        report(f"{view}: drift was seen: {seen}; `prejoin verify {view}` looks at all of it, --repair mends")
    for v in told["views"]:
        if built := v["rebuild"]:
            of = f" of some {built['expected']:,}" if built["expected"] else ""
            unit = {"replaying": "events", "catching up": "events", "building": "views"}.get(built["phase"], "rows")
            done = f"{built['phase']}, {built['rows']:,}{of} {unit}, last heard of {built['seconds_since']:,.0f} s ago"
            report(f"{v['view']}: generation {built['generation']} is being built: {done}")
    if any(v["rebuild"] and v["rebuild"]["seconds_since"] > SILENT for v in told["views"]):
        report("a rebuild that nobody goes on with goes on when its command is given again; --abort gives it up")
    report(partitions)


def _known(number: int | None) -> str:
    return "–" if number is None else f"{number:,}"


def loaded() -> "tuple[Settings, Projections]":
    """Settings and declarations, as each of these commands needs them."""
    from projector.declare.projections import load
    from projector.settings import read_settings

    settings = read_settings()
    return settings, load(settings.projections)
