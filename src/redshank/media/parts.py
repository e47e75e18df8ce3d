"""Whether a picture shows a part of a known one: points of both that look alike must also lie alike.

The one idea: two pairs of alike points fix how one picture would be laid on the other (scaled, turned, moved), and each
point's own size and turn must agree with it. The laying that most pairs agree to is fitted to them; then it is asked not
only how many agree, but how many of the points that should be there do. So a logo, a caption or a frame of buttons that
two pictures share is not the picture: most of what lies between is missing.

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

_HEAD = struct.Struct(">HH")
_POINT = np.dtype([("x", ">u2"), ("y", ">u2"), ("size", "u1"), ("angle", "u1"), ("bits", "u1", (32,))])
POINT_BYTES = _POINT.itemsize
"""Bytes of a packed point: 38. Four more are a picture's."""
Shown = tuple[float | None, bytes]
"""The points of a picture, packed, and of which second of a video it is; None of a picture."""


class Points(NamedTuple):
    """Points of a picture that is `height` by `width` pixels at the scale at which they were found.

    `places` (n, 2) are x and y in those pixels; `sizes` (n,) from 1; `angles` (n,) in radians, 0 to 2 pi; `bits` (n, 32).
    """

    height: int
    width: int
    places: Floats
    sizes: Floats
    angles: Floats
    bits: Bits

    def only(self, which: npt.NDArray[np.int64]) -> Points:
        """Those of them."""
        return self._replace(
            places=self.places[which], sizes=self.sizes[which], angles=self.angles[which], bits=self.bits[which]
        )


def pack_points(points: Points) -> bytes:
    """`points` as bytes: the picture's height and width, then of each x, y (a 16th pixel), size (a 16th), angle, bits."""
    out = np.zeros(len(points.places), _POINT)
    out["x"], out["y"] = np.clip(np.round(points.places * 16), 0, 65535).T
    out["size"] = np.clip(np.round(points.sizes * 16), 1, 255)
    out["angle"] = np.round(points.angles * (128 / np.pi)).astype(np.int64) % 256
    out["bits"] = points.bits
    return _HEAD.pack(points.height, points.width) + out.tobytes()


def unpack_points(packed: bytes) -> Points:
    """What `pack_points` packed; of no bytes, no points. Raises ValueError for other bytes."""
    if not packed:
        packed = _HEAD.pack(1, 1)
    height, width = _HEAD.unpack_from(packed)
    raw = np.frombuffer(packed, _POINT, offset=_HEAD.size)
    places = np.stack([raw["x"], raw["y"]], axis=1).astype(np.float32) / np.float32(16)
    return Points(
        height, width, places, raw["size"].astype(np.float32) / np.float32(16),
        raw["angle"].astype(np.float32) * np.float32(np.pi / 128), np.ascontiguousarray(raw["bits"]),
    )  # fmt: skip


KEPT = 500
"""Points that are kept of a known picture: with 4 bytes for its size, 19 kB. Of 300, a crop to a third had too few."""
REPEATED = 31
"""Bits by which two points of one picture differ at most that tell nothing: letters, windows, corners of plain shapes."""


def telling(packed: bytes) -> bytes:
    """Of a picture's points, those worth knowing it by: none that it shows at several places, `KEPT` at most."""
    points = unpack_points(packed)
    table = distances(points.bits, points.bits)
    apart = np.abs(_complex(points.places)[:, None] - _complex(points.places)[None]) > APART / 2
    single = np.flatnonzero(~((table <= REPEATED) & apart).any(axis=1))[:KEPT]
    return pack_points(points.only(single)) if len(single) else b""


def poverty(packed: bytes) -> str:
    """Why points that `telling` gave are too few to know a part of their picture by; empty where they are enough."""
    points = unpack_points(packed)
    cells = len(np.unique(_cells(points.places, points)))
    if len(points.bits) < ENOUGH:
        return f"{len(points.bits)} points of its own; {ENOUGH} are needed"
    return "" if cells >= ENOUGH_CELLS else "all its points lie close together"


