"""Each kind of bad record of contract section 7: a good event, broken in one way."""

import copy
import json
from collections.abc import Callable, Sequence
from typing import Any

from tests.model.expand import AGGREGATES, CloudEvent
from tests.model.streams import Item, Pick, Raw, encoded, some, topic_of

GONE = object()

BAD_IDS: list[Any] = [GONE, None, "", "-x", "a b", "x" * 129, "search", "export", "changes", "ü", "a\n", 7]
BAD_TEXTS: list[Any] = [GONE, None, "x" * 301, "a\nb", "a\x7f", "a\x85b", 7, ["x"]]
BAD_MONEY: list[Any] = [
    GONE,
    None,
    "-1",
    "1.234",
    "12345678901234",
    "1" * 20,
    "1e3",
    "",
    " 1",
    "1\n",
    ".5",
    "1.",
    5,
    5.0,
]
BAD_MONEY += ["١", "NaN", "+1", "1,5"]
BAD_TIMES: list[Any] = [GONE, None, "2026-01-01T00:00:00", "2026-01-01", "2026-02-30T00:00:00Z", "", 1767225600]
BAD_TIMES += ["2026-01-01T24:00:00Z", "2026-01-01T00:00Z", "0001-01-01T00:00:00+01:00", "2026-01-01T00:00:00+24:00"]
BAD_QUANTITIES: list[Any] = [GONE, None, 0, -1, 1_000_001, 1.5, "1", True, 10**30]
BAD_DISCOUNTS: list[Any] = ["1.0001", "0.12345", "-0.1", "2", 0.5, "", "half"]
BAD_WORDS: list[Any] = [GONE, None, "", 7]
BAD_LINES: list[Any] = [GONE, None, [], {}, "none", [None], [[]]]
BAD_FIELDS: dict[str, list[Any]] = {
    **dict.fromkeys(["customer_id", "product_id", "order_id", "payment_id", "shipment_id"], BAD_IDS),
    **dict.fromkeys(["name", "email", "category", "warehouse", "carrier"], BAD_TEXTS),
    "reason": [GONE, None, 7, "x" * 4_001],
    **dict.fromkeys(["segment", "brand"], BAD_TEXTS[2:]),
    **dict.fromkeys(["price", "unit_price", "amount"], BAD_MONEY),
    **dict.fromkeys(["placed_at", "dispatched_at", "delivered_at"], BAD_TIMES),
    "country": [GONE, None, "de", "DEU", "D", "ÄÖ", "D\n", 12],
    "currency": [GONE, None, "eur", "EURO", "EU", 978],
    "quantity": BAD_QUANTITIES,
    "lines": BAD_LINES,
}
BAD_LINE_FIELDS: dict[str, list[Any]] = {
    "line": [GONE, None, 0, -1, 1.5, "1", True],
    "product_id": BAD_IDS,
    "quantity": BAD_QUANTITIES,
    "unit_price": BAD_MONEY,
    "discount": BAD_DISCOUNTS,
}
BAD_ATTRIBUTES: dict[str, list[Any]] = {
    **dict.fromkeys(["id", "source", "subject", "type"], BAD_WORDS),
    "time": BAD_TIMES,
    "sequence": [0, -1, 1.5, True, "", "0", "-1", "1.0", "one", "1e3", [1], 2**63, "٣"],
    "specversion": ["0.3", "1.1", 1],
    "data": [GONE, None, [], "data", 7],
}


def break_event(event: CloudEvent, pick: Pick) -> tuple[Raw, str]:
    """The event broken in some way, and the reason that its dead letter should have."""
    return KINDS[pick(len(KINDS))](event, pick)


def with_poison(items: Sequence[Item], pick: Pick, share: float = 0.3) -> list[Item]:
    """Bad records among the good, made of them, some in the place of the good one."""
    result = list(items)
    for _ in range(some(items, pick, share)):
        at = pick(len(result))
        item = result[at]
        if isinstance(item, Raw):
            continue
        raw, _ = break_event(item, pick)
        if pick(3) == 2:
            result[at] = raw
        else:
            result.insert(pick(len(result) + 1), raw)
    return result


def _raw(event: CloudEvent, topic: str = "", **changes: Any) -> Raw:
    broken = {name: value for name, value in (event | changes).items() if value is not GONE}
    return Raw(topic or topic_of(event), _key(event), json.dumps(broken).encode())


def _key(event: CloudEvent) -> bytes:
    return str(event["subject"]).encode()


