"""The dashboard at `/`: one page and its assets, packaged, served from memory. It asks the public API alone.

Nothing is loaded from anywhere else, and no script or style stands in the page: POLICY says so to the browser.
"""

import hashlib
from collections.abc import Awaitable, Callable, Collection
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from read_api.conditional import ANY, known_tags
from read_api.problems import Problem

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PAGE = "index.html"
SHOP = {"/v1/orders", "/v1/customers", "/v1/fulfilment", "/v1/sales-by-day"}
"""Paths of the views that Overview, Order and Customer are about."""
_TYPES = {
    "html": "text/html",
    "js": "text/javascript",
    "css": "text/css",
    "svg": "image/svg+xml",
    "json": "application/json",
    "LICENSE": "text/plain",
}
Handler = Callable[[Request], Awaitable[Response]]


class Asset(NamedTuple):
    """A file as it is served; `tag` follows from its bytes."""

    body: bytes
    media_type: str
    tag: str


def handlers(demo: bool, paths: Collection[str]) -> dict[str, Handler]:
    """The handlers by route template. `demo`: the page tells what to try with the demo's data.

    `paths` are those of the views: the shop's own pages are shown where all are there that they ask for.
    """
    assets = _read(files(__package__) / "static")
    page = assets.pop(PAGE).body.decode()
    for name, said in (("demo", demo), ("shop", SHOP.issubset(paths))):
        page = page.replace(f'data-{name}="false"', f'data-{name}="{str(said).lower()}"')
    home = _asset(PAGE, page.encode())

    async def root(request: Request) -> Response:
        return _answer(request, home)

    async def asset(request: Request) -> Response:
        found = assets.get(request.path_params["name"])
        if found is None:
            raise Problem(404, "the dashboard has no such file")
        return _answer(request, found)

    return {"/": root, "/dashboard/{name:path}": asset}


def _answer(request: Request, asset: Asset) -> Response:
    headers = {"Cache-Control": "no-cache", "Content-Security-Policy": POLICY, "ETag": f'W/"{asset.tag}"'}
    if not {ANY, asset.tag}.isdisjoint(known_tags(request)):
        return Response(status_code=304, headers=headers)
    return Response(asset.body, headers=headers, media_type=asset.media_type)


def _read(folder: Traversable, prefix: str = "") -> dict[str, Asset]:
    found: dict[str, Asset] = {}
    for entry in folder.iterdir():
        name = prefix + entry.name
        found |= _read(entry, f"{name}/") if entry.is_dir() else {name: _asset(name, entry.read_bytes())}
    return found


def _asset(name: str, body: bytes) -> Asset:
    kind = _TYPES[name.rpartition(".")[2]]
    return Asset(body, kind, hashlib.sha256(body).hexdigest()[:20])
