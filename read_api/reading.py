"""Reading a view: the generation of the definition that this process has, in one statement with what it was read at."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from psycopg import errors

from read_api.database import Database
from read_api.freshness import Freshness, Waiters, Wanted, too_early
from read_api.problems import Problem, unavailable
from read_api.resource import Resource
from read_api.statements import NEWEST, Condition, Shape, estimate, parameters, statement, tag_of

ATTEMPTS = 3  # a switch between two of them is rare, two in a row are rarer
SERVED = f"SELECT generation FROM {NEWEST % 1} AS g"
IS_OTHER = "SELECT EXISTS (SELECT FROM served WHERE relation = $1)"
# dropped, or of other declarations than ours
NOT_AS_DECLARED = (errors.UndefinedTable, errors.UndefinedColumn, errors.InsufficientPrivilege)

Asked = tuple[str, list[Any]]
"""A statement and its values."""


class Page(NamedTuple):
    """Rows, each as JSON, with its cursor values and digest, and what they were read at.

    `tag` tells this page from what it was or will be; `rows` is None where the tag was known already. `found` counts
    the page's rows, `total` all, where that was asked for.
    """

    tag: str
    found: int
    total: int | None
    rows: Sequence[tuple[str, str, str]] | None
    freshness: Freshness


class Reader:
    """Reads views. The generation that was read last is remembered; each statement checks it in its own snapshot."""

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
        known: Sequence[str] = (),
    ) -> Page:
        """The rows, once the wanted positions are applied. Raises a 503 Problem if they are not in time.

        `known` are tags of what the client has; `*` among them is any.
        """
        if known:
            shape = replace(shape, conditional=True)
        values = parameters(resource, conditions, after, known)
        if shape.count == "estimated":
            values["total"] = await self._estimated(resource, shape, values)

        def ask(generation: int) -> Asked:
            found = statement(resource, generation, shape)
            return found.sql, found.values(values)

        read, freshness = await self.answer(resource, wanted, ask)
        total, *digests, rows = read
        digest, found = digests or (sum(int(row[2]) for row in rows), len(rows))
        return Page(tag_of(freshness.generation, digest, total), found, total, rows, freshness)

    async def answer(
        self, resource: Resource, wanted: Wanted, ask: Callable[[int], Asked]
    ) -> tuple[Sequence[Any], Freshness]:
        """What a statement over the served generation answers behind FRESHNESS, and that.

        Once the wanted positions are applied; raises a 503 Problem if they are not in time.
        """
        in_time = True
        if wanted.positions and resource.snapshot is None:  # to a snapshot nothing is added
            in_time = await self._waiters.wait(wanted.positions, wanted.wait or 0)
        found, freshness = await self._read(resource, ask)
        # a generation that is kept stays as it is
        if not (in_time and freshness.reaches(wanted.positions)):
            raise too_early(wanted, freshness)
        return found, freshness

    async def _read(self, resource: Resource, ask: Callable[[int], Asked]) -> tuple[Sequence[Any], Freshness]:
        for _ in range(ATTEMPTS):
            try:
                generation = await self._served(resource)
                as_of, lag, positions, now_served, *found = await self._database.one(*ask(generation))
            except NOT_AS_DECLARED:
                self._generations.pop(resource.definition, None)
                continue
            if now_served == generation:
                return found, Freshness(as_of, lag, positions, generation)
            self._generations.pop(resource.definition, None)
        raise await missing(self._database, resource)

    async def _estimated(self, resource: Resource, shape: Shape, values: Mapping[str, Any]) -> int:
        """How many rows Postgres expects to pass: what its planner knows, at no reading."""
        for _ in range(ATTEMPTS):
            try:
                asked = estimate(resource, await self._served(resource), shape.conditions)
                ((plan,),) = await self._database.one(asked.sql, asked.values(values))
                return int(plan["Plan"]["Plan Rows"])
            except NOT_AS_DECLARED:
                self._generations.pop(resource.definition, None)
        raise await missing(self._database, resource)

    async def _served(self, resource: Resource) -> int:
        if known := self._generations.get(resource.definition):
            return known
        rows = await self._database.all(SERVED, [resource.definition])
        if not rows:
            raise errors.UndefinedTable
        self._generations[resource.definition] = int(rows[0][0])
        return self._generations[resource.definition]


async def missing(database: Database, resource: Resource) -> Problem:
    """503: the view is not in the database, or not as this process declares it; 404: no snapshot has it so."""
    if resource.snapshot is not None:
        return Problem(
            404,
            f"there is no snapshot {resource.snapshot} of {resource.path} as this process declares it: "
            "`prejoin snapshots list` shows those there are",
        )
    try:
        ((other,),) = await database.all(IS_OTHER, [resource.name])
    except (errors.UndefinedTable, errors.InsufficientPrivilege):
        other = False
    if other:
        return unavailable(
            f"{resource.path} is served by another definition than this process has: it waits for "
            f"`prejoin rebuild {resource.name}` where this is the newer release, else for the API of that",
            "other-definition",
        )
    return unavailable(f"{resource.path} is not in the database: run `prejoin migrate`", "not-migrated")
