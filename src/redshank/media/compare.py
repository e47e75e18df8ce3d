"""Which seconds of one video are seconds of another, and which stretches run alongside.

Every frame is held against every frame of the other video. Where several could be its partner, the one in the longest
unbroken run with the same shift wins, so that a still scene does not scatter a copied stretch into single seconds.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from redshank.core.findings import TimeRange
from redshank.media.hashes import Frame, VideoHashes

ROWS = 256
"""Frames of the seen video that are compared at once: with 4 hours on the other side, 15 MB of distances."""


class VideoMatch(msgspec.Struct, frozen=True):
    """How much of a seen video is in a known one.

    `share` and `known_share` are the parts, 0 to 1, of the seconds of either that match one of the other, out of those
    that have enough quality to be compared; `seconds` is that count for the seen video, `matched` how many match.
    """

    share: float
    known_share: float
    ranges: tuple[TimeRange, ...]
    matched: int = 0
    seconds: int = 0


NEAR = 64
"""Distance within which a pair of seconds goes on with a match just before or after it. Unrelated frames lie 128 bits
apart, give or take 8; a logo over a sixth of the picture, or a second cut elsewhere, moves a hash by 30 to 70."""


def match_videos(
    seen: VideoHashes, known: VideoHashes, limit: int, *, quality: int = 50, near: int | None = None
) -> VideoMatch:
    """Compare two videos, second by second. A pair matches within a Hamming distance of `limit`, of 256 bits.

    With `near` a pair within that distance matches as well where the pair of seconds before it or after it does.
    Frames below `quality` (black, plain, blurred: they resemble each other in all videos) match nothing and do not count.
    """
    mine = [frame for frame in seen.frames if frame.quality >= quality]
    theirs = [frame for frame in known.frames if frame.quality >= quality]
    if not mine or not theirs:
        return VideoMatch(0.0, 0.0, (), 0, len(mine))
    runs = np.zeros((len(mine), len(theirs)), np.uint16)
    _measure_runs(runs, mine, theirs, limit, max(limit, near or 0))
    hits = runs > 0
    matched = int(hits.any(axis=1).sum())
    pairs = _partners(runs, mine, theirs)
    return VideoMatch(
        matched / len(mine), float(hits.any(axis=0).mean()), tuple(_ranges(pairs, mine, theirs)), matched, len(mine)
    )


def distances(seen: Sequence[str], known: Sequence[str]) -> npt.NDArray[np.uint16]:
    """Hamming distances of two lists of PDQ hashes in hex: (len(seen), len(known)) uint16."""
    return _distances(_words(seen), _words(known))


def _words(hashes: Sequence[str]) -> npt.NDArray[np.uint64]:
    return np.frombuffer(bytes.fromhex("".join(hashes)), np.uint64).reshape(-1, 4)


def _distances(seen: npt.NDArray[np.uint64], known: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint16]:
    total = np.zeros((len(seen), len(known)), np.uint16)
    for word in range(4):
        total += np.bitwise_count(seen[:, word, None] ^ known[None, :, word])
    return total


def _measure_runs(runs: npt.NDArray[np.uint16], mine: list[Frame], theirs: list[Frame], limit: int, near: int) -> None:
    """Put into `runs[i, j]` how long the unbroken diagonal run of matches up to and with (i, j) is; 0 for no match.

    A run holds at least one pair within `limit`, and others within `near`.
    """
    seen, known = _words([frame.pdq for frame in mine]), _words([frame.pdq for frame in theirs])
    for top in range(0, len(seen), ROWS):
        apart = _distances(seen[top : top + ROWS], known)
        runs[top : top + ROWS] = np.where(apart <= limit, 2, apart <= near)  # 2: a match; 1: only beside one.
    if near > limit:
        for row in range(1, len(runs)):
            runs[row, 1:][(runs[row, 1:] == 1) & (runs[row - 1, :-1] == 2)] = 2
        for row in range(len(runs) - 2, -1, -1):
            runs[row, :-1][(runs[row, :-1] == 1) & (runs[row + 1, 1:] == 2)] = 2
    runs //= 2
    for row in range(1, len(runs)):
        runs[row, 1:] *= runs[row - 1, :-1] + 1


def _partners(runs: npt.NDArray[np.uint16], mine: list[Frame], theirs: list[Frame]) -> list[tuple[int, int]]:
    """For each frame that matches, its place and the partner's in the longest run through it, the last frame first.

    Of runs of one length the one with the smaller shift in time is taken.
    """
    times = np.array([frame.second for frame in theirs])
    whole = np.zeros(
        len(theirs), np.uint16
    )  # How long the run through (i, j) is in all, carried up from the row below.
    pairs = []
    for i in range(len(mine) - 1, -1, -1):
        below = np.zeros_like(whole)
        below[:-1] = whole[1:]
        whole = np.where(runs[i] > 0, np.maximum(below, runs[i]), 0).astype(np.uint16)
        if whole.any():
            longest = np.flatnonzero(whole == whole.max())
            pairs.append((i, int(longest[np.argmin(np.abs(times[longest] - mine[i].second))])))
    return pairs


def _ranges(pairs: list[tuple[int, int]], mine: list[Frame], theirs: list[Frame]) -> list[TimeRange]:
    """The pairs, joined where both sides go on by one second; a range ends a second after its last frame."""
    joined: list[tuple[float, float, float]] = []  # The start in either video, and how long.
    for i, j in reversed(pairs):
        here, there = mine[i].second, theirs[j].second
        if joined:
            start, known_start, length = joined[-1]
            if (here, there) == (start + length, known_start + length):
                joined[-1] = (start, known_start, length + 1)
                continue
        joined.append((here, there, 1))
    return [TimeRange(start, start + length, known, known + length) for start, known, length in joined]
