"""Who asks, and what of a view they may see."""

from dataclasses import dataclass

from starlette.requests import Request

from read_api.problems import Problem
from read_api.resource import Resource

SCOPE = "prejoin:"
"""What scopes of tokens begin with: `prejoin:orders`, `prejoin:all`, `prejoin:pii`."""


@dataclass(frozen=True)
class Caller:
    """One who asks. `id` tells callers apart, `name` is for logs; `views` None: all. `until`: seconds since 1970."""

    id: str
    name: str
    views: frozenset[str] | None = None
    pii: bool = True
    until: float | None = None

    def may(self, resource: Resource) -> bool:
        """Whether it may read of a view, named as it is declared or by its path."""
        return self.views is None or bool({resource.name, resource.relation.path} & self.views)


def seen(resource: Resource, request: Request) -> Resource:
    """The view as the caller may see it: without personal columns where that is not allowed. Raises a 403 Problem."""
    caller: Caller = request.scope["caller"]
    if not caller.may(resource):
        raise _forbidden(f"may not read {resource.path}", f"{SCOPE}{resource.relation.path}")
    if caller.pii:
        return resource
    if any(field.name in resource.personal for field in resource.key):
        raise _forbidden(f"may not read {resource.path}: its key is personal", f"{SCOPE}pii")
    return resource.masked


def _forbidden(what: str, scope: str) -> Problem:
    headers = {"WWW-Authenticate": f'Bearer realm="prejoin", error="insufficient_scope", scope="{scope}"'}
    return Problem(403, f"the key or token {what}; it needs the scope {scope}", headers=headers)
