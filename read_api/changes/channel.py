"""What those who ask for the same are told alike: an upsert where a row passes their filters, else a delete."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from read_api.changes.events import Mark, event
from read_api.changes.filters import asked_keys, passes
from read_api.changes.source import Page, Source
from read_api.resource import Resource
from read_api.statements import Condition

PORTION = 200  # keys whose rows are read and told at once


@dataclass(frozen=True)
class Channel:
    """The view as a caller may see it, and filters.

    The feed does not tell what a row was before. So a row that does not pass is told as a delete, whether it passed
    before or not: to delete what one does not have does nothing.
    """

    resource: Resource
    conditions: tuple[Condition, ...] = ()

    @cached_property
    def keys(self) -> frozenset[str] | None:
        """The keys that alone can pass, for a key never changes: of others nothing is told. None: any may pass."""
        return asked_keys(self.resource, self.conditions)

    def shows(self, row: Mapping[str, Any] | None) -> bool:
        """Whether a row is there and passes."""
        return row is not None and passes(self.resource, self.conditions, row)


@dataclass(frozen=True)
class Row:
    """A key as JSON, and its row; None where there is none."""

    key: str
    text: str | None

    @cached_property
    def values(self) -> Mapping[str, Any] | None:
        """What filters look at."""
        found: Mapping[str, Any] | None = None if self.text is None else json.loads(self.text)
        return found


async def told(
    source: Source, page: Page, before: Mark, channels: Sequence[Channel]
) -> AsyncIterator[dict[Channel, bytes]]:
    """A page as each channel is told it, portion by portion; a channel that it tells nothing is left out.

    Up to its last event, ids are of the place before the page: who loses the connection in its middle is told all of
    it again. Raises a 503 Problem.
    """
    keys = page.keys
    if all(channel.keys is not None for channel in channels):
        asked = frozenset[str]().union(*(channel.keys or () for channel in channels))
        keys = [key for key in keys if key in asked]
    for at in range(0, len(keys), PORTION):
        portion = keys[at : at + PORTION]
        mark = page.mark if at + PORTION >= len(keys) else before
        rows = {r: await _rows(source, portion, r) for r in dict.fromkeys(c.resource for c in channels)}
        blocks = {channel: _block(channel, rows[channel.resource], before, mark) for channel in channels}
        yield {channel: block for channel, block in blocks.items() if block}


async def _rows(source: Source, keys: Sequence[str], resource: Resource) -> dict[str, Row]:
    texts = await source.rows(keys, resource)
    return {key: Row(source.key_json(key), texts.get(key)) for key in keys}


def _block(channel: Channel, rows: Mapping[str, Row], before: Mark, mark: Mark) -> bytes:
    asked = rows if channel.keys is None else [key for key in channel.keys if key in rows]
    found = [rows[key] for key in asked]
    marks = [before] * (len(found) - 1) + [mark]
    return "".join(_event(channel, row, at) for row, at in zip(found, marks, strict=False)).encode()


def _event(channel: Channel, row: Row, mark: Mark) -> str:
    shown = not channel.conditions or channel.shows(row.values)
    if row.text is not None and shown:
        return event("upsert", mark, row.key, row.text)
    return event("delete", mark, row.key)
