"""What every contract is made of: the base models, and field types whose bounds are those of the public contract.

What passes a field fits its column: no NUL, no lone surrogate, no numeric overflow, no key too long for an index.
Where the public contract is silent the bounds are lenient: a text may be empty.
Fields take JSON's own types, nothing is coerced; Decimal and datetime are taken too, for producers and upcasters.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache, lru_cache
from operator import attrgetter
from typing import Annotated, Any, ClassVar, Protocol, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetPydanticSchema,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError, core_schema

from schemas.rfc3339 import parse_time

_ID = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$"
# Path parts of the read API, where an id would stand.
RESERVED_IDS = frozenset({"search", "export", "changes"})
_MONEY = r"^[0-9]{1,13}(\.[0-9]{1,2})?$"
_SHARE = r"^[0-9]{1,13}(\.[0-9]{1,4})?$"
_NO_CONTROLS = r"^[^\x00-\x1f\x7f-\x9f]*$"  # Unicode's category Cc


def _not_reserved(value: str) -> str:
    if value in RESERVED_IDS:
        raise PydanticCustomError("reserved", "String should not be a word reserved for paths")
    return value


def _decimal_text(value: object) -> object:
    return format(value, "f") if isinstance(value, Decimal) else value


def _share_text(value: object) -> object:
    return "0" if value is None else _decimal_text(value)


@lru_cache(1_000)  # few are in use, in millions of lines
def _share(text: str) -> Decimal:
    share = Decimal(text)
    if share > 1:
        raise PydanticCustomError("share", "Number should be from 0 to 1")
    return share.normalize()


def _time(value: object) -> datetime:
    try:
        if isinstance(value, datetime) and value.tzinfo is not None:
            return value.astimezone(UTC)
        return parse_time(value)
    except (ValueError, OverflowError) as error:
        raise PydanticCustomError("time", f"Time {error}") from None


def _decimal(pattern: str, before: Callable[[object], object], after: Callable[[str], Decimal]) -> GetPydanticSchema:
    """Make a field of a decimal string; its pattern is matched in Rust, three times as fast as by `re`."""
    text = core_schema.str_schema(strict=True, pattern=pattern)
    number = core_schema.no_info_after_validator_function(after, text)
    as_text = core_schema.to_string_ser_schema()
    schema = core_schema.no_info_before_validator_function(before, number, serialization=as_text)
    return GetPydanticSchema(lambda _source, _handler: schema)


# `$` matches at the very end only: patterns are Rust's.
Id = Annotated[str, StringConstraints(strict=True, pattern=_ID), AfterValidator(_not_reserved)]
Name = Annotated[str, StringConstraints(strict=True, max_length=300, pattern=_NO_CONTROLS)]
Text = Annotated[str, StringConstraints(strict=True, max_length=300, pattern=_NO_CONTROLS)]
# What people write: lines and tabs belong to it; NUL, which Postgres cannot hold, does not.
Prose = Annotated[str, StringConstraints(strict=True, max_length=4_000, pattern=r"^[^\x00]*$")]
Country = Annotated[str, StringConstraints(strict=True, pattern="^[A-Z]{2}$")]
Currency = Annotated[str, StringConstraints(strict=True, pattern="^[A-Z]{3}$")]
Quantity = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]
LineNumber = Annotated[int, Field(strict=True, ge=1, le=2**31 - 1)]  # a Postgres integer
Money = Annotated[Decimal, _decimal(_MONEY, _decimal_text, Decimal)]
# A share from 0 to 1, without trailing zeros; null is 0.
Discount = Annotated[
    Decimal,
    _decimal(_SHARE, _share_text, _share),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": _SHARE}, {"type": "null"}]}),
]
Time = Annotated[datetime, BeforeValidator(_time)]


class Numbered(Protocol):
    """Something with a number of its own among its siblings."""

    @property
    def line(self) -> int:
        """Its number, from 1."""


_Numbered = TypeVar("_Numbered", bound=Numbered)
# XX and XXX are nobody's country and no currency (ISO 3166, ISO 4217).
_BLANKS: tuple[Any, ...] = (None, "", "0", "XX", "XXX", 0, 1, False, [], {}, "1970-01-01T00:00:00Z")


def sorted_by_line(lines: Sequence[_Numbered]) -> tuple[_Numbered, ...]:
    """Order lines by number; there is one at least, and no two are alike. A validator for a field of lines."""
    if not lines:
        raise PydanticCustomError("lines", "There should be a line at least")
    if len({line.line for line in lines}) < len(lines):
        raise PydanticCustomError("lines", "No two lines should have the same number")
    return tuple(sorted(lines, key=attrgetter("line")))


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


@cache
def blank(contract: type[Contract], field: str) -> Any:
    """A value that the field takes and that tells nothing: null where it may be. ValueError where there is none."""
    about = contract.model_fields[field]
    adapter: TypeAdapter[Any] = TypeAdapter(Annotated[about.annotation, about])  # type: ignore[arg-type]
    for value in _BLANKS:
        with suppress(ValidationError):
            adapter.validate_python(value)
            return value
    raise ValueError(f"{contract.__name__}.{field} takes no blank value")
