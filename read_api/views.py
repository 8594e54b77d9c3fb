"""The routes of one view: its list, and one of its rows."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from read_api import cursors
from read_api.freshness import Wanted, read_wanted
from read_api.parameters import read_list, refuse_any
from read_api.problems import ParameterError, Problem, bad_request
from read_api.reading import Page, Reader
from read_api.resource import NULL_KEY, Resource
from read_api.statements import Condition, Shape

Handler = Callable[[Request], Awaitable[Response]]


def list_handler(resource: Resource, reader: Reader) -> Handler:
    """`GET /v1/orders`."""

    async def list_rows(request: Request) -> Response:
        query, wanted = read_list(resource, request), read_wanted(request)
        page = await reader.page(resource, wanted, query.shape, query.conditions, query.after)
        rows = page.rows[: query.limit]
        more = len(page.rows) > len(rows)
        following = f'"{cursors.encode(query.digest, rows[-1][1])}"' if more else "null"
        data = ",".join([row for row, _ in rows])
        body = f'{{"data":[{data}],"has_more":{"true" if more else "false"},"next_cursor":{following}}}'
        return _answer(body, page, wanted)

    return list_rows


def one_handler(resource: Resource, reader: Reader) -> Handler:
    """`GET /v1/orders/{order_id}`."""

    async def one_row(request: Request) -> Response:
        refuse_any(request)
        wanted = read_wanted(request)
        conditions = _key_conditions(resource, request)
        if conditions is None:
            raise _not_found(resource, {})
        shape = Shape(tuple(c.shape for c in conditions), (), tuple(resource.fields), limit=1)
        page = await reader.page(resource, wanted, shape, conditions, ())
        if not page.rows:
            raise _not_found(resource, page.freshness.headers() | wanted.headers())
        return _answer(page.rows[0][0], page, wanted)

    return one_row


def _key_conditions(resource: Resource, request: Request) -> list[Condition] | None:
    """Conditions for the row of a path; None if no row can have such a key."""
    conditions = []
    for field in resource.key:
        text = request.path_params[field.name]
        if "\0" in text:
            raise bad_request([ParameterError(field.name, "holds a NUL character")])
        if text == NULL_KEY and field.nullable:
            conditions.append(Condition(field.name, "null", (True,)))
            continue
        try:
            conditions.append(Condition(field.name, "eq", (field.kind.read(text),)))
        except ValueError:
            return None
    return conditions


def _not_found(resource: Resource, headers: dict[str, str]) -> Problem:
    return Problem(404, f"{resource.path} has no row with this key", headers=headers)


def _answer(body: str, page: Page, wanted: Wanted) -> Response:
    headers = {"Cache-Control": "no-cache", **page.freshness.headers(), **wanted.headers()}
    return Response(body, 200, headers, media_type="application/json")