class PartMatch(msgspec.Struct, frozen=True):
    """A part of a known picture in a seen one: `inliers` distinct points agree. They lie in `cells` of the 64 that the
    known picture is cut into, which is `share` (0 to 1) of those that should show. The region `seen` of the one is the region
    `known` of the other, as they are laid on each other, the known one enlarged by `scale`."""

    inliers: int
    share: float
    cells: int
    scale: float
    seen: Region
    known: Region

    def mirrored(self) -> PartMatch:
        """The same, `seen` being what its mirror image shows."""
        left, right = round(1 - self.seen.right, 4), round(1 - self.seen.left, 4)
        return msgspec.structs.replace(self, seen=Region(left, self.seen.top, right, self.seen.bottom))


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
LEAST_LARGER = ((13, 4, 0.74), (16, 4, 0.55), (18, 6, 0.46), (21, 8, 0.36))
"""Points that must agree, cells that they lie in, and the share that these are of those that should show: any of them will
do, where the known picture is shown larger than `SAME`, as a crop that fills the frame is. A crop of little but sky has
few points, but nearly all.

All three ladders were set by 21 million pairs of strangers, pages of words and scenes that show the same balls in other
places among them. Enlarged, these reach (15, 8, 0.73) and (20, 9, 0.45)."""
LEAST_SMALLER = ((15, 6, 0.72), (16, 9, 0.55), (19, 9, 0.36), (22, 11, 0.25))
"""The same where the known picture is made smaller: its small points are gone, and a screenshot has others over some. Strangers
reach (14, 8, 0.8), (14, 10, 0.53), (18, 6, 0.46), (17, 11, 0.33) and (20, 9, 0.3)."""
LEAST_SAME = ((14, 4, 0.8), (19, 4, 0.66), (26, 8, 0.56), (48, 16, 0.42))
"""The same where both are at one size: then more is found again of a true copy, and two pages of one type, or two
screenshots, share letters, buttons and titles with different pictures between; they reach (13, 6, 0.86), (13, 7, 0.78),
(18, 9, 0.64), (23, 12, 0.52), (35, 17, 0.5) and (40, 14, 0.39)."""
SAME = (1 / 1.5, 1.25)
"""From which scale to which a known picture is shown at its size, more or less."""


def match_points(seen: Points, known: Points) -> PartMatch | None:
    """Where `seen` shows a part of `known`; None where it does not. Mirrored copies need the mirrored points of `seen`."""
    match = agreement(seen, known, min(LEAST_LARGER)[0])
    if match is None:
        return None
    least = LEAST_LARGER if match.scale > SAME[1] else LEAST_SMALLER if match.scale < SAME[0] else LEAST_SAME
    return match if any(match.inliers >= n and match.cells >= c and match.share >= s for n, c, s in least) else None


def agreement(seen: Points, known: Points, enough: int = 6) -> PartMatch | None:
    """The best that there is, however little agrees; None where not even `enough` points do."""
    from redshank.media.parts_kernels import alike, laid  # Half a second, for who compares parts alone.

    if not len(seen.bits) or not len(known.bits):
        return None
    mine, theirs, _ = alike(seen.bits.view(np.uint64), known.bits.view(np.uint64), ALIKE)
    if len(mine) < enough:
        return None
    here, there = seen.places[mine].astype(np.float64), known.places[theirs].astype(np.float64)
    turn = (seen.angles[mine] - known.angles[theirs]).astype(np.float64)
    size = np.log(seen.sizes[mine] / known.sizes[theirs]).astype(np.float64)
    laying, agreeing = laid(here, there, turn, size, TRIED, APART, TURN, SIZE, WITHIN, STRETCH, enough)
    if agreeing.sum() < enough:
        return None
    here, there = here[agreeing], there[agreeing]
    cells = np.unique(_cells(there, known))
    expected = np.unique(_cells(known.places[_wanted(laying, seen, known)], known))
    share = float(np.isin(expected, cells).mean()) if len(expected) else 0.0
    back = _inverse(laying)
    return PartMatch(
        _distinct(here, there),
        share,
        len(cells),
        _scale(laying),
        _region(_frame(known, laying), seen),
        _region(_frame(seen, back), known),
    )


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


def _wanted(laying: Floats, seen: Points, known: Points) -> npt.NDArray[np.bool_]:
    """Which points of `known` should be seen: they lie within the seen picture, at a size that is looked for."""
    laid = known.places @ laying[:, :2].T + laying[:, 2]
    sizes = known.sizes * np.float32(_scale(laying))
    inside = (laid >= 16).all(axis=1) & (laid[:, 0] < seen.width - 16) & (laid[:, 1] < seen.height - 16)
    out: npt.NDArray[np.bool_] = inside & (sizes >= 0.9) & (sizes <= 4)
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
