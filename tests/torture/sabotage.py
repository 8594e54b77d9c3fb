"""`python -m tests.torture.sabotage worker`: a worker that lacks one of the engine's protections, TORTURE_WITHOUT it.

A torture that cannot tell such a worker from a sound one proves nothing.
"""

import os
from typing import Any

from projector.apply import applier
from projector.apply.aggregates import Aggregate, Verdict
from projector.cli import main


def deduplication() -> None:
    """Repeats are folded again."""
    judge = Aggregate.judge

    def careless(self: Aggregate, event: Any) -> Verdict:
        verdict = judge(self, event)
        return Verdict.NEXT if verdict is Verdict.DUPLICATE else verdict

    setattr(Aggregate, "judge", careless)  # noqa: B010 - mypy is right, this is not done


def lock() -> None:
    """Batches of two workers run at the same time."""
    setattr(applier, "LOCK", "SELECT %(group)s::text")  # noqa: B010


if __name__ == "__main__":
    {"deduplication": deduplication, "lock": lock}[os.environ["TORTURE_WITHOUT"]]()
    main()
