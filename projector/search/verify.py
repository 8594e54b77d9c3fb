"""The search index against the view, document by document; and its repair, through the outbox.

Rows and documents are listed side by side, range by range. A difference is looked at once more, by key: the row, then
the document as it was written last, then the row again. What is in the outbox, or moves meanwhile, is on its way.
"""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import psycopg
from elasticsearch import NotFoundError

from projector.errors import PrejoinError
from projector.search.document import STATE, STATE_FIELD, Document
from projector.search.keeping import Keeping
from projector.search.rows import rows_of
from projector.store import drift
from projector.store.locks import LOCK
from projector.store.names import generation_name
from projector.store.outbox import PUT
from projector.store.sampling import Ranges, random_keys

PAGE = 1_000
MOST = 2 * PAGE  # documents asked for at a time
FEW = 5  # ranges for which nobody refreshes an index: what it does not show yet is asked for by key
MENDED = 50_000  # keys that are sent at a time
ATTEMPTS = 3
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
    sampled: bool = False
    differences: list[tuple[str, str]] = field(default_factory=list)  # key; missing, extra or stale
    left: list[tuple[str, str]] = field(default_factory=list)  # of these: what was not mended


class SearchVerifier:
    """Verifies the index of one view."""

    def __init__(self, keeping: Keeping) -> None:
        self._keeping, self._view = keeping, keeping.view
        self._document = Document(keeping.view, keeping.group)

    async def verify(
        self,
        repair: bool = False,
        progress: Callable[[int], None] = lambda _: None,
        sample: Ranges | None = None,
    ) -> SearchVerified:
        """Compare each row with its document, or those of a sample, and mend those that differ if asked to.

        `progress` is told rows. Where another copy comes to be searched meanwhile, that one is looked at anew.
        """
        for _ in range(ATTEMPTS):
            before = await self._searched()
            if before is None:
                return SearchVerified(self._view.name, served=False)
            found = SearchVerified(self._view.name, sampled=sample is not None)
            self._generation, self._index = before[0], self._document.index_name(*before)
            with suppress(psycopg.errors.UndefinedTable):  # dropped: what is served now is another one
                await self._look(found, repair, progress, sample)
                if found.repaired or await self._searched() == before:  # mending may have made another itself
                    await self._remember(found)
                    return found
        raise PrejoinError(f"{self._view.name}: its search index was replaced again and again meanwhile: try later")

    async def _searched(self) -> tuple[int, int] | None:
        """The generation and search generation that are searched now, if there is one."""
        stand = await self._keeping.copies.stand()
        copy = next((c for c in stand.copies if c.state == "live"), None)
        return None if copy is None else (stand.generation, copy.search)

    async def _look(
        self, found: SearchVerified, repair: bool, progress: Callable[[int], None], sample: Ranges | None
    ) -> None:
        wrong: dict[str, str] = {}
        with suppress(NotFoundError):  # deleted by hand: each row is missing
            if sample is None or sample.many > FEW:
                await self._keeping.client.indices.refresh(index=self._index)
        async for rows, documents in self._side_by_side() if sample is None else self._here_and_there(sample):
            found.documents += len(documents)
            suspects = [key for key in rows.keys() | documents.keys() if rows.get(key) != documents.get(key)]
            told = await self._again(self._index, suspects)
            # a document that says it is of another key than its own is told where its row is
            different = {key: kind for key, kind in told.items() if key in rows or kind == "extra"}
            found.different += len(different)
            _tell(found.differences, different)
            wrong |= different
            if len(wrong) >= MENDED:
                await self._settle(wrong, repair, found)
                wrong = {}
            progress(len(rows))
        found.differences.sort()
        if wrong:
            await self._settle(wrong, repair, found)

    async def _settle(self, wrong: dict[str, str], repair: bool, found: SearchVerified) -> None:
        """Mend what is wrong, if asked to, and tell what is left of it."""
        left = wrong
        if repair:
            await self._repair(list(wrong))
            left = await self._left(wrong)
            found.repaired += len(wrong) - len(left)
        _tell(found.left, left)

    async def _remember(self, found: SearchVerified) -> None:
        """For `prejoin status`."""
        values = drift.seen(self._view.name, drift.INDEX, [((key,), kind) for key, kind in found.left])
        async with self._keeping.connection.transaction():
            if not found.sampled:
                await self._keeping.connection.execute(drift.CLEAR, values)
            await self._keeping.connection.execute(drift.SEE, values)

    async def _side_by_side(self) -> AsyncIterator[tuple[Documents, Documents]]:
        """Ranges of keys: what the rows say the documents should be, and what they are."""
        low: str | None = None
        while True:
            rows, documents, high = await self._side(low, PAGE)
            yield rows, documents
            if high is None:
                break
            low = high
        async for page in self._pages({"bool": {"must_not": [_exists(self._field), _IS_STATE]}}):
            yield {}, page

    async def _here_and_there(self, ranges: Ranges) -> AsyncIterator[tuple[Documents, Documents]]:
        """Ranges of keys at random places, in order and without overlap."""
        table = generation_name(self._view.name, self._generation)
        query, values = random_keys([(table, self._view.key[0])], ranges.many)
        chosen = await self._keeping.connection.execute(query, values, prepare=False)
        high: str | None = None
        for low in ranges.starts([key for (key,) in await chosen.fetchall()]):
            if low is None or high is None or low >= high:
                rows, documents, high = await self._side(low, ranges.span)
                yield rows, documents
                if high is None:
                    return

    async def _side(self, low: str | None, size: int) -> tuple[Documents, Documents, str | None]:
        """What comes behind a key: rows' documents and documents, so many of each at most, and where they end."""
        rows = await self._page(low, size)
        high = max(rows) if len(rows) == size else None
        documents = await self._listed(low, high)
        if len(documents) == MOST:  # more than fit: the others come with the next range
            high = max(str(document["is"][self._view.key[0]]) for document in documents.values())
            rows = {key: row for key, row in rows.items() if key <= high}
            async for page in self._pages({"term": {self._field: high}}):  # however many have this very key
                documents |= page
        return rows, documents, high

    async def _page(self, low: str | None, size: int) -> Documents:
        query = (
            f"SELECT key, row FROM ({rows_of(self._view, self._generation)}) AS s "
            f"WHERE %(low)s::text IS NULL OR key > %(low)s::text ORDER BY key LIMIT {size}"
        )
        found = await self._keeping.connection.execute(query, {"low": low}, prepare=False)
        return {key: self._document.of(json.loads(row)) for key, row in await found.fetchall()}

    @property
    def _field(self) -> str:
        return f"is.{self._view.key[0]}"

    async def _listed(self, low: str | None, high: str | None) -> Documents:
        """Documents of a range, in order, as many as fit in a page."""
        bounds = {"gt": low, "lte": high}
        within = {"range": {self._field: {name: value for name, value in bounds.items() if value is not None}}}
        query = {"bool": {"filter": [within, _exists(self._field)], "must_not": [_IS_STATE]}}
        async for page in self._pages(query):
            return page
        return {}

    async def _pages(self, query: Mapping[str, Any]) -> AsyncIterator[Documents]:
        """All documents of a query, page by page."""
        after: list[Any] | None = None
        while True:
            try:
                answer = await self._keeping.client.search(
                    index=self._index, query=query, size=MOST, sort=[{self._field: "asc"}, {"_doc": "asc"}],
                    search_after=after, track_total_hits=False,
                )  # fmt: skip
            except NotFoundError:
                return
            hits = answer["hits"]["hits"]
            yield {hit["_id"]: hit["_source"] for hit in hits}
            if len(hits) < MOST:
                return
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

    async def _left(self, wrong: dict[str, str]) -> dict[str, str]:
        """What is wrong still, in the index that is searched now."""
        searched = await self._searched()
        return wrong if searched is None else await self._again(self._document.index_name(*searched), list(wrong))


def _tell(told: list[tuple[str, str]], more: Mapping[str, str]) -> None:
    told += sorted(more.items())[: max(TOLD - len(told), 0)]


_IS_STATE = {"term": {STATE_FIELD: STATE}}


def _exists(name: str) -> dict[str, Any]:
    return {"exists": {"field": name}}
