"""The search index against the view, document by document; and its repair, through the outbox.

Rows and documents are listed side by side, range by range. A difference is looked at once more, by key: the row, then
the document as it was written last, then the row again. What is in the outbox, or moves meanwhile, is on its way.
"""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from elasticsearch import NotFoundError

from projector.search.document import STATE, STATE_FIELD, Document
from projector.search.keeping import Keeping
from projector.search.rows import rows_of
from projector.store.locks import LOCK
from projector.store.outbox import PUT

PAGE = 1_000
TOLD = 1_000  # differences listed; the rest are counted

Documents = dict[str, Any]
_ARE_SENT = """
SELECT search IS NOT NULL
  AND NOT EXISTS (SELECT FROM outbox WHERE relation = %(relation)s AND revision <= %(upto)s)
FROM served WHERE relation = %(relation)s
"""


@dataclass
class SearchVerified:
    """What was found in one index, if there is one (`served`); `repaired` documents do not differ any more."""

    view: str
    served: bool = True
    documents: int = 0
    different: int = 0
    repaired: int = 0
    differences: list[tuple[str, str]] = field(default_factory=list)  # key; missing, extra or stale


class SearchVerifier:
    """Verifies the index of one view."""

    def __init__(self, keeping: Keeping) -> None:
        self._keeping, self._view = keeping, keeping.view
        self._document = Document(keeping.view, keeping.group)

    async def verify(self, repair: bool = False, progress: Callable[[int], None] = lambda _: None) -> SearchVerified:
        """Compare each row with its document, and mend those that differ if asked to. `progress` is told rows."""
        found = SearchVerified(self._view.name)
        stand = await self._keeping.copies.stand()
        copy = next((c for c in stand.copies if c.state == "live"), None)
        if copy is None:
            found.served = False
            return found
        self._generation, index = stand.generation, self._document.index_name(stand.generation, copy.search)
        different: dict[str, str] = {}
        async for rows, documents in self._side_by_side(index):
            found.documents += len(documents)
            suspects = [key for key in rows.keys() | documents.keys() if rows.get(key) != documents.get(key)]
            different |= await self._again(index, suspects)
            progress(len(rows))
        found.different, found.differences = len(different), sorted(different.items())[:TOLD]
        if repair and different:
            await self._repair(list(different))
            left = await self._left(list(different))
            found.repaired = len(different) - left
        return found

    async def _side_by_side(self, index: str) -> AsyncIterator[tuple[Documents, Documents]]:
        """Ranges of keys: what the rows say the documents should be, and what they are."""
        with suppress(NotFoundError):  # deleted by hand: each row is missing
            await self._keeping.client.indices.refresh(index=index)
        low: str | None = None
        while True:
            rows = await self._page(low)
            high = max(rows) if len(rows) == PAGE else None
            yield rows, await self._listed(index, low, high)
            if high is None:
                break
            low = high
        yield {}, await self._found(index, {"bool": {"must_not": [_exists(self._field), _IS_STATE]}})

    async def _page(self, low: str | None) -> Documents:
        query = (
            f"SELECT key, row FROM ({rows_of(self._view, self._generation)}) AS s "
            f"WHERE %(low)s::text IS NULL OR key > %(low)s::text ORDER BY key LIMIT {PAGE}"
        )
        found = await self._keeping.connection.execute(query, {"low": low}, prepare=False)
        return {key: self._document.of(json.loads(row)) for key, row in await found.fetchall()}

    @property
    def _field(self) -> str:
        return f"is.{self._view.key[0]}"

    async def _listed(self, index: str, low: str | None, high: str | None) -> Documents:
        bounds = {"gt": low, "lte": high}
        within = {"range": {self._field: {name: value for name, value in bounds.items() if value is not None}}}
        return await self._found(index, {"bool": {"filter": [within, _exists(self._field)], "must_not": [_IS_STATE]}})

    async def _found(self, index: str, query: Mapping[str, Any]) -> Documents:
        """All documents of a query, page by page."""
        found: Documents = {}
        after: list[Any] | None = None
        while True:
            try:
                answer = await self._keeping.client.search(
                    index=index, query=query, size=PAGE, sort=[{self._field: "asc"}, {"_doc": "asc"}],
                    search_after=after, track_total_hits=False,
                )  # fmt: skip
            except NotFoundError:
                return {}
            hits = answer["hits"]["hits"]
            found |= {hit["_id"]: hit["_source"] for hit in hits}
            if len(hits) < PAGE:
                return found
            after = hits[-1]["sort"]

    async def _again(self, index: str, keys: list[str]) -> dict[str, str]:
        """Those of the keys whose document is not as it should be and not on its way: key → what is wrong."""
        found: dict[str, str] = {}
        for at in range(0, len(keys), PAGE):
            some = keys[at : at + PAGE]
            before = await self._rows(some)
            documents = await self._get(index, some)
            after = await self._rows(some)
            for key in some:
                (row, waits), document = before[key], documents.get(key)
                if waits or before[key] != after[key]:
                    continue
                expected = None if row is None else self._document.of(json.loads(row))
                if expected != document:
                    found[key] = "missing" if document is None else "extra" if expected is None else "stale"
        return found

    async def _rows(self, keys: list[str]) -> dict[str, tuple[str | None, bool]]:
        """Key → its row as JSON text, and whether it waits in the outbox."""
        query = (
            f"SELECT k.key, s.row, o.key IS NOT NULL FROM unnest(%s::text[]) AS k (key) "
            f"LEFT JOIN ({rows_of(self._view, self._generation)}) AS s ON s.key = k.key "
            f"LEFT JOIN outbox AS o ON o.relation = %s AND o.key = k.key"
        )
        found = await self._keeping.connection.execute(query, (keys, self._view.name), prepare=False)
        return {key: (row, waits) for key, row, waits in await found.fetchall()}

    async def _get(self, index: str, keys: list[str]) -> Documents:
        try:
            answer = await self._keeping.client.mget(index=index, ids=keys)
        except NotFoundError:
            return {}
        return {doc["_id"]: doc["_source"] for doc in answer["docs"] if doc.get("found")}

    async def _repair(self, keys: list[str]) -> None:
        """Send exactly these rows once more, and wait until they were."""
        connection = self._keeping.connection
        async with connection.transaction():
            await connection.execute(LOCK, {"group": self._keeping.group})
            await connection.execute(PUT, {"relation": self._view.name, "keys": keys})
            (upto,) = await (await connection.execute("SELECT nextval('revisions')")).fetchone() or (0,)

        async def are_sent() -> bool:
            row = await (await connection.execute(_ARE_SENT, {"relation": self._view.name, "upto": upto})).fetchone()
            return bool(row and row[0])

        await self._keeping.until(are_sent)

    async def _left(self, keys: list[str]) -> int:
        """How many of the keys differ still, in the index that is served now."""
        stand = await self._keeping.copies.stand()
        live = [c.search for c in stand.copies if c.state == "live"]
        return len(await self._again(self._document.index_name(stand.generation, live[0]), keys)) if live else len(keys)


_IS_STATE = {"term": {STATE_FIELD: STATE}}


def _exists(name: str) -> dict[str, Any]:
    return {"exists": {"field": name}}
