"""The hashes that a picture would have had before somebody mirrored, turned, framed or cut it.

The one idea: banks keep plain PDQ hashes, and what is seen is undone in all likely ways, each giving one more hash to
look for. Mirroring and turning are changes of sign and place among the waves that PDQ is made of, so the seven other
hashes cost as much as one median each; a picture that lost a little of its edges is stretched on the 64 by 64 points;
only where bars or frames are found is a part of the picture sampled again.

Source of the turns: "PDQ & TMK + PDQF", Facebook 2019, on dihedral hashes. The rest is measured by `bench.copies`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from redshank.media.hashes import Variant
from redshank.media.pdq import FREQUENCIES, SIDE, Floats, Gray, quality_of, sample, stretched

Waves = npt.NDArray[np.float32]
Box = tuple[int, int, int, int]
"""Top, bottom, left, right, ends excluded."""

BORDERED, CAPTIONED, COVERED, CROPPED, MIRRORED = "bordered", "with a bar", "partly covered", "cropped", "mirrored"
DETAIL = 400
"""Lines of either axis at most on which bars are looked for: finds an edge to a quarter of a hundredth of the side."""
ACROSS = 64
"""Points of each line that are looked at where long edges are sought."""
PLAIN = 16
"""Levels of 255 by which the points of a plain bar differ from its color; JPEG's noise stays below it."""
STRAY = 0.05
"""Share of a plain bar's line that may be of another color."""
STEP = 8
"""Levels by which the two sides of a bar's edge differ."""
EDGE = 0.7
"""Share of a line along which there is such a step, for it to be the edge of a bar."""
EDGE_ALIKE = 0.5
"""The same where two lie as far from opposite sides, on the average of both."""
PAPER = 0.25
"""Share of the bar's own color in each of its lines, letters and all; a picture has less of it."""
MARGINS = (
    *((0.02, 0.02, 0.02, 0.02), (0.035, 0.035, 0.035, 0.035)),
    *(
        (0.008, 0.026, 0.008, 0.026),
        (0.008, 0.026, 0.026, 0.008),
        (0.026, 0.008, 0.008, 0.026),
        (0.026, 0.008, 0.026, 0.008),
    ),
)
"""Shares of its sides that a cropped picture is thought to have lost: top, bottom, left, right."""
SMALL = 400
"""Shorter side, in pixels, below which a picture is turned pixel by pixel: waves of 150 would be 20 bits off, of 400 two."""
SMALLEST = 24
"""Pixels of a part's shorter side, below which it is not hashed."""
LEAST_SIDE, LEAST_AREA = 0.2, 0.08
"""Shares of the whole that a part has at least."""
MOST_PARTS = 8


class Part(NamedTuple):
    """A rectangle of a picture, in pixels, ends excluded, and what the rest of it is."""

    how: str
    top: int
    bottom: int
    left: int
    right: int


def variants(
    gray: Gray, points: Floats, quality: int, *, scaled: bool = False, limited: bool = False
) -> tuple[Variant, ...]:
    """The other hashes of a picture: turned, mirrored, with its lost edges guessed, and of what its bars leave.

    `gray` is its luminance, (height, width) uint8; `points` what `pdq.sample` made of it, (64, 64) float32, of that `quality`, stretched
    where `limited` says that black is 16 and white 235; `scaled`, that they are a larger picture's (see `pdq.Scaled`).
    Seven are always there, and six for margins.
    """
    small = min(gray.shape) < SMALL and not scaled
    turned = _turned_small(gray, limited) if small else _turned(waves_of(points))
    cropped = np.matmul(np.matmul(_MARGINS_DOWN, points), _MARGINS_ACROSS)
    hashes = _hashes(np.concatenate([turned, cropped]))
    out = [Variant(how, hash_, quality) for how, hash_ in zip(_ALWAYS, hashes, strict=True)]
    for part in parts(gray):
        out += _of_part(gray, part, limited)
    return tuple(out)


