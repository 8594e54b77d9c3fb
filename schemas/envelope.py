"""CloudEvents 1.0 on Kafka: from a raw record to its attributes and data, in structured and binary mode.

The rules are those of the CloudEvents specification, its JSON format and its Kafka binding, narrowed by the public
contract (subject and time are required, data is a JSON object, `sequence` is the aggregate's version).
"""

import json
import re
from datetime import datetime
from typing import Annotated, Any, Literal, NamedTuple, NoReturn

import msgspec

from schemas.rfc3339 import parse_time

MAX_ATTRIBUTE = 1_000
MAX_SEQUENCE = 2**63 - 1  # a Postgres bigint

_read_json = msgspec.json.Decoder().decode
_OURS = ("ce_", "content-type")
_SURROGATE = re.compile("[\ud800-\udfff]")
# Producers pad sequences with zeros so that they sort as text; 40 digits bound that.
_SEQUENCE = re.compile(r"[0-9]{1,40}")
_JSON_TYPE = re.compile(r"[\w.+-]+/([\w.+-]+\+)?json\s*(;.*)?", re.IGNORECASE | re.ASCII)


class RawRecord(NamedTuple):
    """A Kafka record as it was read; `timestamp` is in milliseconds."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    timestamp: int


class Envelope(msgspec.Struct, frozen=True):
    """The attributes of one event, checked, and its data, not checked. `time` is in UTC; `type` is as sent.

    A struct, for a frozen dataclass takes seven times as long to make.
    """

    id: str
    source: str
    type: str
    subject: str
    time: datetime
    sequence: int | None
    data: dict[str, Any]


_Attribute = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ATTRIBUTE)]


class _Common(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A sound event in structured mode with no attributes but these, as nearly all are: read and checked in one go."""

    specversion: Literal["1.0"]
    id: _Attribute
    source: _Attribute
    type: _Attribute
    subject: _Attribute
    time: str
    data: dict[str, Any]
    datacontenttype: Literal["application/json"] | None = None
    sequence: Annotated[int, msgspec.Meta(ge=1, le=MAX_SEQUENCE)] | None = None


_read_common = msgspec.json.Decoder(_Common).decode
_STRUCTURED = ("content-type", b"application/cloudevents+json")


class BadRecord(Exception):
    """A record that is no event of any contract.

    `reason` is a short code: `undecodable`, `envelope`, `topic`, `unknown_type` or `invalid`. `detail` is one line that
    names fields and what is wrong with them, never their values. `envelope` is there when the attributes were sound,
    `data` when it could be read: unchecked, any JSON may be in it.
    """

    def __init__(self, reason: str, detail: str, envelope: Envelope | None = None) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.envelope = envelope
        self.data: dict[str, Any] | None = envelope.data if envelope else None

    @property
    def ignorable(self) -> bool:
        """Whether `PREJOIN_UNKNOWN_EVENTS=ignore` covers it: an unknown type, but not one wrongly ending in `.v1`."""
        return self.reason == "unknown_type" and not (self.envelope and self.envelope.type.endswith(".v1"))


def parse_envelope(record: RawRecord) -> Envelope:
    """Read the CloudEvent in a record; raises BadRecord (`undecodable` or `envelope`)."""
    if record.value is None:
        raise BadRecord("undecodable", "the record has no value")
    if (common := _common(record.headers, record.value)) is not None:
        return common
    if record.headers and (attributes := _binary_attributes(record.headers)) is not None:
        return _envelope(attributes, _read_object(record.value))
    attributes = _read_object(record.value)
    data = attributes.get("data")
    if not isinstance(data, dict):
        wrong = "data_base64 is not supported" if "data_base64" in attributes else "data should be an object"
        raise BadRecord("envelope", wrong)
    return _envelope(attributes, data)


