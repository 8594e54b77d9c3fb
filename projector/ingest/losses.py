"""`prejoin worker --accept-loss`: go on without the events that Kafka no longer has.

Asked for once, at the start, and for what is lost by then: what is lost later stops the worker again.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

import psycopg

from projector.apply.batch import TopicPartition
from projector.ingest.broker import Broker
from projector.ingest.ledger import Ledger, Stored
from projector.ingest.positions import Loss, cut, gone, replaced, unapplied
from projector.logs import logger
from projector.store.locks import LOCK

log = logger(__name__)

# Each holds only where the position is still the one that was looked at: another worker may have been here.
_SKIP = "UPDATE positions SET next = %s WHERE topic = %s AND partition = %s AND next = %s"
_ANEW = """
DELETE FROM positions WHERE topic = %s AND partition = %s AND next = %s AND topic_id IS NOT DISTINCT FROM %s
"""
_ENDS = "DELETE FROM ends WHERE topic = %s"  # the new topic may have fewer partitions


class Losses(NamedTuple):
    """What is lost.

    `gone`: before the partition's beginning. `replaced`: topics made again, and what was `left` of those before.
    `cut`: logs that end before their position. `stored`: of both of these, what was looked at.
    """

    gone: list[Loss]
    replaced: Collection[str]
    left: list[Loss]
    cut: Collection[TopicPartition]
    stored: Mapping[TopicPartition, Stored]


async def find(ledger: Ledger, broker: Broker, names: Iterable[str]) -> Losses:
    """Hold all positions against the broker's topics. Raises what is in PASSING of `ledger` and `broker`."""
    stored = (await ledger.read()).stored
    topics = await broker.topics(names)
    other = replaced(stored, topics)
    positions = {
        tp: at.next
        for tp, at in stored.items()
        if tp.topic not in other and tp.topic in topics and tp.partition in topics[tp.topic].leaders
    }
    starts, ends = await broker.starts(topics, positions), await broker.ends(topics)
    short = cut(positions, ends)
    looked_at = {tp: at for tp, at in stored.items() if tp.topic in other or tp in short}
    return Losses(gone(positions, starts), other, unapplied(stored, other), short, looked_at)


def accept(connection: psycopg.Connection[Any], group: str, losses: Losses) -> None:
    """Move the positions over what is gone, forget those that mean nothing any more, and log each."""
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL lock_timeout = '5s'")
        cursor.execute(LOCK, {"group": group})
        for partition, first, last in losses.gone:
            cursor.execute(_SKIP, (last + 1, *partition, first))
        for partition, at in losses.stored.items():
            cursor.execute(_ANEW, (*partition, at.next, at.topic_id))
        for topic in losses.replaced:
            cursor.execute(_ENDS, (topic,))
    for loss in (*losses.gone, *losses.left):
        log.warning(
            "lost", action="loss_accepted", partition=f"{loss.partition.topic}/{loss.partition.partition}",
            first=loss.first, last=loss.last, offsets=loss.offsets,
        )  # fmt: skip
    for name in (*losses.replaced, *(f"{tp.topic}/{tp.partition}" for tp in losses.cut)):
        log.warning("not what it was: read from its beginning", action="read_anew", what=name)
