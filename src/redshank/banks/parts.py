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

from redshank.banks import parts_kernels as kernels
from redshank.media.parts import LEAST, Bits, PartMatch, Points, Shown, agreement, unpack_points

Ints = npt.NDArray[np.int64]

RADIUS = 31
"""Bits by which a seen point differs at most from one that votes for its picture."""
TABLES = 8
"""Chains that a point is in, each by other bits of it."""
LENGTH = 1
"""Points in a chain, if they were spread evenly; with more, the chains of what many pictures have grow too long."""
WIDEST = 24
"""Bits that name a chain at most."""
VOTES = 4
"""Points that say the same before a picture is compared in full."""
COMPARED = 20
"""Known pictures that are compared with a seen one in full, those with most votes."""
COMMON = 16
"""Points of a chain that are looked at, the newest; those that are in longer ones, letters and windows, tell little."""
_SIZE, _TURN, _PLACE = np.log(1.9), np.pi / 4, 128.0
_BITS = 27  # Of a number, below the picture's: x and y of 9 bits, turn of 6, size of 3.


class PartIndex:
    """Known pictures by the id of their entries. Threads may search while one changes it."""

    def __init__(self) -> None:
        self._pictures: dict[int, tuple[int, Shown]] = {}
        self._of: dict[int, range] = {}
        self._next = 0
        self._points = _Points(1 << 12)

    def __len__(self) -> int:
        """How many pictures there are."""
        return len(self._pictures)

    @property
    def nbytes(self) -> int:
        """Bytes that it takes."""
        return self._points.nbytes + sum(len(points) for _, (_, points) in list(self._pictures.values()))

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
            more = np.concatenate(numbers)
            if not self._points.has_room(len(more)):
                self._points = self._points.grown(len(more))  # Who searches meanwhile goes on in the old ones.
            self._points.add(np.concatenate(bits), more)

    def remove(self, entry: int) -> None:
        """Remove an entry, if it is there."""
        pictures = self._of.pop(entry, range(0))
        for picture in pictures:
            del self._pictures[picture]
        if pictures:
            self._points.remove(pictures)

    def find(self, packed: bytes) -> Iterator[tuple[int, float | None, PartMatch]]:
        """Each entry of which a part is seen, at which second of it, and where; `packed` are a seen picture's points.

        A known video comes once for each second that is seen.
        """
        return (found for found in self.agreements(packed) if found[2].evidence >= LEAST)

    def agreements(self, packed: bytes) -> Iterator[tuple[int, float | None, PartMatch]]:
        """The same of each entry that was compared, however little speaks for it."""
        if not packed or not self._pictures:
            return
        seen = unpack_points(packed)
        few = list(self._pictures) if len(self._pictures) <= COMPARED else self._candidates(seen)
        for picture in few:
            known = self._pictures.get(picture)
            match = agreement(seen, unpack_points(known[1][1])) if known else None
            if known and match:
                yield known[0], known[1][0], match

    def _candidates(self, seen: Points) -> list[int]:
        """Pictures of which several points say the same of where they would lie, those with most such first."""
        rows, numbers = self._points.meet(seen.bits)
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


class _Points:
    """Known points, up to some `room`, in chains."""

    def __init__(self, room: int) -> None:
        self._width = min(WIDEST, max(8, (room // LENGTH).bit_length() - 1))
        self._chosen = np.stack([np.random.default_rng(table).permutation(256) for table in range(TABLES)])
        self._bits = np.empty((room, 4), np.uint64)
        self._numbers = np.empty(room, np.int64)
        self._following = np.empty((room, TABLES), np.int32)
        self._heads = np.full((TABLES, 1 << self._width), -1, np.int32)
        self._count = 0

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part in (self._bits, self._numbers, self._following, self._heads))

    def has_room(self, more: int) -> bool:
        return self._count + more <= len(self._numbers)

    def grown(self, more: int) -> _Points:
        """The same without those that were removed, with room for half as many again, and `more`."""
        there = self._numbers[: self._count] >= 0
        out = _Points(int(1.5 * there.sum()) + more)
        out.add(self._bits[: self._count][there].view(np.uint8), self._numbers[: self._count][there])
        return out

    def add(self, bits: Bits, numbers: Ints) -> None:
        """Add points: their bits (n, 32), and their numbers. There is room for them."""
        first, end = self._count, self._count + len(numbers)
        self._bits[first:end] = np.ascontiguousarray(bits).view(np.uint64)
        self._numbers[first:end] = numbers
        kernels.link(self._bits, first, end, self._chosen, self._heads, self._following, self._width)
        self._count = end

    def remove(self, pictures: range) -> None:
        """Let the points of these pictures be met no more."""
        of = self._numbers[: self._count] >> _BITS
        self._numbers[: self._count][(of >= pictures.start) & (of < pictures.stop)] = -1

    def meet(self, bits: Bits) -> tuple[Ints, Ints]:
        """Which of `bits` (n, 32) meets which point: rows and numbers."""
        room = 1 << 14
        while True:
            rows, numbers = np.empty(room, np.int64), np.empty(room, np.int64)
            count = kernels.meet(
                np.ascontiguousarray(bits).view(np.uint64), self._bits, self._numbers, self._chosen, self._heads,
                self._following, self._width, RADIUS, COMMON, rows, numbers,
            )  # fmt: skip
            if count <= room:
                return rows[:count], numbers[:count]
            room = 2 * count


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
