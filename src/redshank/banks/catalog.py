"""Which entries something may match: a big base in files, and beside it a small delta of what came since.

The one idea: this only proposes. Whoever is proposed is looked up in the store, where it may be withdrawn meanwhile, and is
compared again, so that nothing stale and no damaged file ever makes a match. Threads may ask while another one adds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from redshank.banks.base import FRAME_BITS, Base, Row, forms, key

if TYPE_CHECKING:
    from redshank.matching import HammingIndex

Hashes = npt.NDArray[np.uint8]
Pairs = npt.NDArray[np.int64]


class Catalog:
    """What is searched. `size` says how many hashes and keys the delta has."""

    def __init__(self, base: Base | None = None, *, quality: int) -> None:
        """`quality` is what a video's frame must reach to be searched, 0 to 100."""
        self.base = base
        self.size = 0
        self._quality = quality
        self._added: set[int] = set()
        self._pictures: HammingIndex | None = None
        self._frames: HammingIndex | None = None
        self._keys: dict[int, tuple[int, ...]] = {}

    def add(self, rows: Iterable[Row]) -> None:
        """Have entries proposed from now on. A value never changes, so that one that is there already need not come again;
        but a video may come again with other frames."""
        new = {row.id: row for row in rows if row.id not in self._added or row.kind == "video"}
        videos = [pk for pk, row in new.items() if row.kind == "video" and pk in self._added]
        content = forms(new.values(), self._quality)
        if videos and self._frames is not None:
            old = np.array(sorted(videos), np.int64)
            _, ids = self._frames.entries()
            self._frames.remove(ids[np.isin(ids >> FRAME_BITS, old)])
        self._pictures = _with(self._pictures, content.pictures, content.picture_ids)
        self._frames = _with(self._frames, content.frames, content.frame_ids)
        for one, pk in zip(content.keys.tolist(), content.key_ids.tolist(), strict=True):
            if pk not in (there := self._keys.get(one, ())):
                self._keys[one] = (*there, pk)
        self._added.update(new)
        self.size += len(content)

    def exact(self, asked: Iterable[tuple[str, str]]) -> list[int]:
        """The ids of the entries that may have one of these values; asked as (kind of its bank, canonical value)."""
        keys = [key(kind, value) for kind, value in asked]
        found = [pk for one in keys for pk in self._keys.get(one, ())]
        if keys and self.base is not None and len(self.base.keys):
            wanted = np.array(keys, np.uint64)
            starts = np.searchsorted(self.base.keys, wanted, "left")
            ends = np.searchsorted(self.base.keys, wanted, "right")
            for start, end in zip(starts[ends > starts].tolist(), ends[ends > starts].tolist(), strict=True):
                found += self.base.key_ids[start:end].tolist()
        return list(dict.fromkeys(found))

    def pictures_like(self, pdq: bytes, radius: int) -> list[int]:
        """The ids of the entries with a picture within `radius` bits of a hash of 32 bytes; the nearest first, but not strictly."""
        found = [pk for index in self._of_pictures() for pk, _ in index.search(pdq, radius)]
        return list(dict.fromkeys(found))

    def frames_like(self, pdq: bytes, radius: int) -> list[int]:
        """The same, of the entries that are videos and have such a frame."""
        found = [pk >> FRAME_BITS for index in self._of_frames() for pk, _ in index.search(pdq, radius)]
        return list(dict.fromkeys(found))

    def pictures(self, hashes: Hashes, radius: int) -> Pairs:
        """As `pictures_like`, for hashes, uint8 (m, 32): (n, 2) pairs of a row and an entry's id, without repeats."""
        return _near(self._of_pictures(), hashes, radius, 0)

    def frames(self, hashes: Hashes, radius: int) -> Pairs:
        """As `frames_like`, likewise."""
        return _near(self._of_frames(), hashes, radius, FRAME_BITS)

    def _of_pictures(self) -> list[HammingIndex]:
        return [one for one in (self.base.pictures if self.base else None, self._pictures) if one is not None]

    def _of_frames(self) -> list[HammingIndex]:
        return [one for one in (self.base.frames if self.base else None, self._frames) if one is not None]


def _with(index: HammingIndex | None, hashes: Hashes, ids: npt.NDArray[np.int64]) -> HammingIndex | None:
    if not len(ids):
        return index
    if index is None:
        from redshank.matching import HammingIndex  # Half a second, for banks of pictures and videos alone.

        return HammingIndex.build(hashes, ids)
    index.add(hashes, ids)
    return index


def _near(indexes: Sequence[HammingIndex], hashes: Hashes, radius: int, shift: int) -> Pairs:
    parts = [np.empty((0, 2), np.int64)]
    for index in indexes:
        rows, ids, _ = index.search_many(hashes, radius)
        parts.append(np.stack([rows, ids >> shift], axis=1))
    return np.unique(np.concatenate(parts), axis=0)
