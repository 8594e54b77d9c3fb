"""`prejoin archive`: the topics kept as files, for longer than Kafka keeps them."""

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from projector.cli.console import emit_json, note, progress, report
from projector.cli.interrupts import Stop
from projector.cli.operate import Json, loaded

if TYPE_CHECKING:
    from projector.history.archiver import Archived


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command(
        short_help="Keep the topics as files, until stopped.", epilog="Example: prejoin archive --to /srv/events --once"
    )(archive)


def archive(
    to: Annotated[Path, typer.Option("--to", help="The folder; it is made if it is not there.", metavar="DIR")],
    once: Annotated[bool, typer.Option("--once", help="Up to what Kafka holds now, then stop.")] = False,
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help="Go on without the events that Kafka had lost by now.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write the events of all topics that the projections read to Parquet files, until SIGTERM or Ctrl-C.

    A file appears once it is whole, after 64 MB or five minutes; what is not in one yet is read again after a crash.
    One archiver a folder. The files hold events as they were published, personal data included: their owner alone can
    read them.

    Events that Kafka dropped before they were archived, and a topic that was made again, stop it. --accept-loss goes on
    behind such events; losses after this start stop it again.
    """
    settings, projections = loaded()
    brokers = settings.brokers
    from projector.history.archiver import Archiver

    stop = Stop()
    with stop.minded(), progress("records archived") as advance:
        archiver = Archiver(brokers, projections.topics, to, tell=advance, say=note, waiting=stop.waiting)
        done = archiver.run(once, accept_loss)
    if as_json:
        emit_json({"partitions": [partition._asdict() for partition in done]})
    elif done:
        _print(done)
    else:
        report(f"nothing: Kafka has none of the topics {', '.join(projections.topics)}")
    if stop.told == signal.SIGINT or (once and stop.told):
        raise KeyboardInterrupt


def _print(done: "list[Archived]") -> None:
    from rich.table import Table

    table = Table("partition", "archived from", "up to", "records of this run", "files of this run")
    for row in done:
        numbers = (row.start, row.next, row.records, row.files)
        table.add_row(f"{row.topic}/{row.partition}", *(f"{number:,}" for number in numbers))
    report(table)
