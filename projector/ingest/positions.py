"""Where to read on from: Postgres's positions, held against what the broker still has. Loss is told, never skipped."""

from collections.abc import Iterable, Mapping
from uuid import UUID

from projector.apply.batch import TopicPartition
from projector.errors import PrejoinError
from projector.ingest.broker import Topic
from projector.ingest.ledger import Stored
from projector.store.names import schemas

_NO_ID = str(UUID(int=0))  # of brokers older than topic ids


class TopicReplaced(PrejoinError):
    """A topic was deleted and made again: the stored positions belong to another one."""


class EventsGone(PrejoinError):
    """The broker no longer has what comes next."""


def check_topics(group: str, stored: Mapping[TopicPartition, Stored], topics: Mapping[str, Topic]) -> None:
    """Compare ids; raises TopicReplaced, naming each topic that is not the one its positions were stored with."""
    replaced = sorted(
        {
            tp.topic
            for tp, position in stored.items()
            if tp.topic in topics
            and position.topic_id not in (None, _NO_ID, topics[tp.topic].id)
            and topics[tp.topic].id != _NO_ID
        }
    )
    if replaced:
        raise TopicReplaced(
            f"{', '.join(replaced)}: deleted and made again since (the broker tells another topic id), so the stored "
            "positions mean nothing there; to read it from its beginning on top of what was folded, "
            + forget_positions(group, replaced)
        )


def check_start(group: str, partition: TopicPartition, position: int, start: int) -> None:
    """Compare; raises EventsGone where the partition begins behind the position."""
    if position < start:
        raise EventsGone(
            f"{partition.topic}/{partition.partition}: offsets {position} to {start - 1} are gone from Kafka before "
            "they were applied (retention, or deleted records); to go on without them, run in SQL: "
            f"UPDATE {_table(group)} SET next = {start} "
            f"WHERE topic = '{partition.topic}' AND partition = {partition.partition}"
        )


def check_end(group: str, partition: TopicPartition, position: int, end: int) -> None:
    """Compare; raises EventsGone where the partition ends before the position."""
    if position > end:
        raise EventsGone(
            f"{partition.topic}/{partition.partition}: applied up to offset {position - 1}, but Kafka ends at {end}: "
            f"its log was cut, or the topic made again; to read it from its beginning on top of what was folded, "
            + forget_positions(group, [partition.topic])
        )


def forget_positions(group: str, topics: Iterable[str]) -> str:
    """Word the statement that makes the next worker read these topics from their beginning."""
    names = ", ".join(f"'{topic}'" for topic in topics)
    return f"run in SQL: DELETE FROM {_table(group)} WHERE topic IN ({names})"


def _table(group: str) -> str:
    return f'"{schemas(group)[0]}".positions'
