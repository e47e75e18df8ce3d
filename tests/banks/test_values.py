from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redshank.banks.frames import pack_frames, unpack_frames
from redshank.banks.values import KINDS, canonical, weakness
from redshank.core import BadInput
from redshank.media import Frame

PDQ = "f8f8f0cee0f4a84f06370a22028f67f0b36e2ed596621e1d33e6b39c4e9c9b22"
MD5 = "0cc175b9c0f1b6a831c399e269772661"


@pytest.mark.parametrize(
    ("kind", "value", "kept"),
    [
        ("pdq", PDQ.upper(), PDQ),
        ("pdq", f"  {PDQ}\r\n", PDQ),
        ("pdq", f"\ufeff{PDQ[:32]} {PDQ[32:]}\n", PDQ),
        ("pdq", "0x" + PDQ, PDQ),
        ("md5", "MD5:" + MD5.upper(), MD5),
        ("sha256", "sha-256: " + PDQ, PDQ),
        ("url", "HTTP://www.Example.org/x/?utm_source=y", "https://example.org/x"),
        ("url", "chat.example/wolf/*", "https://chat.example/wolf/*"),
        ("domain", " *.Example.ORG. ", "example.org"),
        ("domain", "https://bücher.example/", "xn--bcher-kva.example"),
        ("term", "  Iron\u200b   WÖLF\n", "iron wolf"),
        ("term", "狼", "狼"),
    ],
)
def test_what_is_harmless_is_brought_into_form(kind, value, kept):
    assert canonical(kind, value) == kept
    assert canonical(kind, kept) == kept


@pytest.mark.parametrize(
    ("kind", "value", "why"),
    [
        ("pdq", "", "0 hex digits; a PDQ hash has 64"),
        ("pdq", PDQ[:-1], "63 hex digits"),
        ("pdq", PDQ + PDQ, "128 hex digits"),
        ("pdq", PDQ[:-1] + "g", "not hexadecimal: 'g' at place 64"),
        ("pdq", PDQ[:-1] + "\u0661", "not hexadecimal"),
        ("md5", PDQ, "64 hex digits; an MD5 has 32"),
        ("sha256", MD5, "32 hex digits; a SHA-256 has 64"),
        ("url", "word", "not a link to the web"),
        ("url", "javascript:alert(1)", "not a link to the web"),
        ("url", "https://example.org/" + "a" * 3000, "2048 is the most"),
        ("domain", "org", "not a domain"),
        ("domain", "example.org/page", "a link to a page, not a domain"),
        ("domain", "iron wolf", "not a domain"),
        ("term", "", "empty"),
        ("term", "\u200b \u00ad", "empty, or of invisible characters"),
        ("term", "A", "a single character"),
        ("term", "wolf " * 50, "200 at most"),
    ],
)
def test_what_cannot_be_is_named(kind, value, why):
    with pytest.raises(BadInput, match=why):
        canonical(kind, value)


@given(st.sampled_from(KINDS), st.text(max_size=80) | st.text("0123456789abcdefABCDEF \n", min_size=30, max_size=70))
def test_any_text_has_one_form_or_none(kind, value):
    kept = ""
    with suppress(BadInput):
        kept = canonical(kind, value)
    if kept:
        assert canonical(kind, kept) == kept
        assert 0 < len(kept) <= 2048


@pytest.mark.parametrize(
    ("kind", "value", "quality", "why"),
    [
        ("pdq", "0" * 64, None, "all-zero"),
        ("md5", "0" * 32, None, "all-zero"),
        ("pdq", "f" * 64, 100, "of a picture that shows next to nothing"),
        ("pdq", PDQ, 49, "low quality: 49 of 100"),
        ("sha256", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", None, "hash of an empty file"),
        ("md5", "d41d8cd98f00b204e9800998ecf8427e", None, "hash of an empty file"),
        ("pdq", PDQ, 50, ""),
        ("pdq", PDQ, None, ""),
        ("term", "0", None, ""),
    ],
)
def test_weak(kind, value, quality, why):
    assert weakness(kind, value, quality=quality, enough=50) == why


FRAME = st.builds(
    Frame,
    second=st.floats(0, 20_000, width=32, allow_subnormal=False),
    pdq=st.binary(min_size=32, max_size=32).map(bytes.hex),
    quality=st.integers(0, 100),
)


@given(st.lists(FRAME, max_size=20).map(tuple))
def test_frames_come_back_as_they_were_packed(frames):
    packed = pack_frames(frames)
    assert len(packed) == 37 * len(frames)
    assert unpack_frames(packed) == frames


@pytest.mark.parametrize("frame", [Frame(-1, PDQ, 1), Frame(float("nan"), PDQ, 1), Frame(0, PDQ[1:], 1), Frame(0, "x" * 64, 1), Frame(0, PDQ, 101)])  # fmt: skip
def test_a_frame_that_is_none_is_named(frame):
    with pytest.raises(BadInput, match="frame 1"):
        pack_frames([Frame(0, PDQ, 100), frame])


def test_half_a_frame_is_no_frame():
    with pytest.raises(BadInput, match="36 bytes are not whole frames"):
        unpack_frames(pack_frames([Frame(0, PDQ, 100)])[:-1])
