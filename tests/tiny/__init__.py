"""A projections package of two entities and a view, on a test's own topics `{TINY_TOPIC}` and `{TINY_TOPIC}-later`."""

import os

from sqlalchemy import select

from projector.declare import Entity, State, View
from schemas.contract import Contract, Id, Text
from schemas.registry import Registry

TOPIC = os.environ.get("TINY_TOPIC", "tiny")


class Noted(Contract, type=f"{TOPIC}.Noted"):
    """A note was taken."""

    note_id: Id
    text: Text


class Marked(Contract, type=f"{TOPIC}-later.Marked"):
    """A mark was made."""

    mark_id: Id


class Note(State):
    """One note: its newest text, and how often it was told."""

    note_id: str
    text: str
    told: int


class Mark(State):
    """One mark."""

    mark_id: str


registry = Registry([Noted, Marked], [])
notes = Entity("notes", state=Note, key="note_id", topic=TOPIC)
marks = Entity("marks", state=Mark, key="mark_id", topic=f"{TOPIC}-later")
note_list = View(
    "note_list", version=1, path="notes", key="note_id", query=select(notes.c.note_id, notes.c.text, notes.c.told)
)


@notes.on(Noted)
def noted(note: Note | None, event: Noted) -> Note:
    """Count each telling: an event applied twice shows."""
    return Note(event.note_id, event.text, note.told + 1 if note else 1)


@marks.on(Marked)
def marked(mark: Mark | None, event: Marked) -> Mark:
    """Keep the mark."""
    return mark or Mark(event.mark_id)
