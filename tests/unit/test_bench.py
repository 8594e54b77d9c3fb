"""What the measurements lean on: aims, the table, the orders of events."""

import json
from pathlib import Path

import pytest

from bench.results import END, START, Result, table, write_into
from bench.shop_now import follow_up, order
from bench.streams import Shop


@pytest.mark.parametrize(
    ("aim", "met"),
    [("ratio >= 4", True), ("ratio >= 4.1", False), ("ours < 9", True), ("ours < 8", False), ("highest < 300", False)],
)
def test_an_aim_is_of_ratio_ours_or_a_detail(aim: str, met: bool) -> None:
    result = Result("m", 8.0, 2.0, "s", aim, {"highest": 300})
    told = json.loads(result.line())
    assert (told["ratio"], told["met"]) == (4.0, met)


def test_without_a_peer_or_an_aim_there_is_no_ratio_and_nothing_met() -> None:
    told = json.loads(Result("m", 8.0, None, "s").line())
    assert told == {"measure": "m", "ours": 8.0, "peer": None, "ratio": None, "unit": "s", "aim": None, "met": None}


def test_the_table_replaces_what_is_between_the_markers_alone(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text(f"before\n{START}\nold\n{END}\nafter\n")
    write_into(page, table([Result("m", 20_000.4, 1_000.0, "events/s", "ratio >= 20")], "today"))
    row = "| m | 20,000 | 1,000 | 20.0 | events/s | ratio >= 20 | yes |"
    text = page.read_text()
    assert text.startswith(f"before\n{START}\n\ntoday\n")
    assert text.endswith(f"{row}\n\n{END}\nafter\n")
    assert "old" not in text


def test_phased_has_a_topic_a_phase_and_first_events_before_second_ones() -> None:
    told = {key: [order(key, "c", ["p"]), *(follow_up(key, step) for step in range(1, 6))] for key in ("a", "b")}
    phases = Shop([], told).phased
    assert [{message.topic for message in phase} for phase in phases] == [
        {"orders"}, {"payments"}, {"inventory"}, {"shipping"},
    ]  # fmt: skip
    assert phases[1] == [told["a"][1], told["b"][1], told["a"][3], told["b"][3]]
