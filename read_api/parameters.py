"""A list's query parameters: read, checked and told apart; the mistakes of a request are reported at once."""

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from starlette.requests import Request

from projector.store.names import SNAPSHOT_NAME
from read_api import cursors
from read_api.kinds import BOOLEAN
from read_api.problems import MOST_TOLD, ParameterError, bad_request
from read_api.resource import Field, Resource
from read_api.statements import Condition, Shape

DEFAULT_LIMIT, MAX_LIMIT = 25, 200
MAX_VALUES = 200
SNAPSHOT = "snapshot"
OPTIONS = ("sort", "limit", "fields", "cursor", SNAPSHOT)
COUNTS = ("exact", "estimated")
PERSONAL = "is personal: without the scope pii it neither filters, sorts nor counts"
RANGES = ("gt", "gte", "lt", "lte")
_SHOWN = 100  # characters of a name that an answer repeats
_NAME = re.compile(r"(?P<field>[^\[\]]+)(\[(?P<operator>[a-z]+)\])?")
_COMMA = re.compile(r"(?<!\\),")  # one behind a backslash belongs to the value


@dataclass(frozen=True)
class ListQuery:
    """What a list was asked for. `after`: the order values of the cursor's row; empty for the first page."""

    shape: Shape
    conditions: tuple[Condition, ...]
    after: tuple[Any, ...]
    limit: int
    digest: bytes


def read_pairs(request: Request) -> list[tuple[str, str]]:
    """The parameters in order, percent-decoded once a request. Raises a 400 Problem for what Postgres cannot take."""
    if "pairs" not in request.scope:
        request.scope["pairs"] = _decoded(request.scope["query_string"])
    found: list[tuple[str, str]] = request.scope["pairs"]
    return found


def _decoded(raw: bytes) -> list[tuple[str, str]]:
    if not raw:
        return []
    found: list[tuple[str, str]] = []
    errors: list[ParameterError] = []
    for part in raw.split(b"&"):
        name, _, value = (unquote_to_bytes(side.replace(b"+", b" ")) for side in part.partition(b"="))
        try:
            found.append((name.decode(), value.decode()))
        except UnicodeDecodeError:
            errors.append(ParameterError(shown(name.decode(errors="replace")), "is not valid UTF-8"))
            continue
        if b"\0" in name + value:
            errors.append(ParameterError(shown(found[-1][0]), "holds a NUL character"))
    repeated = [name for name, times in Counter(name for name, _ in found).items() if times > 1]
    errors += [ParameterError(shown(n), "is given more than once; for any of several write a,b") for n in repeated]
    if errors:
        raise bad_request(errors)
    return found


def refuse_any(request: Request, but: Sequence[str] = ()) -> None:
    """For what takes no parameters, or few."""
    if pairs := [name for name, _ in read_pairs(request) if name not in but]:
        there = f"there is {', '.join(but)} alone" if but else "there are none"
        raise bad_request([ParameterError(shown(name), f"is not a parameter here: {there}") for name in pairs])


def at_snapshot(resource: Resource, request: Request) -> Resource:
    """The view as the snapshot has it that a request names; as it is, where it names none. Raises a 400 Problem."""
    name = dict(read_pairs(request)).get(SNAPSHOT)
    if name is None:
        return resource
    if not SNAPSHOT_NAME.fullmatch(name):
        raise bad_request([ParameterError(SNAPSHOT, "should be the name of a snapshot: letters, digits, _ . -")])
    return resource.at(name)


def read_list(resource: Resource, request: Request, under: Condition | None = None) -> ListQuery:
    """The query of a list request. Raises a 400 Problem that names each parameter that is wrong.

    `under` is what the path of a nested list asks for.
    """
    reading = Reading(resource, resource.path, (*OPTIONS, "count"))
    pairs, options = reading.options_of(request)
    conditions = reading.conditions(pairs)
    if under is not None:
        if any(c.field == under.field and c.operator == "eq" for c in conditions):
            reading.wrong(under.field, "is given by the path already")
        conditions = (*conditions, under)
    count = reading.one_of("count", options["count"], COUNTS) if "count" in options else ""
    sort = reading.sort(options["sort"]) if "sort" in options else ()
    fields = reading.fields(options["fields"]) if "fields" in options else tuple(resource.fields)
    limit = reading.limit(options["limit"]) if "limit" in options else DEFAULT_LIMIT
    reading.finish()
    digest = cursors.query_digest(resource, conditions, sort)
    after: tuple[Any, ...] = ()
    if "cursor" in options:
        try:
            after = cursors.decode(options["cursor"], digest, resource.order(sort))
        except cursors.CursorError as error:
            raise bad_request([ParameterError("cursor", str(error))]) from None
    # one more than is shown tells whether there are more
    nulls = tuple(value is None for value in after)
    shape = Shape(tuple(c.shape for c in conditions), sort, fields, limit + 1, nulls, count)
    return ListQuery(shape, conditions, after, limit, digest)


