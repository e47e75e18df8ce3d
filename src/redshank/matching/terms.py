"""Finds many thousands of terms in a text at once, as whole words.

The one idea: one automaton (Aho-Corasick) walks folded text once, however many terms there are; the few places where it
stops are then asked whether they begin and end where a word does.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

import ahocorasick_rs

from redshank.text import Folded, fold

WINDOW = 8192
"""Code points that are searched in one go: what a text can match in it bounds the memory that searching takes."""

_SPACELESS = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF), (0x19E0, 0x19FF),  # Khmer
    (0x2E80, 0x2FDF), (0x3005, 0x3007), (0x3021, 0x3029), (0x3038, 0x303B), (0x3400, 0x4DBF), (0x4E00, 0x9FFF),  # Han
    (0xF900, 0xFAFF), (0x20000, 0x3FFFD),  # Han
    (0x3040, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9F), (0x1AFF0, 0x1B16F),  # Kana
    (0xA9E0, 0xA9FF), (0xAA60, 0xAA7F),  # Burmese
)  # fmt: skip
"""Scripts that put no space between words: there, any place may be the edge of one (UAX #29 asks for a dictionary)."""


class TermIndex:
    """A set of terms, built once and searched often.

    A term matches where it stands as whole words: no letter, digit or mark goes on before or after it. No edge is asked
    of a term's side that is no letter or digit (`#`, `+`), nor between writing with and without spaces between words.
    """

    def __init__(self, terms: Iterable[tuple[int, str]]) -> None:
        """`terms` are (entry's id, term); a term is folded here, and one that folds to nothing is never found."""
        ids: dict[str, list[int]] = {}
        for entry, term in terms:
            if folded := fold(term).text.strip():
                ids.setdefault(folded, []).append(entry)
        self._ids = [tuple(entries) for entries in ids.values()]
        self._edges = [(_asks_edge(term[0]), _asks_edge(term[-1])) for term in ids]
        self._longest = max(map(len, ids), default=0)
        self._automaton = ahocorasick_rs.AhoCorasick(list(ids), store_patterns=False) if ids else None

    def __len__(self) -> int:
        """How many different terms there are."""
        return len(self._ids)

    def find(self, text: Folded) -> list[tuple[int, int, int]]:
        """Each place of each term in `text` as (entry's id, start, end), in code points of the original, end excluded.

        In the order of their ends. Time grows linearly with text and places found.
        """
        if self._automaton is None:
            return []
        if len(text.text) > WINDOW:
            hits = self._windows(text.text)
        elif not (hits := self._automaton.find_matches_as_indexes(text.text, overlapping=True)):
            return []
        else:
            hits = [hit for hit in hits if self._stands(text.text, hit)]
        spans = text.spans([(start, end) for _, start, end in hits])
        return [
            (entry, start, end)
            for (term, _, _), (start, end) in zip(hits, spans, strict=True)
            for entry in self._ids[term]
        ]

    def _windows(self, text: str) -> list[tuple[int, int, int]]:
        """As a search of the whole, window by window; each overlaps the next by a term less one code point."""
        out: list[tuple[int, int, int]] = []
        assert self._automaton is not None
        overlap = self._longest - 1
        for at in range(0, len(text), WINDOW):
            begin = max(0, at - overlap)
            window = text[begin : at + WINDOW]
            for term, start, end in self._automaton.find_matches_as_indexes(window, overlapping=True):
                hit = (term, begin + start, begin + end)
                if hit[2] > at and self._stands(text, hit):
                    out.append(hit)
        return out

    def _stands(self, text: str, hit: tuple[int, int, int]) -> bool:
        term, start, end = hit
        before, after = self._edges[term]
        return not (
            (before and start and _asks_edge(text[start - 1])) or (after and end < len(text) and _asks_edge(text[end]))
        )


def _asks_edge(char: str) -> bool:
    """Whether `char` is part of a word that ends only where the writing says so."""
    if char.isascii():
        return char.isalnum()
    if unicodedata.category(char)[0] not in "LMN":
        return False
    point = ord(char)
    return not any(low <= point <= high for low, high in _SPACELESS)