def frame_variants(gray: Gray, points: Floats, *, limited: bool = False) -> tuple[Variant, ...]:
    """Of a video's frame fewer, each `how` once: mirrored, and what is within its bars, either way."""
    out = [Variant(MIRRORED, _hashes(_mirrored(gray, points, limited)[None])[0], quality_of(points))]
    for part in parts(gray)[:1]:
        within = part._replace(how=BORDERED)
        out += [variant for variant in _of_part(gray, within, limited) if variant.how != COVERED]
    return tuple(out)


def waves_of(points: Floats) -> Waves:
    """The DCT's waves 1 to 16 down and across: (16, 16) float32."""
    waves: Waves = _FREQUENCIES @ points @ _FREQUENCIES.T
    return waves


def _of_part(gray: Gray, part: Part, limited: bool) -> Iterator[Variant]:
    inside = gray[part.top : part.bottom, part.left : part.right]
    points = stretched(sample(inside), limited)
    quality = quality_of(points)
    plain, turned_over = _hashes(np.stack([waves_of(points), _mirrored(inside, points, limited)]))
    yield Variant(part.how, plain, quality)
    yield Variant(f"{part.how}, {MIRRORED}", turned_over, quality)
    height, width = gray.shape
    lost = np.array([part.top, height - part.bottom]) / height, np.array([part.left, width - part.right]) / width
    if 0 < max(*lost[0], *lost[1]) <= 0.2 and sum(map(np.count_nonzero, lost)) == 1:
        down, across = (FREQUENCIES @ _positions(*(share / (1 - share.sum()))) for share in lost)
        yield Variant(COVERED, _hashes((down @ points @ across.T).astype(np.float32)[None])[0], quality)


# Waves turned and stretched

_FREQUENCIES = FREQUENCIES.astype(np.float32)
_FLIP = np.where(np.arange(16) % 2, 1, -1).astype(np.float32)
"""What turning over does to wave k + 1 of an axis: odd ones change their sign."""

_ACROSS = np.broadcast_to(_FLIP, (16, 16))
_SIGNS = np.stack(
    [_ACROSS, _ACROSS.T * _ACROSS, _ACROSS.T, _ACROSS.T, _ACROSS, np.ones_like(_ACROSS), _ACROSS.T * _ACROSS]
)

TURNS = (
    MIRRORED, "upside down", "mirrored, upside down", "turned right", "turned left", "mirrored, turned left",
    "mirrored, turned right",
)  # fmt: skip
"""How the seen picture lies beside the one that has the hash, in the order of `_turned`."""
_ALWAYS = TURNS + (CROPPED,) * len(MARGINS)


def _turned(waves: Waves) -> Waves:
    """(7, 16, 16): the waves of the picture after it is turned back from each of `TURNS`."""
    return np.concatenate([waves * _SIGNS[:3], waves.T * _SIGNS[3:]])


def _mirrored(gray: Gray, points: Floats, limited: bool) -> Waves:
    if min(gray.shape) < SMALL:
        return waves_of(stretched(sample(gray[:, ::-1]), limited))
    return waves_of(points) * _FLIP


def _turned_small(gray: Gray, limited: bool) -> Waves:
    """The same of a small picture, turned pixel by pixel: PDQ's points lie up to a pixel off the middle, too far there."""
    flipped = [gray[:, ::-1], gray[::-1, ::-1], gray[::-1]]
    across, both, down = (waves_of(stretched(sample(one), limited)) for one in flipped)
    same = waves_of(stretched(sample(gray), limited))
    return np.stack([across, both, down, across.T, down.T, same.T, both.T])


def _hashes(waves: Waves) -> list[str]:
    """The hashes in hex of (n, 16, 16) waves: which lie over the lower of the two in the middle."""
    flat = waves.reshape(len(waves), 256)
    median = np.partition(flat, 127, axis=1)[:, 127:128]
    digits = np.packbits((flat > median)[:, ::-1], axis=1).tobytes().hex()
    return [digits[at : at + 64] for at in range(0, len(digits), 64)]


