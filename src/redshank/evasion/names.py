"""Brings names to what a reader sees and hears in them: one skeleton for all the ways of writing the same name.

The one idea: what a person changes when coming back is the spelling, not the name. So letters that look alike are one
(in words of mixed scripts), letters that sound alike are one (in words of one script), digits that stand for letters
are letters, and a number at the end is kept apart. What is left is short ASCII, cheap to store and to compare.
"""

from __future__ import annotations

import functools
import re
import unicodedata

import msgspec

from redshank.text import fold

MAX_NAME = 128
"""Code points of a name that are read; no name that people tell apart needs more."""
MAX_SKELETON = 24
MAX_PARTS = 6
_MAX_RAW = 2048
"""Code points that are folded at all: in a name of ten thousand, most are marks and joiners that fold to nothing."""

_LOOKS = {
    # Cyrillic and Greek letters that most fonts draw as the Latin one (cf. UTS #39 on mixed-script confusables).
    **dict(zip("авекмнорстухіјѕԁԛԝһӏꭱ", "abekmhopctyxijsdqwhlr", strict=True)),
    **dict(zip("αβγεικνορτυχωϲϳ", "abyeikvoptuxwcj", strict=True)),
    **dict(zip("ɑɡɩʏʟոսօհցԍ", "agiylnuohgg", strict=True)),
    **dict(zip("øłđħŧæœßþð", "oldhtaospd", strict=True)),
}
_SOUNDS = {
    # Cyrillic, after the letters that passports use (ICAO Doc 9303), doubled signs left out.
    **dict(zip("абвгдезийклмнопрстуфыэіґ", "abvgdeziiklmnoprstufyeig", strict=True)),
    "ё": "e", "ж": "zh", "х": "h", "ц": "c", "ч": "ch", "ш": "sh", "щ": "sh", "ъ": "", "ь": "", "ю": "iu", "я": "ia",
    "ї": "i", "є": "e", "ў": "u", "ј": "i", "љ": "l", "њ": "n", "ђ": "d", "ћ": "c", "џ": "d",
    # Arabic and Persian; short vowels are not written, so only the consonants can be compared.
    "ا": "a", "أ": "a", "إ": "i", "آ": "a", "ى": "a", "ة": "a", "ء": "", "ئ": "i", "ؤ": "u", "ع": "",
    "ب": "b", "ت": "t", "ث": "th", "ج": "j", "ح": "h", "خ": "kh", "د": "d", "ذ": "dh", "ر": "r", "ز": "z", "س": "s",
    "ش": "sh", "ص": "s", "ض": "d", "ط": "t", "ظ": "z", "غ": "g", "ف": "f", "ق": "q", "ك": "k", "ل": "l", "م": "m",
    "ن": "n", "ه": "h", "و": "u", "ي": "i", "پ": "p", "چ": "ch", "ژ": "zh", "گ": "g", "ک": "k", "ی": "i",
    # Greek
    **dict(zip("αβγδεζηικλμνξοπρςστυφω", "abgdeziiklmnxoprsstyfo", strict=True)),
    "θ": "th", "χ": "h", "ψ": "ps",
    # Hebrew
    **dict(zip("אבגדהוזחטיכךלמםנןסעפףצץקרשת", "abgdhuzhtikklmmnnsappccqrst", strict=True)),
    "ø": "o", "ł": "l", "đ": "d", "ħ": "h", "ŧ": "t", "æ": "ae", "œ": "oe", "þ": "th", "ð": "d",
}  # fmt: skip
_LEET = str.maketrans(
    {"0": "o", "1": "l", "3": "e", "4": "a", "5": "s", "7": "t", "8": "b", "9": "g", "$": "s", "@": "a", "!": "l"}
)
_PART = re.compile(r"[^\W_]+")
_NUMBER = re.compile(r"\d+$")
_CAPITALS = re.compile(r"(?<=[a-z])(?=[A-Z])")
_DOUBLED = re.compile(r"(.)\1+")
_ARTICLE = re.compile(r"^(?:al|el)(?=[^aeiou]{2}|[^aeiou][aeiou])")
_VOWELS = str.maketrans("", "", "aeiouyw")


