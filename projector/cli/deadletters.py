"""`prejoin deadletters`: what could not be applied, and what becomes of it."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, nullcontext
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from projector.cli.console import emit_json, progress, report
from projector.cli.operate import All, Json, loaded
from projector.errors import PrejoinError

if TYPE_CHECKING:
    from projector.apply.applier import Applier
    from projector.declare.projections import Projections
    from projector.operate.deadletters import DeadLetters, Filter
    from projector.operate.replay import Answer
    from projector.settings import Settings

TOLD = 1_000  # letters told one by one; the rest are counted
TOGETHER = 200  # letters of one aggregate that are replayed in one transaction

deadletters = typer.Typer(
    no_args_is_help=True,
    help="What could not be applied, and what becomes of it.",
    epilog="Example: prejoin deadletters list --reason orphan",
)

Ids = Annotated[list[int] | None, typer.Argument(metavar="ID", help="Ids, as `deadletters list` shows them.")]
Reason = Annotated[str | None, typer.Option(help="Only those of this reason.")]
Topic = Annotated[str | None, typer.Option(help="Only those of this topic.")]
Entity = Annotated[str | None, typer.Option(metavar="ENTITY", help="Only those of this entity's aggregates.")]
OfAggregate = Annotated[
    str | None, typer.Option("--aggregate", metavar="ENTITY:ID", help="Only those of one aggregate, as `customer:c1`.")
]
Type = Annotated[str | None, typer.Option("--type", help="Only those of this type of event.")]
Since = Annotated[str | None, typer.Option(metavar="TIME", help="Only those that came at this time or later.")]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="Only those that came before this time.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would become of them, and do nothing.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(deadletters, name="deadletters")


@deadletters.command(
    "list",
    short_help="List them, and count them by reason.",
    epilog="Example: prejoin deadletters list --reason orphan --since 2026-01-01T00:00:00Z",
)
def list_letters(
    reason: Reason = None,
    topic: Topic = None,
    entity: Entity = None,
    aggregate: OfAggregate = None,
    type_: Type = None,
    since: Since = None,
    until: Until = None,
    state: Annotated[str, typer.Option(help="`open`, `replayed` or `purged` ones.")] = "open",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = 100,
    as_json: Json = False,
) -> None:
    """List dead letters, the oldest first, and count them by reason; exit 1 while any at all is open."""
    from projector.operate.deadletters import DeadLetters

    if state not in ("open", "replayed", "purged"):
        raise PrejoinError(f"--state {state!r} is none: there are open, replayed and purged ones")
    settings, projections = loaded()
    those = _filter(projections, state, reason, topic, entity, aggregate, type_, since, until)
    with closing(DeadLetters(settings.writer_url, settings.group)) as letters:
        found, counts, left = letters.oldest(limit, those), letters.counts(those), sum(letters.counts().values())
    if as_json:
        emit_json({"dead_letters": left, "by_reason": counts, "letters": found})
    else:
        _print(found)
        report(", ".join(f"{n:,} {reason}" for reason, n in counts.items()) or "no dead letters")
    raise typer.Exit(1 if left else 0)


def _print(found: list[dict[str, Any]]) -> None:
    from rich.table import Table

    table = Table("id", "position", "reason", "type", "aggregate", "detail")
    for row in found:
        aggregate = f"{row['entity']} {row['aggregate']}" if row["entity"] else "–"
        table.add_row(str(row["id"]), row["position"], row["reason"], row["type"] or "–", aggregate, row["detail"])
    if found:
        report(table)


@deadletters.command(short_help="Show one with its record as it came.", epilog="Example: prejoin deadletters show 7")
def show(
    letter: Annotated[int, typer.Argument(metavar="ID", help="Its id, as `deadletters list` shows it.")],
    as_json: Json = False,
) -> None:
    """Show one dead letter with its record as it came: it may hold personal data."""
    from projector.operate.deadletters import DeadLetters

    settings, _ = loaded()
    with closing(DeadLetters(settings.writer_url, settings.group)) as letters:
        row = letters.show(letter)
    if as_json:
        emit_json(row)
    else:
        for name, value in row.items():
            report(f"{name}: {'–' if value is None else value}")


@deadletters.command(
    short_help="Apply them in their place, after a fix.", epilog="Example: prejoin deadletters replay 7 8 --dry-run"
)
def replay(
    ids: Ids = None,
    every: All = False,
    reason: Reason = None,
    topic: Topic = None,
    entity: Entity = None,
    aggregate: OfAggregate = None,
    type_: Type = None,
    since: Since = None,
    until: Until = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Apply mended dead letters in their place; exit 1 while any is left.

    Those named by id, all that the filters pass, or --all. Those of one aggregate (--aggregate) are replayed together,
    in order: one may need what another mends.
    """
    from projector.operate.deadletters import DeadLetters
    from projector.operate.replay import Replayer

    settings, projections = loaded()
    those = _filter(projections, "open", reason, topic, entity, aggregate, type_, since, until)
    _one_way(ids, every, those)
    with (
        closing(_applier(settings, projections)) as applier,
        closing(DeadLetters(settings.writer_url, settings.group)) as letters,
    ):
        replayer = Replayer(applier)
        if not ids and those.is_whole_aggregate:
            found = letters.in_order(those)
            pages: Iterable[Sequence[int]] = (found[at : at + TOGETHER] for at in range(0, len(found), TOGETHER))
            done = _each(pages, lambda some: replayer.replay_together(some, dry_run), len(found), as_json)
        else:
            pages, total = _chosen(letters, ids, those)
            each = ([letter] for page in pages for letter in page)
            done = _each(each, lambda some: [replayer.attempt(some[0], dry_run)], total, as_json, lines=bool(ids))
        _finish(letters, *done, dry_run, as_json, answer=True)


