"""`prejoin worker`: the process that applies events."""

import typer


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command(
        short_help="Apply events from Kafka to the views, until stopped.",
        epilog="Example: PREJOIN_METRICS_PORT=0 prejoin worker",
    )(worker)


def worker() -> None:
    """Apply events from Kafka to the views in Postgres, until SIGTERM or Ctrl-C.

    Several workers of one PREJOIN_GROUP share the partitions and stand in for each other. Logs go to stderr as JSON
    lines, metrics to PREJOIN_METRICS_HOST:PREJOIN_METRICS_PORT (0: any free port, told in the log).
    """
    from projector.settings import read_settings

    settings = read_settings()
    _ = settings.writer_url, settings.brokers  # what is not set is told before seconds of imports
    from projector.ingest.worker import run

    run(settings)