class Reading:
    """Reads one request's parameters; mistakes are kept until `finish` raises them all.

    `path` is what the parameters are of, `options` those that are no filters.
    """

    def __init__(self, resource: Resource, path: str, options: Sequence[str]) -> None:
        self.resource, self.path, self.options = resource, path, options
        self.errors = list[ParameterError]()

    def options_of(self, request: Request) -> tuple[dict[str, str], dict[str, str]]:
        """The filters and the options of a request. Raises a 400 Problem for what is no text."""
        pairs = dict(read_pairs(request))
        return pairs, {name: pairs.pop(name) for name in self.options if name in pairs}

    def wrong(self, parameter: str, detail: str) -> None:
        """Note a mistake. Raises a 400 Problem with the last that is told: to look for more would take seconds."""
        self.errors.append(ParameterError(shown(parameter), detail))
        if len(self.errors) == MOST_TOLD:
            self.finish()

    def finish(self) -> None:
        """Raise a 400 Problem if there was any mistake."""
        if self.errors:
            raise bad_request(self.errors)

    def conditions(self, pairs: Mapping[str, str]) -> tuple[Condition, ...]:
        """The filters."""
        found = []
        for name, text in pairs.items():
            try:
                found.append(self._condition(name, text))
            except ValueError as error:
                self.wrong(name, str(error))
        return tuple(found)

    def _condition(self, name: str, text: str) -> Condition:
        match = _NAME.fullmatch(name)
        known = {**self.resource.fields, **self.resource.inside}
        field = known.get(match["field"]) if match else None
        if match is None or field is None:
            raise ValueError(f"is not a parameter of {self.path}{near(name, [*known, *self.options])}")
        operator = match["operator"] or "eq"
        if self.resource.hides(field.name):
            raise ValueError(PERSONAL)
        if not field.plain:
            raise ValueError("is an object: it neither filters nor sorts")
        if operator not in operators(field):
            others = operators(field)[1:]
            raise ValueError("has no such operator: there " + (f"are {', '.join(others)}" if others else "is none"))
        if operator in RANGES:
            return Condition(field.name, operator, (field.kind.read(_unescaped(text)),))
        if operator == "null":
            return Condition(field.name, operator, (BOOLEAN.read(text),))
        texts = _COMMA.split(text)
        if len(texts) > MAX_VALUES:
            raise ValueError(f"takes at most {MAX_VALUES} values")
        return Condition(field.name, operator, tuple(dict.fromkeys(field.kind.read(_unescaped(t)) for t in texts)))

    def sort(self, text: str) -> tuple[tuple[str, bool], ...]:
        """Column and whether descending, of each term."""
        terms = tuple((part.removeprefix("-"), part.startswith("-")) for part in text.split(","))
        names = [name for name, _ in terms]
        for name in dict.fromkeys(names):
            if not (field := self.resource.fields.get(name)):
                self.wrong("sort", f"{shown(name)!r} is not a column{near(name, self.resource.fields)}")
            elif self.resource.hides(name):
                self.wrong("sort", f"{name} {PERSONAL}")
            elif not field.plain:
                self.wrong("sort", f"{name} is an object: it neither filters nor sorts")
            elif names.count(name) > 1:
                self.wrong("sort", f"{name} is given more than once")
        return terms

    def fields(self, text: str) -> tuple[str, ...]:
        """The columns wanted, in the view's order, the key among them."""
        asked = set(text.split(","))
        for name in sorted(asked - self.resource.fields.keys()):
            self.wrong("fields", f"{shown(name)!r} is not a column{near(name, self.resource.fields)}")
        asked |= {field.name for field in self.resource.key}
        return tuple(name for name in self.resource.fields if name in asked)

    def one_of(self, parameter: str, text: str, known: Sequence[str]) -> str:
        """One of a few words."""
        if text not in known:
            self.wrong(parameter, f"should be {' or '.join(known)}{near(text, known)}")
        return text

    def limit(self, text: str) -> int:
        """Rows of a page."""
        if not re.fullmatch(r"[0-9]+", text, re.ASCII) or not text.strip("0"):
            self.wrong("limit", f"should be a whole number from 1 (at most {MAX_LIMIT} are given)")
            return DEFAULT_LIMIT
        digits = text.lstrip("0")
        return MAX_LIMIT if len(digits) > len(str(MAX_LIMIT)) else min(int(digits), MAX_LIMIT)


def operators(field: Field) -> tuple[str, ...]:
    """The operators of a plain column; the first is what no brackets mean."""
    if field.inside:  # of several values it would not be clear which is meant
        return ("eq",)
    return ("eq", "ne", "null", *(RANGES if field.kind.ranges else ()))


def _unescaped(value: str) -> str:
    return value.replace("\\,", ",")


def near(name: str, known: Iterable[str]) -> str:
    """Ends what is said of an unknown name: the one that was meant, perhaps."""
    found = difflib.get_close_matches(name[:_SHOWN], known, 1)
    return f"; did you mean {found[0]}?" if found else ""


def shown(name: str) -> str:
    """A name as an answer repeats it."""
    return name if len(name) <= _SHOWN else f"{name[:_SHOWN]}…"
