from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redshank.matching import TermIndex
from redshank.matching.terms import WINDOW
from redshank.text import fold

CHARS = st.sampled_from("abAB é\u0301’' -_#ß狼ไบกि1\u200b\n+")
TERM = st.text(CHARS, min_size=1, max_size=5)


def plainly(terms, text):
    """What `TermIndex.find` finds, by looking for each term at each place."""

    def word(char):
        spaceless = any(name in unicodedata.name(char, "") for name in ("CJK", "THAI"))
        return unicodedata.category(char)[0] in "LMN" and not spaceless

    folded = fold(text)
    out = []
    for entry, term in terms:
        needle = fold(term).text.strip()
        for start in range(len(folded.text) if needle else 0):
            end = start + len(needle)
            if folded.text[start:end] != needle:
                continue
            before = start and word(needle[0]) and word(folded.text[start - 1])
            after = end < len(folded.text) and word(needle[-1]) and word(folded.text[end])
            if not (before or after):
                out += [(entry, *span) for span in folded.spans([(start, end)])]
    return sorted(out)


@given(st.lists(TERM, max_size=8), st.lists(TERM, max_size=10))
def test_equals_a_slow_plain_search(terms, pieces):
    numbered = list(enumerate(terms))
    text = "".join(pieces)
    assert sorted(TermIndex(numbered).find(fold(text))) == plainly(numbered, text)


@given(st.integers(-12, 12), st.sampled_from(["wolf", "iron wolf", "w"]))
def test_a_term_across_two_windows_is_found_once(shift, term):
    text = "." * (WINDOW - len(term) + shift) + term + "." * 50
    at = text.index(term)
    assert TermIndex([(7, term), (8, "." * 5)]).find(fold(text)).count((7, at, at + len(term))) == 1
    assert sorted(TermIndex([(7, term)]).find(fold(text))) == [(7, at, at + len(term))]


@pytest.mark.parametrize(
    ("term", "text", "found"),
    [
        ("iron wolf", "The IRON\n\nWolf!", "IRON\n\nWolf"),
        ("wolf", "werewolf, wolfish", None),
        ("wolf", "#wolf_", "wolf"),
        ("WÖLFE", "wo\u0308lfe", "wo\u0308lfe"),
        ("w\u200bolf", "(wolf)", "wolf"),
        ("狼", "看狼群", "狼"),
        ("wolf", "看wolf群", "wolf"),
        ("c++", "c++11", "c++"),
        ("#88", "x#88", "#88"),
        ("#88", "#888", None),
        ("क", "कि", None),
    ],
)
def test_whole_words(term, text, found):
    spans = TermIndex([(1, term)]).find(fold(text))
    assert [text[start:end] for _, start, end in spans] == ([found] if found else [])


def test_equal_terms_of_two_entries_are_both_found():
    assert TermIndex([(1, "Wolf"), (2, "wolf "), (3, "\u200b")]).find(fold("a wolf")) == [(1, 2, 6), (2, 2, 6)]
    assert TermIndex([]).find(fold("a wolf")) == []
