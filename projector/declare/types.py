"""Column types of entities and views, and how each follows from a state's annotation or is shown as JSON."""

import types
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Union, get_args, get_origin

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    ColumnElement,
    Date,
    DateTime,
    Integer,
    Numeric,
    Text,
    cast,
    func,
    type_coerce,
)
from sqlalchemy.dialects.postgresql import JSONB, aggregate_order_by
from sqlalchemy.types import TypeEngine

from projector.errors import DeclarationError

# 36 digits before the point: a sum of 10^14 of the largest lines that a contract lets through.
Money = Numeric(38, 2)
"""An amount of money: a decimal string with two decimals in JSON."""
WholeNumber = Numeric(38, 0)
"""A whole number that may outgrow 64 bits: a number in JSON."""
# Code point order: the same on every machine, and what an index answers fastest.
String = Text(collation="C")
Instant = DateTime(timezone=True)


class MoneyByCurrency(JSONB):
    """An object of amounts by currency, `{"EUR": "12.50"}`."""

    cache_ok = True


class ListOf(JSONB):
    """A list of objects, each with the fields given: name → column type."""

    cache_ok = True

    def __init__(self, fields: Mapping[str, TypeEngine[Any]] | None = None) -> None:
        super().__init__()
        self.fields = dict(fields or {})  # the name SQLAlchemy copies the type by


_PLAIN: dict[Any, TypeEngine[Any]] = {
    str: String,
    int: BigInteger(),
    bool: Boolean(),
    Decimal: Money,
    datetime: Instant,
    date: Date(),
}


def column_type(annotation: Any) -> tuple[TypeEngine[Any], bool]:
    """The column type of a state's field, and whether it may be null.

    `Annotated[Decimal, Numeric(5, 4)]` names the type itself. Raises DeclarationError for what has no column type.
    """
    if get_origin(annotation) in (Union, types.UnionType):
        inner = [a for a in get_args(annotation) if a is not type(None)]
        if len(inner) == 1 and len(get_args(annotation)) == 2:
            return column_type(inner[0])[0], True
    if get_origin(annotation) is Annotated:
        for extra in get_args(annotation)[1:]:
            if isinstance(extra, TypeEngine):
                return extra, False
        return column_type(get_args(annotation)[0])
    if annotation == dict[str, Decimal]:
        return MoneyByCurrency(), False
    try:
        return _PLAIN[annotation], False
    except (KeyError, TypeError):
        raise DeclarationError(
            f"{annotation!r} has no column type: use str, int, bool, Decimal, datetime, date, dict[str, Decimal], "
            "one of them with `| None`, or Annotated[…, a SQLAlchemy type]"
        ) from None


def list_of(order_by: ColumnElement[Any], **fields: ColumnElement[Any]) -> ColumnElement[Any]:
    """An aggregate: one JSON object for each row of a group, in the order given.

    Money is shown with two decimals, other decimals without trailing zeros, both as text.
    """
    shown = [part for name, column in fields.items() for part in (name, _as_json(column))]
    objects = func.array_agg(aggregate_order_by(func.jsonb_build_object(*shown), order_by))
    rows = func.to_jsonb(objects, type_=JSONB())  # a fifth less than jsonb_agg takes
    listed: ColumnElement[Any] = func.coalesce(rows, func.jsonb_build_array(), type_=ListOf(_types(fields)))
    return listed


def by_currency(
    currency: ColumnElement[Any], amount: ColumnElement[Any], where: ColumnElement[bool]
) -> ColumnElement[Any]:
    """An aggregate: the amounts of a group as an object by currency, of those rows where the condition holds."""
    whole = func.jsonb_object_agg(currency, cast(amount, Text)).filter(where)
    shown: ColumnElement[Any] = func.coalesce(whole, func.jsonb_build_object(), type_=MoneyByCurrency())
    return shown


def first_of(
    column: ColumnElement[Any], order_by: Sequence[ColumnElement[Any]], where: ColumnElement[bool]
) -> ColumnElement[Any]:
    """An aggregate: the column of the group's first row in the order given, of those where the condition holds."""
    listed = func.array_agg(aggregate_order_by(column, *order_by), type_=ARRAY(column.type)).filter(where)
    first: ColumnElement[Any] = type_coerce(listed.self_group(), ARRAY(column.type))[1]
    return first


def or_empty(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """Amounts by currency, `{}` in place of null."""
    shown: ColumnElement[Any] = func.coalesce(column, func.jsonb_build_object(), type_=MoneyByCurrency())
    return shown


def whole(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """A sum of counts as a whole number, 0 in place of null."""
    return cast(func.coalesce(column, 0), WholeNumber)


def _types(fields: Mapping[str, ColumnElement[Any]]) -> dict[str, TypeEngine[Any]]:
    return {name: column.type for name, column in fields.items()}


def _as_json(column: ColumnElement[Any]) -> ColumnElement[Any]:
    if isinstance(column.type, Numeric) and not isinstance(column.type, Integer):
        return cast(column if column.type.scale == Money.scale else func.trim_scale(column), Text)
    return column
