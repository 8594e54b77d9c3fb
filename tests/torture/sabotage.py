"""`python -m tests.torture.sabotage worker`: a worker that lacks one of the engine's protections, TORTURE_WITHOUT it.

A torture that cannot tell such a worker from a sound one proves nothing.
"""

import os
import time
from typing import Any

from projector.apply import applier, positions
from projector.apply.aggregates import Aggregate, Verdict
from projector.cli import main

SECONDS_LATE, SEVERAL = 20.0, 3
SECONDS_LONGER = 0.1


def deduplication() -> None:
    """Repeats are folded again."""
    judge = Aggregate.judge

    def careless(self: Aggregate, event: Any) -> Verdict:
        verdict = judge(self, event)
        return Verdict.NEXT if verdict is Verdict.DUPLICATE else verdict

    setattr(Aggregate, "judge", careless)  # noqa: B010 - mypy is right, this is not done


def lock() -> None:
    """Batches of two workers run at the same time, and long enough to do so."""
    advance = positions.advance

    def late(cursor: Any, chunks: Any) -> None:
        time.sleep(SECONDS_LONGER)
        advance(cursor, chunks)

    setattr(applier, "LOCK", "SELECT %(group)s::text")  # noqa: B010
    setattr(positions, "advance", late)  # noqa: B010


def compare_and_set() -> None:
    """A batch is applied wherever its partitions stand, and sets them to where it ends.

    The lock's queue protects, too: who was first in it comes first, however long a worker is frozen there. So the first
    worker is slow before: a batch of several partitions waits until another, that was given one of them, is ahead.
    """
    apply = applier.Applier.apply_decoded

    def late(self: applier.Applier, work: Any) -> Any:
        deadline = time.monotonic() + SECONDS_LATE
        while len(work) >= SEVERAL and time.monotonic() < deadline and not _overtaken(self.positions(), work):
            time.sleep(0.1)
        return apply(self, work)

    def careless(_stored: Any, work: Any, _outcome: Any) -> Any:
        return work

    if os.environ["TORTURE_WORKER"] == "0":
        setattr(applier.Applier, "apply_decoded", late)  # noqa: B010
    setattr(positions, "accept", careless)  # noqa: B010


def _overtaken(stored: Any, work: Any) -> bool:
    return any(stored.get(chunk.partition, 0) > chunk.next for chunk, _ in work)


if __name__ == "__main__":
    {"deduplication": deduplication, "lock": lock, "compare_and_set": compare_and_set}[os.environ["TORTURE_WITHOUT"]]()
    main()
