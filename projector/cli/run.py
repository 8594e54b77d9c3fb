"""`prejoin worker`: the process that applies events."""

import typer


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command(epilog="Example: PREJOIN_METRICS_PORT=0 prejoin worker")(worker)


def worker() -> None:
    """Apply events from Kafka to the views in Postgres, until SIGTERM or Ctrl-C.

    Several workers of one PREJOIN_GROUP share the partitions and stand in for each other. Logs go to stderr as JSON
    lines, metrics to PREJOIN_METRICS_HOST:PREJOIN_METRICS_PORT (0: any free port, told in the log).
    """
    from projector.ingest.worker import run
    from projector.settings import read_settings

    run(read_settings())
