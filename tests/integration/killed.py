"""Archivers that kill themselves, as `kill -9` does, at the N-th of the moments at which something on the disk changes.

`python -m tests.integration.killed BROKERS TOPIC FOLDER` takes numbers, a line each, runs an archiver for each, and
answers with its exit code. Where there are fewer moments, it ends by itself.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from projector.history import archiver, kafka
from projector.history.archiver import Archiver, Rotation


def archive(brokers: str, topic: str, folder: Path, moment: int) -> None:
    left = moment

    def deadly(call: Callable[..., Any]) -> Callable[..., Any]:
        def dying(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **options)

        return dying

    os.fsync = deadly(os.fsync)
    Path.rename = deadly(Path.rename)  # type: ignore[method-assign]
    pq.ParquetWriter.write_table = deadly(pq.ParquetWriter.write_table)
    pq.ParquetWriter.close = deadly(pq.ParquetWriter.close)
    kafka.MAX_POLL_RECORDS, archiver.FEWEST_GROUP_BYTES, archiver.ALL_GROUPS_BYTES = 4, 3_000, 3_000
    Archiver([brokers], [topic], folder, Rotation(bytes=3_000)).run(once=True)


def main(brokers: str, topic: str, folder: Path) -> None:
    for line in sys.stdin:
        child = os.fork()  # what it imports takes longer than what it does
        if child == 0:
            archive(brokers, topic, folder, int(line))
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
