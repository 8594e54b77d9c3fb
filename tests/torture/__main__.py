"""`python -m tests.torture --seeds 20`, or `--seed 7`: run seeds on a stack of their own, tell those that fail."""

import argparse
import asyncio
import logging
import shutil
import sys
import tempfile
import traceback
from pathlib import Path

from projector.embedded import Stack
from projector.embedded.errors import EmbeddedError
from tests.torture.failed import TortureFailed
from tests.torture.plan import FULL, SMALL, make_plan
from tests.torture.run import torture

JARS = Path(__file__).parents[2] / ".prejoin" / "lib"


def main() -> int:
    parser = argparse.ArgumentParser(prog="make torture", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds, from 0 on")
    parser.add_argument("--seed", type=int, help="this one alone")
    parser.add_argument("--small", action="store_true", help="as small as the one in the test suite")
    given = parser.parse_args()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it tells of each fault a hundred times
    seeds = range(given.seeds) if given.seed is None else [given.seed]
    failed = [seed for seed in seeds if not _passes(seed, small=given.small)]
    print(f"failed: {failed}" if failed else f"all {len(seeds)} seeds exact")
    return 1 if failed else 0


def _passes(seed: int, *, small: bool) -> bool:
    """Each seed on servers of its own; the logs of one that fails are kept."""
    plan = make_plan(seed, SMALL if small else FULL)
    folder = Path(tempfile.mkdtemp(prefix=f"prejoin-torture-{seed}-"))
    try:
        with tempfile.TemporaryDirectory(prefix="prejoin-torture-") as root:
            try:
                # not under a folder that is ours alone: Postgres runs as another system user
                with Stack(Path(root), ("postgres", "kafka"), cache=JARS) as stack:
                    print(asyncio.run(torture(stack, plan, folder)), flush=True)
            finally:
                shutil.copytree(Path(root) / "logs", folder / "servers")
    except (TortureFailed, EmbeddedError, ExceptionGroup) as error:
        traceback.print_exception(error)
        print(f"\nseed {seed} FAILED\n{plan}\nagain: make torture SEED={seed}\nlogs: {folder}", flush=True)
        return False
    shutil.rmtree(folder)
    return True


if __name__ == "__main__":
    sys.exit(main())
