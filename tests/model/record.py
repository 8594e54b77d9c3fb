"""A raw Kafka record, field by field what the engine's own record is: `RawRecord(*record)` converts."""

from typing import NamedTuple


class Record(NamedTuple):
    """One record of a topic; `timestamp` in milliseconds since 1970."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    timestamp: int = 0
