"""Erasure by command: one person's fields blanked in each copy of a group, and remembered there."""

from collections.abc import Sequence
from contextlib import closing
from typing import Any

from projector.apply.applier import Applier
from projector.apply.erasing import Touched
from projector.declare.entity import Entity
from projector.declare.projections import Projections
from projector.errors import PrejoinError
from projector.store.connect import connect

AT_ONCE = 500  # aggregates erased in one transaction, which batches wait for

_WAITING = "SELECT relation, count(*) FROM outbox GROUP BY relation ORDER BY relation"


def entity_of(projections: Projections, kind: str) -> Entity[Any]:
    """The entity that holds aggregates of a kind. Raises PrejoinError with the kinds that have personal fields."""
    if kind not in projections.personal:
        there = ", ".join(sorted(projections.personal)) or "none: declare erasure= on an entity"
        raise PrejoinError(f"there is no kind {kind!r} with personal fields: there are {there}")
    return projections.personal[kind]


def erase(applier: Applier, entity: Entity[Any], keys: Sequence[str], create: bool = True) -> Touched:
    """Erase aggregates in the applier's group, wholly: what very many rows leave pending is refreshed, too.

    The first transaction of each `AT_ONCE` keys has erased them for good; an interruption behind it leaves rows to the
    worker. Without `create` those that never were are remembered alone, as fits a group that reads no more events.
    """
    touched = Touched()
    for at in range(0, len(keys), AT_ONCE):
        touched.add(applier.erase(entity, keys[at : at + AT_ONCE], create))
    finish(applier, touched)
    return touched


def finish(applier: Applier, touched: Touched) -> None:
    """Refresh what is pending, and blank what is left of copies; all of it is counted in `touched`."""
    while True:
        with applier.transaction() as (cursor, plan, _):
            for change in (changes := plan.drain(cursor)) or ():
                touched.views[change.relation.name] += len(change.upserted) + len(change.deleted)
            copies, left = applier.erasing.go_on(cursor)
            touched.copies.update(copies)
        if changes is None and not left:
            touched.whole = True
            return


def erase_one(url: str, group: str, projections: Projections, kind: str, key: str) -> tuple[Touched, dict[str, int]]:
    """Erase one aggregate in the group and all its copies: what was touched; keys on the way to the index, by view."""
    entity = entity_of(projections, kind)
    check_id(entity, key)
    with closing(Applier(url, group, projections)) as applier:
        done = erase(applier, entity, [key])
    with connect(url, group, name="prejoin erase") as connection:
        return done, dict(connection.execute(_WAITING).fetchall())


def check_id(entity: Entity[Any], key: str) -> None:
    """Raises PrejoinError for what no event could name."""
    assert entity.erasure is not None
    try:
        entity.erasure.by(**{entity.key: key})
    except ValueError:
        raise PrejoinError(f"{entity.erasure.kind} {key!r}: no event could name it; give the id as events do") from None
