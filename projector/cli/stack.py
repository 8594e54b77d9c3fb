"""`prejoin stack`: embedded Postgres, Kafka and Elasticsearch on loopback."""

import typer

stack = typer.Typer(no_args_is_help=True, help="Embedded Postgres, Kafka and Elasticsearch: real servers on loopback.")


def register(app: typer.Typer) -> None:
    """Add this module's commands to the command line."""
    app.add_typer(stack, name="stack")


@stack.command(epilog="Example: prejoin stack status --json")
def status() -> None:
    """Tell which servers run."""
