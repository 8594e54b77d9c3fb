"""One bulk: documents and deletes with the versions of their changes, sent until each is taken or refused for good."""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
from elasticsearch import ApiError, AsyncElasticsearch, AuthenticationException, AuthorizationException
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_random_exponential

from projector.search.client import Again, Refused, item_passes, passes, reason
from projector.search.document import STATE_ID

LONGEST_WAIT = 10.0
LONGEST_REASON = 500
# What says that a request is wrong as a whole, for the sake of one item: too long an id, or all too long together.
_WHOLE = {400, 413}
_CURRENT = re.compile(r"current version \[(\d+)\]")
_SHOWN = "items.*.status,items.*.error.type,items.*.error.reason,items.*.error.caused_by"


class Item(NamedTuple):
    """A change of one row: the document, or None where the row is gone."""

    key: str
    revision: int
    document: bytes | None


@dataclass
class Sent:
    """What became of a bulk: keys refused with the reason, and those of which the index has a later version already."""

    refused: dict[str, str] = field(default_factory=dict)
    conflicts: dict[str, int] = field(default_factory=dict)


class IndexGone(Exception):
    """The index is not there, or is not the one that was made."""


Before = Callable[[], Awaitable[None]]


class Bulks:
    """Sends bulks. `before` runs ahead of each attempt and may raise; `on_retry` hears why one is made again."""

    def __init__(self, client: AsyncElasticsearch, before: Before, on_retry: Callable[[str], None]) -> None:
        self._client, self._before, self._on_retry = client, before, on_retry

    async def send(self, target: str, state: Item, items: Sequence[Item]) -> Sent:
        """Send the state and the items to an alias of one index. Raises IndexGone, and Refused."""
        sent, left = Sent(), list(items)

        async def attempt() -> None:
            nonlocal left
            left = await self._once(target, state, left, sent)
            if left:
                raise Again

        await self.patiently(attempt)
        return sent

    async def patiently(self, attempt: Callable[[], Awaitable[Any]]) -> Any:
        """Do it again, after growing waits, for as long as what it raises may pass."""
        tries = AsyncRetrying(
            retry=retry_if_exception(passes),
            wait=wait_random_exponential(multiplier=0.2, max=LONGEST_WAIT),
            before_sleep=self._tell,
            reraise=True,
        )
        try:
            async for trying in tries:
                with trying:
                    await self._before()
                    return await attempt()
        except (AuthenticationException, AuthorizationException):
            raise Refused from None

    def _tell(self, state: RetryCallState) -> None:
        if state.outcome and (error := state.outcome.exception()):
            self._on_retry(reason(error))

    async def _once(self, target: str, state: Item, items: list[Item], sent: Sent) -> list[Item]:
        """Send them once; returns those to be sent again."""
        lines: list[Any] = [line for item in (state, *items) for line in _lines(item)]
        try:
            answer = await self._client.bulk(index=target, operations=lines, require_alias=True, filter_path=_SHOWN)
        except ApiError as error:
            if error.status_code not in _WHOLE or not items:
                raise
            return await self._halves(target, state, items, sent, error)
        again: list[Item] = []
        for item, told in zip((state, *items), answer["items"], strict=True):
            ((_, result),) = told.items()
            if not _settle(item, result["status"], result.get("error") or {}, sent):
                again.append(item)
        return [item for item in again if item is not state]

    async def _halves(self, target: str, state: Item, items: list[Item], sent: Sent, error: ApiError) -> list[Item]:
        if len(items) == 1:
            sent.refused[items[0].key] = f"{error.status_code}: {error.message} {_reason(error.body)}"[:LONGEST_REASON]
            return []
        middle = len(items) // 2
        first = await self._once(target, state, items[:middle], sent)
        return first + await self._once(target, state, items[middle:], sent)


def _reason(body: Any) -> str:
    error = body.get("error") if isinstance(body, dict) else None
    return str(error.get("reason", "")) if isinstance(error, dict) else ""


def _lines(item: Item) -> list[bytes]:
    meta = {"_id": item.key, "version": item.revision, "version_type": "external_gte"}
    if item.document is None:
        return [msgspec.json.encode({"delete": meta})]
    return [msgspec.json.encode({"index": meta}), item.document]


def _settle(item: Item, status: int, error: dict[str, Any], sent: Sent) -> bool:
    """Note what became of an item; whether that is final."""
    if not error:  # a delete of what is not there, 404, is none
        return True
    if error["type"] == "index_not_found_exception":
        raise IndexGone
    if item_passes(status, error):
        return False
    if item.key == STATE_ID:  # another one has written a later state
        return True
    if status == 409:
        current = _CURRENT.search(error["reason"])
        sent.conflicts[item.key] = int(current[1]) if current else item.revision
    else:
        cause = error.get("caused_by", {}).get("reason", "")
        sent.refused[item.key] = f"{error['type']}: {error['reason']} {cause}".strip()[:LONGEST_REASON]
    return True
