"""What `q` asks for: words and phrases that must be there, and such that must not. The same for every backend."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from projector.text import fold, words

MAX_LENGTH, MAX_WORDS, MAX_WORD = 256, 12, 64
FORGIVING = range(5, 21)
"""How many letters a word has in which one typo is forgiven; one with digits is a number or an id, and exact."""

# A phrase, perhaps not closed yet, for somebody is typing it; or what stands between spaces.
_CHUNK = re.compile(r'(?P<no>-?)"(?P<phrase>[^"]*)"?|(?P<not>-?)(?P<plain>[^\s"]+)')
_DIGITS = "0123456789"
# The alphabets in which Postgres looks for a mistyped letter: those of the word's own script.
_ALPHABETS = ["abcdefghijklmnopqrstuvwxyz", "αβγδεζηθικλμνξοπρστυφχψω", "абвгдежзийклмнопрстуфхцчшщъыьэюяіґєљњђћџ"]


class QueryError(ValueError):
    """What is wrong with q."""


@dataclass(frozen=True)
class Word:
    """A word that must be there, alone or, where it is the last, as the beginning of a longer one."""

    text: str
    prefix: bool = False

    @property
    def forgiving(self) -> bool:
        """Whether one typo is forgiven."""
        return len(self.text) in FORGIVING and not any(letter.isnumeric() for letter in self.text)

    def variants(self) -> list[str]:
        """The words that one typo makes of it: a letter too many, missing, another one, two in each other's place."""
        own = [a for a in _ALPHABETS if any(letter in a for letter in self.text)]
        letters = "".join(dict.fromkeys(_DIGITS + "".join(own) + self.text))
        halves = [(self.text[:n], self.text[n:]) for n in range(len(self.text) + 1)]
        found = {a + b[1:] for a, b in halves if b}
        found |= {a + b[1] + b[0] + b[2:] for a, b in halves if len(b) > 1}
        found |= {a + letter + b[1:] for a, b in halves if b for letter in letters}
        found |= {a + letter + b for a, b in halves for letter in letters}
        return sorted(found - {self.text})

    def found_in(self, word: str) -> bool:
        """Whether it finds this word of a row."""
        if word == self.text or (self.prefix and word.startswith(self.text)):
            return True
        return self.forgiving and one_typo(self.text, word)


@dataclass(frozen=True)
class Phrase:
    """Words that must be there in this order, in one value, as they are."""

    words: tuple[str, ...]


@dataclass(frozen=True)
class Query:
    """`wanted` must all be found, of `unwanted` none; `wholes` are the texts that may be a whole id."""

    wanted: tuple[Word | Phrase, ...] = ()
    unwanted: tuple[Phrase, ...] = ()
    wholes: tuple[str, ...] = ()


def read_query(text: str) -> Query:
    """What a `q` asks for; of nothing but spaces, all rows. Raises QueryError."""
    if len(text) > MAX_LENGTH:
        raise QueryError(f"should have at most {MAX_LENGTH} characters")
    wanted: list[Word | Phrase] = []
    unwanted: list[Phrase] = []
    wholes: list[str] = []
    for chunk, its in _chunks(text):
        if chunk["no"] or chunk["not"]:
            unwanted.append(Phrase(its))
        elif chunk["phrase"] is not None:
            wanted.append(Phrase(its))
        else:
            wanted += map(Word, its)
            wholes.append(fold(chunk["plain"]))
    every = [word for w in (*wanted, *unwanted) for word in ([w.text] if isinstance(w, Word) else w.words)]
    if text.strip() and not every:
        raise QueryError("has no letter or digit to search for")
    if len(every) > MAX_WORDS:
        raise QueryError(f"should have at most {MAX_WORDS} words")
    if any(len(word) > MAX_WORD for word in every):
        raise QueryError(f"has a word of more than {MAX_WORD} letters")
    if wanted and isinstance(last := wanted[-1], Word):
        wanted[-1] = Word(last.text, prefix=True)
    return Query(tuple(dict.fromkeys(wanted)), tuple(unwanted), tuple(wholes))


def _chunks(text: str) -> Iterator[tuple[re.Match[str], tuple[str, ...]]]:
    for chunk in _CHUNK.finditer(text):
        if its := tuple(words(chunk["phrase"] or chunk["plain"] or "")):
            yield chunk, its


def one_typo(a: str, b: str) -> bool:
    """Whether one letter too many, missing or another one, or two neighbours in each other's place, tell two apart."""
    if abs(len(a) - len(b)) > 1 or a == b:
        return False
    same = next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    a, b = a[same:], b[same:]
    if len(a) != len(b):
        return a[1:] == b if len(a) > len(b) else a == b[1:]
    return a[1:] == b[1:] or (a[:2] == b[1::-1] and a[2:] == b[2:])