@deadletters.command(epilog="Example: prejoin deadletters purge --reason undecodable --dry-run")
def purge(
    ids: Ids = None,
    every: All = False,
    reason: Reason = None,
    topic: Topic = None,
    entity: Entity = None,
    aggregate: OfAggregate = None,
    type_: Type = None,
    since: Since = None,
    until: Until = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Give dead letters up for good; what they hold is blanked.

    Those named by id, all that the filters pass, or --all.
    """
    from projector.operate.deadletters import DeadLetters
    from projector.operate.replay import Replayer

    settings, projections = loaded()
    those = _filter(projections, "open", reason, topic, entity, aggregate, type_, since, until)
    _one_way(ids, every, those)
    with (
        closing(_applier(settings, projections)) as applier,
        closing(DeadLetters(settings.writer_url, settings.group)) as letters,
    ):
        replayer = Replayer(applier)
        pages, total = _chosen(letters, ids, those)
        done = _each(
            pages, lambda some: replayer.purge(some, dry_run, missing_ok=not ids), total, as_json, lines=bool(ids)
        )
        _finish(letters, *done, dry_run, as_json, answer=False)


def _filter(
    projections: "Projections",
    state: str,
    reason: str | None,
    topic: str | None,
    entity: str | None,
    aggregate: str | None,
    type_: str | None,
    since: str | None,
    until: str | None,
) -> "Filter":
    from projector.operate.deadletters import Filter, aggregate_of

    names = [each.name for each in projections.entities]
    if entity is not None and entity not in names:
        raise PrejoinError(f"there is no entity {entity!r}: there are {', '.join(names)}")
    key = None
    if aggregate is not None:
        named, key = aggregate_of(projections, aggregate)
        if entity not in (None, named):
            raise PrejoinError(f"--aggregate {aggregate} is of {named}, not of {entity}: give one of the two")
        entity = named
    return Filter(state, reason, topic, entity, key, type_, _time("--since", since), _time("--until", until))


def _time(option: str, text: str | None) -> datetime | None:
    from schemas.rfc3339 import parse_time

    try:
        return None if text is None else parse_time(text)
    except ValueError:
        raise PrejoinError(f"{option} {text!r} is no RFC 3339 time with a zone, such as 2026-01-01T00:00:00Z") from None


def _one_way(ids: list[int] | None, every: bool, those: "Filter") -> None:
    from projector.operate.deadletters import Filter

    if sum((bool(ids), every, those != Filter())) != 1:
        raise PrejoinError("name the dead letters by id, or by filters (--help lists them), or say --all")


def _chosen(letters: "DeadLetters", ids: list[int] | None, those: "Filter") -> tuple[Iterable[Sequence[int]], int]:
    return (
        ([list(dict.fromkeys(ids))], len(ids)) if ids else (letters.pages(those), sum(letters.counts(those).values()))
    )


def _each(
    pages: Iterable[Sequence[int]],
    act: "Callable[[Sequence[int]], list[Answer]]",
    total: int,
    as_json: bool,
    lines: bool = True,
) -> "tuple[list[Answer], dict[bool, int]]":
    """Do it, some letters at a time: what was said, failures first, up to TOLD; and how many were done and were not.

    `lines` tells all of them as they go, else failures alone.
    """
    said: dict[bool, list[Answer]] = {True: [], False: []}
    counts = {True: 0, False: 0}
    with nullcontext(lambda _: None) if lines else progress("dead letters", total) as advance:
        for page in pages:
            for answer in act(page):
                counts[answer.done] += 1
                if counts[answer.done] <= TOLD:
                    said[answer.done].append(answer)
                    if not as_json and (lines or not answer.done):
                        report(answer.said)
            advance(len(page))
    told = (said[False] + said[True])[:TOLD]
    return sorted(told, key=lambda answer: answer.id), counts


def _finish(
    letters: "DeadLetters", told: "list[Answer]", counts: dict[bool, int], dry_run: bool, as_json: bool, answer: bool
) -> None:
    left = sum(letters.counts().values())
    if as_json:
        results = [asdict(each) for each in told]
        done = {"done": counts[True], "not_done": counts[False], "dry_run": dry_run}
        emit_json({"results": results, **done, "dead_letters": left})
    else:
        report(f"{'would be done: ' if dry_run else 'done: '}{counts[True]:,}, not done: {counts[False]:,}")
        report(f"{left:,} dead letters left" if left else "no dead letters left")
    raise typer.Exit(1 if counts[False] or (answer and left) else 0)


def _applier(settings: "Settings", projections: "Projections") -> "Applier":
    from projector.apply.applier import Applier

    return Applier(settings.writer_url, settings.group, projections, settings.unknown_events)
