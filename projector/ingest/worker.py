"""The worker process: what it is made of, how it starts, why it leaves, and that it leaves in time."""

import asyncio
import logging
import os
import secrets
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol, cast

import psycopg

from projector import logs
from projector.apply.applier import Applier
from projector.apply.batch import Chunk, TopicPartition
from projector.apply.incoming import Decoded
from projector.declare.projections import Projections, load
from projector.errors import NotMigrated, OutOfDate, Passing, PrejoinError
from projector.ingest import broker as kafka
from projector.ingest import ledger as postgres
from projector.ingest.app import ChunkApp, make_app
from projector.ingest.batches import Applies, Batches
from projector.ingest.broker import Broker
from projector.ingest.chunks import ChunkConsumer, Start
from projector.ingest.heartbeat import Heartbeat, Stuck
from projector.ingest.inbox import Inbox
from projector.ingest.ledger import Ledger
from projector.ingest.metrics import Metrics
from projector.ingest.sampling import Sampler
from projector.ingest.starts import NotReachable, Starts
from projector.ingest.watchdog import UNANSWERED, Watchdog
from projector.memory import tame_garbage_collection
from projector.settings import Settings
from projector.store.changes import keep_partitions
from projector.store.connect import connect
from projector.store.definitions import declarations_digest

log = logs.logger(__name__)

# A clean stop, part by part; the whole is bounded from outside the event loop, for faust's stop() may block it.
SECONDS_FOR_BATCH, SECONDS_FOR_ROW, SECONDS_FOR_FAUST, SECONDS_TO_LEAVE = 4.0, 1.0, 2.5, 8.5
SECONDS_TO_LEAVE_STUCK = 5.0
SECONDS_TO_JOIN = 60.0  # a killed member before this one holds it up for the session timeout
SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_BETWEEN_HOUSEKEEPING = 3600.0


class Crashed(Passing):
    """faust stopped by itself."""


MAIN = "main"
Tell = Callable[[BaseException], None]


class Closes(Applies, Protocol):
    """An applier that can be closed."""

    def close(self) -> None:
        """Close its connection."""


def run(settings: Settings, accept_loss: bool = False, tell: Tell = lambda _: None) -> None:
    """Run a worker until SIGTERM, or SIGINT (KeyboardInterrupt then); raises PrejoinError for each reason to leave.

    `accept_loss`: go on without what Kafka had lost by now. `tell` hears the reason as soon as it is known: what
    follows, a clean stop, may hang and be cut short.
    """
    projections = load(settings.projections)
    brokers = settings.brokers
    check_migrated(settings, projections)
    logs.configure(settings.log_level)
    applier = Applier(
        settings.writer_url, settings.group, projections, settings.unknown_events, settings.dead_letter_limit
    )
    worker = Worker(settings, projections, brokers, applier, tell)
    tame_garbage_collection()
    asyncio.run(worker.run(accept_loss))
    if worker.interrupted:
        raise KeyboardInterrupt  # stopped as cleanly, but a shell script shall see that it was Ctrl-C


def check_migrated(settings: Settings, projections: Projections) -> None:
    """Look before all else: raises DatabaseUnreachable, or OutOfDate where `prejoin migrate` is to be run first."""
    with connect(settings.writer_url, settings.group) as connection:
        try:
            row = connection.execute("SELECT declarations FROM projection_group").fetchone()
        except psycopg.errors.UndefinedTable:
            raise NotMigrated(settings.group) from None
    if row is None or row[0] != declarations_digest(projections):
        raise OutOfDate(
            f"the tables of group {settings.group} were made from other declarations than {settings.projections}: "
            "run `prejoin migrate`"
        )


