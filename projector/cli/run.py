"""`prejoin worker` and `prejoin indexer`: the processes that apply events, and that keep the search index."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from projector.settings import Settings


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command(
        short_help="Apply events from Kafka to the views, until stopped.",
        epilog="Example: PREJOIN_METRICS_PORT=0 prejoin worker --supervise",
    )(worker)
    app.command(
        short_help="Keep the search index, until stopped.",
        epilog="Example: PREJOIN_METRICS_PORT=0 prejoin indexer",
    )(indexer)


def worker(
    supervise: Annotated[
        bool,
        typer.Option(
            "--supervise", help="Run it as a child process, and start it again where that may mend what it left for."
        ),
    ] = False,
    accept_loss: Annotated[
        bool,
        typer.Option(
            "--accept-loss", help="Go on without the events that Kafka had lost by now; what they are goes to the log."
        ),
    ] = False,
    supervised: Annotated[bool, typer.Option("--supervised", hidden=True)] = False,
) -> None:
    """Apply events from Kafka to the views in Postgres, until SIGTERM or Ctrl-C.

    Several workers of one PREJOIN_GROUP share the partitions and stand in for each other. Logs go to stderr as JSON
    lines, metrics to PREJOIN_METRICS_HOST:PREJOIN_METRICS_PORT (0: any free port, told in the log).

    With --supervise a worker that was killed, is stuck, or lost Kafka or Postgres is started again, after 1 to 30 s.

    Events that Kafka dropped before they were applied, and a topic that was made again, stop a worker. --accept-loss
    goes on from what is there now; losses after this start stop it again, one that --supervise starts included.
    """
    from projector.settings import read_settings

    settings = read_settings()
    _ = settings.writer_url, settings.brokers  # what is not set is told before seconds of imports
    if supervise:
        raise typer.Exit(_supervise(settings, accept_loss))
    if supervised:
        _run_supervised(settings, accept_loss)
    else:
        from projector.ingest.worker import run

        run(settings, accept_loss)


def indexer() -> None:
    """Send what changes in the views that declare search= to Elasticsearch, until SIGTERM or Ctrl-C.

    Several indexers of one PREJOIN_GROUP may run: one keeps a view's index, the others stand by. The first time, an
    index is made and filled; until it is whole, Postgres answers searches. Logs go to stderr as JSON lines, metrics to
    PREJOIN_METRICS_HOST:PREJOIN_METRICS_PORT (0: any free port, told in the log).
    """
    from projector.settings import read_settings

    settings = read_settings()
    _ = settings.writer_url, settings.search_urls  # what is not set is told before seconds of imports
    from projector.search.process import run

    run(settings)


def _supervise(settings: "Settings", accept_loss: bool) -> int:
    import asyncio

    from projector import logs
    from projector.ingest.supervise import Supervisor

    logs.configure(settings.log_level)
    command = [sys.executable, "-m", "projector.cli", "worker", "--supervised"]
    # the first start only: what is lost behind it is another loss
    return asyncio.run(Supervisor(command, ["--accept-loss"] if accept_loss else []).run())


def _run_supervised(settings: "Settings", accept_loss: bool) -> None:
    from projector.ingest.supervise import Lifeline

    lifeline = Lifeline()
    try:
        from projector.ingest.worker import run

        run(settings, accept_loss, lifeline.tell)
    except Exception as error:
        lifeline.tell(error)
        raise
