"""Which seconds of one video are seconds of another, and which stretches run alongside.

Every frame is held against every frame of the other video, and what matches is chained: a chain goes on in both videos, no
less than half and no more than twice as fast in one as in the other. Where several frames could be a frame's partner, the
one in the longest and straightest chain wins, so that a still scene does not scatter a copied stretch into single seconds.
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

    `share` and `known_share` are the parts, 0 to 1, of the seconds of either that match one of the other in a chain, out of those that have enough quality to be compared; `seconds` is that count for the seen video, `matched` how many
    match. A `range` is a chain: where its two sides differ in length, the seen video was made slower or faster.
    """

    share: float
    known_share: float
    ranges: tuple[TimeRange, ...]
    matched: int = 0
    seconds: int = 0


APART = 5
"""Seconds of either video over which a chain goes on though none between them matches: a second is sampled from elsewhere in
a scene where a copy runs at another speed, and a cut or a caption comes between."""
NEAR = 64
"""Distance within which a pair of seconds goes on with a match just before or after it. Unrelated frames lie 128 bits
apart, give or take 8; a logo over a sixth of the picture, or a second cut elsewhere, moves a hash by 30 to 70."""


def match_videos(
    seen: VideoHashes, known: VideoHashes, limit: int, *, quality: int = 50, near: int | None = None
) -> VideoMatch:
    """Compare two videos, second by second. A pair matches within a Hamming distance of `limit`, of 256 bits.

    With `near` a pair within that distance matches as well where the pair of seconds before it or after it does. What
    matches alone, not in a chain, counts in videos of one or two seconds only: the same seconds in another order are no copy.
    Frames below `quality` (black, plain, blurred: they resemble each other in all videos) match nothing and do not count.
    """
    mine = [frame for frame in seen.frames if frame.quality >= quality]
    theirs = [frame for frame in known.frames if frame.quality >= quality]
    if not mine or not theirs:
        return VideoMatch(0.0, 0.0, (), 0, len(mine))
    from redshank.media.compare_kernels import chain  # Half a second to load, for videos alone.

    matches = _matches(mine, theirs, limit, max(limit, near or 0))
    times, known_times = (np.array([frame.second for frame in frames]) for frames in (mine, theirs))
    partners, there = chain(matches, times, known_times, APART, min(matches.shape) < 3)
    pairs = [(i, j) for i, j in enumerate(partners.tolist()) if j >= 0]
    return VideoMatch(
        len(pairs) / len(mine), float(there.mean()), tuple(_ranges(pairs, mine, theirs)), len(pairs), len(mine)
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


def _matches(mine: list[Frame], theirs: list[Frame], limit: int, near: int) -> npt.NDArray[np.uint8]:
    """Which pairs match, uint8 (mine, theirs), 0 or 1: those within `limit`, and those within `near` beside one that is."""
    seen, known = _words([frame.pdq for frame in mine]), _words([frame.pdq for frame in theirs])
    out = np.zeros((len(seen), len(known)), np.uint8)
    for top in range(0, len(seen), ROWS):
        apart = _distances(seen[top : top + ROWS], known)
        out[top : top + ROWS] = np.where(apart <= limit, 2, apart <= near)  # 2: a match; 1: only beside one.
    if near > limit:
        for row in range(1, len(out)):
            out[row, 1:][(out[row, 1:] == 1) & (out[row - 1, :-1] == 2)] = 2
        for row in range(len(out) - 2, -1, -1):
            out[row, :-1][(out[row, :-1] == 1) & (out[row + 1, 1:] == 2)] = 2
    out //= 2
    return out


def _ranges(pairs: list[tuple[int, int]], mine: list[Frame], theirs: list[Frame]) -> list[TimeRange]:
    """The pairs, joined where a chain goes on; a range ends a second after its last frames."""
    out: list[TimeRange] = []
    anchor = (0.0, 0.0)  # The last pair by which both sides went on: of a slower copy some seconds share a partner.
    for i, j in pairs:
        here, there = mine[i].second, theirs[j].second
        on, known_on = here - anchor[0], there - anchor[1]
        stays = known_on == 0 and on <= 2
        if out and (stays or (on <= APART and known_on <= APART and on <= 2 * known_on and known_on <= 2 * on)):
            out[-1] = TimeRange(out[-1].start, here + 1, out[-1].known_start, there + 1)
            anchor = anchor if stays else (here, there)
        else:
            out.append(TimeRange(here, here + 1, there, there + 1))
            anchor = (here, there)
    return out
