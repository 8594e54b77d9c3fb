"""`prejoin deadletters`: what could not be applied, and what becomes of it."""

from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from projector.cli.console import emit_json, report
from projector.cli.operate import All, Json, loaded
from projector.errors import PrejoinError

if TYPE_CHECKING:
    from projector.apply.applier import Applier
    from projector.declare.projections import Projections
    from projector.settings import Settings

deadletters = typer.Typer(
    no_args_is_help=True,
    help="What could not be applied, and what becomes of it.",
    epilog="Example: prejoin deadletters list --reason orphan",
)


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(deadletters, name="deadletters")


@deadletters.command("list", epilog="Example: prejoin deadletters list --reason orphan")
def list_letters(
    reason: Annotated[str | None, typer.Option(help="Only those of this reason.")] = None,
    topic: Annotated[str | None, typer.Option(help="Only those of this topic.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = 100,
    as_json: Json = False,
) -> None:
    """List the open dead letters; exit 1 while there are any."""
    from projector.operate.deadletters import DeadLetters

    settings, _ = loaded()
    with closing(DeadLetters(settings.writer_url, settings.group)) as letters:
        found, counts = letters.oldest(limit, reason, topic), letters.counts()
    if as_json:
        emit_json({"dead_letters": sum(counts.values()), "by_reason": counts, "letters": found})
    else:
        from rich.table import Table

        table = Table("id", "position", "reason", "type", "aggregate", "detail")
        for row in found:
            aggregate = f"{row['entity']} {row['aggregate']}" if row["entity"] else "–"
            table.add_row(str(row["id"]), row["position"], row["reason"], row["type"] or "–", aggregate, row["detail"])
        if found:
            report(table)
        report(", ".join(f"{n:,} {reason}" for reason, n in counts.items()) or "no dead letters")
    raise typer.Exit(1 if counts else 0)


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
    ids: Annotated[
        list[int] | None, typer.Argument(metavar="ID", help="Ids, as `deadletters list` shows them.")
    ] = None,
    every: All = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would become of them, and do nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Apply mended dead letters in their place; exit 1 while any is left."""
    from projector.operate.replay import Replayer

    settings, projections = loaded()
    with closing(_applier(settings, projections)) as applier:
        replayer = Replayer(applier)
        _each(settings, ids, every, lambda letter: replayer.replay(letter, dry_run), as_json)


@deadletters.command(epilog="Example: prejoin deadletters purge 7")
def purge(
    ids: Annotated[
        list[int] | None, typer.Argument(metavar="ID", help="Ids, as `deadletters list` shows them.")
    ] = None,
    every: All = False,
    as_json: Json = False,
) -> None:
    """Give dead letters up for good; what they hold is blanked."""
    from projector.operate.replay import Replayer

    settings, projections = loaded()
    with closing(_applier(settings, projections)) as applier:
        _each(settings, ids, every, Replayer(applier).purge, as_json, answer=False)


def _each(
    settings: "Settings", ids: list[int] | None, every: bool, act: Any, as_json: bool, answer: bool = True
) -> None:
    from projector.operate.deadletters import DeadLetters
    from projector.operate.replay import NotReplayed

    if bool(ids) == every:
        raise PrejoinError("name the dead letters by id, or say --all")
    results = []
    with closing(DeadLetters(settings.writer_url, settings.group)) as letters:
        for letter in letters.ids() if every else ids or ():
            try:
                results.append({"id": letter, "done": True, "said": act(letter)})
            except NotReplayed as error:
                results.append({"id": letter, "done": False, "said": str(error)})
        left = sum(letters.counts().values())
    if as_json:
        emit_json({"results": results, "dead_letters": left})
    else:
        for result in results:
            report(str(result["said"]))
        report(f"{left:,} dead letters left" if left else "no dead letters left")
    failed = any(not result["done"] for result in results)
    raise typer.Exit(1 if failed or (answer and left) else 0)


def _applier(settings: "Settings", projections: "Projections") -> "Applier":
    from projector.apply.applier import Applier

    return Applier(settings.writer_url, settings.group, projections, settings.unknown_events)
