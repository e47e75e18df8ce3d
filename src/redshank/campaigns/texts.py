"""Tells which texts are nearly the same: folded, cut into runs of characters, sketched, and compared where sketches collide.

A sketch is 64 bytes, so that it can be kept for a while where the text itself need not be. Each cluster has one text that
stands for it, the most frequent one, and others are held against that one alone, so that a chain of small changes does not
tie texts together that have nothing in common.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from redshank.campaigns import kernels
from redshank.text import find_links, fold

RUN = 8
"""Code points in a run. Runs of characters, not words: scripts without spaces are cut alike."""
SHORTEST = 24
"""Folded letters and digits below which a text is no object: greetings and cheers are everybody's."""
LONGEST = 4_000
"""Code points of a text that are looked at: two texts that agree so far agree."""
PLACES = 64
BANDS, ROWS = 16, 4
"""Texts that agree in seven tenths of their runs collide in one of 16 bands of 4 places with a probability of .988."""
SAME = 0.7
"""Share of equal places, which estimates the Jaccard index of the runs, from which two texts count as the same."""
SHOWN = 200
"""Code points of a text that are kept beside its sketch, for people to see."""

_MENTION = re.compile(r"[@＠][\w.-]+(?:@[\w.-]+)?")


def sketched(text: str) -> bytes | None:
    """The text's sketch, 64 bytes, and its beginning in UTF-8; None where it is too short to say anything.

    Links and mentions do not count, nor do case, accents, punctuation and space. The sketch keeps 8 bits a place (Li, König:
    b-bit minwise hashing, 2010): places of unlike texts agree by chance once in 256 times.
    """
    codes = _codes(text)
    if len(codes) < SHORTEST:
        return None
    places = np.empty(PLACES, np.uint32)
    kernels.sketch_text(codes, RUN, places)
    return (places >> np.uint32(8)).astype(np.uint8).tobytes() + text[:SHOWN].encode("utf-8", "replace")


def beginning(sketch: bytes) -> str:
    """The beginning of the text that a sketch is of."""
    return sketch[PLACES:].decode("utf-8", "replace")


def text_clusters(sketches: Sequence[bytes | None]) -> npt.NDArray[np.int64]:
    """For each of `sketches` the place of the one that stands for it, int64 (n,); -1 where there is none.

    They come in the order in which they may stand for others. Time and memory (128 bytes each) grow linearly with them.
    """
    if not sketches:
        return np.empty(0, np.int64)
    enough = np.array([sketch is not None for sketch in sketches])
    blank = bytes(PLACES)
    joined = b"".join(blank if sketch is None else sketch[:PLACES] for sketch in sketches)
    places = np.frombuffer(joined, np.uint8).reshape(-1, PLACES)
    heads = np.empty((BANDS, len(places)), np.int32)
    for band in range(BANDS):
        key = np.ascontiguousarray(places[:, ROWS * band : ROWS * band + ROWS]).view(np.uint32)[:, 0]
        order = np.argsort(key, kind="stable")
        new = np.append(True, key[order][1:] != key[order][:-1])
        heads[band, order] = order[np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))]
    return np.asarray(kernels.stand_for(places, heads, enough, int(np.ceil(SAME * PLACES))))


def _codes(text: str) -> npt.NDArray[np.int32]:
    text = text[:LONGEST]
    for start, end, _ in reversed(find_links(text)):
        text = text[:start] + " " + text[end:]
    kept = "".join(char for char in fold(_MENTION.sub(" ", text)).text if char.isalnum())
    return np.frombuffer(kept.encode("utf-32-le", "replace"), np.int32)
