"""How things are put on a page: times as distances, deadlines as a clock with a word, strangers' text as inert text.

All of it is pure: the templates' tags wrap it. A stranger's text is never trusted to lay itself out: characters that
hide, reorder or fake text are shown by name instead of being obeyed.
"""

from __future__ import annotations

import itertools
import math
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

import msgspec
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

SOON = timedelta(hours=1)
"""A deadline nearer than this turns amber."""
NOW = timedelta(minutes=15)
"""A deadline nearer than this turns red, as one that has passed."""


class Piece(msgspec.Struct, frozen=True):
    """A stretch of text as it is shown. `marks` are the numbers of the findings in it; `name` stands for a character
    that is shown by name instead of being obeyed."""

    text: str
    marks: tuple[int, ...] = ()
    name: str = ""
    first: bool = False
    """True for the piece with which its first mark begins: where a link to the finding leads."""


class Clock(msgspec.Struct, frozen=True):
    """A deadline as it is shown: `level` is late, now, soon or calm; `share` of its time has passed, 0 to 1."""

    level: str
    words: str
    share: float


def span_words(span: timedelta) -> str:
    """The length of a time in its largest whole unit: `40 s`, `12 min`, `3 h`, `5 d`, `2 y`."""
    seconds = abs(int(span.total_seconds()))
    if seconds < 60:
        return _("%(n)d s") % {"n": seconds}
    if seconds < 3600:
        return _("%(n)d min") % {"n": seconds // 60}
    if seconds < 48 * 3600:
        return _("%(n)d h") % {"n": seconds // 3600}
    if seconds < 730 * 86400:
        return _("%(n)d d") % {"n": seconds // 86400}
    return _("%(n)d y") % {"n": seconds // (365 * 86400)}


def ago(at: datetime, now: datetime) -> str:
    """`at` as a distance from `now`: `3 h ago`, `in 5 min`, `just now`."""
    if abs(now - at) < timedelta(seconds=5):
        return _("just now")
    return (_("%(span)s ago") if at <= now else _("in %(span)s")) % {"span": span_words(now - at)}


def exact(at: datetime) -> str:
    """`at` to the second, largest unit first, with its zone: `2026-01-31 12:00:00 UTC`."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def clock(deadline: datetime, opened: datetime, now: datetime) -> Clock:
    """The deadline of a case opened at `opened`: its word says what its color says."""
    left = deadline - now
    share = 1.0 if deadline <= opened else min(1.0, max(0.0, (now - opened) / (deadline - opened)))
    if left <= timedelta(0):
        return Clock("late", _("%(span)s overdue") % {"span": span_words(left)}, 1.0)
    level = "now" if left <= NOW else "soon" if left <= SOON else "calm"
    return Clock(level, _("%(span)s left") % {"span": span_words(left)}, share)


def arc(share: float, radius: float = 6.0) -> str:
    """The path of a pie slice, clockwise from the top, that fills `share` of a circle around 8, 8."""
    share = min(max(share, 0.0), 0.9999)
    angle = 2 * math.pi * share
    x, y = 8 + radius * math.sin(angle), 8 - radius * math.cos(angle)
    return f"M8 8V{8 - radius:g}A{radius:g} {radius:g} 0 {int(share > 0.5)} 1 {x:.2f} {y:.2f}Z"


_JOINERS = "\u200c\u200d"


def _stays(text: str, place: int) -> bool:
    """Whether a joiner does honest work there: between letters of scripts that use it, or in a composed emoji."""
    around = text[max(0, place - 1) : place] + text[place + 1 : place + 2]
    return len(around) == 2 and all(ord(letter) >= 0x0590 for letter in around)


def name_of(text: str, place: int) -> str:
    """How the character at `place` is called on the page, empty where it can be shown as it is."""
    letter = text[place]
    if letter in "\n\t" or " " <= letter <= "~":
        return ""
    kind = unicodedata.category(letter)
    if letter in _JOINERS and _stays(text, place):
        return ""
    if 0xE0020 <= ord(letter) <= 0xE007F and "\U0001f3f4" in text[max(0, place - 8) : place]:
        return ""  # The tail of a flag emoji.
    if kind in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"} or letter in "\u115f\u1160\u3164\uffa0\u2800\u034f":
        return f"U+{ord(letter):04X}"
    return ""


def pieces(text: str, spans: Sequence[tuple[int, int, int]] = ()) -> list[Piece]:
    """`text` cut where marks begin and end, and around characters that are shown by name.

    `spans` are (start, end, number of the finding) in code points, end excluded; they may overlap, and what lies outside
    the text is cut off. The pieces' texts, with names put back, give `text` again.
    """
    length = len(text)
    cut = [(max(0, start), min(length, end), number) for start, end, number in spans]
    cut = [(start, end, number) for start, end, number in cut if start < end]
    named = {place for place in range(length) if name_of(text, place)}
    edges = {0, length}
    edges.update(edge for start, end, _number in cut for edge in (start, end))
    edges.update(edge for place in named for edge in (place, place + 1))
    ordered = sorted(edges)
    out: list[Piece] = []
    begun: set[int] = set()
    active: list[tuple[int, int]] = []
    starts = sorted(cut)
    index = 0
    for left, right in itertools.pairwise(ordered):
        while index < len(starts) and starts[index][0] <= left:
            active.append((starts[index][1], starts[index][2]))
            index += 1
        active = [(end, number) for end, number in active if end > left]
        marks = tuple(sorted({number for _end, number in active}))
        new = set(marks) - begun
        begun |= new
        out.append(
            Piece(
                text=text[left:right], marks=marks, name=name_of(text, left) if left in named else "", first=bool(new)
            )
        )
    return out


def named(count: int) -> str:
    """How many characters were shown by name, in words; empty for none."""
    return (
        ngettext("%(n)d hidden character shown", "%(n)d hidden characters shown", count) % {"n": count} if count else ""
    )


def bytes_words(size: int) -> str:
    """A size as people read it: `812 B`, `1.4 MB`."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError


def listed(words: Iterable[str]) -> str:
    """`a, b and c`."""
    items = list(words)
    if len(items) < 2:
        return "".join(items)
    return _("%(most)s and %(last)s") % {"most": ", ".join(items[:-1]), "last": items[-1]}
