"""The disk that holds Postgres's data: it can be made to be full, and to have room again.

Where we may mount, it is a small file system in memory, and full means ENOSPC. Elsewhere a limit on the size of files
is set on Postgres's processes (EFBIG): to it, that is the same failure of a write. Where there is no prlimit either
(no Linux), the disk is never full, which the report of a run shows.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

import psutil

SIZE = 4 << 30  # bytes; memory is taken only for what is there
MARGIN = 64 << 10  # left over when full: it is counted while Postgres writes
TRIES = 20
FULL = ("No space left on device", "File too large")


class Disk(Protocol):
    """`postmaster` is the process of the Postgres whose data is there."""

    def fill(self, postmaster: int) -> None: ...
    def free(self, postmaster: int) -> None: ...


@contextmanager
def disk(folder: Path) -> Iterator[Disk]:
    """Make the folder on a disk of its own, where that is allowed."""
    folder.mkdir(parents=True)
    if os.geteuid() != 0 or not _done(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", folder]):
        yield Limits()
        return
    try:
        yield Small(folder)
    finally:
        _done(["umount", "--lazy", folder])


class Small:
    """A file system of its own: full, it is just as large as what it holds."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def fill(self, _postmaster: int) -> None:
        for _ in range(TRIES):  # it refuses to be smaller than what was written meanwhile
            found = os.statvfs(self._folder)
            if self._resize((found.f_blocks - found.f_bfree) * found.f_frsize + MARGIN):
                return
        raise AssertionError(f"{self._folder} could not be filled")

    def free(self, _postmaster: int) -> None:
        assert self._resize(SIZE)

    def _resize(self, size: int) -> bool:
        return _done(["mount", "-o", f"remount,size={size}", self._folder])


class Limits:
    """No process of Postgres can make a file larger than that, nor write there: the WAL's files are."""

    LIMIT = 1 << 20

    def fill(self, postmaster: int) -> None:
        self._limit(postmaster, f"{self.LIMIT}:")

    def free(self, postmaster: int) -> None:
        self._limit(postmaster, "unlimited:")

    def _limit(self, postmaster: int, soft: str) -> None:
        if shutil.which("prlimit") is None:
            return
        with suppress(psutil.NoSuchProcess):  # it ended over it
            parent = psutil.Process(postmaster)
            # even root may lack the right to limit the processes of others
            owner = (parent.uids().real, parent.gids().real) if os.geteuid() == 0 else (None, None)
            for process in [parent, *parent.children()]:  # the parent first: who comes later inherits it
                with suppress(psutil.NoSuchProcess):
                    limited = _done(["prlimit", "--pid", str(process.pid), f"--fsize={soft}"], *owner)
                    assert limited or process.status() == psutil.STATUS_ZOMBIE, "prlimit is not allowed"


def _done(command: list[str | Path], user: int | None = None, group: int | None = None) -> bool:
    done = subprocess.run(command, user=user, group=group, capture_output=True, check=False)
    return done.returncode == 0
