"""`prejoin api` as a process of its own, on a free port."""

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.process import environment_with
from tests.world import World

COMMAND = [sys.executable, "-m", "projector.cli", "api"]


def environment_of(shop: World, read_database_url: str) -> dict[str, str]:
    return environment_with(READ_DATABASE_URL=read_database_url, GROUP=shop.group, API_PORT="0", API_RATE="0")


@contextmanager
def serving(
    environment: dict[str, str], command: Sequence[str] = COMMAND
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process and its address."""
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            said = process.stderr.readline()
            address = re.search(r"http://127\.0\.0\.1:[0-9]+", said)
            assert address, said
            yield process, address[0]
        finally:
            process.kill()
