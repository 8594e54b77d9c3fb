"""Publishing CloudEvents to Kafka."""

from projector.publish.lines import EventLines
from projector.publish.message import STRUCTURED, Headers, Message
from projector.publish.send import Published, Publisher, publish
from projector.publish.topics import PublishError, ensure_topics

__all__ = [
    "STRUCTURED",
    "EventLines",
    "Headers",
    "Message",
    "PublishError",
    "Published",
    "Publisher",
    "ensure_topics",
    "publish",
]
