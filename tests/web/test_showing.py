from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redshank.web.showing import ago, bytes_words, clock, exact, pieces, span_words

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
spans = st.lists(st.tuples(st.integers(-5, 60), st.integers(-5, 60), st.integers(1, 9)), max_size=6)


@given(st.text(max_size=50), spans)
def test_pieces_give_the_text_again_and_mark_exactly_the_spans(text: str, marked: list[tuple[int, int, int]]) -> None:
    cut = pieces(text, marked)
    assert "".join(piece.text for piece in cut) == text
    place = 0
    for piece in cut:
        for at in range(place, place + len(piece.text)):
            assert set(piece.marks) == {number for start, end, number in marked if start <= at < end}
        place += len(piece.text)
    shown = [number for piece in cut if piece.first for number in piece.marks]
    assert set(shown) == {n for start, end, n in marked if max(0, start) < min(len(text), end)}


@given(st.text(alphabet=st.characters(categories=["Cc", "Cf", "Zl", "Zp", "Lo", "Ll"]), max_size=40))
def test_nothing_that_hides_or_reorders_is_obeyed(text: str) -> None:
    for piece in pieces(text):
        if not piece.name:
            assert not set(piece.text) & set(
                "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200b\u2060\ufeff\x00\x1b"
            )


@pytest.mark.parametrize("honest", ["👩\u200d🚒", "می\u200cخواهم", "क\u094dष", "é", "line\nline\ttab"])
def test_honest_writing_is_shown_as_it_is(honest: str) -> None:
    assert [piece.name for piece in pieces(honest)] == [""]


@pytest.mark.parametrize(
    ("left", "level", "words"),
    [
        (timedelta(hours=30), "calm", "30 h left"),
        (timedelta(minutes=59), "soon", "59 min left"),
        (timedelta(minutes=15), "now", "15 min left"),
        (timedelta(0), "late", "0 s overdue"),
        (timedelta(hours=-3), "late", "3 h overdue"),
    ],
)
def test_a_deadline_says_in_words_what_its_color_says(left: timedelta, level: str, words: str) -> None:
    shown = clock(NOW + left, NOW - timedelta(hours=1), NOW)
    assert (shown.level, shown.words) == (level, words)
    assert 0 <= shown.share <= 1


def test_times_and_sizes_read_as_people_say_them() -> None:
    assert ago(NOW - timedelta(hours=3), NOW) == "3 h ago"
    assert ago(NOW + timedelta(minutes=5), NOW) == "in 5 min"
    assert ago(NOW, NOW) == "just now"
    assert span_words(timedelta(days=800)) == "2 y"
    assert exact(NOW) == "2026-03-01 12:00:00 UTC"
    assert [bytes_words(n) for n in (999, 1400, 16_500, 271_000_000_000)] == ["999 B", "1.4 kB", "16.5 kB", "271 GB"]
