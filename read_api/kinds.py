"""Column types as the API knows them: how a value is read from a URL, shown as JSON, described and compared."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    Boolean,
    Date,
    DateTime,
    Integer,
    Numeric,
    String,
    Text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import BigInteger, TypeEngine

from projector.declare.types import ListOf, MoneyByCurrency

Schema = dict[str, Any]
_INSTANT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,20})?(Z|[+-][0-9]{2}:[0-9]{2})", re.I | re.A
)
_INT8 = range(-(2**63), 2**63)


@dataclass(frozen=True)
class Kind:
    """One kind of value. `read` raises ValueError with what was expected; `schema` is JSON Schema of what is shown.

    `bind` is the type of a value that a column is compared with; None: an object, which neither filters nor sorts.
    """

    schema: Schema
    read: Callable[[str], Any] = str
    bind: TypeEngine[Any] | None = None
    ranges: bool = True


def kind_of(column_type: TypeEngine[Any]) -> Kind:
    """The kind of a column; whatever has no plain form is an object, shown as Postgres shows it."""
    if isinstance(column_type, Integer):
        return INTEGER
    if isinstance(column_type, Numeric):
        return WHOLE if column_type.scale == 0 else MONEY if column_type.scale == 2 else DECIMAL
    if isinstance(column_type, DateTime):
        return INSTANT if column_type.timezone else OBJECT
    for plain, kind in ((String, TEXT), (Boolean, BOOLEAN), (Date, DATE)):
        if isinstance(column_type, plain):
            return kind
    return Kind(_object_schema(column_type))


def _object_schema(column_type: TypeEngine[Any]) -> Schema:
    if isinstance(column_type, MoneyByCurrency):
        return {"type": "object", "additionalProperties": MONEY.schema, "examples": [{"EUR": "12.50"}]}
    if isinstance(column_type, ListOf):
        fields = {name: nullable(kind_of(kind).schema) for name, kind in column_type.fields.items()}
        return {"type": "array", "items": {"type": "object", "properties": fields, "required": list(fields)}}
    return {} if isinstance(column_type, JSONB) else {"description": column_type.__class__.__name__}


def nullable(schema: Schema) -> Schema:
    """The schema, or null."""
    return {**schema, "type": [schema["type"], "null"]} if "type" in schema else schema


def _read_integer(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,19}", text, re.A) or int(text) not in _INT8:
        raise ValueError("should be a whole number of at most 64 bits")
    return int(text)


def _read_whole(text: str) -> Decimal:
    if not re.fullmatch(r"-?[0-9]{1,38}", text, re.A):
        raise ValueError("should be a whole number")
    return Decimal(text)


def _read_decimal(text: str) -> Decimal:
    if not re.fullmatch(r"-?[0-9]{1,38}(\.[0-9]{1,38})?", text, re.A):
        raise ValueError("should be a decimal number, such as 12.50")
    return Decimal(text)


def _read_boolean(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("should be true or false")
    return text == "true"


def _read_instant(text: str) -> datetime:
    expected = "should be an RFC 3339 time such as 2026-01-01T00:00:00Z"
    if " " in text and "+" not in text:
        expected += " (in a URL, write + as %2B)"
    if not _INSTANT.fullmatch(text):
        raise ValueError(expected)
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("should be a time that exists, in UTC from year 1 to 9999") from None


def _read_date(text: str) -> date:
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text, re.A):
        raise ValueError("should be a date such as 2026-01-31")
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError("should be a date that exists") from None


TEXT = Kind({"type": "string"}, bind=Text())
INTEGER = Kind({"type": "integer", "format": "int64"}, read=_read_integer, bind=BigInteger())
# compared without a scale: a cast to two decimals would round what was asked for
WHOLE = Kind({"type": "integer"}, read=_read_whole, bind=Numeric())
MONEY = Kind(
    {"type": "string", "pattern": r"^-?[0-9]+\.[0-9]{2}$", "examples": ["12.50"]},
    read=_read_decimal,
    bind=Numeric(),
)
DECIMAL = Kind({"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$"}, read=_read_decimal, bind=Numeric())
BOOLEAN = Kind({"type": "boolean"}, read=_read_boolean, bind=Boolean(), ranges=False)
INSTANT = Kind({"type": "string", "format": "date-time"}, read=_read_instant, bind=DateTime(timezone=True))
DATE = Kind({"type": "string", "format": "date"}, read=_read_date, bind=Date())
OBJECT = Kind({})
