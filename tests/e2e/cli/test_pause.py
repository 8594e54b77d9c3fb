"""`prejoin pause` and `resume` as they are called."""

from tests.e2e.cli.calling import Prejoin, Settings, placed, tell
from tests.world import World


def test_pause_and_resume_say_what_they_changed(prejoin: Prejoin, there: Settings, shop: World) -> None:
    tell(shop, placed("o1"))
    first = prejoin("pause", "--json", **there)
    assert first.code == 0
    assert (first.json["changed"], first.json["positions"]) == (True, ["orders/0@0"])
    second = prejoin("pause", **there)
    assert (second.code, second.out.splitlines()[1]) == (0, "applied up to orders/0@0")
    assert f"by {first.json['paused']['by']} since {first.json['paused']['since']}" in second.out
    status = prejoin("status", **there).out
    assert f"paused by {first.json['paused']['by']}" in status
    told = prejoin("status", "--json", **there).json
    assert (told["paused"], {v["state"] for v in told["views"]}) == (first.json["paused"], {"paused"})
    assert prejoin("resume", "--json", **there).json == {"paused": None, "changed": True, "positions": ["orders/0@0"]}
    assert prejoin("resume", **there).out == "it was not paused\n"
