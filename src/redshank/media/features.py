"""Marked points of a picture, by which a part of it is known again in another: corners, each with 256 bits that describe it.

The one idea: a picture keeps few points, spread evenly, so that any third of it has some. Each has its own size and
turn, so that one pair of points says already how two pictures would lie on each other (`parts.py`).

Source of points and bits: ORB, "an efficient alternative to SIFT or SURF", Rublee and others, ICCV 2011, as OpenCV has
it. Runs in the child process of `hasher.py`; only tests and benches call it elsewhere.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import cv2
import numpy as np

from redshank.media.hashes import Frame, Still
from redshank.media.parts import SMALL, Points, pack_points
from redshank.media.pdq import Gray

LONGEST = 512
"""Pixels of the longer side at which points are sought; larger pictures are scaled down to it."""
SHORTEST = 48
"""Pixels of the shorter side below which there is nothing to be sought."""
SOUGHT = 3000
"""Corners that are looked at, the sharpest of each size."""
MOST = 1000
"""Points that are kept of a picture."""
CELLS = 4
"""Cells a side into which a picture is cut, so that each gives its sharpest points of each size before any gives more."""
STEP = 1.2
"""From one size of points to the next."""
SIZES = 8
FAINTEST = 4
"""Levels by which a corner differs from what is around it; with 10, clouds and blurred pictures have too few."""
STILL = 8
"""Bits of PDQ by which a frame of a video differs at least from the last that was kept; less is the same picture."""
MARGIN = 15
"""Pixels from the edge of the picture within which no point lies, as there is nothing around it to describe."""


def points_of(gray: Gray) -> tuple[bytes, bytes]:
    """The points of a picture, and those of its mirror image, packed (see `parts.Points`), the best spread first.

    `gray` is the luminance, (height, width) uint8. At most `MOST` of either; none in what is plain or tiny.
    """
    small = _shrunk(gray)
    if min(small.shape) < SHORTEST:
        return b"", b""
    found = _spread(_finder().detect(small), small.shape)
    mirrored = np.ascontiguousarray(small[:, ::-1])
    # A corner of the mirror image is the same corner; what turns with it are its angle and its bits.
    turned = [
        cv2.KeyPoint(
            small.shape[1] - 1 - one.pt[0],
            one.pt[1],
            one.size,
            (180 - one.angle) % 360,
            one.response,
            one.octave,
            place,
        )
        for place, one in enumerate(found)
    ]
    return _described(small, found), _described(mirrored, turned)


class Stills:
    """Some frames of a video, as they come: at most so many, spread over what it shows, and none that looks like the last.

    When there are too many, every other one is let go, and from then on twice as many frames lie between two that are kept.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: list[tuple[str, Gray]] = []
        self._apart, self._since = 1, 0

    def __len__(self) -> int:
        """How many there are."""
        return len(self._kept)

    def offer(self, pdq: str, gray: Gray) -> None:
        """The next frame's hash and its luminance, (height, width) uint8."""
        self._since += 1
        if min(gray.shape) < SHORTEST:
            return
        if self._kept and (
            self._since < self._apart or (int(pdq, 16) ^ int(self._kept[-1][0], 16)).bit_count() <= STILL
        ):
            return
        self._kept.append((pdq, _shrunk(gray).copy()))
        self._since = 0
        if len(self._kept) > self._most:
            del self._kept[1::2]
            self._apart *= 2

    def described(self, frames: Sequence[Frame]) -> tuple[Still, ...]:
        """The points of those frames that were kept, in their order."""
        seconds: dict[str, float] = {}
        for frame in frames:
            seconds.setdefault(frame.pdq, frame.second)
        out = [Still(seconds[pdq], *points_of(gray)) for pdq, gray in dict(self._kept).items() if pdq in seconds]
        return tuple(sorted((still for still in out if still.points), key=lambda still: still.second))


def _shrunk(gray: Gray, longest: int = LONGEST) -> Gray:
    """The picture, of so many pixels at most, if it is not so tiny that nothing is sought in it."""
    scale = longest / max(gray.shape)
    small = np.ascontiguousarray(gray)
    if scale >= 1 or min(small.shape) < SHORTEST:
        return small
    height, width = (max(1, round(side * scale)) for side in gray.shape)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


@functools.cache
def _finder() -> cv2.ORB:
    cv2.setNumThreads(1)
    return cv2.ORB.create(
        nfeatures=SOUGHT, scaleFactor=STEP, nlevels=SIZES, edgeThreshold=MARGIN, fastThreshold=FAINTEST
    )


def _spread(found: Sequence[cv2.KeyPoint], shape: tuple[int, ...]) -> list[cv2.KeyPoint]:
    """The sharpest of each cell, then the second of each, and so on; `MOST` at most."""
    if not found:
        return []
    places = np.asarray(cv2.KeyPoint.convert(found), np.float32)
    sharp = np.array([one.response for one in found], np.float32)
    cells = (places[:, 1] * CELLS / shape[0]).astype(np.int64) * CELLS + (places[:, 0] * CELLS / shape[1]).astype(
        np.int64
    )
    cells = cells * SIZES + np.array([one.octave for one in found])
    order = np.lexsort((-sharp, cells))
    grouped = cells[order]
    starts = np.flatnonzero(np.diff(grouped, prepend=-1))
    rank = np.empty(len(found), np.int64)
    rank[order] = np.arange(len(found)) - np.repeat(starts, np.diff(starts, append=len(found)))
    best = [found[place] for place in np.lexsort((-sharp, rank))[:MOST]]
    for place, one in enumerate(best):  # Describing them loses their order.
        one.class_id = place
    return best


def _described(gray: Gray, points: list[cv2.KeyPoint]) -> bytes:
    kept, bits = _finder().compute(gray, points) if points else ((), None)
    if not kept or bits is None:
        return b""
    order = np.argsort([one.class_id for one in kept])
    kept = [kept[place] for place in order]
    return pack_points(
        Points(
            height=gray.shape[0],
            width=gray.shape[1],
            small=_shrunk(gray, SMALL),
            places=np.array([one.pt for one in kept], np.float32),
            sizes=np.array([STEP**one.octave for one in kept], np.float32),
            angles=np.array([np.deg2rad(one.angle) for one in kept], np.float32),
            bits=np.asarray(bits, np.uint8)[order],
        )
    )