class Skeleton(msgspec.Struct, frozen=True, gc=False):
    """A name without its spelling.

    `text` is ASCII, at most 24 characters; `parts` are its words as heard (consonants only, doubled ones once);
    `number` stands for the digits at the end, 0 where there are none, capped at 2**32 - 1.
    """

    text: str
    parts: tuple[str, ...]
    number: int = 0


NOTHING = Skeleton("", ())


@functools.lru_cache(maxsize=4096)
def handle_skeleton(handle: str) -> Skeleton:
    """The skeleton of a handle: `Fa1con_River07` gives `faiconriver`, heard as (flcn, rvr), numbered 7. Never raises."""
    raw = handle[:_MAX_RAW]
    if raw.isascii():
        raw = _CAPITALS.sub("_", raw)
    folded = fold(raw).text[:MAX_NAME]
    stem = folded.rstrip("_.- ")
    number = 0
    if found := _NUMBER.search(stem):
        digits = found.group()
        number = min(int(digits), 2**32 - 1) if digits.isascii() else 0
        stem = stem[: found.start()]
        if not stem.strip("_.- "):
            return Skeleton(digits[:MAX_SKELETON] if digits.isascii() else "", (), number)
    words = [_latin(word).translate(_LEET) for word in _PART.findall(stem)]
    return Skeleton(_shown(words), _heard(words), number)


@functools.lru_cache(maxsize=4096)
def display_skeleton(name: str) -> Skeleton:
    """The skeleton of a display name: its words in alphabetic order, without signs and pictures. Never raises."""
    words = [_latin(word) for word in _PART.findall(fold(name[:_MAX_RAW]).text[:MAX_NAME])]
    words = [word if word.isdigit() else word.translate(_LEET) for word in words if word]
    return Skeleton(_shown(sorted(words)), _heard(words))


def script_of(text: str) -> str:
    """The script that most letters of a name are of, as Unicode names it; `none` where there is no letter."""
    seen: dict[str, int] = {}
    for char in text[:200]:
        if char.isalpha():
            name = _script(char).lower()
            seen[name] = seen.get(name, 0) + 1
    return max(seen, key=lambda name: (seen[name], name), default="none")


def _shown(words: list[str]) -> str:
    """As it looks: capital i, small L and 1 are one letter in most fonts."""
    return "".join(words)[:MAX_SKELETON].replace("l", "i")


def _heard(words: list[str]) -> tuple[str, ...]:
    parts = {_sound(word) for word in words}
    return tuple(sorted(part for part in parts if len(part) > 1))[:MAX_PARTS]


def _sound(word: str) -> str:
    """The consonants that are heard, doubled ones once; a word of vowels alone as it stands."""
    plain = _ARTICLE.sub("", word)
    return _DOUBLED.sub(r"\1", plain.translate(_VOWELS)) or word


@functools.lru_cache(maxsize=8192)
def _latin(word: str) -> str:
    """`word`, folded, in ASCII letters and digits; characters that stand for none are left out."""
    if word.isascii():
        return word
    scripts = {_script(char) for char in word if char.isalpha()}
    table = _LOOKS if "LATIN" in scripts and len(scripts) > 1 else _SOUNDS
    out = []
    for char in word:
        if char.isascii():
            out.append(char)
        elif char in table:
            out.append(table[char])
        elif char in _LOOKS:
            out.append(_LOOKS[char])
        elif char.isdigit():
            out.append(str(unicodedata.digit(char, "")))
        else:
            base = unicodedata.normalize("NFKD", char)[0]
            out.append(base if base.isascii() else f"{ord(char):x}")
    return "".join(out)


def _script(char: str) -> str:
    """The first word of the character's Unicode name, which is its script's."""
    return unicodedata.name(char, "NONE").split(" ", 1)[0]
