"""Tells which texts are nearly the same: folded, cut into runs of characters, sketched, and compared where sketches collide.

The one idea: each cluster has one text that stands for it, the most frequent one, and others are held against that one
alone, so that a chain of small changes does not tie texts together that have nothing in common.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice

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
BLOCK = 50_000
_ODD = np.uint64(0x9E3779B97F4A7C15)

_MENTION = re.compile(r"[@＠][\w.-]+(?:@[\w.-]+)?")


def text_clusters(texts: Iterable[str]) -> npt.NDArray[np.int64]:
    """For each of `texts` the place of the text that stands for it, int64 (n,); -1 where it is too short to say anything.

    `texts` come in the order in which they may stand for others. Links and mentions do not count, nor do case, accents,
    punctuation and space. Time grows linearly with the texts; memory is 320 bytes a text.
    """
    blocks: list[npt.NDArray[np.uint32]] = []
    long: list[npt.NDArray[np.bool_]] = []
    waiting = iter(texts)
    while block := list(islice(waiting, BLOCK)):
        sketches = np.zeros((len(block), PLACES), np.uint32)
        enough = np.zeros(len(block), np.bool_)
        for at, text in enumerate(block):
            codes = _codes(text)
            if len(codes) >= SHORTEST:
                kernels.sketch_text(codes, RUN, sketches[at])
                enough[at] = True
        blocks.append(sketches)
        long.append(enough)
    if not blocks:
        return np.empty(0, np.int64)
    sketches, enough = np.concatenate(blocks), np.concatenate(long)
    blocks.clear()
    heads = np.empty((BANDS, len(sketches)), np.int32)
    for band in range(BANDS):
        rows = sketches[:, ROWS * band : ROWS * band + ROWS].astype(np.uint64)
        key = (rows[:, 0] << np.uint64(32) | rows[:, 1]) * _ODD ^ (rows[:, 2] << np.uint64(32) | rows[:, 3])
        order = np.argsort(key, kind="stable")
        new = np.append(True, key[order][1:] != key[order][:-1])
        heads[band, order] = order[np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))]
    return np.asarray(kernels.stand_for(sketches, heads, enough, int(np.ceil(SAME * PLACES))))


def _codes(text: str) -> npt.NDArray[np.int32]:
    text = text[:LONGEST]
    for start, end, _ in reversed(find_links(text)):
        text = text[:start] + " " + text[end:]
    kept = "".join(char for char in fold(_MENTION.sub(" ", text)).text if char.isalnum())
    return np.frombuffer(kept.encode("utf-32-le", "replace"), np.int32)
