"""Records of aiokafka as the applier takes them."""

from dataclasses import replace
from typing import Any, cast

from aiokafka import ConsumerRecord


def plain(record: Any) -> ConsumerRecord[Any, Any]:
    """Take a record of aiokafka as it is, which is what the applier takes; but Kafka lets header values be null."""
    if any(value is None for _, value in record.headers):
        return replace(record, headers=tuple((name, value or b"") for name, value in record.headers))
    return cast(ConsumerRecord[Any, Any], record)