def _bad_bytes(event: CloudEvent, pick: Pick) -> tuple[Raw, str]:
    good = json.dumps(event).encode()
    bad: list[bytes | None] = [
        b"{not json",
        None,
        b"",
        b"\xff\xfe\x00",
        b"[]",
        b"null",
        b'"text"',
        good[:-1],
        good + b"x",
    ]
    bad += [good.replace(b"{", b'{"x": NaN, ', 1), b"[" * 50_000, b"\xef\xbb\xbf" + good, b"7"]
    return Raw(topic_of(event), _key(event), bad[pick(len(bad))]), "undecodable"


def _bad_attribute(event: CloudEvent, pick: Pick) -> tuple[Raw, str]:
    name, value = _choose(BAD_ATTRIBUTES, pick)
    return _raw(event, **{name: value}), "envelope"


def _bad_type(event: CloudEvent, pick: Pick) -> tuple[Raw, str]:
    topic = topic_of(event)
    unversioned = str(event["type"]).removesuffix(".v2")
    bad = [f"{topic}.Unheard", f"{unversioned}.v1", f"{unversioned}.v9", f"{topic}.", topic, f"{unversioned}.v2.v2"]
    bad += [unversioned.lower(), f"{unversioned}.V2", f"{unversioned} "]
    return _raw(event, type=bad[pick(len(bad))], topic=topic), "unknown_type"


def _other_topic(event: CloudEvent, pick: Pick) -> tuple[Raw, str]:
    others = [topic for topic in AGGREGATES if topic != topic_of(event)]
    return _raw(event, topic=others[pick(len(others))]), "topic"


def _bad_field(event: CloudEvent, pick: Pick) -> tuple[Raw, str]:
    data = copy.deepcopy(event["data"])
    bad = {name: values for name, values in BAD_FIELDS.items() if name in data}
    if "lines" in data and pick(2):
        _break_line(data["lines"], pick)
    else:
        name, value = _choose(bad, pick)
        _set(data, name, value)
    return _raw(event, data=data), "invalid"


def _break_line(lines: list[dict[str, Any]], pick: Pick) -> None:
    which = pick(4)
    if which == 0:
        lines.append(dict(lines[0]))
    elif which == 1:
        lines.extend({**lines[0], "line": number} for number in range(1000, 2000))
    else:
        name, value = _choose(BAD_LINE_FIELDS, pick)
        _set(lines[pick(len(lines))], name, value)


def _no_text(event: CloudEvent, pick: Pick) -> tuple[Raw, str]:
    """NUL or half of a surrogate pair, in a field or an attribute that should be text."""
    bad = ["a\0b", "\ud800", "x\udfff"][pick(3)]
    texts = [name for name, bad_values in BAD_FIELDS.items() if bad_values not in (BAD_TIMES, BAD_LINES)]
    fields = [name for name in texts if isinstance(event["data"].get(name), str)]
    at = pick(len(fields) + 3)
    if at >= len(fields):
        return _raw(event, **{["id", "source", "subject"][at - len(fields)]: bad}), "undecodable"
    return _raw(event, data=event["data"] | {fields[at]: bad}), "undecodable"


def _bad_binary(event: CloudEvent, pick: Pick) -> tuple[Raw, str]:
    good = encoded(event, _key(event), binary=True)
    which = pick(6)
    if which == 0:
        return good._replace(value=None), "undecodable"
    if which == 1:
        return good._replace(value=b"{"), "undecodable"
    if which == 2:
        return good._replace(value=b"[1]"), "undecodable"
    if which == 3:
        return good._replace(headers=(*good.headers[:-1], (good.headers[-1][0], b"\xff"))), "undecodable"
    lost = ["ce_id", "ce_source", "ce_type", "ce_subject", "ce_time", "ce_specversion"][pick(6)]
    return good._replace(headers=tuple(header for header in good.headers if header[0] != lost)), "envelope"


def _choose(table: dict[str, list[Any]], pick: Pick) -> tuple[str, Any]:
    name = list(table)[pick(len(table))]
    return name, table[name][pick(len(table[name]))]


def _set(data: dict[str, Any], name: str, value: Any) -> None:
    if value is GONE:
        data.pop(name, None)
    else:
        data[name] = value


KINDS: list[Callable[[CloudEvent, Pick], tuple[Raw, str]]] = [
    _bad_bytes,
    _bad_attribute,
    _bad_type,
    _other_topic,
    _bad_field,
    _no_text,
    _bad_binary,
]
