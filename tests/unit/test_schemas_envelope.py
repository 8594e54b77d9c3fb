"""CloudEvents attributes and modes: what is taken and what is refused, and with which reason."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from schemas import registry
from schemas.envelope import parse_envelope
from schemas.registry import BadRecord
from tests.unit.events import STRUCTURED, binary, decoded, example, record, refused, structured
from tests.unit.test_schemas_bounds import BAD_TIMES, GOOD_TIMES

RENAMED = "customers.CustomerNameChanged"
BINARY_MARK = ("CE_SpecVersion", b"1.0")


def sent(**changes: object) -> dict[str, Any]:
    return example(RENAMED) | changes


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in sent().items() if key != name}


def assert_envelope_refused(event: dict[str, Any], field: str) -> None:
    bad = refused(structured(event))
    assert bad.reason == "envelope"
    assert field in bad.detail
    assert bad.envelope is None


@pytest.mark.parametrize("name", ["specversion", "id", "source", "type", "subject", "time"])
def test_a_required_attribute_is_missed_by_name_in_both_modes(name: str) -> None:
    for absent in (without(name), sent(**{name: None}), sent(**{name: ""}), sent(**{name: 1}), sent(**{name: ["1.0"]})):
        assert_envelope_refused(absent, name)
    bad = refused(binary(without(name)) if name != "type" else binary(sent())._replace(headers=(BINARY_MARK,)))
    assert bad.reason == "envelope"
    assert bad.data == sent()["data"]


@pytest.mark.parametrize("value", ["0.3", "1", "1.1", "1.0 ", 1.0])
def test_another_specversion_is_refused(value: object) -> None:
    assert_envelope_refused(sent(specversion=value), "specversion")


@pytest.mark.parametrize("name", ["id", "source", "subject"])
def test_attributes_have_up_to_1000_characters(name: str) -> None:
    assert getattr(parse_envelope(structured(sent(**{name: "ä" * 1_000}))), name) == "ä" * 1_000
    assert_envelope_refused(sent(**{name: "ä" * 1_001}), name)


@pytest.mark.parametrize("name", ["id", "source", "type", "subject"])
@pytest.mark.parametrize("text", ["a\0", "\ud800", "x\udfffx"])
def test_attributes_that_postgres_cannot_hold_are_undecodable(name: str, text: str) -> None:
    bad = refused(structured(sent(**{name: text})))
    assert (bad.reason, bad.detail.split()[0]) == ("undecodable", name)


def test_a_time_is_rfc_3339_with_a_zone() -> None:
    for text, expected in GOOD_TIMES.items():
        assert decoded(sent(time=text)).time == expected
    for bad in BAD_TIMES:
        assert_envelope_refused(sent(time=bad), "time")


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1, 1), ("1", 1), (2**63 - 1, 2**63 - 1), (str(2**63 - 1), 2**63 - 1), ("0000000042", 42), (None, None)],
)
def test_a_sequence_is_a_number_or_a_decimal_string(value: object, expected: int | None) -> None:
    assert decoded(sent(sequence=value)).sequence == expected


def test_a_sequence_may_be_absent() -> None:
    assert decoded(without("sequence")).sequence is None


@pytest.mark.parametrize(
    "value",
    [0, -1, 2**63, 10**4000, 1.0, 1.5, True, False, "", "0", "-1", "+1", "1.0", " 1", "1\n", "٣", "9" * 5000, [1], {}],
)
def test_a_sequence_that_is_not_whole_or_out_of_bounds_is_refused(value: object) -> None:
    assert_envelope_refused(sent(sequence=value), "sequence")


@pytest.mark.parametrize(
    "value",
    [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        "text/json",
        "application/vnd.x+json",
        None,
    ],
)
def test_data_may_be_any_json_media_type(value: object) -> None:
    assert decoded(sent(datacontenttype=value)) == decoded(sent())


@pytest.mark.parametrize(
    "value", ["application/avro", "application/jsonx", "json", "", "text/plain", 1, ["application/json"]]
)
def test_data_of_another_media_type_is_refused(value: object) -> None:
    assert_envelope_refused(sent(datacontenttype=value), "datacontenttype")


@pytest.mark.parametrize("value", [None, [], "text", 1, True])
def test_structured_data_is_an_object(value: object) -> None:
    assert_envelope_refused(sent(data=value), "data")
    assert_envelope_refused(without("data"), "data")
    assert_envelope_refused(without("data") | {"data_base64": "e30="}, "data_base64")


@pytest.mark.parametrize(
    "value",
    [
        *(
            None,
            b"",
            b" ",
            b"null",
            b"[]",
            b"1",
            b'"text"',
            b"{",
            b"{}{}",
            b"{'a': 1}",
            b'{"a": NaN}',
            b'{"a": -Infinity}',
        ),
        *(b"\xff", b'{"a": "\xff"}', b'{"a": "\xed\xa0\x80"}', b"\xef\xbb\xbf{}", '{"a": 1}'.encode("utf-16"), b"\0"),
        *(b"[" * 100_000, b'{"a":' * 100_000, b'{"a": "\n"}', b'{"a": 1,}', b'{"a": 01}', b"\x00\x00\x00\x00\x01avro"),
    ],
)
def test_a_value_that_is_no_json_object_is_undecodable_in_both_modes(value: bytes | None) -> None:
    assert refused(record(value)).reason == "undecodable"
    assert refused(record(value, headers=(STRUCTURED,))).reason == "undecodable"
    assert refused(record(value, headers=binary(sent()).headers)).reason == "undecodable"


@pytest.mark.parametrize(
    "odd",
    [
        "9" * 5000,
        "-" + "9" * 30,
        "1" + "0" * 99 + ".5",
        "1e999",
        '"\\ud800"',
        '"\\u0000"',
        "[" * 90 + "]" * 90,
        '{"a":1,"a":2}',
    ],
)
def test_odd_json_in_unknown_fields_does_no_harm(odd: str) -> None:
    event = sent(extension=0, data=sent()["data"] | {"unknown": 0})
    text = (
        json.dumps(event).replace('"unknown": 0', f'"unknown": {odd}').replace('"extension": 0', f'"extension": {odd}')
    )
    assert odd in text
    assert registry.decode(record(text.encode())) == decoded(sent())


def test_of_two_fields_with_one_name_the_last_counts() -> None:
    text = json.dumps(sent()).replace('"customer_id"', '"name": "first", "customer_id"')
    assert registry.decode(record(text.encode())) == decoded(sent())


def test_the_modes_are_told_by_content_type_then_by_headers() -> None:
    value = structured(sent()).value
    expected = decoded(sent())
    assert registry.decode(record(value)) == expected
    assert (
        registry.decode(record(value, headers=(("content-type", b"application/json"), ("trace", b"\xff")))) == expected
    )
    assert (
        registry.decode(record(value, headers=(("Content-Type", b"application/CloudEvents+json"), ("ce_id", b"no"))))
        == expected
    )
    raw = binary(sent())
    assert registry.decode(raw._replace(headers=tuple((name.upper(), each) for name, each in raw.headers))) == expected
    without_content_type = tuple(each for each in raw.headers if each[0] != "content-type")
    assert registry.decode(raw._replace(headers=without_content_type)) == expected


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (("ce_id", b"\xff"), "undecodable"),
        (("ce_id", b""), "envelope"),
        (("ce_id", b"a\0"), "undecodable"),
        (("content-type", b"\xff"), "undecodable"),
        (("content-type", b"application/avro"), "envelope"),
    ],
)
def test_a_binary_header_is_bounded_like_an_attribute(header: tuple[str, bytes], reason: str) -> None:
    raw = binary(sent())
    assert refused(raw._replace(headers=(*raw.headers, header))).reason == reason


def test_a_null_header_is_an_empty_one() -> None:
    raw = binary(sent())
    assert refused(raw._replace(headers=(*raw.headers, ("ce_id", None)))).detail.startswith("id ")  # type: ignore[arg-type]


def test_subject_need_not_be_the_id_in_data() -> None:
    assert decoded(sent(subject="someone else")).data == decoded(sent()).data


@pytest.mark.parametrize(
    ("type_", "ignorable"),
    [
        ("customers.CustomerPromoted", True),
        ("customers.CustomerNameChanged.v2", True),
        ("customers.CustomerNameChanged.v01", True),
        ("customers.customerNameChanged", True),
        ("customers.", True),
        ("customers", True),
        ("customers.CustomerNameChanged.v1", False),
        ("customers.CustomerPromoted.v1", False),
    ],
)
def test_a_type_or_version_without_contract_is_unknown(type_: str, ignorable: bool) -> None:
    bad = refused(structured(sent(type=type_)))
    assert (bad.reason, bad.ignorable) == ("unknown_type", ignorable)
    assert bad.envelope is not None
    assert (bad.envelope.type, bad.data) == (type_, sent()["data"])


@pytest.mark.parametrize("topic", ["orders", "Customers", "customers.CustomerNameChanged", ""])
def test_a_type_belongs_to_its_topic(topic: str) -> None:
    for type_ in (RENAMED, "customers.Unknown", "customers.CustomerNameChanged.v1"):
        bad = refused(structured(sent(type=type_))._replace(topic=topic))
        assert (bad.reason, bad.ignorable) == ("topic", False)
        assert bad.envelope is not None


def test_an_envelope_is_as_sent() -> None:
    envelope = parse_envelope(structured(sent(id="e", source="/s", subject="x", sequence="7")))
    assert (envelope.id, envelope.source, envelope.type, envelope.subject) == ("e", "/s", RENAMED, "x")
    assert (envelope.sequence, envelope.data) == (7, sent()["data"])
    assert envelope.time == datetime(2026, 3, 14, 9, 26, 53, 589_793, tzinfo=UTC)
    with pytest.raises(AttributeError):
        envelope.id = "other"  # type: ignore[misc]


def test_a_refusal_says_its_reason_and_detail() -> None:
    bad = BadRecord("envelope", "id should be there")
    assert (str(bad), bad.envelope, bad.data) == ("envelope: id should be there", None, None)
