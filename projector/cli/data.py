"""`prejoin generate tpch` and `prejoin publish`: events to try Prejoin with, and how events get to Kafka."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from projector.cli.console import emit_json, note, progress
from projector.cli.interrupts import run
from projector.errors import PrejoinError

generate = typer.Typer(
    no_args_is_help=True,
    help="Events to try Prejoin with.",
    epilog="Example: prejoin generate tpch --scale 0.001",
)


class OutputError(PrejoinError):
    """The file to write to cannot be written."""


def register(app: typer.Typer) -> None:
    """Add this module's commands to the command line."""
    app.add_typer(generate, name="generate")
    app.command(
        "publish",
        short_help="Publish CloudEvents to Kafka.",
        epilog="Example: prejoin generate tpch --scale 0.01 | prejoin publish -",
        no_args_is_help=True,
    )(publish_files)


@generate.callback()
def _group() -> None:
    """Events to try Prejoin with."""


@generate.command(
    short_help="Write a shop's history as CloudEvents.",
    epilog="Example: prejoin generate tpch --scale 0.01 --output events.jsonl",
)
def tpch(
    scale: Annotated[float, typer.Option(min=0.001, max=1000, help="TPC-H's scale: 1 is 1.5 million orders.")] = 0.01,
    output: Annotated[str, typer.Option("--output", "-o", help="The file to write, `-` for stdout.")] = "-",
    as_json: Annotated[bool, typer.Option("--json", help="Report as one JSON object; with --output FILE.")] = False,
) -> None:
    """Write a shop's history made from TPC-H's tables: CloudEvents by time, one JSON object a line."""
    if as_json and output == "-":
        raise typer.BadParameter("the events go to stdout already: add --output FILE", param_hint="--json")
    from projector.tpch import EVENTS_PER_SCALE, events

    started, count = time.monotonic(), 0
    with _target(output) as file, progress("Events written", round(scale * EVENTS_PER_SCALE)) as advance:
        for count, event in enumerate(events(scale), 1):
            file.write(event.value + b"\n")
            if count % 1_000 == 0:
                advance(1_000)
        advance(count % 1_000)
    seconds = time.monotonic() - started
    if as_json:
        emit_json({"scale": scale, "events": count, "output": output, "seconds": round(seconds, 3)})
    elif output != "-":
        note(f"{count:,} events in {output}, {count / seconds:,.0f} a second")


def publish_files(
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="CloudEvents, one a line; `-` for stdin.")],
    partitions: Annotated[int, typer.Option(min=1, max=10_000, help="Partitions of topics that are created.")] = 4,
    as_json: Annotated[bool, typer.Option("--json", help="Report as one JSON object.")] = False,
) -> None:
    """Publish CloudEvents to the topic named by the first part of `type`, keyed by `subject`."""
    from projector.ingest.broker import quiet
    from projector.publish import EventLines, PublishError, publish
    from projector.settings import read_settings

    brokers = read_settings().brokers
    lines = EventLines(files)
    # what aiokafka logs comes as an error, in one line
    with quiet("aiokafka"), progress("Events published") as advance:
        done = run(publish(brokers, lines, partitions=partitions, on_progress=advance))
    for topic in done.created:
        note(f"created topic {topic} with {partitions} partitions")
    if lines.problem:
        raise PublishError(f"{lines.problem}; {done.count} lines published before it")
    if as_json:
        emit_json(
            {"published": done.count, "topics": dict(sorted(done.topics.items())), "seconds": round(done.seconds, 3)}
        )
    else:
        note(f"{done.count:,} events published in {done.seconds:.1f} s")


@contextmanager
def _target(output: str) -> Iterator[BinaryIO]:
    """Open what to write to. A file appears under its name when it is complete, and not at all if it never is."""
    try:
        if output == "-":
            yield sys.stdout.buffer
            sys.stdout.flush()
        elif Path(output).exists() and not Path(output).is_file():  # such as a named pipe
            with Path(output).open("wb") as file:
                yield file
        else:
            with _whole(Path(output)) as file:
                yield file
    except BrokenPipeError:  # whoever reads, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit from None
    except OSError as error:
        raise OutputError(f"{output} cannot be written: {error.strerror}; choose another with --output") from None


@contextmanager
def _whole(path: Path) -> Iterator[BinaryIO]:
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
