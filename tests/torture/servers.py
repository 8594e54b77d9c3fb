"""The servers of a run: a Postgres and a Kafka that nobody else uses, for they are killed."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from projector.embedded import Stack
from tests.conftest import JARS
from tests.torture.disk import FULL, Disk, disk


class Servers(NamedTuple):
    """Both of them running, and the disk under Postgres's data."""

    stack: Stack
    disk: Disk

    @property
    def logs(self) -> Path:
        return self.stack.root / "logs"

    def failed_writes(self) -> int:
        """How often Postgres has said that it found no room."""
        text = (self.logs / "postgres.log").read_text(errors="replace")
        return sum(text.count(words) for words in FULL)


@contextmanager
def servers() -> Iterator[Servers]:
    """Start them; their data is gone afterwards."""
    # not under a folder that is ours alone: Postgres runs as another system user
    with (
        tempfile.TemporaryDirectory(prefix="prejoin-torture-") as root,
        disk(Path(root) / "postgres") as place,
        Stack(Path(root), ("postgres", "kafka"), cache=JARS) as stack,
    ):
        yield Servers(stack, place)