def _positions(before: float, after: float) -> Floats:
    """(64, 64): takes the points of an axis to those of one that is longer by `before` and `after`, shares of it.

    What lies outside has the color of the edge.
    """
    at = (np.arange(SIDE) + 0.5) * (1 + before + after) - before * SIDE - 0.5
    at = np.clip(at, 0, SIDE - 1)
    first = np.minimum(at.astype(int), SIDE - 2)
    out = np.zeros((SIDE, SIDE), np.float32)
    out[np.arange(SIDE), first] = 1 - (at - first)
    out[np.arange(SIDE), first + 1] += (at - first).astype(np.float32)
    return out


_MARGINS_DOWN = np.stack([FREQUENCIES @ _positions(top, bottom) for top, bottom, _, _ in MARGINS]).astype(np.float32)
_MARGINS_ACROSS = np.stack([(FREQUENCIES @ _positions(left, right)).T for *_, left, right in MARGINS]).astype(
    np.float32
)


# Bars and frames


def parts(gray: Gray) -> list[Part]:
    """What may be the picture itself within `gray`, (height, width) uint8: without plain bars and frames, without bars
    with letters on them, without bars of any kind that end in a long straight edge. Empty where there is none of it.
    """
    height, width = gray.shape
    if min(height, width) < SMALLEST:
        return []
    down, across = max(1, height // DETAIL), max(1, width // DETAIL)
    small = gray[::down, ::across]
    whole = (0, small.shape[0], 0, small.shape[1])
    steps = _without_plain(small, whole)
    inner = steps[-1] if steps else whole
    found: list[tuple[str, Box]] = []
    if steps:
        found += [(BORDERED, inner), (BORDERED, _evened(inner, small.shape)), (BORDERED, steps[0])]
        found.append((CAPTIONED, _without_paper(small, whole)))
    for box in _within_edges(small, inner):
        found += [(CAPTIONED, box), *((CAPTIONED, step) for step in _without_plain(small, box)[-1:])]
    out: list[Part] = []
    for how, (top, bottom, left, right) in found:
        part = Part(how, top * down, min(bottom * down, height), left * across, min(right * across, width))
        if _is_worth_it(part, height, width) and not any(_is_near(part, other, height, width) for other in out):
            out.append(part)
    return out[:MOST_PARTS]


def _is_worth_it(part: Part, height: int, width: int) -> bool:
    tall, wide = part.bottom - part.top, part.right - part.left
    return (
        min(tall, wide) >= SMALLEST
        and tall >= LEAST_SIDE * height
        and wide >= LEAST_SIDE * width
        and LEAST_AREA * height * width <= tall * wide
        and (tall < 0.99 * height or wide < 0.99 * width)
    )


def _is_near(one: Part, other: Part, height: int, width: int) -> bool:
    down = max(abs(one.top - other.top), abs(one.bottom - other.bottom)) / height
    across = max(abs(one.left - other.left), abs(one.right - other.right)) / width
    return max(down, across) <= 0.004


def _without_plain(picture: Gray, box: Box) -> list[Box]:
    """`box` without the bars of one color at its sides, and without those inside them: each step, the last the innermost.

    No box where there are no bars.
    """
    steps = []
    for turn in range(8):
        top, bottom, left, right = box
        lines = picture[top:bottom, left:right]
        start, end = _plain_ends(lines.T if turn % 2 else lines)
        box = (top, bottom, left + start, right - end) if turn % 2 else (top + start, bottom - end, left, right)
        if start or end:
            steps.append(box)
        elif turn and (not steps or turn > 1):
            break
        if min(box[1] - box[0], box[3] - box[2]) < SMALLEST:
            break
    return steps


def _plain_ends(lines: Gray) -> tuple[int, int]:
    """How many lines at the beginning and at the end are of one color, each end of its own; (0, 0) where all are."""
    count = len(lines)
    if count < 2 or not lines.shape[1]:
        return 0, 0
    ends = []
    thin = max(1, lines.shape[1] // 128)
    for edge in (lines, lines[::-1]):
        first = np.sort(edge[0, ::thin])
        color = int(first[len(first) // 2])
        length = 0
        if first[int(0.9 * (len(first) - 1))] - np.int16(first[int(0.1 * (len(first) - 1))]) <= 2 * PLAIN:
            for step in (16, count):  # Nearly all pictures have no bar, and are done before this.
                busy = np.flatnonzero((np.abs(edge[:step].astype(np.int16) - color) > PLAIN).mean(axis=1) > STRAY)
                length = int(busy[0]) if busy.size else min(step, count)
                if busy.size:
                    break
        ends.append(length)
    start, end = ends
    return (0, 0) if start + end >= count else (start, end)


def _evened(box: Box, shape: tuple[int, ...]) -> Box:
    """`box` with bars of one width on opposite sides, the narrower: the rest was dark already."""
    top, bottom, left, right = box
    height, width = shape
    if top and bottom < height:
        top = min(top, height - bottom)
        bottom = height - top
    if left and right < width:
        left = min(left, width - right)
        right = width - left
    return top, bottom, left, right


def _without_paper(picture: Gray, box: Box) -> Box:
    """`box` without bars at its top and bottom that show their own color in every line, between and beside letters."""
    top, bottom, left, right = box
    lines = picture[top:bottom, left:right]
    start = _paper(lines)
    end = _paper(lines[::-1])
    return (top, bottom, left, right) if start + end >= len(lines) else (top + start, bottom - end, left, right)


def _paper(lines: Gray) -> int:
    color = int(np.sort(lines[0])[lines.shape[1] // 2])
    if (np.abs(lines[0].astype(np.int16) - color) > PLAIN).mean() > STRAY:
        return 0
    own = (np.abs(lines[:, :: max(1, lines.shape[1] // 128)].astype(np.int16) - color) <= PLAIN).mean(axis=1)
    run = max(3, len(lines) // 16)
    sums = np.convolve(own, np.ones(run) / run, "valid")
    busy = np.flatnonzero((sums < PAPER) & (own[: len(sums)] < PAPER + 0.2))
    return int(busy[0]) if busy.size else 0


def _within_edges(picture: Gray, box: Box) -> Iterator[Box]:
    """`box` within the straight edges that run across it: two alike on opposite sides, the strongest, the innermost."""
    top, bottom, left, right = box
    inside = picture[top:bottom, left:right]
    if min(inside.shape) < SMALLEST:
        return
    rows = _edges(inside.T[:: max(1, inside.shape[1] // ACROSS)])
    columns = _edges(inside[:: max(1, inside.shape[0] // ACROSS)])
    seen = set()
    for which in (0, 1, 2):
        found = (
            top + rows[0][which], bottom - rows[1][which], left + columns[0][which], right - columns[1][which],
        )  # fmt: skip
        if found != box and found not in seen:
            seen.add(found)
            yield found


def _edges(across: Gray) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """How far from the beginning, and from the end, edges that run across are; 0 where there is none.

    `across` is (points of each line, lines) uint8. Three of either: that which has its like on the other side, the
    strongest, the innermost.
    """
    points = np.ascontiguousarray(across)
    before, after = points[:, :-2], points[:, 2:]
    steps = np.maximum(before, after) - np.minimum(before, after) > STEP
    share = np.add.reduce(steps.view(np.uint8), axis=0, dtype=np.uint8) / np.float32(len(points))
    reach = int(0.45 * points.shape[1])
    both = share[:reach] + share[::-1][:reach]
    alike = _last_of(both, 2 * EDGE_ALIKE) if both.max(initial=0) >= 2 * EDGE_ALIKE else 0
    out = []
    for side in (share[:reach], share[::-1][:reach]):
        places = np.flatnonzero(side >= EDGE)
        out.append((alike, _last_of(side, EDGE), int(places[-1]) + 1) if places.size else (alike, 0, 0))
    return out[0], out[1]


def _last_of(side: Floats, enough: float) -> int:
    """Lines before the strongest edge, which two lines show, is over."""
    place = int(side.argmax())
    while place + 1 < len(side) and side[place + 1] >= enough:
        place += 1
    return place + 1
