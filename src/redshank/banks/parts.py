"""The points of known pictures in one index, so that a part of any of them is found in a seen picture.

The one idea: an entry of the index is one point, and its number holds, beside the entry that it is of, where in that
picture it lies, how large and how turned. So a seen point that meets it says at once where the whole known picture would
lie, and only entries of which several points say the same are compared in full. The index is all there is to keep.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from redshank.media.parts import PartMatch, Points, match_points, unpack_points

Ints = npt.NDArray[np.int64]

RADIUS = 31
"""Bits by which a seen point differs at most from one that votes for its entry; the index finds no farther."""
VOTES = 4
"""Points that say the same before an entry is compared in full."""
COMPARED = 10
"""Entries that are compared with one picture in full, those with most votes."""
COMMON = 400
"""Entries that one seen point may meet; what meets more tells nothing, and has no vote."""
_SIZE, _TURN, _PLACE = np.log(1.9), np.pi / 4, 128.0
_BITS = 27  # Of a number, below the entry's id: x and y of 9 bits, turn of 6, size of 3.


class PartIndex:
    """Known pictures by the id of their entries. Threads may search while one changes it."""

    def __init__(self) -> None:
        from redshank.matching import HammingIndex  # Half a second, for who asks for parts alone.

        self._index = HammingIndex()
        self._points: dict[int, bytes] = {}

    def __len__(self) -> int:
        """How many pictures there are."""
        return len(self._points)

    @property
    def nbytes(self) -> int:
        """Bytes that it takes."""
        return self._index.nbytes + sum(map(len, self._points.values()))

    def add(self, entries: dict[int, bytes]) -> None:
        """Add pictures: their points, as `media.parts.telling` gives them, by entry's id."""
        unpacked = [(entry, unpack_points(packed)) for entry, packed in entries.items() if packed]
        if unpacked:
            self._points |= {entry: entries[entry] for entry, _ in unpacked}
            numbers = np.concatenate([_numbers(entry, points) for entry, points in unpacked])
            self._index.add(np.concatenate([points.bits for _, points in unpacked]), numbers)

    def remove(self, entry: int) -> None:
        """Remove a picture, if it is there."""
        packed = self._points.pop(entry, b"")
        if packed:
            self._index.remove(_numbers(entry, unpack_points(packed)))

    def find(self, packed: bytes) -> Iterator[tuple[int, PartMatch]]:
        """Each entry of whose picture a part is seen, and where; `packed` are a seen picture's points."""
        if not packed or not self._points:
            return
        seen = unpack_points(packed)
        for entry in self._candidates(seen):
            known = self._points.get(entry)
            match = match_points(seen, unpack_points(known)) if known else None
            if match:
                yield entry, match

    def _candidates(self, seen: Points) -> list[int]:
        """Entries of which several points say the same of where their picture would lie, those with most such first."""
        rows, numbers, _ = self._index.search_many(seen.bits, RADIUS)
        few = np.bincount(rows, minlength=len(seen.bits))[rows] <= COMMON
        rows, numbers = rows[few], numbers[few]
        if len(rows) < VOTES:
            return []
        entries = numbers >> _BITS
        places, sizes, turns = _read(numbers)
        by = np.log(seen.sizes[rows]) - sizes
        turn = seen.angles[rows] - turns
        middle = np.array([256 + 192j]) - places
        lies = seen.places[rows, 0] + 1j * seen.places[rows, 1] + middle * np.exp(by + 1j * turn)
        scaled = lies / (_PLACE * np.maximum(np.exp(by), 0.5))
        best: dict[int, int] = {}
        for shift in (0.0, 0.5):  # Two grids, so that what falls on a border of one is whole in the other.
            grid = [
                entries, np.floor(by / _SIZE + shift), np.floor((turn / _TURN + shift) % 8),
                np.floor(scaled.real + shift), np.floor(scaled.imag + shift),
            ]  # fmt: skip
            bins = np.stack([part.astype(np.int64) for part in grid], axis=1)
            voters = np.unique(np.column_stack([bins, rows]), axis=0)[:, :5]  # A seen point votes once for one place.
            chosen, votes = np.unique(voters, axis=0, return_counts=True)
            for entry, count in zip(chosen[votes >= VOTES, 0].tolist(), votes[votes >= VOTES].tolist(), strict=True):
                best[entry] = max(count, best.get(entry, 0))
        return sorted(best, key=lambda entry: (-best[entry], entry))[:COMPARED]


def _numbers(entry: int, points: Points) -> Ints:
    places = np.clip(points.places, 0, 511).astype(np.int64)
    turns = (points.angles * (32 / np.pi)).astype(np.int64) % 64
    sizes = np.clip(np.round(np.log(points.sizes) / np.log(1.2)), 0, 7).astype(np.int64)
    out: Ints = entry << _BITS | sizes << 24 | turns << 18 | places[:, 0] << 9 | places[:, 1]
    return out


def _read(numbers: Ints) -> tuple[npt.NDArray[np.complexfloating], npt.NDArray[np.floating], npt.NDArray[np.floating]]:
    """Places, logarithms of sizes, and turns."""
    places = (numbers >> 9 & 511) + 1j * (numbers & 511)
    return places, (numbers >> 24 & 7) * np.log(1.2), ((numbers >> 18 & 63) + 0.5) * (np.pi / 32)
