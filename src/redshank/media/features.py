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

from redshank.media.parts import Points, pack_points
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
MARGIN = 15
"""Pixels from the edge of the picture within which no point lies, as there is nothing around it to describe."""


def points_of(gray: Gray) -> tuple[bytes, bytes]:
    """The points of a picture, and those of its mirror image, packed (see `parts.Points`), the best spread first.

    `gray` is the luminance, (height, width) uint8. At most `MOST` of either; none in what is plain or tiny.
    """
    if min(gray.shape) < SHORTEST:
        return b"", b""
    scale = LONGEST / max(gray.shape)
    small = np.ascontiguousarray(gray)
    if scale < 1:
        height, width = (max(1, round(side * scale)) for side in gray.shape)
        small = np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
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
            places=np.array([one.pt for one in kept], np.float32),
            sizes=np.array([STEP**one.octave for one in kept], np.float32),
            angles=np.array([np.deg2rad(one.angle) for one in kept], np.float32),
            bits=np.asarray(bits, np.uint8)[order],
        )
    )
