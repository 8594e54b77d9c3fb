"""Conditional requests (RFC 9110, section 13): what a client has is told by a tag, and not sent again.

Tags are weak. A strong one would promise the same bytes, and would have to differ between an answer and its compressed
form; these promise the same values of the same generation, and nothing here asks for more: there are no ranges, and
If-None-Match compares weakly.
"""

import re
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from read_api.fields import field

IF_NONE_MATCH = b"if-none-match"
ANY = "*"
MOST_TAGS = 50
_TAG = re.compile(r'(?:W/)?"([\x21\x23-\x7e\x80-\xff]{0,200})"', re.ASCII)


def known_tags(request: Request) -> list[str]:
    """The tags of what a client has, without quotes; `*` is whatever there is. What is no tag is passed over."""
    if not (text := field(request.scope, IF_NONE_MATCH)):
        return []
    return [ANY] if text.strip() == ANY else [tag for tag in _TAG.findall(text)[:MOST_TAGS] if tag != ANY]


def answer(body: str | None, tag: str, headers: Mapping[str, str]) -> Response:
    """The answer with its tag; without a body: 304, for the client has it."""
    headers = {"ETag": f'W/"{tag}"', "Cache-Control": "no-cache", **headers}
    if body is None:
        return Response(status_code=304, headers=headers)
    return Response(body, 200, headers, media_type="application/json")
