"""PDQ, the field's perceptual hash of a picture: 256 bits that stay close when it is resized, recompressed or retouched.

The one idea: the two-pass box filter and the sampling that follows it are linear and act on rows and columns apart, so
both together are one small matrix on each side of the picture, `V @ picture @ H.T`, and every matrix is banded. A few
products of dense blocks along the band do in BLAS what a filter over the whole picture does, at the speed of reading it.

Source: "PDQ & TMK + PDQF", Facebook 2019, and the PDQ hashing report of 2017; constants as in its reference code.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Gray = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

SIDE = 64
"""The picture is sampled on a grid of 64 by 64 points."""
SMALLEST = 5
"""A picture with a shorter side has no hash: the reference gives all zeros and quality 0."""
BLOCK = 8
"""Rows of the sampling matrix that are multiplied together; 8 keeps the blocks along the band nearly free of zeros."""
BAND_PIXELS = 4_000_000
"""Pixels that are turned into float32 at once, so that a picture of 100 million needs 16 MB more and not 400."""


class Scaled(NamedTuple):
    """Of what a gray picture is the small copy, each of its points the mean of `factor` by `factor` whole pixels.

    `height` and `width` are of the whole picture. Where they are no multiples of `factor` the last row and column stand
    for less, or the first ones where the copy was turned over since: `from_bottom`, `from_right`.
    """

    height: int
    width: int
    factor: int
    from_bottom: bool = False
    from_right: bool = False


def pdq(gray: Gray, *, limited: bool = False, scaled: Scaled | None = None) -> tuple[str, int]:
    """The PDQ hash of a picture and its quality.

    `gray` is the luminance, (height, width) uint8, 0 to 255, at any stride; for pictures 0.299 R + 0.587 G + 0.114 B.
    `limited` says that black is 16 and white 235 in it, as in most videos: the samples are stretched, not the picture.
    With `scaled`, the filter is the whole picture's, not the small copy's: that keeps the hash where it would have been.
    Gives the hash as 64 hex digits, highest bit first as the field writes it, and the quality, 0 to 100.
    """
    if min(gray.shape) < SMALLEST:
        return "0" * 64, 0
    return pdq_of(stretched(sample(gray, scaled), limited))


def pdq_of(points: Floats) -> tuple[str, int]:
    """The PDQ hash of a picture and its quality, from its samples (see `sample`), 0 to 255."""
    return _hash(points), quality_of(points)


def stretched(points: Floats, limited: bool) -> Floats:
    """Samples from 16 to 235 brought to 0 to 255 where they are `limited`; others as they are."""
    if not limited:
        return points
    wide: Floats = np.clip((points - np.float32(16)) * np.float32(255 / 219), 0, 255)
    return wide


def sample(gray: Gray, scaled: Scaled | None = None) -> Floats:
    """`gray`, (height, width) uint8, under the two-pass Jarosz filter, at 64 by 64 points: (64, 64) float32."""
    height, width = gray.shape
    if scaled:
        down = _sampling(scaled.height, scaled.factor, scaled.from_bottom)
        across = _sampling(scaled.width, scaled.factor, scaled.from_right)
    elif (height, width) == (SIDE, SIDE):  # The reference takes such a picture as filtered already.
        return gray.astype(np.float32)
    else:
        down, across = _sampling(height), _sampling(width)
    if height * width <= BAND_PIXELS:
        rows = _rows_of(gray.astype(np.float32), down)
    else:
        rows = np.empty((SIDE, width), np.float32)
        step = max(BLOCK, BAND_PIXELS // height)
        for left in range(0, width, step):
            rows[:, left : left + step] = _rows_of(gray[:, left : left + step].astype(np.float32), down)
    points = np.empty((SIDE, SIDE), np.float32)
    for first, start, end, weights in across:
        points[:, first : first + BLOCK] = rows[:, start:end] @ weights.T
    return points


def _rows_of(picture: Floats, down: tuple[tuple[int, int, int, Floats], ...]) -> Floats:
    rows = np.empty((SIDE, picture.shape[1]), np.float32)
    for first, start, end, weights in down:
        np.matmul(weights, picture[start:end], out=rows[first : first + BLOCK])
    return rows


@functools.lru_cache(maxsize=256)
def _sampling(size: int, factor: int = 1, from_end: bool = False) -> tuple[tuple[int, int, int, Floats], ...]:
    """The filter and sampling of one axis of `size` pixels, as blocks (first row, start, end, weights) along its band.

    A box of `window` pixels reaches `window // 2` to the right and the rest to the left, and is a mean of those pixels
    of it that exist; two of them in a row make the tent of Jarosz. Row k of the whole matrix is that tent around pixel
    floor((k + 0.5) * size / 64). For a copy scaled down by `factor` the weights of the pixels that make one are summed.
    """
    window = (size + 2 * SIDE - 1) // (2 * SIDE)
    at = np.arange(size)
    starts = np.maximum(at - (window - 1 - window // 2), 0)
    ends = np.minimum(at + window // 2, size - 1) + 1
    counts = (ends - starts).astype(np.float64)
    steps = np.zeros((SIDE, size + 1))
    for k in range(SIDE):
        center = int((k + 0.5) * size / SIDE)
        inner = slice(starts[center], ends[center])
        share = 1 / (counts[center] * counts[inner])
        np.add.at(steps[k], starts[inner], share)
        np.subtract.at(steps[k], ends[inner], share)
    weights = np.cumsum(steps[:, :-1], axis=1)
    if factor > 1:
        missing = -size % factor
        weights = np.pad(weights, ((0, 0), (missing, 0) if from_end else (0, missing)))
        weights = weights.reshape(SIDE, -1, factor).sum(axis=2)
    return tuple(_block(weights, first) for first in range(0, SIDE, BLOCK))


def _block(weights: npt.NDArray[np.float64], first: int) -> tuple[int, int, int, Floats]:
    rows = weights[first : first + BLOCK]
    used = np.flatnonzero((rows > 1e-9).any(axis=0))  # What cumsum leaves of rounding is no weight.
    start, end = int(used[0]), int(used[-1]) + 1
    return first, start, end, np.ascontiguousarray(rows[:, start:end], np.float32)


def quality_of(points: Floats) -> int:
    """How much there is to tell the picture by: steps between neighbors in whole hundredths, summed, over 90."""
    total = 0
    for axis in (0, 1):
        steps = np.diff(points, axis=axis) * np.float32(100) / np.float32(255)
        total += int(np.abs(np.trunc(steps)).sum())
    return min(total // 90, 100)


FREQUENCIES = np.sqrt(2 / SIDE) * np.cos(
    np.pi / (2 * SIDE) * np.arange(1, 17)[:, None] * (2 * np.arange(SIDE)[None, :] + 1)
)
"""The DCT's rows 1 to 16, of 64 points: the constant term is left out, so brightness does not matter."""


def _hash(points: Floats) -> str:
    waves = (FREQUENCIES @ points.astype(np.float64) @ FREQUENCIES.T).astype(np.float32).ravel()
    median = np.partition(waves, 127)[127]  # The lower of the two middle ones, as the reference takes it.
    return np.packbits((waves > median)[::-1]).tobytes().hex()
