"""A view's indexes in Elasticsearch: made, checked, refreshed, named by the alias, and removed."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

from elasticsearch import AsyncElasticsearch, NotFoundError

from projector.search.document import STATE_ID, Document

Patiently = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]


class Indexes:
    """The indexes of one view. Writes go through an alias of each index, `…_w`.

    A bulk through what must be an alias cannot make an index by itself, of a mapping that Elasticsearch guesses, where
    somebody has deleted ours.
    """

    def __init__(self, client: AsyncElasticsearch, document: Document, patiently: Patiently) -> None:
        self._client, self._document, self._patiently = client, document, patiently

    def name(self, generation: int, search: int) -> str:
        """An index's name."""
        return self._document.index_name(generation, search)

    @staticmethod
    def target(name: str) -> str:
        """The alias that bulks of an index go through."""
        return f"{name}_w"

    async def make(self, name: str) -> None:
        """Make an index, in place of what may be there by its name."""

        async def attempt() -> None:
            for each in (name, self.target(name)):  # a delete by its version makes an index under the alias's name
                await self._client.options(ignore_status=404).indices.delete(index=each)
            await self._client.indices.create(
                index=name,
                settings={"index": self._document.settings},
                mappings=self._document.mapping,
                aliases={self.target(name): {}},
            )

        await self._patiently(attempt)

    async def is_ours(self, name: str, digest: str) -> bool:
        """Whether the index is there, and is the one that was made, for documents of that form."""

        async def attempt() -> bool:
            found = await self._client.options(ignore_status=404).indices.get_mapping(index=self.target(name))
            ours = found.get(name, {}) if found.meta.status == 200 else {}
            return bool(ours.get("mappings", {}).get("_meta", {}).get("digest") == digest)

        return bool(await self._patiently(attempt))

    async def state(self, name: str) -> dict[str, Any]:
        """What the index says that it holds; empty where it does not say."""

        async def attempt() -> dict[str, Any]:
            try:
                found = await self._client.get(index=name, id=STATE_ID)
            except NotFoundError:
                return {}
            state: dict[str, Any] = found["_source"]["state"]
            return state

        told: dict[str, Any] = await self._patiently(attempt)
        return told

    async def refresh(self, name: str) -> None:
        """Let searches see all that was written."""
        await self._patiently(lambda: self.show([name]))

    async def show(self, names: Collection[str]) -> None:
        """The same of several indexes, tried once: raises ApiError or TransportError."""
        await self._client.indices.refresh(index=list(names))

    async def _there(self) -> Mapping[str, Any]:
        """The view's indexes and their aliases."""
        pattern = f"{self._document.alias}__g*_s*"
        found = await self._client.indices.get_alias(index=pattern, ignore_unavailable=True, expand_wildcards="all")
        return dict(found.body)

    async def serve(self, served: str) -> None:
        """Let the view's alias name the index that is served."""

        async def attempt() -> None:
            there, alias = await self._there(), self._document.alias
            named = {name for name, found in there.items() if alias in found["aliases"]}
            actions = [{"remove": {"index": name, "alias": alias}} for name in sorted(named - {served})]
            if served in there.keys() - named:
                actions.append({"add": {"index": served, "alias": alias}})
            if actions:
                await self._client.indices.update_aliases(actions=actions)

        await self._patiently(attempt)

    async def keep(self, names: Collection[str]) -> list[str]:
        """Remove the view's indexes but these; returns those removed."""

        async def attempt() -> list[str]:
            gone = sorted((await self._there()).keys() - set(names))
            for name in gone:
                await self._client.options(ignore_status=404).indices.delete(index=name)
            return gone

        removed: list[str] = await self._patiently(attempt)
        return removed
