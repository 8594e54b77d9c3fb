"""The faust app: group membership, rebalancing and flow control are faust's; what it delivers is whole chunks."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import faust
from faust.transport.base import Transport

from projector.ingest.chunks import (
    HEARTBEAT_INTERVAL,
    MAX_POLL_INTERVAL,
    MAX_POLL_RECORDS,
    REQUEST_TIMEOUT,
    SESSION_TIMEOUT,
    ChunkTransport,
    Fetched,
    Host,
)

# Messages, each a chunk, that wait between faust's fetcher and the agent.
BUFFERED_CHUNKS = 4
COMMIT_INTERVAL = 2.0

Deliver = Callable[[Fetched, Any], Awaitable[None]]


class AsIs(faust.Schema[None, Fetched]):
    """Values are chunks already: nothing to decode."""

    def loads_key(self, app: Any, message: Any, **_options: Any) -> None:
        """There is none."""

    def loads_value(self, app: Any, message: Any, **_options: Any) -> Any:
        """Give the chunk as it is."""
        return message.value


class ChunkApp(faust.App):
    """A faust app whose consumer delivers chunks and starts where `host` says."""

    brokers: list[str]
    host: Host

    def _new_transport(self) -> Transport:
        return ChunkTransport(self.conf.broker_consumer, self)


def make_app(
    group: str, brokers: Sequence[str], topics: Sequence[str], datadir: str, host: Host, deliver: Deliver
) -> ChunkApp:
    """Make an app, not yet started, whose agent hands each chunk and its event to `deliver`.

    What that raises ends the process: after an exception in its body an agent would skip the chunk, commit past it, and
    get nothing more.
    """
    app = ChunkApp(
        group,
        broker=[f"kafka://{broker}" for broker in brokers],
        datadir=datadir,
        store="memory://",
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        table_standby_replicas=0,
        stream_wait_empty=False,  # True makes stop() hang; Postgres's positions say what was done
        stream_buffer_maxsize=BUFFERED_CHUNKS,
        broker_client_id=f"prejoin-{group}",
        broker_commit_interval=COMMIT_INTERVAL,
        broker_max_poll_records=MAX_POLL_RECORDS,
        broker_max_poll_interval=MAX_POLL_INTERVAL,
        broker_session_timeout=SESSION_TIMEOUT,
        broker_heartbeat_interval=HEARTBEAT_INTERVAL,
        broker_request_timeout=REQUEST_TIMEOUT,
        stream_recovery_delay=0.0,
    )
    app.brokers, app.host = list(brokers), host

    async def collect(stream: Any) -> None:
        async for event in stream.noack().events():
            try:
                await deliver(event.value, event)
            except Exception as error:  # noqa: BLE001 - see above
                host.fail(error)
                await asyncio.Event().wait()  # the worker is on its way out

    app.agent(app.topic(*topics, schema=AsIs()), name="projector.ingest")(collect)
    return app
