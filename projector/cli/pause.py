"""`prejoin pause` and `prejoin resume`: a worker group held, and let go."""

from typing import TYPE_CHECKING

import typer

from projector.cli.console import emit_json, report
from projector.cli.operate import Json

if TYPE_CHECKING:
    from projector.operate.pause import Held


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command(short_help="Hold the workers of the group.", epilog="Example: prejoin pause")(pause)
    app.command(short_help="Let the workers of the group go on.", epilog="Example: prejoin resume")(resume)


def pause(as_json: Json = False) -> None:
    """Hold the workers of the group: they apply nothing more until `prejoin resume`, whatever is restarted meanwhile.

    Returns once the batch in flight has ended, and says up to where events are applied. Workers stay members of the
    group, readers read, indexers go on, and views can be rebuilt and verified.
    """
    from projector.operate.pause import pause as hold
    from projector.settings import read_settings

    settings = read_settings()
    held = hold(settings.writer_url, settings.group)
    if as_json:
        _tell(held)
        return
    report(f"{'paused' if held.changed else 'paused before'}, by {held.by} since {held.since}")
    report(f"applied up to {', '.join(held.positions)}" if held.positions else "nothing is applied yet")


def resume(as_json: Json = False) -> None:
    """Let the workers of the group go on, within a second."""
    from projector.operate.pause import resume as let_go
    from projector.settings import read_settings

    settings = read_settings()
    held = let_go(settings.writer_url, settings.group)
    if as_json:
        _tell(held)
    else:
        report("resumed" if held.changed else "it was not paused")


def _tell(held: "Held") -> None:
    paused = None if held.since is None else {"since": held.since, "by": held.by}
    emit_json({"paused": paused, "changed": held.changed, "positions": held.positions})
