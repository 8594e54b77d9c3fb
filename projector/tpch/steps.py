"""From the steps of a story (a customer's, a product's, an order's) to the CloudEvents that the services publish."""

from collections.abc import Iterable, Iterator
from functools import cache
from operator import attrgetter
from typing import Any

import msgspec

from projector.tpch.calendar import stamp

_encode = msgspec.json.Encoder().encode


class Step(msgspec.Struct, gc=False):
    """Something that happens at `at` (seconds since 1970) to the aggregate `subject`; `type` is an event type's."""

    at: int
    type: str
    subject: str
    data: dict[str, Any]


class Record(msgspec.Struct, gc=False, array_like=True):
    """An event as Kafka gets it, and when it happens. Without `gc=False` collecting garbage is half of the work."""

    at: int
    topic: str
    key: bytes
    value: bytes


@cache
def _head(kind: str) -> tuple[str, str]:
    """Tell the topic, and how the JSON of an event of this type begins."""
    topic = kind.partition(".")[0]
    fixed = f'"source":"//shop/{topic}","type":"{kind}","datacontenttype":"application/json"'
    return topic, '{"specversion":"1.0",' + fixed


def record(step: Step, event_id: str, time: str, sequence: int | None) -> Record:
    """Encode the step as a CloudEvent in JSON. Attributes need no escapes: they are ids, types and times."""
    topic, head = _head(step.type)
    version = "" if sequence is None else f'"sequence":{sequence},'
    text = f'{head},"id":"{event_id}","subject":"{step.subject}","time":"{time}",{version}"data":'
    return Record(step.at, topic, step.subject.encode(), b"%b%b}" % (text.encode(), _encode(step.data)))


def numbered(steps: Iterable[Step]) -> Iterator[tuple[Step, int]]:
    """Tell one story by time, each aggregate's steps counted from 1: its `sequence`.

    A story must hold all steps of its aggregates. Steps of the same second keep the order in which they are told.
    """
    versions: dict[tuple[str, str], int] = {}
    for step in sorted(steps, key=attrgetter("at")):
        aggregate = (_head(step.type)[0], step.subject)
        version = versions[aggregate] = versions.get(aggregate, 0) + 1
        yield step, version


def records(steps: Iterable[Step]) -> Iterator[Record]:
    """Encode one story."""
    for step, version in numbered(steps):
        yield record(step, f"{step.subject}-{version}", stamp(step.at), version)
