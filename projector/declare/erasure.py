"""`Erasure`: which fields of an entity's state tell of a person, and how they are blanked for good."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_type_hints

if TYPE_CHECKING:
    from projector.declare.entity import Entity


@dataclass(frozen=True)
class Erasure:
    """How one kind of aggregate is erased.

    `kind` is what the command line calls one of them. `fields` of the state are personal: null once erased. `by` is the
    contract whose fold erases; its data is the aggregate's id alone, and its fold may create. `mark` is the field of
    the state that is true from then on. The other folds keep the fields null and the mark true.

    What an event carries beside its id and the other fields of the state is taken for personal, too.
    """

    kind: str
    fields: Sequence[str]
    by: type[Any]
    mark: str

    def erase(self, entity: "Entity[Any]", key: str, state: Any) -> Any:
        """The state as it is once erased: the fold of `by` says so. `state` is None for one that never was.

        Raises ValueError where that fold leaves a personal field, or the mark, as it should not be.
        """
        erased = entity.folds[self.by].function(state, self.by(**{entity.key: key}))
        if not getattr(erased, self.mark) or any(getattr(erased, f) is not None for f in self.fields):
            raise ValueError(f"the fold of {self.by.__name__} into {entity.name} leaves personal fields")
        return erased

    def kept(self, entity: "Entity[Any]") -> frozenset[str]:
        """The fields of an event's data that tell nothing of the person."""
        return frozenset({*entity.fields} - {*self.fields, self.mark})

    def problems(self, entity: "Entity[Any]") -> list[str]:
        """Everything wrong with it, a line each, once the entity's folds are declared."""
        hints = get_type_hints(entity.state)
        found = [
            f"{entity.name}: erasure= names {field!r}, which its state does not have as a field that may be null"
            for field in self.fields
            if field not in entity.table.c or not entity.table.c[field].nullable
        ]
        if hints.get(self.mark) is not bool:
            found.append(f"{entity.name}: erasure= has the mark {self.mark!r}, which is no `bool` of its state")
        if self.by not in entity.folds or not entity.folds[self.by].creates:
            found.append(f"{entity.name}: erasure= needs a fold of {self.by.__name__} whose state may be None")
        elif not found:
            try:
                self.erase(entity, "x", None)
            except (TypeError, ValueError) as error:
                told = "its data is more than the aggregate's id" if "validation error" in str(error) else str(error)
                found.append(f"{entity.name}: erasure= by {self.by.__name__}: {told}")
        return found
