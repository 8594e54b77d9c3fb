"""`prejoin snapshots`: what `prejoin rebuild --as-of` has left."""

from typing import Annotated

import typer

from projector.cli.console import emit_json, report, say_dropped
from projector.cli.operate import All, Json, loaded
from projector.errors import PrejoinError

snapshots = typer.Typer(
    no_args_is_help=True, help="Named snapshots of all views.", epilog="Example: prejoin snapshots list"
)


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(snapshots, name="snapshots")


@snapshots.command("list", epilog="Example: prejoin snapshots list --json")
def list_snapshots(as_json: Json = False) -> None:
    """List the snapshots that `prejoin rebuild --as-of` made."""
    from projector.operate.snapshots import snapshots as there

    settings, _ = loaded()
    found = there(settings.writer_url, settings.group)
    if as_json:
        emit_json({"snapshots": found})
        return
    from rich.table import Table

    table = Table("name", "as of", "made at", "bytes", "state")
    for row in found:
        state = "half made" if row["half_made"] else "whole"
        table.add_row(row["name"], row["as_of"], row["made_at"], f"{row['bytes'] or 0:,}", state)
    report(table if found else "no snapshots; `prejoin rebuild --all --as-of TIME` makes one")
    if any(row["half_made"] for row in found):
        report("a half-made one goes on when its command is given again; `prejoin snapshots drop` gives it up")


@snapshots.command(epilog="Example: prejoin snapshots drop 20260301T000000Z")
def drop(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Names of snapshots.")] = None,
    every: All = False,
    as_json: Json = False,
) -> None:
    """Drop snapshots, once nobody reads them; half-made ones, unless somebody is making them."""
    from projector.operate.snapshots import drop_snapshots

    if bool(names) == every:
        raise PrejoinError("name the snapshots to drop, or say --all")
    settings, projections = loaded()
    dropped = drop_snapshots(settings.writer_url, settings.group, projections, None if every else names)
    say_dropped(dropped, "there are no snapshots", as_json)
