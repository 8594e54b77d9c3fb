"""What Kafka makes of a history: interleaved topics, repeats, late and lost events, records in partitions.

Choices come from a `Pick`, `pick(n)` being a number below n and 0 the plainest: `random.Random(seed).randrange`, or
one drawn by Hypothesis.
"""

import json
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar
from zlib import crc32

from tests.model.expand import AGGREGATES, CloudEvent
from tests.model.record import Record

Pick = Callable[[int], int]
Headers = tuple[tuple[str, bytes], ...]


class Raw(NamedTuple):
    """A record yet without a place, for what is no proper event."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


Item = CloudEvent | Raw
Queued = TypeVar("Queued", CloudEvent | Raw, Record)


def topic_of(item: Item | Record) -> str:
    return str(item["type"]).partition(".")[0] if isinstance(item, dict) else item.topic


def interleave(items: Sequence[Queued], pick: Pick) -> list[Queued]:
    """Any order across topics (of records: across partitions), while each keeps its own."""
    queues: dict[tuple[str, int], deque[Queued]] = defaultdict(deque)
    for item in items:
        queues[topic_of(item), item.partition if isinstance(item, Record) else 0].append(item)
    result: list[Queued] = []
    while waiting := [queue for queue in queues.values() if queue]:
        queue = waiting[pick(len(waiting))]
        for _ in range(min(len(queue), 1 + pick(6))):
            result.append(queue.popleft())
    return result


def with_repeats(items: Sequence[Item], pick: Pick, share: float = 0.3) -> list[Item]:
    """Some items once more, somewhere behind their first."""
    result = list(items)
    for _ in range(some(items, pick, share)):
        at = pick(len(result))
        result.insert(at + 1 + pick(len(result) - at), result[at])
    return result


def with_gaps_and_late(items: Sequence[Item], pick: Pick, share: float = 0.3) -> list[Item]:
    """Some items are lost, or come later than they should, once or twice."""
    result = list(items)
    for _ in range(some(items, pick, share)):
        at = pick(len(result))
        item = result.pop(at)
        for _ in range(pick(3)):
            result.insert(at + pick(len(result) - at + 1), item)
        if not result:
            break
    return result


def some(items: Sequence[object], pick: Pick, share: float) -> int:
    """At most that share of them, or one: small histories should shrink to a single mishap."""
    return pick(max(int(len(items) * share), 1) + 1) if items else 0


def partitioned(items: Iterable[Item], partitions: int = 2, *, binary: bool | None = None) -> list[Record]:
    """Records in the order given, with offsets from 0 in each partition; about a third in binary mode by default.

    Payments and shipments are keyed by their own id or by that of their order, but each always the same way.
    """
    keys: dict[tuple[str, str], bytes] = {}
    offsets: Counter[tuple[str, int]] = Counter()
    records = []
    for number, item in enumerate(items):
        raw = item if isinstance(item, Raw) else encoded(item, _key(item, keys), binary)
        partition = crc32(raw.key or b"") % partitions
        offset = offsets[raw.topic, partition]
        offsets[raw.topic, partition] += 1
        records.append(Record(raw.topic, partition, offset, *raw[1:], 1_767_225_600_000 + number))
    return records


def _key(event: CloudEvent, keys: dict[tuple[str, str], bytes]) -> bytes:
    topic = topic_of(event)
    own = str(event["data"][AGGREGATES[topic][1]])
    order = str(event["data"].get("order_id", own))
    return keys.setdefault((topic, own), (order if crc32(own.encode()) % 2 else own).encode())


def encoded(event: CloudEvent, key: bytes | None, binary: bool | None = None) -> Raw:
    """In binary or structured mode, the latter with or without its content type."""
    value = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode(errors="surrogatepass")
    choice = crc32(value) % 3 if binary is None else int(not binary)
    if choice > 0:
        content_type = (("content-type", b"application/cloudevents+json; charset=UTF-8"),) if choice == 1 else ()
        return Raw(topic_of(event), key, value, content_type)
    attributes = {name: str(part) for name, part in event.items() if name != "data" and part is not None}
    headers = tuple((f"ce_{name}", part.encode()) for name, part in attributes.items())
    data = json.dumps(event["data"], ensure_ascii=False).encode()
    return Raw(topic_of(event), key, data, (("content-type", b"application/json"), ("trace", b"\xff"), *headers))
