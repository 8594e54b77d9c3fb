"""Whether the process is up, whether it can answer, and what the group is at."""

import json
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

from psycopg import errors
from starlette.requests import Request
from starlette.responses import Response

from projector.declare.projections import Projections
from projector.store.definitions import relation_digests
from projector.store.status import SUMMARY, Ends, count_rows, report, with_ends
from read_api.database import Database
from read_api.freshness import Freshness
from read_api.parameters import refuse_any
from read_api.problems import unavailable

READABLE = """
SELECT coalesce(array_agg(DISTINCT relation), '{}') FROM generations
WHERE digest = ANY ($1::text[]) AND (state = 'live' OR state = 'kept' AND positions IS NOT NULL)
"""

AskEnds = Callable[[], Awaitable[Ends | None]]
"""Asks the broker where its partitions end; None where it does not answer."""


class Health:
    """`/livez`, `/readyz` and `/v1/status`."""

    def __init__(self, database: Database, projections: Projections, ends: AskEnds | None = None) -> None:
        self._database, self._projections, self._ends = database, projections, ends
        digests = relation_digests(projections)
        self._definitions = [digests[relation.name] for relation in projections.served]

    async def live(self, _request: Request) -> Response:
        """The process is up."""
        return _json({"status": "live"})

    async def ready(self, _request: Request) -> Response:
        """The database answers and has all that is served."""
        try:
            there = (await self._database.one(READABLE, [self._definitions]))[0]
        except (errors.UndefinedTable, errors.UndefinedColumn, errors.InsufficientPrivilege):
            there = []
        missing = [relation.name for relation in self._projections.served if relation.name not in there]
        if missing and there:
            raise unavailable(
                f"{', '.join(missing)}: not there as this process declares: finish `prejoin rebuild`, or start the API "
                "of the newer release",
                "other-definition",
            )
        if missing:
            raise unavailable("the database is not migrated: run `prejoin migrate`", "not-migrated")
        return _json({"status": "ready"})

    async def status(self, request: Request) -> Response:
        """What `prejoin status --json` says."""
        refuse_any(request)
        ends = await self._ends() if self._ends else None
        for _ in range(2):  # a generation may be dropped between the two statements
            try:
                summary = (await self._database.one(SUMMARY))[0]
                rows = (await self._database.one(count_rows(self._projections, summary)))[0]
                if ends is not None:
                    summary["partitions"] = with_ends(summary["partitions"], ends)
                told = report(self._projections, summary, rows)
                return _json(told, _fresh(told).headers())
            except (errors.UndefinedTable, errors.InsufficientPrivilege):
                continue
        raise unavailable("the database is not migrated: run `prejoin migrate`", "not-migrated")


def _fresh(told: dict[str, Any]) -> Freshness:
    lag, positions = told["lag_seconds"], [p["position"] for p in told["partitions"] if p["position"]]
    return Freshness(told["as_of"], None if lag is None else Decimal(str(lag)), positions)


def _json(body: object, headers: dict[str, str] | None = None) -> Response:
    headers = {"Cache-Control": "no-cache", **(headers or {})}
    return Response(json.dumps(body), headers=headers, media_type="application/json")