def _common(headers: tuple[tuple[str, bytes], ...], value: bytes) -> Envelope | None:
    """The short way for what is plainly sound; None for all else, which takes the long one and hears what is wrong."""
    if headers and (len(headers) > 1 or headers[0] != _STRUCTURED):
        return None
    try:
        read = _read_common(value)
        time = parse_time(read.time)
    except (ValueError, RecursionError, msgspec.DecodeError):
        return None
    if "\0" in read.id or "\0" in read.source or "\0" in read.type or "\0" in read.subject:
        return None
    return Envelope(read.id, read.source, read.type, read.subject, time, read.sequence, read.data)


def is_storable(text: str) -> bool:
    """Whether Postgres can hold it as text: no NUL, no lone surrogate."""
    return "\0" not in text and (text.isascii() or _SURROGATE.search(text) is None)


def _binary_attributes(headers: tuple[tuple[str, bytes], ...]) -> dict[str, Any] | None:
    """Read the attributes in `ce_*` headers, whatever their case; None when the record is in structured mode."""
    try:
        # a Kafka header may be null, and of two with one name the last counts
        named = {name.lower(): (value or b"").decode() for name, value in headers if name.lower().startswith(_OURS)}
    except UnicodeDecodeError:
        raise BadRecord("undecodable", "a CloudEvents header is not UTF-8") from None
    content_type = named.pop("content-type", None)
    if not named or (content_type is not None and content_type.lower().startswith("application/cloudevents")):
        return None
    return {name.removeprefix("ce_"): value for name, value in named.items()} | {"datacontenttype": content_type}


def _read_object(value: bytes) -> dict[str, Any]:
    try:
        decoded = _read_json(value)
    except (ValueError, RecursionError, msgspec.DecodeError):
        decoded = _read_odd_json(value)
    if not isinstance(decoded, dict):
        raise BadRecord("undecodable", "the value is not a JSON object")
    return decoded


def _read_odd_json(value: bytes) -> object:
    """Read JSON that the fast decoder refuses: huge numbers and lone surrogates do no harm in unknown fields."""
    try:
        return json.loads(value.decode(), parse_int=_any_integer, parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise BadRecord("undecodable", "the value is not UTF-8") from None
    except (ValueError, RecursionError):
        raise BadRecord("undecodable", "the value is not JSON, or nested too deeply") from None


def _any_integer(digits: str) -> int | float:
    # Python refuses to read more than 4,300 digits; no field takes a float, so what is out of every bound may be one.
    return int(digits) if len(digits) <= 100 else float(digits)


def _no_constant(name: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")


def _envelope(attributes: dict[str, Any], data: dict[str, Any]) -> Envelope:
    try:
        if attributes.get("specversion") != "1.0":
            raise BadRecord("envelope", "specversion should be 1.0")
        if not _is_json(attributes.get("datacontenttype")):
            raise BadRecord("envelope", "datacontenttype should be a JSON media type")
        return Envelope(
            _text(attributes, "id"),
            _text(attributes, "source"),
            _text(attributes, "type"),
            _text(attributes, "subject"),
            _time(attributes.get("time")),
            _sequence(attributes.get("sequence")),
            data,
        )
    except BadRecord as bad:
        bad.data = data
        raise


def _is_json(content_type: object) -> bool:
    if content_type is None or content_type == "application/json":
        return True
    return isinstance(content_type, str) and _JSON_TYPE.fullmatch(content_type) is not None


def _text(attributes: dict[str, Any], name: str) -> str:
    value = attributes.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= MAX_ATTRIBUTE:
        raise BadRecord("envelope", f"{name} should be a string of 1 to {MAX_ATTRIBUTE} characters")
    if not is_storable(value):
        raise BadRecord("undecodable", f"{name} has a NUL or a lone surrogate")
    return value


def _time(value: object) -> datetime:
    try:
        return parse_time(value)
    except ValueError as error:
        raise BadRecord("envelope", f"time {error}") from None


def _sequence(value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, str) and _SEQUENCE.fullmatch(value):
        value = int(value)
    if type(value) is not int or not 1 <= value <= MAX_SEQUENCE:  # a bool is no number here
        raise BadRecord("envelope", f"sequence should be a whole number from 1 to {MAX_SEQUENCE}")
    return value
