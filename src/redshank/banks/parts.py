"""The points of known pictures in one index, so that a part of any of them is found in a seen picture.

The one idea: an entry of the index is one point, and its number holds, beside the picture that it is of, where in that
picture it lies, how large and how turned. So a seen point that meets it says at once where the whole known picture would
lie, and only pictures of which several points say the same are compared in full. A known video is so many pictures, each
of a second of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from redshank.media.parts import PartMatch, Points, Shown, match_points, unpack_points

Ints = npt.NDArray[np.int64]

RADIUS = 23
"""Bits by which a seen point differs at most from one that votes for its picture; the index finds no farther."""
VOTES = 4
"""Points that say the same before a picture is compared in full."""
COMPARED = 20
"""Known pictures that are compared with a seen one in full, those with most votes."""
COMMON = 400
"""Known points that one seen point may meet; what meets more tells nothing, and has no vote."""
_SIZE, _TURN, _PLACE = np.log(1.9), np.pi / 4, 128.0
_BITS = 27  # Of a number, below the picture's: x and y of 9 bits, turn of 6, size of 3.


class PartIndex:
    """Known pictures by the id of their entries. Threads may search while one changes it."""

    def __init__(self) -> None:
        from redshank.matching import HammingIndex  # Half a second, for who asks for parts alone.

        self._index = HammingIndex()
        self._pictures: dict[int, tuple[int, Shown]] = {}
        self._of: dict[int, range] = {}
        self._next = 0

    def __len__(self) -> int:
        """How many pictures there are."""
        return len(self._pictures)

    @property
    def nbytes(self) -> int:
        """Bytes that it takes."""
        return self._index.nbytes + sum(len(points) for _, (_, points) in list(self._pictures.values()))

    def add(self, entries: Mapping[int, Sequence[Shown]]) -> None:
        """Add, by entry's id, what shows it: its points as `media.parts.telling` gives them; of an entry that is not there."""
        bits, numbers = [], []
        for entry, shown in entries.items():
            first = self._next
            for one in shown:
                points = unpack_points(one[1])
                self._pictures[self._next] = (entry, one)
                bits.append(points.bits)
                numbers.append(_numbers(self._next, points))
                self._next += 1
            self._of[entry] = range(first, self._next)
        if bits:
            self._index.add(np.concatenate(bits), np.concatenate(numbers))

    def remove(self, entry: int) -> None:
        """Remove an entry, if it is there."""
        numbers = []
        for picture in self._of.pop(entry, ()):
            _, (_, packed) = self._pictures.pop(picture)
            numbers.append(_numbers(picture, unpack_points(packed)))
        if numbers:
            self._index.remove(np.concatenate(numbers))

    def find(self, packed: bytes) -> Iterator[tuple[int, float | None, PartMatch]]:
        """Each entry of which a part is seen, at which second of it, and where; `packed` are a seen picture's points.

        A known video comes once for each second that is seen.
        """
        if not packed or not self._pictures:
            return
        seen = unpack_points(packed)
        few = list(self._pictures) if len(self._pictures) <= COMPARED else self._candidates(seen)
        for picture in few:
            known = self._pictures.get(picture)
            match = match_points(seen, unpack_points(known[1][1])) if known else None
            if known and match:
                yield known[0], known[1][0], match

    def _candidates(self, seen: Points) -> list[int]:
        """Pictures of which several points say the same of where they would lie, those with most such first."""
        rows, numbers, _ = self._index.search_many(seen.bits, RADIUS)
        few = np.bincount(rows, minlength=len(seen.bits))[rows] <= COMMON
        rows, numbers = rows[few], numbers[few]
        if len(rows) < VOTES:
            return []
        pictures = numbers >> _BITS
        places, sizes, turns = _read(numbers)
        by = np.log(seen.sizes[rows]) - sizes
        turn = seen.angles[rows] - turns
        middle = np.array([256 + 192j]) - places
        lies = seen.places[rows, 0] + 1j * seen.places[rows, 1] + middle * np.exp(by + 1j * turn)
        scaled = lies / (_PLACE * np.maximum(np.exp(by), 0.5))
        found: dict[int, int] = {}
        for shift in (0.0, 0.5):  # Two grids, so that what falls on a border of one is whole in the other.
            grid = pictures
            for part, most in (
                (np.floor(by / _SIZE + shift), 16),
                (np.floor((turn / _TURN + shift) % 8), 16),
                (np.floor(scaled.real + shift), 64),
                (np.floor(scaled.imag + shift), 64),
                (rows, 1024),
            ):
                grid = grid * most + part.astype(np.int64) % most
            voters = np.unique(grid)  # A seen point votes once for one place.
            chosen, votes = np.unique(voters // 1024, return_counts=True)
            enough = votes >= VOTES
            for picture, count in zip((chosen[enough] >> 20).tolist(), votes[enough].tolist(), strict=True):
                found[picture] = max(count, found.get(picture, 0))
        return sorted(found, key=lambda picture: (-found[picture], picture))[:COMPARED]


def _numbers(picture: int, points: Points) -> Ints:
    places = np.clip(points.places, 0, 511).astype(np.int64)
    turns = (points.angles * (32 / np.pi)).astype(np.int64) % 64
    sizes = np.clip(np.round(np.log(points.sizes) / np.log(1.2)), 0, 7).astype(np.int64)
    out: Ints = picture << _BITS | sizes << 24 | turns << 18 | places[:, 0] << 9 | places[:, 1]
    return out


def _read(numbers: Ints) -> tuple[npt.NDArray[np.complexfloating], npt.NDArray[np.floating], npt.NDArray[np.floating]]:
    """Places, logarithms of sizes, and turns."""
    places = (numbers >> 9 & 511) + 1j * (numbers & 511)
    return places, (numbers >> 24 & 7) * np.log(1.2), ((numbers >> 18 & 63) + 0.5) * (np.pi / 32)
