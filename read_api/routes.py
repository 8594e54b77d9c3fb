"""Routes found by a table. The framework's router asks each in turn whether it matches, and puts layers around it."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from starlette.requests import Request
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from read_api.problems import Problem

METHODS = ("GET", "HEAD")
Handler = Callable[[Request], Awaitable[ASGIApp]]


class PlainRoute(Route):
    """A handler for GET and HEAD: `document` describes it, from the views' columns."""

    def __init__(self, path: str, handler: Handler) -> None:
        super().__init__(path, handler, methods=["GET"])

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether the router is to take it: for what Routes leaves to it."""
        match, found = super().matches(scope)
        return match, {**found, "route": self} if match is not Match.NONE else found


class Routes:
    """ASGI middleware before the framework's router, which has what is not found here: 404, 405, and the rest."""

    def __init__(self, app: ASGIApp, routes: Iterable[BaseRoute]) -> None:
        self._app = app
        self._whole: dict[str, PlainRoute] = {}
        self._under = defaultdict[str, list[PlainRoute]](list)  # by what stands before the first parameter
        for route in routes:
            if isinstance(route, PlainRoute):
                head, parameters, _ = route.path.partition("/{")
                if parameters:
                    self._under[head].append(route)
                else:
                    self._whole[head] = route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass it on."""
        found = self._find(scope["path"]) if scope["type"] == "http" and scope["method"] in METHODS else None
        if found is None:
            await self._app(scope, receive, send)
            return
        scope["route"], scope["path_params"] = found
        try:
            answer = await found[0].endpoint(Request(scope, receive))
            await answer(scope, receive, send)
        except Problem as problem:
            await problem.response()(scope, receive, send)

    def _find(self, path: str) -> tuple[PlainRoute, dict[str, Any]] | None:
        if whole := self._whole.get(path):  # before those with parameters: no row has the key `search`
            return whole, {}
        for route in self._under.get("/".join(path.split("/", 3)[:3]), ()):
            if match := route.path_regex.match(path):
                return route, match.groupdict()
        return None