class Worker:
    """One worker of a group: a `Host` for the consumer, the owner of everything else. `run` once."""

    def __init__(
        self, settings: Settings, projections: Projections, brokers: list[str], applier: Closes, tell: Tell
    ) -> None:
        self.name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self._settings, self._topics, self._brokers, self._applier = settings, projections.topics, brokers, applier
        self._group, self._tell = settings.group, tell
        self._metrics = Metrics()
        self._sampler = Sampler(settings, projections, self._metrics)
        self._broker = Broker(brokers)
        self._ledger = Ledger(settings.writer_url, settings.group, self.name)
        self._starts = Starts(settings.writer_url, settings.group, self._ledger, self._broker)
        self._app: ChunkApp | None = None
        self.interrupted = False

    async def run(self, accept_loss: bool) -> None:
        """Work until told to stop. Raises the PrejoinError that it had to leave for."""
        self._loop = asyncio.get_running_loop()
        self._stop, self._failure = asyncio.Event(), self._loop.create_future()
        self._loop.add_signal_handler(signal.SIGTERM, self._ask_to_stop, 0)
        self._loop.add_signal_handler(signal.SIGINT, self._interrupt)
        try:
            if await self._told_to_stop_before(self._broker.connect()):
                return
            if accept_loss:
                await self._starts.accept_losses(self._topics)
            with tempfile.TemporaryDirectory(prefix="prejoin-worker-") as datadir:
                async with self._serving_metrics():
                    await self._work(datadir)
        finally:
            await self._broker.close()

    async def _told_to_stop_before(self, work: Coroutine[Any, Any, None]) -> bool:
        """Do it, but do not go on with it once told to stop."""
        stop, doing = asyncio.create_task(self._stop.wait()), asyncio.create_task(work)
        await asyncio.wait([stop, doing], return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if not doing.cancel():
            doing.result()
        return self._stop.is_set()

    async def _work(self, datadir: str) -> None:
        self._watchdog = Watchdog(self._blocked)
        self._watchdog.watch(MAIN, self._loop)
        inbox = Inbox(self._decode)
        app = make_app(self._group, self._brokers, sorted(self._topics), datadir, self, inbox.put)
        batches = Batches(self._applier, lambda: cast(ChunkConsumer, app.consumer), inbox, self._metrics)
        heartbeat = Heartbeat(
            self._group, self._topics, self._broker, self._ledger, batches, self._metrics, self._assigned
        )
        log.info("starting", action="starting", worker=self.name, group=self._group, topics=sorted(self._topics))
        tasks = [
            asyncio.create_task(work, name=name)
            for name, work in {
                "stop": self._stop.wait(),
                "housekeeping": self._keep_house(),
                "batches": batches.run(),
                "heartbeat": heartbeat.run(),
                "sampling": self._sampler.run(),
                "faust": self._run_faust(app),
            }.items()
        ]
        try:
            with self._watchdog:
                done, _ = await asyncio.wait([*tasks, self._failure], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
        reason = next((each.exception() for each in done if each.exception()), None)
        if reason:
            self._tell(reason)
        _leave_in_time(
            2 if reason else 0, SECONDS_TO_LEAVE_STUCK if isinstance(reason, Stuck) else SECONDS_TO_LEAVE, reason
        )
        await self._wind_down(app, batches, reason)
        if reason:
            raise reason

    async def _run_faust(self, app: ChunkApp) -> None:
        """Start the app, which blocks until the group is joined, and watch it: a crash is nobody's exception."""
        try:
            async with asyncio.timeout(SECONDS_TO_JOIN):
                await app.start()
        except TimeoutError:
            raise NotReachable(f"the group could not be joined for {SECONDS_TO_JOIN:.0f} s: is Kafka well?") from None
        except kafka.PASSING as error:
            raise NotReachable(
                f"cannot reach Kafka at {', '.join(self._brokers)} (PREJOIN_KAFKA_BROKERS): it went away while the "
                f"group was being joined ({type(error).__name__}); start the worker again when it is back"
            ) from None
        self._app = app
        self._watchdog.watch("consumer", cast(ChunkConsumer, app.consumer).thread_loop)
        log.info("joined the group", action="joined", worker=self.name)
        while not app.crashed:  # noqa: ASYNC110 - its event belongs to faust, whose crash may come from a thread
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
        reason = type(app.crash_reason).__name__
        raise Crashed(f"the consumer stopped with {reason}; its log is above; start the worker again")

    async def _wind_down(self, app: ChunkApp, batches: Batches, reason: BaseException | None) -> None:
        why = str(reason) if isinstance(reason, PrejoinError) else type(reason).__name__ if reason else "asked to"
        log.log(logging.ERROR if reason else logging.INFO, "stopping", action="stopping", worker=self.name, reason=why)
        if await batches.finish(SECONDS_FOR_BATCH):
            self._applier.close()
        try:
            async with asyncio.timeout(SECONDS_FOR_ROW):
                await self._ledger.forget()
                await self._ledger.close()
        except (TimeoutError, *postgres.PASSING) as error:
            log.warning("the worker's row stays", action="row_stays", error=type(error).__name__)
        try:
            async with asyncio.timeout(SECONDS_FOR_FAUST):
                await app.stop()
        except TimeoutError:
            log.warning("the group was not left cleanly", action="group_not_left")
        log.info("stopped", action="stopped", worker=self.name)

    @asynccontextmanager
    async def _serving_metrics(self) -> AsyncIterator[None]:
        host = self._settings.metrics_host
        server, thread, port = self._metrics.serve(host, self._settings.metrics_port)
        log.info("metrics", action="metrics", url=f"http://{host}:{port}/metrics")
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def _assigned(self) -> set[TopicPartition] | None:
        """Its partitions; None before it is a member."""
        return {TopicPartition(*tp) for tp in self._app.consumer.assignment()} if self._app else None

    def _blocked(self, loop: str) -> None:
        """An event loop runs nothing any more; called in the watchdog's thread."""
        error = Stuck(f"stuck: the {loop} loop has run nothing for {UNANSWERED} s; start the worker again")
        if loop != MAIN:
            return self.fail(error)
        _leave_in_time(2, 1.0)  # though a log that nobody reads may be what blocks it
        self._tell(error)
        stack = "".join(traceback.format_stack(sys._current_frames().get(threading.main_thread().ident or 0)))
        log.error("leaving", action="stopping", worker=self.name, reason=str(error), stack=stack)
        print(f"prejoin: {error}", file=sys.stderr, flush=True)
        os._exit(2)

    def _decode(self, chunk: Chunk) -> Decoded:
        begin = time.perf_counter()
        decoded = self._applier.decode_chunk(chunk)
        self._metrics.decoded(time.perf_counter() - begin)
        return decoded

    async def _keep_house(self) -> None:
        while True:
            try:
                for line in await asyncio.to_thread(self._keep_partitions):
                    log.info(line, action="housekeeping")
            except (PrejoinError, *postgres.PASSING) as error:
                log.warning("housekeeping waits for the next hour", action="housekeeping", error=type(error).__name__)
            await asyncio.sleep(SECONDS_BETWEEN_HOUSEKEEPING)

    def _keep_partitions(self) -> list[str]:
        with connect(self._settings.writer_url, self._group, name="prejoin housekeeping") as connection:
            return keep_partitions(connection, self._group)

    async def starts(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, Start]:
        """See `Host`."""
        return await self._starts.of(partitions)

    async def out_of_range(self, offsets: Mapping[TopicPartition, int]) -> None:
        """See `Host`: fails with what is lost, if something is."""
        try:
            await self._starts.explain(offsets)
        except PrejoinError as error:
            self.fail(error)
        except kafka.PASSING as error:
            log.warning("out of range, to be asked again", action="out_of_range", error=type(error).__name__)

    def _interrupt(self) -> None:
        self.interrupted = True
        self._ask_to_stop(130)

    def _ask_to_stop(self, code: int) -> None:
        _leave_in_time(code)  # from now on, whatever it is that has to be stopped
        self._stop.set()

    def fail(self, error: Exception) -> None:
        """See `Host`."""
        self._loop.call_soon_threadsafe(self._set_failure, error)

    def _set_failure(self, error: Any) -> None:
        if not self._failure.done():
            self._failure.set_exception(error)


def _leave_in_time(code: int, seconds: float = SECONDS_TO_LEAVE, reason: BaseException | None = None) -> None:
    """Whatever hangs from here on, faust's threads or the applier's: the process ends in time, with this code.

    Its last line says why, as it does where nothing hangs.
    """

    def leave() -> None:
        time.sleep(seconds)
        if isinstance(reason, PrejoinError):
            print(f"prejoin: {reason}", file=sys.stderr, flush=True)
        os._exit(code)

    threading.Thread(target=leave, name="leave-in-time", daemon=True).start()


__all__ = ["Worker", "check_migrated", "run"]
