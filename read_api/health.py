"""Whether the process is up, whether it can answer, and what the group is at."""

import json

from psycopg import errors
from starlette.requests import Request
from starlette.responses import Response

from projector.declare.projections import Projections
from projector.store.status import SUMMARY, count_rows, report
from read_api.database import Database
from read_api.parameters import refuse_any
from read_api.problems import unavailable

MIGRATED = "SELECT count(*) FROM served WHERE relation = ANY ($1::text[])"


class Health:
    """`/livez`, `/readyz` and `/v1/status`."""

    def __init__(self, database: Database, projections: Projections) -> None:
        self._database, self._projections = database, projections

    async def live(self, _request: Request) -> Response:
        """The process is up."""
        return _json({"status": "live"})

    async def ready(self, _request: Request) -> Response:
        """The database answers and has all that is served."""
        names = [relation.name for relation in self._projections.served]
        try:
            there = (await self._database.one(MIGRATED, [names]))[0]
        except (errors.UndefinedTable, errors.InsufficientPrivilege):
            there = 0
        if there < len(names):
            raise unavailable("the database is not migrated: run `prejoin migrate`", "not-migrated")
        return _json({"status": "ready"})

    async def status(self, request: Request) -> Response:
        """What `prejoin status --json` says."""
        refuse_any(request)
        for _ in range(2):  # a generation may be dropped between the two statements
            try:
                summary = (await self._database.one(SUMMARY))[0]
                rows = (await self._database.one(count_rows(self._projections, summary)))[0]
                return _json(report(self._projections, summary, rows))
            except (errors.UndefinedTable, errors.InsufficientPrivilege):
                continue
        raise unavailable("the database is not migrated: run `prejoin migrate`", "not-migrated")


def _json(body: object) -> Response:
    return Response(json.dumps(body), headers={"Cache-Control": "no-cache"}, media_type="application/json")
