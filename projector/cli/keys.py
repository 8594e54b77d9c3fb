"""`prejoin keys`: who may read from the API, and what."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from projector.cli.console import emit_json, note, report
from projector.cli.operate import Json, loaded
from projector.errors import PrejoinError

if TYPE_CHECKING:
    import psycopg

    from projector.declare.projections import Projections
    from projector.settings import Settings

LONGEST_NAME = 100
keys = typer.Typer(
    no_args_is_help=True,
    help="API keys: who may read, and what. From the first one on, the API asks for one.",
    epilog="Example: prejoin keys create dashboard --views orders,customers",
)


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(keys, name="keys")


@keys.command(epilog="Example: prejoin keys create dashboard --views orders,customers --expires 2027-01-01")
def create(
    name: Annotated[str, typer.Argument(help="What it is for: logs tell it.")],
    views: Annotated[str, typer.Option(help="Views or API paths that it may read, a,b; or all.")] = "all",
    pii: Annotated[bool, typer.Option("--pii", help="Let it read personal columns, too: names, e-mail.")] = False,
    expires: Annotated[
        str | None, typer.Option(metavar="DATE", help="When it ends: a date (UTC), or an RFC 3339 time.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a key and show it, this once: what is stored of it does not tell it."""
    from projector.store import keys as store

    settings, projections = loaded()
    named, until = _views(projections, views), _until(expires)
    if not name.strip() or len(name) > LONGEST_NAME or not name.isprintable():
        raise PrejoinError(f"a key's name has 1 to {LONGEST_NAME} printable characters: {name[:LONGEST_NAME]!r}")
    with _migrated(settings) as connection:
        id_, key = store.create(connection, name, named, pii, until)
    if as_json:
        told = {"id": id_, "name": name, "key": key, "views": named or "all", "pii": pii, "expires_at": until}
        emit_json(told)
        return
    report(key)
    note(f"that is the key of {name} (id {id_}): keep it now, it is not shown again")


@keys.command("list", epilog="Example: prejoin keys list --json")
def list_keys(as_json: Json = False) -> None:
    """List the keys, without what is secret of them."""
    from projector.store import keys as store

    settings, _ = loaded()
    with _migrated(settings) as connection:
        found = store.every(connection)
    now = datetime.now(UTC)
    rows = [{**key._asdict(), "views": key.views or "all", "state": key.state(now)} for key in found]
    for row in rows:
        del row["digest"]
    if as_json:
        emit_json({"keys": rows})
        return
    if not rows:
        report(f"no keys: the API {_without_keys(settings)}")
        return
    from rich.table import Table

    table = Table("id", "name", "state", "views", "pii", "created", "expires")
    for row in rows:
        views = row["views"] if isinstance(row["views"], str) else ", ".join(row["views"])
        shown = [f"{row[at]:%Y-%m-%d %H:%M}Z" if row[at] else "–" for at in ("created_at", "expires_at")]
        table.add_row(row["id"], row["name"], row["state"], views, "yes" if row["pii"] else "no", *shown)
    report(table)


@keys.command(epilog="Example: prejoin keys revoke dashboard")
def revoke(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Its id or its name, as `keys list` shows them.")],
    as_json: Json = False,
) -> None:
    """Revoke a key: running API processes refuse it within seconds."""
    from projector.store import keys as store

    settings, _ = loaded()
    with _migrated(settings) as connection:
        revoked = store.revoke(connection, key)
    if as_json:
        emit_json({"revoked": revoked})
    else:
        report(f"revoked {', '.join(revoked)}" if revoked else f"{key} was revoked before")


def _without_keys(settings: "Settings") -> str:
    """How the API is for whoever comes, as `read_api.access.gate` has it."""
    if settings.tokens:
        return "takes tokens alone"
    return "is open, beyond loopback, too" if settings.api_open else "is open, on loopback"


def _views(projections: "Projections", text: str) -> list[str] | None:
    """The views named, by their names or API paths; None: all."""
    if text == "all":
        return None
    by_name = {r.name: r.name for r in projections.served} | {r.path or "": r.name for r in projections.served}
    asked = [part.strip() for part in text.split(",")]
    for name in asked:
        if name not in by_name:
            there = ", ".join(r.name for r in projections.served)
            raise PrejoinError(f"--views: there is no view {name!r}: there are {there}")
    return sorted({by_name[name] for name in asked})


def _until(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        until = datetime.fromisoformat(text)
    except ValueError:
        raise PrejoinError(f"--expires {text!r} is no date: write 2027-01-31, or 2027-01-31T12:00:00Z") from None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    if until <= datetime.now(UTC):
        raise PrejoinError(f"--expires {text!r} is past: name a day to come")
    return until


@contextmanager
def _migrated(settings: "Settings") -> "Iterator[psycopg.Connection[Any]]":
    """A connection to a group that has tables. Raises NotMigrated where it has none."""
    import psycopg

    from projector.errors import NotMigrated
    from projector.store.connect import connect

    try:
        with closing(connect(settings.writer_url, settings.group, autocommit=True, name="prejoin keys")) as connection:
            yield connection
    except psycopg.errors.UndefinedTable:
        raise NotMigrated(settings.group) from None
