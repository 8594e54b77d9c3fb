"""Errors as `application/problem+json` (RFC 9457). None tells SQL, a stack trace, or where the database is."""

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

RETRY_AFTER = {"Retry-After": "1"}
MOST_TOLD = 20  # mistakes of one request: who sends thousands gets an answer that is no larger


class ParameterError(NamedTuple):
    """What is wrong with one parameter."""

    parameter: str
    detail: str


class Problem(Exception):
    """An answer that is not what was asked for."""

    def __init__(
        self,
        status: int,
        detail: str,
        errors: Sequence[ParameterError] = (),
        headers: Mapping[str, str] | None = None,
        kind: str = "about:blank",
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.errors, self.kind = status, detail, errors, kind
        self.headers = dict(headers or {})

    def response(self) -> Response:
        """The problem document."""
        body: dict[str, Any] = {
            "type": self.kind,
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
        }
        if self.errors:
            body["errors"] = [error._asdict() for error in self.errors]
        headers = {"Cache-Control": "no-cache", **self.headers}
        return Response(json.dumps(body), self.status, headers, media_type="application/problem+json")


def bad_request(errors: Sequence[ParameterError]) -> Problem:
    """400, naming each parameter that is wrong, or the first of very many."""
    errors = errors[:MOST_TOLD]
    return Problem(400, "; ".join(f"{e.parameter}: {e.detail}" for e in errors), errors)


def other_method(headers: Mapping[str, str] | None = None) -> Problem:
    """405, with the methods that there are."""
    return Problem(405, "only GET and HEAD are answered here", headers={**(headers or {}), "Allow": "GET, HEAD"})


def unavailable(detail: str, kind: str) -> Problem:
    """503 for what passes: the same request may be answered a little later."""
    return Problem(503, detail, headers=RETRY_AFTER, kind=f"urn:prejoin:{kind}")


async def on_problem(_request: Request, problem: Problem) -> Response:
    """The answer to a Problem that a handler raised."""
    return problem.response()


async def on_defect(_request: Request, _error: Exception) -> Response:
    """500, which tells nothing of the inside."""
    return Problem(500, "a defect of the service; its log says more").response()


async def on_http_exception(_request: Request, error: HTTPException) -> Response:
    """404 and 405, as the router raises them."""
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        return other_method(headers).response()
    if error.status_code == HTTPStatus.NOT_FOUND:
        return Problem(404, "there is nothing at this path; /openapi.json lists what there is").response()
    return Problem(error.status_code, HTTPStatus(error.status_code).phrase, headers=headers).response()
