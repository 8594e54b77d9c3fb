"""Events from files: CloudEvents, one JSON object a line."""

import os
import re
import select
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import msgspec

from projector.publish.message import Message
from projector.publish.topics import PublishError

STDIN = "-"
_PATIENCE = 0.1  # seconds
_BLOCK = 4 * 1024 * 1024
_LONGEST_LINE = 64 * 1024 * 1024
_TOPIC = re.compile(r"[A-Za-z0-9_-]{1,249}")  # Kafka's rule, without the dot that ends the first part of a type


class _Head(msgspec.Struct):
    """What of an event decides where it goes."""

    type: str
    subject: str


_read_head = msgspec.json.Decoder(_Head).decode


class EventLines:
    """The messages in files, in order; iterate once. The first line that is not an event ends it: see `problem`.

    `type` and `subject` decide topic and key; nothing else of an event is checked, and its bytes are sent as they are.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        """Look whether the files are there; raises PublishError."""
        self.problem: str | None = None
        self._paths = paths
        for path in paths:
            if path != STDIN and not Path(path).exists():
                raise PublishError(f"{path} does not exist: name files of CloudEvents, one a line, or `-` for stdin")
            if Path(path).is_dir():
                raise PublishError(f"{path} is a folder: name the files in it")

    def __iter__(self) -> Iterator[Message | None]:
        """Tell the messages, and None where the next one may take a while."""
        for path in self._paths:
            try:
                if path == STDIN:
                    yield from self._messages("stdin", 0)
                else:
                    with Path(path).open("rb") as file:
                        yield from self._messages(path, file.fileno())
            except OSError as error:
                self.problem = f"{path}: {error.strerror}"
            if self.problem:
                return

    def _messages(self, name: str, file: int) -> Iterator[Message | None]:
        number = 0
        for line in _lines(file):
            if line is None:
                yield None
                continue
            number += 1
            if not line or line.isspace():
                continue
            try:
                yield _message(line)
            except ValueError as error:
                self.problem = f"{name}, line {number} is not an event to publish: {error}"
                return


def _lines(file: int) -> Iterator[bytes | None]:
    """Read the lines of an open file, without their ends; None now and then while there is nothing to read."""
    rest = b""
    while block := (yield from _read(file)):
        *lines, rest = (rest + block).split(b"\n")
        yield from (line.removesuffix(b"\r") for line in lines)
        if len(rest) > _LONGEST_LINE:
            break  # what there is of it is not JSON: it is reported as any other bad line
    if rest:
        yield rest


def _read(file: int) -> Generator[None, None, bytes]:
    """Read what there is. It never waits long, so that whoever iterates can be interrupted."""
    while not select.select([file], [], [], _PATIENCE)[0]:
        yield None
    return os.read(file, _BLOCK)


def _message(line: bytes) -> Message:
    """Raise ValueError, without a word of the line's data, where it says not where to go."""
    head = _read_head(line)  # msgspec's errors are ValueErrors and name fields, not values
    topic = head.type.partition(".")[0]
    if not _TOPIC.fullmatch(topic):
        raise ValueError("the first part of `type`, which names the topic, must be letters, digits, `_` or `-`")
    if not head.subject:
        raise ValueError("`subject`, which is the key, is empty")
    return Message(topic, head.subject.encode(), line)
