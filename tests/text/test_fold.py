from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redshank.text import fold

# Half of it from where folding has something to do, so that clusters, expansions and drops meet each other.
AWKWARD = "eéＥßﬁﷺİıΐᾳς\u0301\u0316\u0345\u200b\u200d\u00ad\u202e\ufe0f \t\n\u00a0\u3000'’´‘—-ｶﾞガㄱㅏ각\u1100\u1161\u11a8йёӗأمـُकि์กำ\ud800😀"
TEXT = st.text(st.sampled_from(AWKWARD) | st.characters(), max_size=60)


@given(TEXT)
def test_offsets_map_back(text):
    folded = fold(text)
    offsets = folded.offsets()
    assert len(offsets) == len(folded.text)
    assert all(0 <= start < end <= len(text) for start, end in offsets)
    assert offsets == sorted(offsets)
    for char, (start, end) in zip(folded.text, offsets, strict=True):
        assert char in fold(text[start:end]).text


@given(TEXT)
def test_folding_what_is_folded_changes_nothing(text):
    once = fold(text).text
    assert fold(once).text == once


@given(TEXT)
def test_every_normalization_form_folds_to_the_same(text):
    folded = fold(text).text
    if len(text) <= 30:  # Longer ones may hold more marks on one character than are looked at, in another order.
        assert all(fold(unicodedata.normalize(form, text)).text == folded for form in ("NFC", "NFD"))


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=200))
def test_ascii_keeps_its_places(text):
    folded = fold(text)
    assert folded.text.replace(" ", "") == text.lower().replace("`", "'").replace(" ", "")
    if folded.text:
        assert folded.spans([(0, len(folded.text))]) == [(0, len(text))]


@pytest.mark.parametrize(
    ("written", "folded"),
    [
        ("Straße STRASSE", "strasse strasse"),
        ("ＷＯＬＦ ﬁne", "wolf fine"),
        ("𝐖𝐨𝐥𝐟 ⓦⓞⓛⓕ", "wolf wolf"),
        ("w\u200bo\u00adl\u202ef", "wolf"),
        ("cafe\u0301 café", "cafe cafe"),
        ("it’s ´tis co‑op", "it's 'tis co-op"),
        ("a \u00a0\t\r\n b", "a b"),
        ("İSTANBUL ıstanbul", "istanbul istanbul"),
        ("Ёлка ёлка й\u0301 й", "елка елка й й"),
        ("أَحْمَد مـحمـد", "احمد محمد"),
        ("שָׁלוֹם", "שלום"),
        ("が ｶﾞ カ", "が ガ カ"),  # Voicing makes another word,
        ("कि क", "कि क"),  # and so does a vowel.
        ("\x00a\x07b\x7f", "ab"),
        ("a\ud800b", "a\ufffdb"),
        ("w" + "\u0336" * 500 + "olf", "wolf"),
    ],
)
def test_what_is_the_same(written, folded):
    assert fold(written).text == folded


def test_spans_mark_the_original():
    text = "the  I\u200bR\u0301ON\u200b wolf"
    folded = fold(text)
    at = folded.text.index("iron")
    assert [text[a:b] for a, b in folded.spans([(at, at + 4)])] == ["I\u200bR\u0301ON\u200b"]


def test_a_text_that_only_wants_to_cost_time():
    assert fold("a" + "\u0301\u0316" * 100_000).text == "a"
    assert fold("ㅠ" * 100_000).text.count("ᅲ") == 100_000
    assert fold("क" + "\u093c\u0952" * 50_000).text.count("\u093c") <= 30
