"""Connections of the writer, with timeouts that free its locks from a frozen process."""

from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import psycopg
from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import NullPool

from projector.errors import Unreachable
from projector.store.names import search_path

# A worker that freezes inside a transaction holds the group's lock: Postgres ends it after these (milliseconds).
IDLE_IN_TRANSACTION = 30_000
IDLE = 60
CLIENT_CHECK = 500  # milliseconds
TCP = {"keepalives_idle": "10", "keepalives_interval": "5", "keepalives_count": "3", "tcp_user_timeout": "30000"}

_DRIVER = "postgresql+psycopg://"


class DatabaseUnreachable(Unreachable):
    """The database of a setting cannot be reached."""


def connect(url: str, group: str, *, autocommit: bool = False, name: str = "prejoin") -> psycopg.Connection[Any]:
    """A connection of the writer. Raises DatabaseUnreachable in one line, without the password."""
    try:
        return psycopg.connect(
            url,
            autocommit=autocommit,
            application_name=name,
            connect_timeout=5,
            options=options(group),
            **TCP,  # type: ignore[arg-type]
        )
    except psycopg.OperationalError as error:
        raise unreachable("PREJOIN_DATABASE_URL", url, error) from None


def end_with_client(connection: psycopg.Connection[Any]) -> None:
    """Have Postgres end what a session runs once its process is gone: else a long statement goes on, with its locks.

    For a connection that commits each statement. Where the server's system cannot tell, it goes on all the same.
    """
    with suppress(psycopg.errors.InvalidParameterValue):
        connection.execute(f"SET client_connection_check_interval = {CLIENT_CHECK}")


async def connect_async(url: str, group: str, *, name: str) -> psycopg.AsyncConnection[Any]:
    """A connection of the writer that commits each statement, and that Postgres ends where its process is frozen.

    It must be used at least every IDLE seconds: with it go its session locks. Raises DatabaseUnreachable.
    """
    try:
        return await psycopg.AsyncConnection.connect(
            url,
            autocommit=True,
            application_name=name,
            connect_timeout=5,
            options=f"{options(group)} -c idle_session_timeout={IDLE * 1000}",
            **TCP,  # type: ignore[arg-type]
        )
    except psycopg.OperationalError as error:
        raise unreachable("PREJOIN_DATABASE_URL", url, error) from None


def options(group: str) -> str:
    """Session settings of the group's connections, as libpq's `options`."""
    settings = {
        "search_path": search_path(group).replace(" ", ""),
        # the group's lock tells what was committed before it under READ COMMITTED only, whatever the server's default
        "default_transaction_isolation": r"read\ committed",
        "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION),
        "timezone": "UTC",
        "jit": "off",  # compiling takes longer than these statements run
        "work_mem": "32MB",  # a batch's fresh rows are looked at twice; one session works at a time
        "random_page_cost": "1.1",  # what is at work is in memory: some thousand keys are looked up, not a table read
    }
    return " ".join(f"-c {name}={value}" for name, value in settings.items())


def engine(url: str, group: str) -> Engine:
    """A SQLAlchemy engine without a pool, for schema work."""
    return create_engine(
        sqlalchemy_url(url), poolclass=NullPool, connect_args={"options": options(group), "connect_timeout": 5}
    )


def engine_over(connection: psycopg.Connection[Any]) -> Engine:
    """A SQLAlchemy engine for schema work over a connection that there is, which it closes."""
    return create_engine(_DRIVER, poolclass=NullPool, creator=lambda: connection)


def sqlalchemy_url(url: str) -> str:
    """The same address with the driver that SQLAlchemy is to use."""
    return _DRIVER + url.split("://", 1)[1]


def unreachable(setting: str, url: str, error: Exception) -> DatabaseUnreachable:
    """One line that names the setting and the address, and what the driver said, without credentials."""
    address = urlsplit(url)
    # libpq: `connection to server at "…", port … failed: the reason`, and then a hint on lines of its own
    lines = str(error).strip().splitlines() or ["no answer"]
    said = next((line for line in lines if " failed: " in line), lines[0]).rpartition(" failed: ")[2]
    if address.password:
        said = said.replace(address.password, "***")
    return DatabaseUnreachable(
        f"cannot connect to Postgres at {address.hostname}:{address.port or 5432} ({setting}): {said}; "
        "is it running, and are user and password right?"
    )
