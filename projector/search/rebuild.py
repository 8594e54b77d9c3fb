"""New indexes for `prejoin rebuild`: beside the one that is searched, or for a generation of the view being built."""

import time
from collections.abc import Callable

from projector.errors import PrejoinError
from projector.search.document import Document
from projector.search.keeping import Keeping
from projector.store.locks import REBUILD_LOCK

_LEFT = "SELECT count(*) FROM outbox WHERE relation = %s"
SECONDS_WITHOUT_PROGRESS = 60.0


async def follow(keeping: Keeping, generation: int, patience: float = SECONDS_WITHOUT_PROGRESS) -> bool:
    """Have an index of a generation being built made; whether it is whole: not where it makes no progress."""
    document = Document(keeping.view, keeping.group)
    if not any(copy.generation == generation for copy in (await keeping.copies.stand()).coming):
        await keeping.copies.register(generation, document.digest)
    seen: object = None
    until, whole = time.monotonic() + patience, False

    async def is_over() -> bool:
        nonlocal seen, until, whole
        copies = [copy for copy in (await keeping.copies.stand()).coming if copy.generation == generation]
        (left,) = await (await keeping.connection.execute(_LEFT, (keeping.view.name,))).fetchone() or (0,)
        whole = bool(copies) and all(copy.state == "live" for copy in copies)
        if seen != (seen := (left, [(copy.state, copy.sent) for copy in copies])):
            until = time.monotonic() + patience
        return whole or time.monotonic() > until

    await keeping.until(is_over)
    return whole


async def rebuild(keeping: Keeping, progress: Callable[[int], None] = lambda _: None) -> str:
    """Make the new index, with an indexer at work; returns its name. `progress` is told keys that are left."""
    values = {"group": keeping.group, "relation": keeping.view.name}
    (alone,) = await (await keeping.connection.execute(REBUILD_LOCK, values)).fetchone() or (False,)
    if not alone:
        raise PrejoinError(f"the index of {keeping.view.name} is being rebuilt already: wait for that")
    document = Document(keeping.view, keeping.group)
    stand = await keeping.copies.stand()
    if all(copy.state == "live" for copy in stand.copies):
        await keeping.copies.register(stand.generation, document.digest)

    async def is_switched() -> bool:
        stand = await keeping.copies.stand()
        (left,) = await (await keeping.connection.execute(_LEFT, (keeping.view.name,))).fetchone() or (0,)
        progress(left)
        if not stand.copies or any(copy.state != "live" for copy in stand.copies):
            return False
        name = document.index_name(stand.generation, stand.copies[-1].search)
        return bool(await keeping.client.indices.exists_alias(name=document.alias, index=name))

    await keeping.until(is_switched)
    stand = await keeping.copies.stand()
    return document.index_name(stand.generation, stand.copies[-1].search)
