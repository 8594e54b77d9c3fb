"""The access log: a JSON line a request on stderr, without what it asked for: filters hold values of rows."""

import json
import logging
from datetime import UTC, datetime

from starlette.types import Scope

_log = logging.getLogger("prejoin.access")


def tell(scope: Scope, status: int, seconds: float) -> None:
    """One request that was answered: by whom, which route, how it ended, in how many milliseconds."""
    caller = scope.get("caller")
    told = {
        "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        "action": "request",
        "method": scope["method"],
        "route": getattr(scope.get("route"), "path", None),  # the template: a path holds keys
        "status": status,
        "ms": round(seconds * 1000, 1),
        "caller": caller.id if caller else None,
        "name": caller.name if caller else None,
    }
    _log.info(json.dumps(told, ensure_ascii=False))


def to_stderr() -> None:
    """Write the log of this process."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    _log.addHandler(handler)
    _log.setLevel(logging.INFO)
    _log.propagate = False
