"""Text as search compares it."""

import re
import unicodedata

import pytest

from projector.text import MARKS, fold, words


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Chloé", "chloe"),
        ("CHLOE\u0301", "chloe"),
        ("Straße", "strasse"),
        ("ŁÓDŹ", "lodz"),
        ("Ærø", "aero"),
        ("İstanbul ısı", "istanbul isi"),
        ("Đorđe Œuvre", "dorde oeuvre"),
        ("ｃｈｌｏé ﬁne ①", "chloe fine 1"),
        ("Ελλάς ΆΈ", "ελλασ αε"),
        ("Ёлка", "елка"),
        ("", ""),
    ],
)
def test_case_accents_and_compatibility_forms_do_not_matter(text: str, folded: str) -> None:
    assert fold(text) == folded
    assert fold(folded) == folded


def test_folding_twice_changes_nothing_of_any_character() -> None:
    changed = [hex(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000 and fold(fold(chr(c))) != fold(chr(c))]
    assert changed == []


def test_marks_are_all_marks_of_the_database_of_characters() -> None:
    mark = re.compile(f"[{MARKS}]")
    wrong = [
        hex(c) for c in range(0x110000) if bool(mark.match(chr(c))) != (unicodedata.category(chr(c)) in ("Mn", "Me"))
    ]
    assert wrong == []


def test_words_are_runs_of_letters_and_digits() -> None:
    assert words("Chloé's  red_shoe, no. 42: <o'1-2>") == ["chloe", "s", "red", "shoe", "no", "42", "o", "1", "2"]
    assert words("chloe@example.com") == ["chloe", "example", "com"]
    assert words(" \t…—'\"") == []
