"""The Typer application: every command of `prejoin`.

Each group of commands is a module of this package with a function `register(app)`, named in MODULES below. Commands
import what they need when they run, so that `prejoin --help` does not wait for Kafka and web libraries.
"""

from importlib import import_module
from typing import Annotated

import typer

# One line a module, in the order in which `prejoin --help` shows their commands.
MODULES = [
    "projector.cli.demo",
    "projector.cli.stack",
    "projector.cli.run",
    "projector.cli.data",
    "projector.cli.new",
    "projector.cli.operate",
    "projector.cli.verify",
    "projector.cli.rebuild",
    "projector.cli.snapshots",
    "projector.cli.archive",
    "projector.cli.deadletters",
    "projector.cli.erase",
    "projector.cli.pause",
    "projector.cli.serve",
    "projector.cli.keys",
]

app = typer.Typer(
    name="prejoin",
    help="Answers cross-service queries from views that were joined beforehand.",
    epilog="Example: prejoin demo --once",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,  # help in panels takes 0.4 s to import what draws them
    pretty_exceptions_enable=False,  # its tracebacks show local variables, database passwords among them
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            typer.echo(f"prejoin {version('prejoin')}")
        except PackageNotFoundError:
            typer.echo("prejoin (run from its sources, not installed)")
        raise typer.Exit


@app.callback()
def root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Answers cross-service queries from views that were joined beforehand."""


for _module in MODULES:
    import_module(_module).register(app)
