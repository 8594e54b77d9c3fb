"""Projection runners of other libraries, which come with an event store of their own, on the shop's events.

Installed from requirements.txt here into a virtual environment of the bench's own.
"""

import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

from bench.place import BenchError, Place
from bench.streams import Shop

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
FOLDER = Path(".prejoin/bench")
SECONDS_TO_INSTALL, SECONDS_TO_RUN = 180, 300


def pinned() -> list[str]:
    """The packages in requirements.txt, `name==version`."""
    return [line for line in REQUIREMENTS.read_text().splitlines() if not line.startswith("#")]


def install() -> str | None:
    """Install what is missing; returns why that cannot be, in a line."""
    python = FOLDER / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", REQUIREMENTS]
    try:
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", FOLDER], check=True, capture_output=True, text=True)
        subprocess.run(install, check=True, capture_output=True, text=True, timeout=SECONDS_TO_INSTALL)
    except subprocess.CalledProcessError as error:
        return (error.stderr.strip().splitlines() or [str(error)])[-1]
    except subprocess.TimeoutExpired as error:
        return f"it takes more than {error.timeout:.0f} s"
    return None


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
    command = [str(FOLDER / "bin" / "python"), "-m", "bench.peers.eventsourcing_runner", str(file)]
    run = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=SECONDS_TO_RUN, check=False)
    if run.returncode:
        raise BenchError(f"eventsourcing's runner ended with {run.returncode}: {run.stderr[-2000:]}")
    told: dict[str, float] = json.loads(run.stdout)
    return told
