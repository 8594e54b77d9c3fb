"""One archiver a folder."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from projector.errors import PrejoinError
from projector.history.writing import make_folder

LOCK = "~lock"  # no topic is named so: Kafka does not allow it


class ArchiveBusy(PrejoinError):
    """Another archiver writes to the folder."""


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Make the folder and hold it; the system lets go of it when the process ends, however. Raises ArchiveBusy."""
    make_folder(directory)
    descriptor = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 200, 0).decode() or "another process"
            raise ArchiveBusy(
                f"{directory} is being written by {holder}: stop that archiver, or name another folder"
            ) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()} since {_now()}".encode())
        yield
    finally:
        os.close(descriptor)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
