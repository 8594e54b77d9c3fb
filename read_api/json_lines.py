"""JSON that stays one line for every reader of lines, not for those alone that go by LF."""

# What Unicode breaks lines at (UAX 14, classes BK and NL) and JSON lets stand in a text. Python's splitlines, and with
# it httpx's and requests' iter_lines, would cut a row in two there.
_BREAKS = {mark: f"\\u{ord(mark):04x}" for mark in "\x85\u2028\u2029"}


def in_one_line(text: str) -> str:
    """The same JSON, whose texts have such characters escaped. Nothing but a look where there are none."""
    for mark, escaped in _BREAKS.items():
        text = text.replace(mark, escaped)
    return text
