"""What is published: records with a topic, a key and a CloudEvent in structured mode."""

import msgspec

Headers = tuple[tuple[str, bytes], ...]

# The Kafka binding of CloudEvents 1.0, section 3.3: structured mode is told by this header.
STRUCTURED: Headers = (("content-type", b"application/cloudevents+json"),)


class Message(msgspec.Struct, frozen=True, gc=False):
    """A record to be published; events of one key go to one partition, in the order given."""

    topic: str
    key: bytes
    value: bytes
    headers: Headers = STRUCTURED
