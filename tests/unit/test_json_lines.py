"""A server-sent event has as many lines for every reader of lines."""

import json

from read_api.changes.events import Mark, event


def test_a_row_in_an_event_is_one_line_whatever_its_texts_hold() -> None:
    row = json.dumps({"name": "a\u2028b\u2029c\x85d\n"}, ensure_ascii=False)
    lines = event("upsert", Mark("0" * 12, 1, 2, 3), '{"product_id":"p1"}', row).splitlines()
    assert [line.partition(":")[0] for line in lines] == ["id", "event", "data", ""]
    assert json.loads(lines[2].removeprefix("data: "))["row"] == json.loads(row)
