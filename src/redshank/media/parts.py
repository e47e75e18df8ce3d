"""Whether a picture shows a part of a known one: points of both that look alike must also lie alike.

The one idea: two pairs of alike points fix how one picture would be laid on the other (scaled, turned, moved), and each
point's own size and turn must agree with it. The laying that most pairs agree to is fitted to them. Points propose, pixels
decide: both pictures, made small, are compared as they are laid on each other, patch by patch. So a logo, a caption or a
frame of buttons that two pictures share is not the picture: most of what lies between is missing.

Pure, and without chance: the same two pictures give the same answer.
"""

from __future__ import annotations

import math
import struct
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from redshank.core import Region

Floats = npt.NDArray[np.floating]
Bits = npt.NDArray[np.uint8]
Gray = npt.NDArray[np.uint8]

_HEAD = struct.Struct(">HHBB")
_POINT = np.dtype([("x", ">u2"), ("y", ">u2"), ("size", "u1"), ("angle", "u1"), ("bits", "u1", (32,))])
Shown = tuple[float | None, bytes]
"""The points of a picture, packed, and of which second of a video it is; None of a picture."""


class Points(NamedTuple):
    """Points of a picture that is `height` by `width` pixels at the scale at which they were found.

    `small` is the picture itself, its luminance (rows, columns) uint8, of `SMALL` pixels at most. `places` (n, 2) are x and y in
    the pixels of the scale; `sizes` (n,) from 1; `angles` (n,) in radians, 0 to 2 pi; `bits` (n, 32).
    """

    height: int
    width: int
    small: Gray
    places: Floats
    sizes: Floats
    angles: Floats
    bits: Bits

    def only(self, which: npt.NDArray[np.int64]) -> Points:
        """Those of them."""
        return self._replace(
            places=self.places[which], sizes=self.sizes[which], angles=self.angles[which], bits=self.bits[which]
        )


SMALL, KNOWN_SMALL = 144, 48
"""Pixels of the longer side of a seen picture made small, and of what is kept of a known one. The seen one may show the known one
smaller than itself, and is to be no less sharp then."""


def pack_points(points: Points) -> bytes:
    """`points` as bytes: the picture's height and width, `small`, then of each x, y (a 16th pixel), size (a 16th), angle, bits."""
    out = np.zeros(len(points.places), _POINT)
    out["x"], out["y"] = np.clip(np.round(points.places * 16), 0, 65535).T
    out["size"] = np.clip(np.round(points.sizes * 16), 1, 255)
    out["angle"] = np.round(points.angles * (128 / np.pi)).astype(np.int64) % 256
    out["bits"] = points.bits
    return _HEAD.pack(points.height, points.width, *points.small.shape) + points.small.tobytes() + out.tobytes()


def unpack_points(packed: bytes) -> Points:
    """What `pack_points` packed; of no bytes, no points. Raises ValueError for other bytes."""
    if not packed:
        packed = _HEAD.pack(1, 1, 0, 0)
    height, width, *shape = _HEAD.unpack_from(packed)
    start = _HEAD.size + shape[0] * shape[1]
    small = np.frombuffer(packed, np.uint8, start - _HEAD.size, _HEAD.size).reshape(shape)
    raw = np.frombuffer(packed, _POINT, offset=start)
    places = np.stack([raw["x"], raw["y"]], axis=1).astype(np.float32) / np.float32(16)
    return Points(
        height, width, small, places, raw["size"].astype(np.float32) / np.float32(16),
        raw["angle"].astype(np.float32) * np.float32(np.pi / 128), np.ascontiguousarray(raw["bits"]),
    )  # fmt: skip


KEPT = 500
"""Points that are kept of a known picture: with itself at 48 pixels, 21 kB. Of 300, a crop to a third had too few."""
REPEATED = 31
"""Bits by which two points of one picture differ at most that tell nothing: letters, windows, corners of plain shapes."""


def telling(packed: bytes) -> bytes:
    """Of a picture's points, those worth knowing it by: none that it shows at several places, `KEPT` at most."""
    points = unpack_points(packed)
    table = distances(points.bits, points.bits)
    apart = np.abs(_complex(points.places)[:, None] - _complex(points.places)[None]) > APART / 2
    single = np.flatnonzero(~((table <= REPEATED) & apart).any(axis=1))[:KEPT]
    return pack_points(points.only(single)._replace(small=_averaged(points.small, KNOWN_SMALL))) if len(single) else b""


def poverty(packed: bytes) -> str:
    """Why points that `telling` gave are too few to know a part of their picture by; empty where they are enough."""
    points = unpack_points(packed)
    cells = len(np.unique(_cells(points.places, points)))
    if len(points.bits) < ENOUGH:
        return f"{len(points.bits)} points of its own; {ENOUGH} are needed"
    return "" if cells >= ENOUGH_CELLS else "all its points lie close together"


