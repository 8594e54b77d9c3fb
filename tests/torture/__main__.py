"""`python -m tests.torture --seeds 20`, or `--seed 7`: run seeds on a stack of their own, tell those that fail."""

import argparse
import asyncio
import gc
import logging
import shutil
import sys
import tempfile
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.torture.plan import FULL, SMALL, make_plan
from tests.torture.run import torture
from tests.torture.servers import servers
from tests.torture.stream import records_of


def main() -> int:
    parser = argparse.ArgumentParser(prog="make torture", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds, from 0 on")
    parser.add_argument("--seed", type=int, help="this one alone")
    parser.add_argument("--small", action="store_true", help="as small as the one in the test suite")
    given = parser.parse_args()
    for name in ("aiokafka", "asyncio"):  # they tell of each fault a hundred times
        logging.getLogger(name).setLevel(logging.CRITICAL)
    gc.disable()  # half of the model's time is the collector's otherwise
    seeds = range(given.seeds) if given.seed is None else [given.seed]
    failed = [seed for seed in seeds if not _passes(seed, small=given.small)]
    print(f"failed: {failed}" if failed else f"all {len(seeds)} seeds exact")
    return 1 if failed else 0


def _passes(seed: int, *, small: bool) -> bool:
    """Each seed on servers of its own; the logs of one that fails are kept."""
    plan = make_plan(seed, SMALL if small else FULL)
    folder = Path(tempfile.mkdtemp(prefix=f"prejoin-torture-{seed}-"))
    try:
        with ThreadPoolExecutor(1) as aside:
            records = aside.submit(records_of, plan)
            with servers() as its:
                try:
                    print(asyncio.run(torture(its, plan, folder, records.result())), flush=True)
                finally:
                    shutil.copytree(its.logs, folder / "servers")
    except Exception as error:  # noqa: BLE001 - whatever it is, the seed and its plan are told
        traceback.print_exception(error)
        print(f"\nseed {seed} FAILED\n{plan}\nagain: make torture SEED={seed}\nlogs: {folder}", flush=True)
        return False
    finally:
        gc.collect()
    shutil.rmtree(folder)
    return True


if __name__ == "__main__":
    sys.exit(main())
