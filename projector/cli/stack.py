"""`prejoin stack`: embedded Postgres, Kafka and Elasticsearch, real servers on loopback."""

import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from projector.cli.console import console, emit_json, note, report

if TYPE_CHECKING:
    from projector.embedded import Endpoints, ServiceState

SECONDS_BETWEEN_LOOKS = 0.2

stack = typer.Typer(
    no_args_is_help=True,
    help="Run real Postgres, Kafka and Elasticsearch on loopback.",
    epilog="Example: prejoin stack up --detach --only postgres,kafka",
)

Root = Annotated[
    Path, typer.Option("--root", help="The folder that keeps the servers' data.", file_okay=False, show_default=True)
]
DEFAULT_ROOT = Path(".prejoin/stack")


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(stack, name="stack")


@stack.command(short_help="Start the servers.", epilog="Example: prejoin stack up --detach --only postgres,kafka")
def up(
    detach: Annotated[bool, typer.Option("--detach", help="Return when all answer; leave them running.")] = False,
    only: Annotated[str, typer.Option(help="Which servers, separated by commas; default: all three.")] = "",
    root: Root = DEFAULT_ROOT,
) -> None:
    """Start the servers; without --detach, keep them until Ctrl-C or SIGTERM."""
    from projector.embedded import SERVICES, Stack

    services = tuple(name.strip() for name in only.split(",")) if only else SERVICES
    servers = Stack(root, services, note)
    if detach:
        _start_supervisor(servers.root, services)
        return
    stop = threading.Event()
    with servers:
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
        _show(servers.endpoints)
        if console.is_terminal:
            note("press Ctrl-C to stop them")
        try:
            while not stop.wait(SECONDS_BETWEEN_LOOKS):
                pass
        finally:
            note("stopping")


@stack.command(short_help="Stop the servers; their data stays.", epilog="Example: prejoin stack down")
def down(root: Root = DEFAULT_ROOT) -> None:
    """Stop the servers, and whatever a killed `stack up` left running; their data stays."""
    from projector.embedded import Stack

    found = Stack.take_down(root, note)
    note("stopped" if found else f"nothing is running in {root}")


@stack.command(
    short_help="Print `export PREJOIN_…=…` lines for a shell.", epilog='Example: eval "$(prejoin stack env)"'
)
def env(root: Root = DEFAULT_ROOT) -> None:
    """Print `export PREJOIN_…=…` lines, with passwords, for a shell to read."""
    from projector.embedded import running_endpoints

    for name, value in running_endpoints(root.resolve()).environment().items():
        typer.echo(f"export {name}={shlex.quote(value)}")


@stack.command(short_help="Tell which servers run, and where.", epilog="Example: prejoin stack status --json")
def status(
    root: Root = DEFAULT_ROOT,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Tell which servers run and where; exits with 1 unless all of them do."""
    from projector.embedded import service_states, supervisor_of

    states = service_states(root.resolve())
    all_run = supervisor_of(root.resolve()) is not None and all(state.state == "running" for state in states)
    if as_json:
        emit_json({"root": root.resolve(), "running": all_run, "services": [vars(state) for state in states]})
    else:
        _show_states(root, states)
    raise typer.Exit(0 if all_run else 1)


def _show(endpoints: "Endpoints") -> None:
    """Where the servers answer, without passwords: those are for `env` alone."""
    for name, value in endpoints.environment().items():
        scheme, at, rest = value.rpartition("@")
        user = scheme.removeprefix("postgresql://").partition(":")[0]
        note(f"{name}: {f'postgresql://{user}@{rest}' if at else value}")


def _show_states(root: Path, states: "list[ServiceState]") -> None:
    from rich.table import Table

    if not states:
        note(f"nothing is running in {root}: start with `prejoin stack up`")
        return
    table = Table("server", "state", "address", "pid")
    for state in states:
        table.add_row(state.service, state.state, state.address, str(state.pid or ""))
    report(table)


def _start_supervisor(root: Path, services: tuple[str, ...]) -> None:
    """Run `stack up` in a process of its own, show what it says, and return when its servers answer."""
    log = root / "logs" / "supervisor.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "projector.cli", "stack", "up", "--root", str(root), "--only", ",".join(services)]
    with log.open("wb") as output, log.open() as said:
        supervisor = subprocess.Popen(  # noqa: S603 - this very program
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
        try:
            while not _is_ready(root, supervisor.pid):
                _relay(said.read())
                if supervisor.poll() is not None:
                    _relay(said.read())
                    raise typer.Exit(supervisor.returncode)
                time.sleep(SECONDS_BETWEEN_LOOKS)
            _relay(said.read())
        except KeyboardInterrupt:
            supervisor.terminate()
            supervisor.wait()
            raise


def _is_ready(root: Path, pid: int) -> bool:
    """Whether the stack of this folder is up, and is the one of this process."""
    from projector.embedded import supervisor_of

    return supervisor_of(root) == pid


def _relay(text: str) -> None:
    if text:
        console.print(text, end="", markup=False)
