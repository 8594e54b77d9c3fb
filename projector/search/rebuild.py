"""`prejoin rebuild VIEW --search-only`: a new index beside the one that is searched, then the switch."""

from collections.abc import Callable

from projector.errors import PrejoinError
from projector.search.document import Document
from projector.search.keeping import Keeping

# Of the command's session: a second one of the same view is refused, an interrupted one goes on.
_ALONE = "SELECT pg_try_advisory_lock(hashtextextended('prejoin rebuild:' || %(group)s || '/' || %(relation)s, 0))"
_LEFT = "SELECT count(*) FROM outbox WHERE relation = %s"


async def rebuild(keeping: Keeping, progress: Callable[[int], None] = lambda _: None) -> str:
    """Make the new index, with an indexer at work; returns its name. `progress` is told keys that are left."""
    values = {"group": keeping.group, "relation": keeping.view.name}
    (alone,) = await (await keeping.connection.execute(_ALONE, values)).fetchone() or (False,)
    if not alone:
        raise PrejoinError(f"the index of {keeping.view.name} is being rebuilt already: wait for that")
    document = Document(keeping.view, keeping.group)
    stand = await keeping.copies.stand()
    if all(copy.state == "live" for copy in stand.copies):
        await keeping.copies.register(document.digest)

    async def is_switched() -> bool:
        copies = (await keeping.copies.stand()).copies
        (left,) = await (await keeping.connection.execute(_LEFT, (keeping.view.name,))).fetchone() or (0,)
        progress(left)
        return bool(copies) and all(copy.state == "live" for copy in copies)

    await keeping.until(is_switched)
    stand = await keeping.copies.stand()
    return document.index_name(stand.generation, stand.copies[-1].search)
