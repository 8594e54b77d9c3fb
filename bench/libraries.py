"""Peers that are libraries, each installed from requirements of its own into a virtual environment of its own.

And the projection runner of one that comes with an event store of its own, on the shop's events.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bench.place import BenchError, Place
from bench.streams import Shop

SECONDS_TO_INSTALL, SECONDS_TO_RUN = 180, 300


@dataclass(frozen=True)
class Library:
    """A library in a virtual environment of its own."""

    requirements: Path
    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def pinned(self) -> str:
        """The package and its version, `name==version`: what stands first in its requirements."""
        return next(line for line in self.requirements.read_text().splitlines() if not line.startswith("#"))

    def install(self) -> str | None:
        """Install what is missing; returns why that cannot be, in a line."""
        install = [self.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        try:
            if not self.python.exists():
                subprocess.run([sys.executable, "-m", "venv", self.folder], check=True, capture_output=True, text=True)
            subprocess.run(
                [*install, "-r", self.requirements],
                check=True,
                capture_output=True,
                text=True,
                timeout=SECONDS_TO_INSTALL,
            )
        except subprocess.CalledProcessError as error:
            return (error.stderr.strip().splitlines() or [str(error)])[-1]
        except subprocess.TimeoutExpired as error:
            return f"it takes more than {error.timeout:.0f} s"
        return None


HERE = Path(__file__).parent
EVENTSOURCING = Library(HERE / "requirements.txt", Path(".prejoin/bench"))
PGSYNC = Library(HERE / "requirements-pgsync.txt", Path(".prejoin/bench-pgsync"))


def eventsourcing(where: Place, schema: str, share: Shop) -> dict[str, float]:
    """Record the events with eventsourcing, project them with its runner; returns events and seconds."""
    file = where.folder / "events.jsonl"
    file.write_bytes(b"\n".join(m.value for m in [*share.masters, *share.adjacent[0]]))
    address = urlsplit(where.endpoints.database_url)
    settings = {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": address.path[1:],
        "POSTGRES_HOST": address.hostname or "",
        "POSTGRES_PORT": str(address.port),
        "POSTGRES_USER": address.username or "",
        "POSTGRES_PASSWORD": address.password or "",
        "POSTGRES_SCHEMA": schema,
        "PGOPTIONS": f"-c search_path={schema} -c timezone=UTC -c jit=off -c plan_cache_mode=force_generic_plan",
    }
    command = [str(EVENTSOURCING.python), "-m", "bench.peers.eventsourcing_runner", str(file)]
    run = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=SECONDS_TO_RUN, check=False)
    if run.returncode:
        raise BenchError(f"eventsourcing's runner ended with {run.returncode}: {run.stderr[-2000:]}")
    told: dict[str, float] = json.loads(run.stdout)
    return told
