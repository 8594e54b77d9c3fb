"""The command line `prejoin`: the composition root, where settings are read and the parts are put together.

Each group of commands is a module of this package with a function `register(app)`, named in MODULES below. Commands
import what they need when they run, so that `prejoin --help` does not wait for Kafka and web libraries.
"""

import signal
import sys
from importlib import import_module
from types import FrameType
from typing import Annotated

import typer

from projector.errors import PrejoinError

# One line a module, in the order in which `prejoin --help` shows their commands.
MODULES = [
    "projector.cli.demo",
    "projector.cli.stack",
    "projector.cli.run",
    "projector.cli.data",
    "projector.cli.operate",
    "projector.cli.deadletters",
    "projector.cli.serve",
]

WRONG_USE, INTERRUPTED = 2, 130

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


def main() -> None:
    """Run the command line; exits with 0, 1 ("the answer is no"), 2 (wrong use or environment) or 130 (interrupted)."""
    # As Ctrl-C does, SIGTERM unwinds through every `finally`; the long-running processes set handlers of their own.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        app(prog_name="prejoin")
    except PrejoinError as error:
        _fail(str(error), WRONG_USE)
    except KeyboardInterrupt:
        _fail("interrupted", INTERRUPTED)
    except Exception:  # noqa: BLE001 - the boundary: Python's own exit code, 1, would say "the answer is no"
        import traceback

        traceback.print_exc()
        _fail("stopped by a defect of its own; please report it with the lines above", WRONG_USE)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _fail(message: str, code: int) -> None:
    print(f"prejoin: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)
