"""A log loaded into the entities of a copy, by several processes, each with partitions of its own."""

import contextlib
import gc
import multiprocessing
import os
import signal
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from multiprocessing.connection import Connection, wait
from typing import Any

import psycopg

from projector.apply.batch import Chunk, TopicPartition
from projector.apply.loading import Loading, Place
from projector.declare.projections import Projections, load
from projector.errors import Passing, PrejoinError
from projector.history.log import History
from projector.outages import in_a_line, passes

BATCH = 40_000  # records applied in one transaction
BYTES = 32 << 20
SECONDS_BETWEEN_LOOKS = 0.5
NICE = 10  # what is live comes first
FEW = 20_000  # records for which no process is started


@dataclass(frozen=True)
class Share:
    """What one process loads: partitions up to their ends. Each holds all that is needed, to be sent to a process."""

    url: str
    group: str
    projections: str
    unknown_events: str
    history: History
    ends: dict[TopicPartition, int]
    until: datetime | None
    given_up: dict[Place, datetime]

    def loading(self, projections: Projections) -> Loading:
        """What applies it."""
        return Loading(self.url, self.group, projections, self.unknown_events, self.ends, self.until, self.given_up)


def load_log(
    whole: Share, projections: Projections, jobs: int, look: Callable[[], Mapping[TopicPartition, int]]
) -> None:
    """Load all partitions, in as many processes as `jobs` says; `look` is called now and then, and says how far it is.

    Raises what one of the processes raised. However this ends, none of them is left.
    """
    left = {tp: end - at for tp, at in look().items() if (end := whole.ends.get(tp, 0)) > at}
    if not left:
        return
    if sum(left.values()) <= FEW:
        return _load(whole, projections)
    context = multiprocessing.get_context("spawn")
    running = []
    try:
        for partitions in _shares(left, jobs):
            share = replace(whole, ends={tp: whole.ends[tp] for tp in partitions})
            ours, its = context.Pipe(duplex=False)
            process = context.Process(target=_run, args=(share, its), daemon=True, name="prejoin load")
            process.start()
            its.close()
            running.append((process, ours))
        sentinels = {process.sentinel: (process, ours) for process, ours in running}
        while sentinels:
            ended = set(wait(list(sentinels), SECONDS_BETWEEN_LOOKS))
            for sentinel in sentinels.keys() & ended:
                _raise_its(*sentinels.pop(sentinel))
            look()
    finally:
        for process, _ in running:
            process.kill()
        for process, ours in running:
            process.join()
            ours.close()


def _shares(left: Mapping[TopicPartition, int], jobs: int) -> list[list[TopicPartition]]:
    """The partitions in shares that take about as long: the largest first, each to who has least of its topic, for
    records of one topic cost alike, and of all.
    """
    shares: list[list[TopicPartition]] = [[] for _ in range(min(jobs, len(left)))]
    sizes = [Counter[str]() for _ in shares]
    for tp in sorted(left, key=lambda tp: left[tp], reverse=True):
        least = min(range(len(shares)), key=lambda n: (sizes[n][tp.topic], sizes[n].total()))
        shares[least].append(tp)
        sizes[least][tp.topic] += left[tp]
    return shares


def _load(share: Share, projections: Projections) -> None:
    with contextlib.closing(share.loading(projections)) as applier:
        at = {tp: next_ for tp, next_ in applier.positions().items() if tp in share.ends}
        with contextlib.closing(share.history.read(at, share.ends)) as chunks:
            for batch in in_batches(chunks, BATCH):
                for tp in applier.apply(batch).refused:  # which would be nowhere in a snapshot, which never catches up
                    raise Passing(
                        f"{tp.topic}/{tp.partition} is being loaded by somebody else, a run that was ended perhaps; "
                        "give the command again"
                    )
                gc.collect()  # of a batch little is left by now to look through


def in_batches(chunks: Iterable[Chunk], most: int) -> Iterator[list[Chunk]]:
    """Chunks together, up to so many records or BYTES of values, passed by one chunk at most."""
    batch, records, size = list[Chunk](), 0, 0
    for chunk in chunks:
        batch.append(chunk)
        records += len(chunk.records)
        size += sum(len(record.value or b"") for record in chunk.records)
        if records >= most or size >= BYTES:
            yield batch
            batch, records, size = [], 0, 0
    if batch:
        yield batch


def _run(share: Share, told: Connection) -> None:
    """A process: ends when it is done, when who started it ends, and with what it raised in the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of Ctrl-C hears who started it
    os.nice(NICE)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    gc.disable()  # it would look through each batch again and again, for a third of the time that decoding takes
    try:
        projections = load(share.projections)
        gc.freeze()
        _load(share, projections)
    except Exception as error:  # noqa: BLE001 - the process's boundary
        told.send(_said(error))
        raise SystemExit(1) from None


def _end_with_parent() -> None:
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
    os._exit(1)


def _said(error: Exception) -> tuple[type[Exception], str]:
    """What who started it is to raise: of what passes, what is for the user to read, and a defect of ours."""
    if passes(error):
        return Passing, in_a_line(error)
    if isinstance(error, PrejoinError | psycopg.OperationalError):
        return PrejoinError, in_a_line(error)
    return RuntimeError, "".join(traceback.format_exception(error))


def _raise_its(process: Any, told: Connection) -> None:
    process.join()
    if process.exitcode == 0:
        return
    with contextlib.suppress(EOFError):
        if told.poll():
            kind, said = told.recv()
            raise kind(said)
    raise PrejoinError(f"a process that loads events was ended (exit code {process.exitcode}): give the command again")
