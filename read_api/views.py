"""The routes of one view: its list, its lists under another view's rows, and one of its rows."""

from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from read_api import cursors
from read_api.access.callers import seen
from read_api.conditional import answer, known_tags
from read_api.freshness import Wanted, read_wanted
from read_api.lookups import Lookups
from read_api.parameters import SNAPSHOT, at_snapshot, read_list, read_pairs, refuse_any
from read_api.problems import ParameterError, Problem, bad_request
from read_api.reading import Page, Reader
from read_api.resource import NULL_KEY, Field, Resource
from read_api.statements import Condition

Handler = Callable[[Request], Awaitable[Response]]

_OF_A_QUERY = "!$&'()*+,;=:@/?%"  # as it came; whatever else may come unquoted is quoted in a link
LONGEST_LINK = 2_000  # letters: proxies refuse long headers, and the body has the cursor anyway


def list_handler(resource: Resource, reader: Reader, parent: Resource | None = None) -> Handler:
    """`GET /v1/orders`; of the rows under one of `parent`: `GET /v1/customers/{customer_id}/orders`."""

    async def list_rows(request: Request) -> Response:
        under = _key_condition(parent.key[0], request) if parent else None
        if parent and under is None:
            raise _not_found(parent, {})
        shown = at_snapshot(seen(resource, request), request)
        query, wanted = read_list(shown, request, under), read_wanted(request)
        known = known_tags(request)
        page = await reader.page(shown, wanted, query.shape, query.conditions, query.after, known)
        headers = _headers(page, wanted)
        if page.rows is None:
            return answer(None, page.tag, headers)
        rows = page.rows[: query.limit]
        following = cursors.encode(query.digest, rows[-1][1]) if len(page.rows) > len(rows) else None
        if following:
            headers |= _link(request, following)
        return answer(_list(rows, following, page.total), page.tag, headers)

    return list_rows


def one_handler(resource: Resource, lookups: Lookups) -> Handler:
    """`GET /v1/orders/{order_id}`."""

    async def one_row(request: Request) -> Response:
        shown = at_snapshot(seen(resource, request), request)
        refuse_any(request, but=(SNAPSHOT,))
        wanted = read_wanted(request)
        conditions = [c for field in resource.key if (c := _key_condition(field, request))]
        if len(conditions) < len(resource.key):
            raise _not_found(resource, {})
        page = await lookups.page(shown, wanted, conditions, known_tags(request))
        headers = _headers(page, wanted)
        if not page.found:
            raise _not_found(resource, headers)
        return answer(page.rows[0][0] if page.rows else None, page.tag, headers)

    return one_row


def _key_condition(field: Field, request: Request) -> Condition | None:
    """The condition for one part of a path; None if no row can have such a key."""
    text = request.path_params[field.name]
    if "\0" in text:
        raise bad_request([ParameterError(field.name, "holds a NUL character")])
    if text == NULL_KEY and field.nullable:
        return Condition(field.name, "null", (True,))
    try:
        return Condition(field.name, "eq", (field.kind.read(text),))
    except ValueError:
        return None


def _list(rows: Sequence[tuple[str, str, str]], following: str | None, total: int | None) -> str:
    data, more, cursor = ",".join([row[0] for row in rows]), "false", "null"
    if following:
        more, cursor = "true", f'"{following}"'
    count = "" if total is None else f',"total_count":{total}'
    return f'{{"data":[{data}],"has_more":{more},"next_cursor":{cursor}{count}}}'


def _link(request: Request, cursor: str) -> dict[str, str]:
    """RFC 8288: where the next page is, relative to this one, whatever stands before the API."""
    parts = zip(request.scope["query_string"].split(b"&"), read_pairs(request), strict=False)
    query = b"&".join([part for part, (name, _) in parts if name != "cursor"] + [b"cursor=" + cursor.encode()])
    link = f'<?{quote(query, _OF_A_QUERY)}>; rel="next"'
    return {"Link": link} if len(link) <= LONGEST_LINK else {}


def _not_found(resource: Resource, headers: dict[str, str]) -> Problem:
    return Problem(404, f"{resource.path} has no row with this key", headers=headers)


def _headers(page: Page, wanted: Wanted) -> dict[str, str]:
    return {**page.freshness.headers(), **wanted.headers()}