class PartMatch(msgspec.Struct, frozen=True):
    """A part of a known picture in a seen one: `inliers` distinct points agree, and of what both show `likeness`, 0 to 1, looks
    alike (`_likeness`). The region `seen` of the one is the region `known` of the other, the known one enlarged by `scale`."""

    inliers: int
    likeness: float
    scale: float
    seen: Region
    known: Region

    def mirrored(self) -> PartMatch:
        """The same, `seen` being what its mirror image shows."""
        left, right = round(1 - self.seen.right, 4), round(1 - self.seen.left, 4)
        return msgspec.structs.replace(self, seen=Region(left, self.seen.top, right, self.seen.bottom))

    def measures(self) -> tuple[float, ...]:
        """What is weighed by `WEIGHTS`, the first of which stands alone."""
        return (1, math.log(min(self.inliers, MANY)), self.likeness, abs(math.log(self.scale)))

    @property
    def evidence(self) -> float:
        """How much speaks for it: the logarithm of the odds, up to a constant, that it is a copy and not a stranger."""
        return sum(weight * value for weight, value in zip(WEIGHTS, self.measures(), strict=True))


ALIKE = 64
"""Bits of 256 by which two points' descriptions differ at most."""
TURN, SIZE = math.radians(25), math.log(1.45)
"""By how much a pair's own turn and size may differ from those of the whole."""
WITHIN = (10.0, 5.0, 5.0)
"""Pixels (of `features.LONGEST`) by which a point may lie off its place, before and after each time that the laying is fitted."""
TRIED = 48
"""Pairs, the most alike, of which any two are tried as a laying."""
APART = 24.0
"""Pixels that two such points lie apart at least."""
STRETCH = 2.0
"""How much more a picture may be stretched one way than the other."""
GRID = 8
"""Cells a side of a known picture in which agreeing points are counted."""
ENOUGH, ENOUGH_CELLS = 60, 10
"""Points of a known picture, and cells that they lie in, below which it is not sought in part."""
FEWEST = 8
"""Points that must agree before pixels are compared."""
MANY = 40
"""Points that agree of which more tell nothing more: the caption of a channel has a hundred of them."""
WEIGHTS = (-48.7, 8.85, 23.0, 13.5)
"""Of a constant, the logarithm of how many points agree, likeness, and the logarithm of the scale, as more is needed where
both are at one size: what two strangers share, a caption, a frame, letters of one type, is mostly shown so. By logistic
regression (`python -m bench.parts --seed 51`) of copies, and of strangers of which `FEWEST` points agree: pages of words,
scenes with the same balls in other places, players' pages, and what a channel lays around all that it shows."""
LEAST = 1.5
"""Evidence from which a picture is a copy. Of 5.7 million pairs of strangers there none reaches 0; of 11 million others one
reaches this."""
DIFFER = 10.0
"""Levels of 256 by which a pixel of what looks alike differs at most."""
SHOWN = 16
"""Pixels of a known picture, made small, that a seen one shows at least, to be compared."""


def match_points(seen: Points, known: Points) -> PartMatch | None:
    """Where `seen` shows a part of `known`; None where it does not. Mirrored copies need the mirrored points of `seen`."""
    match = agreement(seen, known)
    return match if match and match.evidence >= LEAST else None


def agreement(seen: Points, known: Points) -> PartMatch | None:
    """The best that there is, however little speaks for it; None where not even `FEWEST` points agree."""
    from redshank.media.parts_kernels import alike, laid  # Half a second, for who compares parts alone.

    if not len(seen.bits) or not len(known.bits):
        return None
    mine, theirs, _ = alike(seen.bits.view(np.uint64), known.bits.view(np.uint64), ALIKE)
    if len(mine) < FEWEST:
        return None
    here, there = seen.places[mine].astype(np.float64), known.places[theirs].astype(np.float64)
    turn = (seen.angles[mine] - known.angles[theirs]).astype(np.float64)
    size = np.log(seen.sizes[mine] / known.sizes[theirs]).astype(np.float64)
    laying, agreeing = laid(here, there, turn, size, TRIED, APART, TURN, SIZE, WITHIN, STRETCH, FEWEST)
    if agreeing.sum() < FEWEST:
        return None
    here, there = here[agreeing], there[agreeing]
    inliers = _distinct(here, there)
    if inliers < FEWEST:
        return None
    shown = _region(_frame(seen, _inverse(laying)), known)
    return PartMatch(
        inliers,
        _likeness(seen, known, laying),
        _scale(laying),
        _region(_frame(known, laying), seen),
        shown,
    )


