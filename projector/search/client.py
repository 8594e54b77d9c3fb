"""The connection to Elasticsearch, and which of its errors pass."""

from typing import Any

from elastic_transport import ConnectionError, ConnectionTimeout
from elasticsearch import ApiError, AsyncElasticsearch, AuthenticationException, AuthorizationException

from projector.errors import PrejoinError

SECONDS_FOR_A_REQUEST = 30.0  # far below the hour for which a deleted document's version is remembered
_PASSING = {429, 500, 502, 503, 504}
_BLOCKED = "cluster_block_exception"


class Refused(PrejoinError):
    """Elasticsearch does not let these credentials do it."""

    def __init__(self) -> None:
        super().__init__(
            "Elasticsearch (PREJOIN_ELASTICSEARCH_URL) refuses the credentials: name a user that may create, write and "
            "delete the views' indexes and aliases"
        )


def connect(urls: list[str], seconds: float = SECONDS_FOR_A_REQUEST) -> AsyncElasticsearch:
    """A client that tries nothing again by itself; to be closed. `urls` may hold user and password."""
    return AsyncElasticsearch(urls, request_timeout=seconds, max_retries=0, retry_on_timeout=False)


def passes(error: BaseException) -> bool:
    """Whether the same may succeed a little later: Elasticsearch is away, busy, or its disk is full for now."""
    if isinstance(error, AuthenticationException | AuthorizationException):
        return is_block(error.body)
    if isinstance(error, ApiError):
        return error.status_code in _PASSING
    return isinstance(error, ConnectionError | ConnectionTimeout | Again)


def reason(error: BaseException) -> str:
    """What to call an error that passes, in logs and metrics."""
    return str(error.status_code) if isinstance(error, ApiError) else type(error).__name__


def is_block(body: Any) -> bool:
    """Whether an answer says that writes are blocked, as they are while a disk is full."""
    return isinstance(body, dict) and isinstance(body.get("error"), dict) and body["error"].get("type") == _BLOCKED


def item_passes(status: int, error: dict[str, Any]) -> bool:
    """The same of one item of a bulk."""
    return status in _PASSING or error.get("type") == _BLOCKED


class Again(Exception):
    """Some items of a bulk are to be sent again."""
