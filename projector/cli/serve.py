"""`prejoin api`: the read API, as a process of its own."""

import errno
import gc
import signal
import socket
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from projector.cli.console import note
from projector.errors import PrejoinError, SettingError

if TYPE_CHECKING:
    from projector.declare.projections import Projections
    from projector.settings import Settings
    from projector.store.status import Ends

SECONDS_TO_ASK = 2  # the broker where it ends, for /v1/status: after it, what a worker noted last must do
SECONDS_TO_STOP = 8  # for answers under way, at SIGTERM


class NotMigratedError(PrejoinError):
    """The database lacks what the API serves."""


def register(app: typer.Typer) -> None:
    """Add this module's command to the command line."""
    app.command("api", short_help="Serve the views over HTTP, read-only.", epilog="Example: prejoin api --port 8080")(
        api
    )


def api(
    host: Annotated[str | None, typer.Option(help="Address to listen on; default: PREJOIN_API_HOST.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port, 0 for a free one; default: PREJOIN_API_PORT.")
    ] = None,
) -> None:
    """Serve the views over HTTP, read-only, until Ctrl-C or SIGTERM."""
    from projector.settings import read_settings

    given = {"api_host": host, "api_port": port}
    serve(read_settings().model_copy(update={name: value for name, value in given.items() if value is not None}))


def serve(settings: "Settings") -> None:
    """Serve until a signal says stop; raises PrejoinError before it listens if it could not answer."""
    import uvicorn

    from projector.declare.projections import load
    from read_api.access.log import to_stderr
    from read_api.app import create_app
    from read_api.connection import Connection

    guarded = settings.tokens is not None or settings.api_open or settings.on_loopback
    projections = load(settings.projections)
    keys = check_database(settings, projections)
    if not (guarded or keys):
        raise SettingError(
            f"PREJOIN_API_HOST is {settings.api_host}, which others can reach, and there is no key yet: make one "
            "with `prejoin keys create`, set PREJOIN_JWT_ISSUER and so on, listen on 127.0.0.1, or set "
            "PREJOIN_API_OPEN=true where something else guards it"
        )
    listener = listen(settings.api_host, settings.api_port)
    with listener:
        app = create_app(
            settings, partial(_ends, settings.brokers, projections.topics) if settings.kafka_brokers else None
        )

        class Server(uvicorn.Server):
            """Ends what follows changes first: those answers have no end of their own."""

            async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
                app.state.streams.stop()
                await super().shutdown(sockets)

        _allow_files()
        if settings.api_log:
            to_stderr()
        config = uvicorn.Config(
            app,
            http=Connection,
            ws="none",
            access_log=False,  # it would hold the values of filters
            log_config=None,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=SECONDS_TO_STOP,
        )
        gc.freeze()  # what is loaded stays: to look through it holds up all answers, a tenth of a second at a time
        note(f"serving on {_url(listener)} (documentation at {_url(listener)}/docs); press Ctrl-C to stop")
        # uvicorn stops at it by itself, and raises it once more when all is closed
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        Server(config).run(sockets=[listener])


def _allow_files() -> None:
    """Let the process have as many connections open as the system lets it: often the first limit is 1,024."""
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _ends(brokers: list[str], topics: list[str]) -> "Ends | None":
    import asyncio

    from projector.cli.ends import broker_ends
    from projector.ingest.broker import PASSING

    try:
        async with asyncio.timeout(SECONDS_TO_ASK):
            return await broker_ends(brokers, topics)
    except PASSING:
        return None


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises SettingError, naming the setting, where that cannot be."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError:
        raise SettingError(f"PREJOIN_API_HOST {host} is no address of this machine: try 127.0.0.1") from None
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise SettingError(
                f"port {port} of {host} is in use: set PREJOIN_API_PORT to another, or stop what listens there"
            ) from None
        if error.errno == errno.EACCES:
            raise SettingError(f"port {port} needs more rights: set PREJOIN_API_PORT to one above 1023") from None
        raise SettingError(f"PREJOIN_API_HOST {host} is no address of this machine: try 127.0.0.1") from None
    return listener


def check_database(settings: "Settings", projections: "Projections") -> bool:
    """Whether there is an API key. Raises a PrejoinError unless the reading role can answer."""
    import psycopg

    from projector.store.connect import options, unreachable
    from projector.store.definitions import relation_digests
    from read_api.health import READABLE

    keys, url, digests = False, settings.reader_url, list(relation_digests(projections).values())
    try:
        with psycopg.connect(
            url, options=options(settings.group), connect_timeout=5, cursor_factory=psycopg.RawCursor
        ) as connection:
            (there,) = connection.execute(READABLE, [digests]).fetchone() or ([],)
            (keys,) = connection.execute("SELECT EXISTS (SELECT FROM api_keys)").fetchone() or (False,)
            (writes,) = connection.execute("SELECT has_table_privilege('positions', 'INSERT')").fetchone() or (False,)
    except psycopg.OperationalError as error:
        raise unreachable("PREJOIN_READ_DATABASE_URL", url, error) from None
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn, psycopg.errors.InsufficientPrivilege):
        there = []
    if not there:  # of a part of them the others may wait for a rebuild: /readyz and each of them say so
        raise NotMigratedError(
            f"the database holds no views of the group {settings.group}: run `prejoin migrate` first"
        )
    if writes:
        raise SettingError(
            "PREJOIN_READ_DATABASE_URL names a role that can write: give the API one of its own, which "
            "`prejoin migrate` makes from that address"
        )
    return bool(keys)


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
