"""What commands do with search indexes."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from projector.cli.console import note, progress
from projector.cli.interrupts import run

if TYPE_CHECKING:
    from projector.declare.projections import Projections
    from projector.declare.view import Relation, View
    from projector.search.verify import SearchVerified
    from projector.store.sampling import Ranges


class Place(NamedTuple):
    """Where a group's views are kept and searched."""

    url: str
    search_urls: list[str]
    group: str
    projections: "Projections"


def verify_search(
    at: Place,
    chosen: "Sequence[Relation]",
    repair: bool = False,
    rows: "Mapping[str, int] | None" = None,
    sampled: bool = False,
) -> "dict[str, SearchVerified]":
    """Verify the search indexes of those of the relations that have one, by view.

    `rows` are how many of each view, about: with `sampled`, so many are looked at.
    """
    from projector.store.sampling import Ranges

    quiet()
    found = {}
    for view in (view for view in at.projections.searched if view in chosen):
        many = (rows or {}).get(view.name)
        with progress(f"{view.name}: documents verified", many) as advance:
            sample = Ranges.of(many) if sampled and many else None
            found[view.name] = run(_verify(at, view, repair, advance, sample))
    return found


async def _verify(at: Place, view: "View", repair: bool, advance: Any, sample: "Ranges | None") -> "SearchVerified":
    from projector.search.keeping import keeping
    from projector.search.verify import SearchVerifier

    async with keeping(*at, view) as kept:
        return await SearchVerifier(kept).verify(repair, advance, sample)


def quiet() -> None:
    """Log warnings alone: what libraries log of a failed request comes as an error, in one line."""
    from projector import logs

    logs.configure("warning")
    logging.getLogger("elastic_transport").setLevel(logging.CRITICAL)


def following(at: Place) -> "Callable[[View, int], None]":
    """Has a generation that is being built indexed before the switch."""
    from projector.search.keeping import SearchUnreachable, keeping
    from projector.search.rebuild import follow

    async def have_followed(view: "View", generation: int) -> bool:
        async with keeping(*at, view) as kept:
            return await follow(kept, generation)

    def search(view: "View", generation: int) -> None:
        try:
            whole = run(have_followed(view, generation))
        except SearchUnreachable as error:
            note(str(error))
            whole = False
        if not whole:
            note(f"{view.name}: its new search index is not whole: Postgres answers searches until an indexer made it")

    return search
