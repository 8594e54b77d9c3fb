"""Single rows by their key. Those that are asked for while others are being read are read together, by one statement.

So does a DataLoader of GraphQL: a page that asks for each of its rows costs Postgres few statements. Who asks alone
waits for nobody.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from read_api.database import TOO_MANY, WAITING
from read_api.freshness import Wanted
from read_api.problems import unavailable
from read_api.reading import Page, Reader
from read_api.resource import Resource
from read_api.statements import Condition, Shape, tag_of

MOST = 50  # rows of one statement
AT_ONCE = 2  # statements of one view: while one is answered the next is under way
_ANY_TIME = Wanted({}, None)

Key = Any
"""The value of a key of one column."""


@dataclass
class _Waiting:
    """Who waits for rows of one view, and how many statements are under way."""

    by_key: dict[Key, list[asyncio.Future[Page]]] = field(default_factory=dict)
    under_way: int = 0


class Lookups:
    """Reads single rows. A view masked, and a snapshot of it, is a view of its own."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._views: dict[tuple[Resource, str], _Waiting] = {}  # those that somebody waits for
        self._tasks = set[asyncio.Task[None]]()

    async def page(
        self, resource: Resource, wanted: Wanted, conditions: Sequence[Condition], known: Sequence[str]
    ) -> Page:
        """The page of the row that the key's conditions name, or of none; the rest is `Reader.page`'s.

        A request that asks for more than the row as it is has a statement to itself.
        """
        if known or wanted.positions or len(conditions) > 1 or conditions[0].operator != "eq":
            shape = Shape(tuple(c.shape for c in conditions), (), tuple(resource.fields), limit=1)
            return await self._reader.page(resource, wanted, shape, conditions, (), known)
        view = self._views.setdefault((resource, resource.definition), _Waiting())
        (key,) = conditions[0].values
        if len(view.by_key) >= WAITING and key not in view.by_key:
            raise unavailable(TOO_MANY, "overload")
        found: asyncio.Future[Page] = asyncio.get_running_loop().create_future()
        view.by_key.setdefault(key, []).append(found)
        if view.under_way < AT_ONCE:
            view.under_way += 1
            task = asyncio.create_task(self._read(resource, view), name="lookups")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await found

    async def _read(self, resource: Resource, view: _Waiting) -> None:
        """Read for those who wait, until nobody does."""
        try:
            while keys := list(view.by_key)[:MOST]:
                waiting = {key: view.by_key.pop(key) for key in keys}
                try:
                    pages = await self._pages(resource, keys)
                except Exception as error:  # noqa: BLE001 - it is raised where the row was asked for
                    _tell(waiting, error)
                else:
                    _tell(waiting, pages)
        finally:
            view.under_way -= 1
            if not view.under_way:
                del self._views[resource, resource.definition]

    async def _pages(self, resource: Resource, keys: Sequence[Key]) -> dict[Key, Page]:
        """The page of each key: that of its row, or one without."""
        (column,) = resource.key
        condition = Condition(column.name, "eq", tuple(keys))
        shape = Shape((condition.shape,), (), tuple(resource.fields), MOST if len(keys) > 1 else 1)
        page = await self._reader.page(resource, _ANY_TIME, shape, [condition], ())
        rows = {column.kind.read(msgspec.json.decode(row[1])[0]): row for row in page.rows or ()}
        return {key: _of_one(page, rows.get(key)) for key in keys}


def _of_one(page: Page, row: tuple[str, str, str] | None) -> Page:
    tag = tag_of(page.freshness.generation, int(row[2]) if row else 0, None)
    return Page(tag, int(row is not None), None, [row] if row else [], page.freshness)


def _tell(waiting: dict[Key, list[asyncio.Future[Page]]], pages: dict[Key, Page] | Exception) -> None:
    for key, all_of_them in waiting.items():
        for found in all_of_them:
            if found.done():  # who asked has left
                continue
            if isinstance(pages, Exception):
                found.set_exception(pages)
            else:
                found.set_result(pages[key])
