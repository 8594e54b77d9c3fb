"""What a projection file imports: entities, views and rollups, and the column types they are made of."""

from projector.declare.entity import Entity, State
from projector.declare.erasure import Erasure
from projector.declare.search import Search
from projector.declare.sql import among_keys
from projector.declare.types import (
    Instant,
    Money,
    MoneyByCurrency,
    String,
    WholeNumber,
    by_currency,
    first_of,
    list_of,
    or_empty,
    whole,
)
from projector.declare.view import Keys, Rollup, View, count, greatest, least, total

__all__ = [
    "Entity",
    "Erasure",
    "Instant",
    "Keys",
    "Money",
    "MoneyByCurrency",
    "Rollup",
    "Search",
    "State",
    "String",
    "View",
    "WholeNumber",
    "among_keys",
    "by_currency",
    "count",
    "first_of",
    "greatest",
    "least",
    "list_of",
    "or_empty",
    "total",
    "whole",
]
