"""Reading a view: the generation that is served, in one statement with what it was read at."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from psycopg import errors

from read_api.database import Database
from read_api.freshness import Freshness, Waiters, Wanted, too_early
from read_api.problems import unavailable
from read_api.resource import Resource
from read_api.statements import Condition, Shape, parameters, statement

ATTEMPTS = 3  # a switch between two of them is rare, two in a row are rarer
SERVED = "SELECT generation FROM served WHERE relation = $1"


class Page(NamedTuple):
    """Rows, each as JSON and with its cursor values, and what they were read at."""

    rows: Sequence[tuple[str, str]]
    freshness: Freshness


class Reader:
    """Reads views. The generation that was served last is remembered; each statement checks it in its own snapshot."""

    def __init__(self, database: Database, waiters: Waiters) -> None:
        self._database, self._waiters = database, waiters
        self._generations: dict[str, int] = {}

    async def page(
        self,
        resource: Resource,
        wanted: Wanted,
        shape: Shape,
        conditions: Sequence[Condition],
        after: Sequence[Any],
    ) -> Page:
        """The rows, once the wanted positions are applied. Raises a 503 Problem if they are not in time."""
        values = parameters(resource, conditions, after)
        page = await self._read(resource, shape, values)
        if not page.freshness.reaches(wanted.positions) and wanted.wait:
            await self._waiters.wait(wanted.positions, wanted.wait)
            page = await self._read(resource, shape, values)
        if not page.freshness.reaches(wanted.positions):
            raise too_early(wanted, page.freshness)
        return page

    async def _read(self, resource: Resource, shape: Shape, values: dict[str, Any]) -> Page:
        for _ in range(ATTEMPTS):
            try:
                generation = self._generations.get(resource.name) or await self._served(resource)
                found = statement(resource, generation, shape)
                *freshness, now_served, rows = await self._database.one(found.sql, found.values(values))
            except (errors.UndefinedTable, errors.UndefinedColumn, errors.InsufficientPrivilege):
                self._generations.pop(resource.name, None)  # dropped, or of other declarations than ours
                continue
            if now_served == generation:
                return Page(rows, Freshness(*freshness))
            self._generations.pop(resource.name, None)
        raise unavailable(
            f"{resource.path} is not there as declared: run `prejoin migrate`, or restart the API if that was done",
            "not-migrated",
        )

    async def _served(self, resource: Resource) -> int:
        rows = await self._database.all(SERVED, [resource.name])
        if not rows:
            raise errors.UndefinedTable
        self._generations[resource.name] = int(rows[0][0])
        return self._generations[resource.name]
