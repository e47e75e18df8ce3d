"""Makes two ways of writing the same words equal, and remembers where each code point came from.

The one idea: text is folded cluster by cluster (a character with the marks that follow it), so that each folded code
point knows the stretch of the original it stands for; a span found in folded text marks the original.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence

import msgspec

MAX_MARKS = 30
"""Marks after one character that are looked at, as in the Stream-Safe Text Format (UAX #15): more of them are noise,
and ordering them takes quadratic time."""

_APOSTROPHES = "'`´ʹʻʼʽˈ‘’‛′＇‵꞊ꞌ"
_DASHES = "-‐‑‒–—―−⁃﹘﹣－"
_QUOTES = '"“”„‟«»″〝〞＂'
_SAME = (
    dict.fromkeys(_APOSTROPHES, "'")
    | dict.fromkeys(_DASHES, "-")
    | dict.fromkeys(_QUOTES, '"')
    | {"ı": "i", "\u2800": " "}
)
"""Written before compatibility decomposition, which would make a space and an accent of U+00B4. The dotless i is what
Turkish makes of I, and folding cannot know that a text is Turkish; U+2800 is the Braille pattern without dots."""

_INVISIBLE = frozenset("\u115f\u1160\u17b4\u17b5\u3164\uffa0\u0640")
"""Letters and marks that show nothing, and the Arabic tatweel, which only stretches a word."""

_STRIPPED = (
    (0x0300, 0x036F), (0x1AB0, 0x1AFF), (0x1DC0, 0x1DFF), (0x20D0, 0x20FF), (0xFE20, 0xFE2F),  # of any script
    (0x0483, 0x0489), (0x2DE0, 0x2DFF), (0xA66F, 0xA67D),  # Cyrillic
    (0x0591, 0x05BD), (0x05BF, 0x05C7),  # Hebrew points
    (0x0610, 0x061A), (0x064B, 0x065F), (0x0670, 0x0670), (0x06D6, 0x06ED), (0x0898, 0x089F), (0x08CA, 0x08FF),  # Arabic
    (0x0711, 0x0711), (0x0730, 0x074A),  # Syriac
    (0x180B, 0x180F), (0xFE00, 0xFE0F), (0xE0100, 0xE01EF),  # variation selectors
)  # fmt: skip
"""Marks that people leave out or add at will. Those of other scripts (the vowels of India's and Southeast Asia's, the
voicing of kana) make another word."""

_BREVE = "\u0306"  # With it, Cyrillic и is й and у is ў: other letters, not accented ones.


class Folded(msgspec.Struct, frozen=True, gc=False):
    """Text made equal for matching, and the `original` it stands for.

    `straight` says that every code point of `text` stands for the one at its own place in `original`.
    """

    text: str
    original: str
    straight: bool

    def offsets(self) -> list[tuple[int, int]]:
        """For each code point of `text`, start and end of what it stands for in `original`, in code points, end excluded.

        Walked anew at each call: most texts are folded, match nothing, and are never asked for it.
        """
        if self.straight:
            return [(at, at + 1) for at in range(len(self.text))]
        out: list[tuple[int, int]] = []
        after_space = False
        for folded, start, end in _pieces(self.original):
            for char in folded:
                if char == " " and after_space:
                    out[-1] = out[-1][0], end
                else:
                    out.append((start, end))
                after_space = char == " "
        return out

    def spans(self, places: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """The stretches of `original` that the stretches `places` of `text` stand for. None of them is empty."""
        if self.straight or not places:
            return list(places)
        offsets = self.offsets()
        return [(offsets[start][0], offsets[end - 1][1]) for start, end in places]


_REMEMBERED = 50_000  # Characters; a stranger who sends all of Unicode does not fill the memory.


class _OneToOne(dict[int, str]):
    """For `str.translate`: a code point to the one it folds to, or to NUL where it takes more than that."""

    def __missing__(self, point: int) -> str:
        char = chr(point)
        folded = _kinds[char]
        out = folded if folded is not None and len(folded) == 1 else "\0"
        if len(self) < _REMEMBERED:
            self[point] = out
        return out


class _Kinds(dict[str, str | None]):
    """A character to what it folds to by itself; None where it belongs to the character before it."""

    def __missing__(self, char: str) -> str | None:
        out = None if _extends(char) else _fold_cluster(char)
        if len(self) < _REMEMBERED:
            self[char] = out
        return out


_kinds = _Kinds()
_one_to_one = _OneToOne()


def fold(text: str) -> Folded:
    """`text` made equal for matching, with the way back to it. Never raises; time grows linearly with `text`.

    By Unicode's NFKC and full case folding; accents and vowel points are stripped where the script writes them at
    will (Latin, Greek, Cyrillic but for й and ў, Hebrew, Arabic, Syriac); invisible and direction-changing characters
    go, and all but 30 of the marks on one character; white space becomes one space; apostrophes, dashes and double
    quotes become ASCII's; a lone surrogate becomes U+FFFD. Folding what is folded changes nothing.
    """
    folded = text.translate(_ascii if text.isascii() else _one_to_one)
    straight = "\0" not in folded
    if not straight:
        folded = "".join([piece for piece, _, _ in _pieces(text)])
    while "  " in folded:
        straight = False
        folded = folded.replace("  ", " ")
    return Folded(folded, text, straight)


def _pieces(text: str) -> Iterator[tuple[str, int, int]]:
    """What each cluster folds to, with start and end of the cluster."""
    kinds = _kinds
    at, length = 0, len(text)
    while at < length:
        start = at
        folded = kinds[text[at]]
        at += 1
        if folded is None or (at < length and kinds[text[at]] is None):
            cluster, at = _cluster(text, start)
            folded = _fold_cluster(cluster)
        if folded:
            yield folded, start, at


def _cluster(text: str, start: int) -> tuple[str, int]:
    """The character at `start` with all that extends it but what is invisible or too much; and where it ends."""
    out = [text[start]]
    at = start + 1
    while at < len(text) and _kinds[text[at]] is None:
        char = text[at]
        if not _is_dropped(char):
            if len(out) <= MAX_MARKS:
                out.append(char)
            elif not _is_mark(unicodedata.normalize("NFKD", char)[0]):
                break  # A vowel of Hangul, which is a letter: the next cluster begins with it.
        at += 1
    return "".join(out), at


def _fold_cluster(cluster: str) -> str:
    folded = _fold_once(cluster)
    while (again := _fold_once(folded)) != folded:
        folded = again
    return folded


def _fold_once(cluster: str) -> str:
    same = "".join(_SAME.get(char, char) for char in cluster if not _is_dropped(char))
    cased = unicodedata.normalize("NFKC", same).casefold()
    out: list[str] = []
    base, marks = "", 0
    for char in unicodedata.normalize("NFKD", cased):
        if not _is_mark(char):
            base, marks = char, 0
        elif _is_stripped(char) and not (char == _BREVE and "\u0400" <= base <= "\u04ff"):
            continue
        else:
            marks += 1
            if marks > MAX_MARKS:
                continue
        category = unicodedata.category(char)
        if char.isspace():
            out.append(" ")
        elif category == "Cs":
            out.append("\ufffd")
        elif not _is_dropped(char):
            out.append(_SAME.get(char, char))
    return unicodedata.normalize("NFKC", "".join(out))


MAX_NAME = 10_000
"""Characters of a name that are looked at."""


def bare_name(text: str) -> str:
    """A handle or display name as names are compared: folded, and of it letters and digits alone.

    So "Iron Wolf", "@iron_wolf" and "iron.wolf@host" are one name.
    """
    local = text.strip().removeprefix("@").partition("@")[0]
    return "".join(char for char in fold(local[:MAX_NAME]).text if char.isalnum())


def _extends(char: str) -> bool:
    if _is_dropped(char):
        return True
    first = unicodedata.normalize("NFKD", char)[0]
    return _is_mark(first) or "\u1160" <= first <= "\u11ff" or "\ud7b0" <= first <= "\ud7ff"  # vowels, finals of Hangul


def _is_mark(char: str) -> bool:
    return unicodedata.category(char)[0] == "M"


def _is_stripped(char: str) -> bool:
    point = ord(char)
    return any(low <= point <= high for low, high in _STRIPPED)


def _is_dropped(char: str) -> bool:
    if char.isspace():
        return False
    return char in _INVISIBLE or unicodedata.category(char) in {"Cc", "Cf"}


_ascii = {point: _one_to_one[point] for point in range(128)}