def _likeness(seen: Points, known: Points, laying: Floats) -> float:
    """Of the pixels of the known picture, made small, that the seen one shows, the share that looks the same there.

    The seen picture, as it lies on the known one, is made as small, and its brightness and contrast are fitted: by least
    squares, then again by those pixels that lie near, so that what was laid over a part of it does not count.
    """
    rows, columns = known.small.shape
    thirds = (np.arange(3) + 0.5) / 3
    x, y = np.meshgrid(
        (np.arange(columns)[:, None] + thirds).reshape(-1) * (known.width / max(columns, 1)),
        (np.arange(rows)[:, None] + thirds).reshape(-1) * (known.height / max(rows, 1)),
    )
    u = laying[0, 0] * x + laying[0, 1] * y + laying[0, 2]
    v = laying[1, 0] * x + laying[1, 1] * y + laying[1, 2]
    inside = ((u >= 0) & (v >= 0) & (u < seen.width) & (v < seen.height))[1::3, 1::3]
    if inside.sum() < SHOWN or not seen.small.size:
        return 0.0
    theirs = known.small[inside].astype(np.float64)
    mine = _sampled(seen, u, v).reshape(rows, 3, columns, 3).mean(axis=(1, 3))[inside]
    mine = np.stack([mine, np.ones_like(mine)], axis=1)
    near = np.ones(len(mine), bool)
    for _ in range(4):
        off = np.abs(theirs - mine @ np.linalg.lstsq(mine[near], theirs[near], rcond=None)[0])
        near = off <= 2.5 * (1.5 * np.median(off) + 2)
    return float((off < DIFFER).mean())


def _sampled(of: Points, x: Floats, y: Floats) -> Floats:
    """The luminance of a picture, made small, at places in its own pixels, between four of the small one's."""
    rows, columns = of.small.shape
    u = np.clip(x * (columns / of.width) - 0.5, 0, columns - 1)
    v = np.clip(y * (rows / of.height) - 0.5, 0, rows - 1)
    left, top = u.astype(np.int64), v.astype(np.int64)
    right, bottom = np.minimum(left + 1, columns - 1), np.minimum(top + 1, rows - 1)
    u, v = u - left, v - top
    small = of.small.astype(np.float64)
    above = small[top, left] * (1 - u) + small[top, right] * u
    below = small[bottom, left] * (1 - u) + small[bottom, right] * u
    out: Floats = above * (1 - v) + below * v
    return out


def _averaged(small: Gray, longest: int) -> Gray:
    """A picture of so many pixels at most, each the mean of those that it stands for."""
    if max(small.shape) <= longest:
        return small
    rows, columns = (max(1, round(side * longest / max(small.shape))) for side in small.shape)
    down = np.arange(rows) * small.shape[0] // rows
    across = np.arange(columns) * small.shape[1] // columns
    total = np.add.reduceat(np.add.reduceat(small.astype(np.float64), down, axis=0), across, axis=1)
    count = np.outer(np.diff(down, append=small.shape[0]), np.diff(across, append=small.shape[1]))
    return np.round(total / count).astype(np.uint8)


def distances(seen: Bits, known: Bits) -> npt.NDArray[np.uint16]:
    """Bits by which each of `seen` (n, 32) differs from each of `known` (m, 32): (n, m)."""
    mine, theirs = seen.view(np.uint64), known.view(np.uint64)
    total = np.zeros((len(mine), len(theirs)), np.uint16)
    for word in range(4):
        total += np.bitwise_count(mine[:, word, None] ^ theirs[None, :, word])
    return total


def _complex(places: Floats) -> npt.NDArray[np.complex64]:
    return np.ascontiguousarray(places).view(np.complex64)[:, 0]


def _distinct(here: Floats, there: Floats) -> int:
    """Points in distinct places, to 8 pixels, of both pictures."""
    return min(len(np.unique((side // 8).astype(np.int64), axis=0)) for side in (here, there))


def _cells(places: Floats, of: Points) -> npt.NDArray[np.int64]:
    cells = np.minimum((places * np.array([GRID / of.width, GRID / of.height])).astype(np.int64), GRID - 1)
    out: npt.NDArray[np.int64] = cells[:, 1] * GRID + cells[:, 0]
    return out


def _frame(of: Points, laying: Floats) -> Floats:
    """The corners of a picture, where they are laid."""
    corners = np.array([[0, 0], [of.width, 0], [0, of.height], [of.width, of.height]], np.float32)
    out: Floats = corners @ laying[:, :2].T + laying[:, 2]
    return out


def _scale(laying: Floats) -> float:
    return float(np.sqrt(abs(np.linalg.det(laying[:, :2]))))


def _inverse(laying: Floats) -> Floats:
    square = np.linalg.inv(laying[:, :2])
    return np.column_stack([square, -square @ laying[:, 2]]).astype(np.float32)


def _region(places: Floats, of: Points) -> Region:
    left, top = places.min(axis=0) / (of.width, of.height)
    right, bottom = places.max(axis=0) / (of.width, of.height)
    return Region(*(round(float(min(max(value, 0.0), 1.0)), 4) for value in (left, top, right, bottom)))
