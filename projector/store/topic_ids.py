"""The broker's ids of topics: one of the same name that was deleted and made again has another."""

from collections.abc import Mapping
from uuid import UUID

_NO_ID = str(UUID(int=0))  # of brokers older than topic ids


def other_ids(before: Mapping[str, str | None], now: Mapping[str, str]) -> list[str]:
    """The topics that have another id now; where one is not known, that proves nothing."""
    unknown = (None, "", _NO_ID)
    return sorted(
        topic for topic, one in before.items() if one not in unknown and now.get(topic, one) not in (one, *unknown)
    )
