"""Whether a rebuild finds room: what is said, and where nothing can be."""

import pytest

from projector.operate.room import _is_here, too_small


@pytest.mark.parametrize(
    ("host", "here"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("/run/postgresql", True), ("10.0.0.7", False),
     ("db.example", False)],
)  # fmt: skip
def test_a_disk_is_looked_at_on_this_machine_alone(host: str, here: bool) -> None:
    assert _is_here(host) is here


def test_a_disk_that_is_too_small_is_told_with_what_to_do() -> None:
    said = too_small(5_000_000, 4_000_000)
    assert said is not None
    assert "some 5 MB are needed and 4 MB are free: make room" in said
    assert too_small(5_000_000, 5_000_001) is None
    assert too_small(5_000_000, None) is None
