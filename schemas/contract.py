"""What every contract is made of: the base models, and field types whose bounds are those of the public contract.

What passes a field fits its column: no NUL, no lone surrogate, no numeric overflow, no key too long for an index.
Where the public contract is silent the bounds are lenient: a text may be empty.
Fields take JSON's own types, nothing is coerced; Decimal and datetime are taken too, for producers and upcasters.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Protocol, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    StringConstraints,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from schemas.rfc3339 import parse_time

_ID = r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}"
_ID_PATTERN = re.compile(_ID)
# Path parts of the read API, where an id would stand.
RESERVED_IDS = frozenset({"search", "export", "changes"})
_MONEY = r"[0-9]{1,13}(\.[0-9]{1,2})?"
_SHARE = r"[0-9]{1,13}(\.[0-9]{1,4})?"
_NO_CONTROLS = r"^[^\x00-\x1f\x7f-\x9f]*$"  # Unicode's category Cc


def is_id(value: object) -> bool:
    """Whether it may be the id of an aggregate: for data that no contract has checked."""
    return isinstance(value, str) and _ID_PATTERN.fullmatch(value) is not None and value not in RESERVED_IDS


def _not_reserved(value: str) -> str:
    if value in RESERVED_IDS:
        raise PydanticCustomError("reserved", "String is a reserved word")
    return value


class _Number:
    """A validator from a decimal string of one pattern to a Decimal."""

    def __init__(self, pattern: str, highest: Decimal) -> None:
        self._pattern, self._highest = re.compile(pattern), highest

    def __call__(self, value: object) -> Decimal:
        text = format(value, "f") if isinstance(value, Decimal) else value
        if not isinstance(text, str) or not self._pattern.fullmatch(text) or (number := Decimal(text)) > self._highest:
            raise PydanticCustomError("number", f"String should match {self._pattern.pattern}, up to {self._highest}")
        return number


def _none_is_zero(value: object) -> object:
    return Decimal(0) if value is None else value


def _time(value: object) -> datetime:
    try:
        return parse_time(value.isoformat() if isinstance(value, datetime) else value)
    except ValueError as error:
        raise PydanticCustomError("time", f"Time {error}") from None


def _number_schema(pattern: str, **more: object) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": f"^{pattern}$", **more})


Id = Annotated[str, StringConstraints(strict=True, pattern=f"^{_ID}$"), AfterValidator(_not_reserved)]
Name = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=300, pattern=_NO_CONTROLS)]
Text = Annotated[str, StringConstraints(strict=True, max_length=300, pattern=_NO_CONTROLS)]
Country = Annotated[str, StringConstraints(strict=True, pattern="^[A-Z]{2}$")]
Currency = Annotated[str, StringConstraints(strict=True, pattern="^[A-Z]{3}$")]
Quantity = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]
LineNumber = Annotated[int, Field(strict=True, ge=1, le=2**31 - 1)]  # a Postgres integer
Money = Annotated[Decimal, PlainValidator(_Number(_MONEY, Decimal("9999999999999.99"))), _number_schema(_MONEY)]
# A share from 0 to 1 without trailing zeros; null is 0.
Discount = Annotated[
    Decimal,
    PlainValidator(_Number(_SHARE, Decimal(1))),
    AfterValidator(Decimal.normalize),
    BeforeValidator(_none_is_zero),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": f"^{_SHARE}$"}, {"type": "null"}]}),
]
Time = Annotated[datetime, PlainValidator(_time), WithJsonSchema({"type": "string", "format": "date-time"})]


class Numbered(Protocol):
    """Something with a number of its own among its siblings."""

    @property
    def line(self) -> int:
        """Its number, from 1."""


_Numbered = TypeVar("_Numbered", bound=Numbered)


def sorted_by_line(lines: Sequence[_Numbered]) -> tuple[_Numbered, ...]:
    """Order lines by number; no two may be alike. A validator for a field of lines."""
    if len({line.line for line in lines}) < len(lines):
        raise PydanticCustomError("lines", "No two lines should have the same number")
    return tuple(sorted(lines, key=lambda line: line.line))


class Part(BaseModel):
    """A piece of an event's data: frozen, fields that it does not know are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class Contract(Part):
    """The data of one version of one type of event.

    Declared as `class OrderPlaced(Contract, type="orders.OrderPlaced", version=2)`.
    """

    type: ClassVar[str]
    version: ClassVar[int]
    topic: ClassVar[str]
    wire_type: ClassVar[str]  # the CloudEvents type: `orders.OrderPlaced.v2`, without suffix for version 1

    def __init_subclass__(cls, type: str, version: int = 1, **config: Any) -> None:
        """Take the name on the wire and the version from the class statement."""
        super().__init_subclass__(**config)
        cls.type, cls.version, cls.topic = type, version, type.partition(".")[0]
        cls.wire_type = type if version == 1 else f"{type}.v{version}"
