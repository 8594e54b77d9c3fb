"""One run: the stream, the workers and the faults of a plan, then the verdict."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from projector.declare.projections import load
from tests.model import Record
from tests.torture.asked import Asked
from tests.torture.crew import Crew
from tests.torture.failed import TortureFailed
from tests.torture.faults import Faults
from tests.torture.plan import Fault, Plan
from tests.torture.servers import Servers
from tests.torture.stream import Ends, Publisher, check_published, make_topics, read_log
from tests.torture.transactions import Aborting
from tests.torture.verdict import judge
from tests.torture.watch import Watch
from tests.world import World

SECONDS_TO_CATCH_UP = 150.0  # longer than every timeout, watchdog and restart one after the other


@dataclass
class Report:
    """What a run that went well has seen; seconds."""

    seed: int
    records: int = 0
    dead_letters: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)
    verifies: Counter[str] = field(default_factory=Counter)
    published_again: int = 0
    aborted: int = 0
    failed_writes: int = 0
    catching_up: float = 0.0
    judging: float = 0.0
    slowest_stop: float = 0.0
    looks: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        faults = ", ".join(f"{kind} {n}" for kind, n in sorted(self.faults.items()))
        verifies = ", ".join(f"{said} {n}" for said, n in sorted(self.verifies.items())) or "not asked"
        left = ", ".join(f"{kind} {n}" for kind, n in sorted(self.left.items())) or "none"
        return (
            f"seed {self.seed}: exact; {self.records} records, {self.dead_letters} dead letters, "
            f"{self.aborted} aborted; faults: {faults}; workers that left: {left}; verify: {verifies}; "
            f"published again {self.published_again}; writes without room {self.failed_writes}; "
            f"slowest stop {self.slowest_stop:.1f} s; caught up in {self.catching_up:.1f} s; judged in "
            f"{self.judging:.1f} s; {self.looks} looks; {self.seconds:.0f} s"
        )


async def torture(
    servers: Servers, plan: Plan, folder: Path, records: Sequence[Record], *, module: str = "projector.cli"
) -> Report:
    """Run a plan with its records, or others, on servers that nobody else uses; raises TortureFailed.

    Logs go to `folder`; `module` is what is started as a worker.
    """
    stack = servers.stack
    world = World(stack.endpoints.database_url, load("projections"), stack.endpoints.read_database_url)
    run = Run(servers, plan, world, folder, module)
    try:
        await run.whole(records)
    finally:
        run.crew.end()
        await run.publisher.close()
        await run.aborting.close()
    world.drop()
    return run.report


class Run:
    """The parts of a run."""

    def __init__(self, servers: Servers, plan: Plan, world: World, folder: Path, module: str) -> None:
        self.servers, self.plan, self.world = servers, plan, world
        self.brokers = servers.stack.endpoints.kafka_brokers
        settings = servers.stack.endpoints.environment() | {
            "PREJOIN_GROUP": world.group,
            "PREJOIN_METRICS_PORT": "0",
            "PREJOIN_DEAD_LETTER_LIMIT": "1",
        }
        self.crew = Crew(settings, folder, module)
        self.faults = Faults(servers, self.crew, world.group)
        self.publisher, self.aborting = Publisher(self.brokers), Aborting(self.brokers, plan)
        self.asked = Asked(settings)
        self.watch = Watch(world, self.publisher.acknowledged)
        self.report = Report(plan.seed)

    async def whole(self, planned: Sequence[Record]) -> None:
        begin = time.monotonic()
        names = self.world.projections.topics
        await make_topics(self.brokers, names, self.plan.partitions)
        await self._until_caught_up(planned)
        await self.crew.stop_all()
        caught_up = time.monotonic()
        log, ends = await read_log(self.brokers, names, self.plan.partitions)
        check_published(planned, log)
        found = await self.watch.look()
        assert found is not None, "no fault is left that would hide Postgres"
        await asyncio.to_thread(judge, self.world, log, ends, found[0])
        self.report.records, self.report.dead_letters = len(log), len(self.world.dead_letters())
        self.report.left, self.report.slowest_stop = self.crew.left, self.crew.slowest_stop
        self.report.published_again, self.report.looks = self.publisher.retries, self.watch.looks
        self.report.aborted, self.report.verifies = self.aborting.records, self.asked.answers
        self.report.failed_writes = self.servers.failed_writes()
        self.report.judging, self.report.seconds = time.monotonic() - caught_up, time.monotonic() - begin

    async def _until_caught_up(self, planned: Sequence[Record]) -> None:
        """Publish and torment, and let the workers come to the end; what looks on may fail the run at any time."""
        for _ in range(self.plan.workers):
            self.crew.start()
        work = asyncio.create_task(self._work(planned))
        tasks = [work, asyncio.create_task(self.crew.look_after()), asyncio.create_task(self.watch.run())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self, planned: Sequence[Record]) -> None:
        await self.crew.all_joined()  # before, one of them would do all the work
        self._begin = time.monotonic()
        async with asyncio.TaskGroup() as together:
            together.create_task(self._publish(planned))
            for fault in self.plan.faults:
                together.create_task(self._happen(fault))
            for at in self.plan.verifies:
                together.create_task(self._verify(at))
        begin = time.monotonic()
        await self._catch_up()
        self.report.catching_up = time.monotonic() - begin

    async def _publish(self, planned: Sequence[Record]) -> None:
        sent, share = 0, 0.0
        aborting = asyncio.create_task(self.aborting.run())
        try:
            for portion in self.plan.portions:
                await self._sleep_until(portion.at)
                share += portion.records
                until = round(share * len(planned))
                await self.publisher.publish(planned[sent:until])
                sent = until
            await self.publisher.publish(planned[sent:])
        finally:
            aborting.cancel()
            await asyncio.gather(aborting, return_exceptions=True)
        await self.aborting.finish()

    async def _verify(self, at: float) -> None:
        await self._sleep_until(at)
        await self.asked.verify()

    async def _happen(self, fault: Fault) -> None:
        await self._sleep_until(fault.at)
        self.report.faults[fault.kind] += 1
        await self.faults.happen(fault)

    async def _sleep_until(self, at: float) -> None:
        await asyncio.sleep(max(0.0, self._begin + at - time.monotonic()))

    async def _catch_up(self) -> None:
        deadline = time.monotonic() + SECONDS_TO_CATCH_UP
        ends = self._ends()
        while True:
            if not self.crew.alive:
                self.crew.start()
            found = await self.watch.look()
            if found is not None and found[1] == 0 and _covers(found[0], ends):
                return
            if time.monotonic() > deadline:
                raise TortureFailed(f"not caught up {SECONDS_TO_CATCH_UP:.0f} s after the last fault: {found}, {ends}")
            await asyncio.sleep(0.2)

    def _ends(self) -> Ends:
        return self.publisher.acknowledged[-1][1] if self.publisher.acknowledged else {}


def _covers(positions: Ends, ends: Ends) -> bool:
    return all(positions.get(partition, 0) >= end for partition, end in ends.items())
