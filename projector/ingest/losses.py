"""`prejoin worker --accept-loss`: go on without the events that Kafka no longer has.

Asked for once, at the start, and for what is lost by then: what is lost later stops the worker again.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import psycopg

from projector.apply.batch import TopicPartition
from projector.ingest.broker import Broker
from projector.ingest.ledger import Ledger
from projector.ingest.positions import Loss, cut, gone, replaced, unapplied
from projector.logs import logger
from projector.store.locks import LOCK

log = logger(__name__)

# Each holds only where the position is still the one that was looked at: another worker may have been here.
_SKIP = "UPDATE positions SET next = %s WHERE topic = %s AND partition = %s AND next = %s"
_ANEW = "DELETE FROM positions WHERE topic = %s AND partition = %s AND next = %s"
_OTHER = "DELETE FROM positions WHERE topic = %s AND topic_id IS DISTINCT FROM %s"
_ENDS = "DELETE FROM ends WHERE topic = %s"  # the new topic may have fewer partitions


class Losses(NamedTuple):
    """What is lost.

    `gone`: before the partition's beginning. `replaced`: topics with their new ids, and what was `left` of those
    before. `cut`: logs that end before these positions.
    """

    gone: list[Loss]
    replaced: Mapping[str, str]
    left: list[Loss]
    cut: Mapping[TopicPartition, int]


async def find(ledger: Ledger, broker: Broker, names: Iterable[str]) -> Losses:
    """Hold all positions against the broker's topics. Raises what is in PASSING of `ledger` and `broker`."""
    stored = (await ledger.read()).stored
    topics = await broker.topics(names)
    other = {name: topics[name].id for name in replaced(stored, topics)}
    positions = {
        tp: at.next
        for tp, at in stored.items()
        if tp.topic not in other and tp.topic in topics and tp.partition in topics[tp.topic].leaders
    }
    starts, ends = await broker.starts(topics, positions), await broker.ends(topics)
    behind = {tp: positions[tp] for tp in cut(positions, ends)}
    return Losses(gone(positions, starts), other, unapplied(stored, other), behind)


def accept(connection: psycopg.Connection[Any], group: str, losses: Losses) -> None:
    """Move the positions over what is gone, forget those that mean nothing any more, and log each."""
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL lock_timeout = '5s'")
        cursor.execute(LOCK, {"group": group})
        for partition, first, last in losses.gone:
            cursor.execute(_SKIP, (last + 1, *partition, first))
        for topic, now in losses.replaced.items():
            cursor.execute(_OTHER, (topic, now))
            cursor.execute(_ENDS, (topic,))
        for partition, position in losses.cut.items():
            cursor.execute(_ANEW, (*partition, position))
    for loss in (*losses.gone, *losses.left):
        log.warning(
            "lost", action="loss_accepted", partition=f"{loss.partition.topic}/{loss.partition.partition}",
            first=loss.first, last=loss.last, offsets=loss.offsets,
        )  # fmt: skip
    for name in (*losses.replaced, *(f"{tp.topic}/{tp.partition}" for tp in losses.cut)):
        log.warning("not what it was: read from its beginning", action="read_anew", what=name)
