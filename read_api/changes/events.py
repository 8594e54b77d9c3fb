"""Server-sent events, and the marks that they carry as ids: from where a client resumes.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import re
from typing import NamedTuple

from read_api.json_lines import in_one_line

RETRY_MS = 2_000  # after which a client that lost its connection comes back
RESUMABLE = 24 * 60 * 60  # seconds (CONTRACT, section 5)
_MARK = re.compile(r"([0-9a-f]{12})\.([0-9]{1,9})\.([0-9]{1,18})\.([0-9]{1,11})", re.ASCII)


class Mark(NamedTuple):
    """A place in the feed of one view: all up to `revision` is told, and what came later came after `at`.

    `database` tells the database, and with `generation` the copy of the view whose rows were told. `at` is in seconds
    since 1970, by the database's clock.
    """

    database: str
    generation: int
    revision: int
    at: int

    def __str__(self) -> str:
        """As an event's id."""
        return f"{self.database}.{self.generation}.{self.revision}.{self.at}"

    def resumes(self, now: "Mark") -> bool:
        """Whether all that came behind it is still told, `now` being where the feed stands."""
        same = (self.database, self.generation) == (now.database, now.generation)
        return same and self.revision <= now.revision and self.at >= now.at - RESUMABLE


NOWHERE = Mark("", 0, 0, 0)
"""A mark from which nobody resumes."""


def read_mark(text: str) -> Mark:
    """The mark of an id; NOWHERE for what is none."""
    match = _MARK.fullmatch(text.strip())
    return Mark(match[1], int(match[2]), int(match[3]), int(match[4])) if match else NOWHERE


def event(kind: str, mark: Mark, key: str, row: str = "null") -> str:
    """One event: `upsert`, `delete` or `reset`; key and row as JSON in one line."""
    return f'id: {mark}\nevent: {kind}\ndata: {{"key":{key},"row":{in_one_line(row)}}}\n\n'


def reset(mark: Mark) -> bytes:
    """What the client holds may be anything: it must read the view anew. What follows is told from `mark` on."""
    return event("reset", mark, "null").encode()


def opening(mark: Mark) -> bytes:
    """The first block: a client that gets no event either can resume from here."""
    return f"retry: {RETRY_MS}\nid: {mark}\n\n".encode()


def heartbeat(mark: Mark) -> bytes:
    """A comment, and an id without an event: it moves on where a client resumes, and shows it nothing."""
    return f": \nid: {mark}\n\n".encode()
