"""Publishing CloudEvents to Kafka."""

from projector.publish.message import STRUCTURED, Headers, Message

__all__ = ["STRUCTURED", "Headers", "Message"]
