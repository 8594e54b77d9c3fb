"""Text as search compares it: without case and accents, as words. Both sides of a search go through here."""

import re
import unicodedata

# Letters that Unicode does not take apart into a plain one and a mark, as they are written without.
PLAIN = {
    "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i", "ħ": "h", "ŧ": "t", "ŋ": "n",
    "ĸ": "k", "ŀ": "l", "ƀ": "b", "ƒ": "f", "ɨ": "i", "ŉ": "n", "ß": "ss",
}  # fmt: skip
_PLAIN = str.maketrans(PLAIN)
_WORD = re.compile(r"[^\W_]+")


def _ranges_of_marks() -> str:
    found: list[list[int]] = []
    for code in (*range(0x300, 0x20000), *range(0xE0100, 0xE01F0)):  # there are none elsewhere
        if unicodedata.category(chr(code)) in ("Mn", "Me"):
            if found and found[-1][1] == code - 1:
                found[-1][1] = code
            else:
                found.append([code, code])
    return "".join(chr(first) + (f"-{chr(last)}" if last > first else "") for first, last in found)


MARKS = _ranges_of_marks()
"""What stands inside `[…]` of a regular expression, Python's or Postgres', for any combining mark."""
_MARK = re.compile(f"[{MARKS}]")


def fold(text: str) -> str:
    """The text without case, accents and compatibility forms: `Chloé`, `CHLOE` and `ｃｈｌｏé` become `chloe`."""
    if text.isascii():
        return text.lower()
    # once more behind casefold, which makes marks of its own: İ is i and a dot
    apart = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return _MARK.sub("", apart).translate(_PLAIN)


def words(text: str) -> list[str]:
    """The folded words of a text: runs of letters and digits."""
    return _WORD.findall(fold(text))
