"""The header fields of a request."""

from starlette.types import Scope


def field(scope: Scope, name: bytes) -> str | None:
    """The value of one, by its name in small letters; None: it is not there.

    Several lines of it are one list (RFC 9110, 5.2); where one is allowed, as of Authorization, that is no good value.
    """
    lines = [value for its, value in scope["headers"] if its == name]
    return b", ".join(lines).decode("latin-1") if lines else None
