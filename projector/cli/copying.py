"""`prejoin rebuild --from-events` and `--as-of`: a whole copy, made from the log."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from projector.cli.console import ask_to_build, emit_json, note, progress, report, say_dropped, say_served
from projector.cli.search import Place, following
from projector.errors import PrejoinError

if TYPE_CHECKING:
    from projector.declare.projections import Projections
    from projector.history.log import History
    from projector.operate.copying import Copying, CopyPlan, CopyStep
    from projector.settings import Settings
    from projector.store.copies import Copy

EVENTS_A_SECOND = 30_000  # of one that is being estimated


class Wish(NamedTuple):
    """What was asked for on the command line."""

    as_of: str | None
    name: str | None
    archive: Path | None
    allow_truncated: bool
    jobs: int | None
    dry_run: bool
    abort: bool
    drop_old: bool
    yes: bool
    as_json: bool


def copy(settings: "Settings", projections: "Projections", wish: Wish) -> None:
    """Make a whole copy from the log, and switch to it or keep it."""
    from projector.operate.copying import Copying
    from projector.outages import through_outages

    until = None if wish.as_of is None else _time(wish.as_of)
    name = _name(wish, until)
    urls = settings.search_urls if settings.elasticsearch_url else []
    at = Place(settings.writer_url, urls, settings.group, projections)
    copying = Copying(
        at.url,
        at.group,
        projections,
        _history(settings, projections, wish.archive),
        unknown_events=settings.unknown_events,
        until=until,
        name=name,
        allow_truncated=wish.allow_truncated,
        word_indexes=settings.word_indexes,
        jobs=wish.jobs or os.cpu_count() or 1,
    )
    if wish.abort:
        say_dropped(copying.abort(), "nothing was being built", wish.as_json)
        return
    plan = copying.plan()
    if wish.dry_run:
        _say_plan(plan, wish.as_json)
        return
    ask_to_build(lambda: _say_plan(plan, as_json=False), wish.yes)
    with _showing(plan, wish.as_json) as tell:
        search = following(at) if urls else None
        made = through_outages(lambda told: copying.run(told, search), tell, note)
    dropped = copying.drop_old() if wish.drop_old else []
    for line in copying.notes:
        note(line)
    _say_made(made, dropped, copying, wish.as_json)


def _say_made(made: "Copy", dropped: list[str], copying: "Copying", as_json: bool) -> None:
    views = [{"view": view, "generation": generation} for view, generation in made.generations.items()]
    if as_json:
        emit_json({"snapshot": made.name, "views": views, "dropped": dropped, "notes": copying.notes})
    elif made.name is not None:
        report(f"snapshot {made.name}: ?snapshot={made.name} in the API; `prejoin snapshots drop {made.name}` drops it")
    else:
        say_served(made.generations, dropped)


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise PrejoinError(f"--as-of {text}: write a time with its zone, as 2026-03-01T00:00:00Z")
    if time > datetime.now(UTC):
        raise PrejoinError(f"--as-of {text} lies in the future: a snapshot is of what was")
    return time.astimezone(UTC)


def _name(wish: Wish, until: datetime | None) -> str | None:
    from projector.store.copies import refuse_name

    if until is None:
        if wish.name is not None:
            raise PrejoinError("--name names a snapshot: give it with --as-of")
        return None
    name = wish.name or until.strftime("%Y%m%dT%H%M%SZ")
    refuse_name(name)
    return name


def _history(settings: "Settings", projections: "Projections", archive: Path | None) -> "History":
    from projector.history.archive import Archive
    from projector.history.kafka import KafkaHistory
    from projector.history.seam import ArchiveFirst

    kafka = KafkaHistory(settings.brokers, projections.topics)
    return kafka if archive is None else ArchiveFirst(Archive(archive, projections.topics), kafka)


def _say_plan(plan: "CopyPlan", as_json: bool) -> None:
    from projector.operate.room import too_small

    truncated = [{"topic": tp.topic, "partition": tp.partition, "offset": at} for tp, at in plan.truncated.items()]
    seconds = round(plan.events / EVENTS_A_SECOND)
    if lacks := too_small(plan.bytes, plan.free):
        note(lacks)
    if as_json:
        emit_json({**plan._asdict(), "truncated": truncated, "seconds": seconds})
        return
    report(f"reads {plan.events:,} events, which may take {seconds:,} s; needs some {plan.bytes / 1e6:,.0f} MB beside")
    for gone in truncated:
        report(f"{gone['topic']}/{gone['partition']} begins at offset {gone['offset']:,}: what came before is gone")
    if plan.goes_on:
        report("an interrupted one goes on")


@contextmanager
def _showing(plan: "CopyPlan", as_json: bool) -> "Iterator[Callable[[CopyStep], None]]":
    """How far it is, on stderr: lines of JSON, or events with a line for each further step."""
    if as_json:
        yield lambda step: note(json.dumps(step._asdict()))
        return
    before, told = 0, None
    with progress("events replayed", plan.events) as advance:

        def tell(step: "CopyStep") -> None:
            nonlocal before, told
            if step.phase == "replaying":
                advance(step.done - before)
                before = step.done
            elif step.phase != "done" and told != (told := (step.phase, step.view)):
                note(f"{step.phase} {step.view}".strip())

        yield tell
