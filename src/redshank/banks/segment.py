"""The hashes of one stretch of the past in files: hashes of pictures and frames by distance, digests of files exactly.

The idea: a stretch is written once, when it is over, into a folder that is renamed into its place whole. So any number of
writers may write the same one, a kill leaves nothing by half, and the past is forgotten by deleting folders. No Django here.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from redshank.matching import HammingIndex

Hashes = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.int64]
_PICTURES, _DIGESTS = "pictures.hamming", "digests.npy"


def digest_key(digest: str) -> int:
    """What of a digest in hex is kept: its first 64 bits. That two differ behind them is found out as the event is read."""
    return int(digest[:16], 16)


class Wanted:
    """What is looked for: hashes uint8 (n, 32), each within its limit of 0 to 31 bits, and digests in hex."""

    def __init__(self, hashes: Sequence[tuple[str, int]], digests: Iterable[str]) -> None:
        self.hashes = np.frombuffer(bytes.fromhex("".join(one for one, _ in hashes)), np.uint8).reshape(-1, 32)
        self.limits = np.array([limit for _, limit in hashes], np.int64)
        self.digests = np.unique(np.array([digest_key(one) for one in digests], np.uint64))


def write(place: Path, hashes: Hashes, hash_rows: Rows, digests: npt.NDArray[np.uint64], digest_rows: Rows) -> None:
    """Write a stretch to the new folder `place`: hashes (n, 32) and the rows they are of, digests' keys (m,) and theirs.

    Nothing happens where it is there already.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=place.parent))
    try:
        HammingIndex.build(hashes, hash_rows).save(fresh / _PICTURES)
        order = np.argsort(digests, kind="stable")
        with (fresh / _DIGESTS).open("wb") as out:
            np.save(out, np.stack([digests[order], digest_rows[order].astype(np.uint64)]))
            out.flush()
            os.fsync(out.fileno())
        try:
            fresh.rename(place)
        except OSError:
            if not place.exists():  # Else another one was faster, and wrote the same.
                raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def find(place: Path, wanted: Wanted) -> set[int]:
    """The rows in the stretch at `place` that have something wanted. Raises `BadInput` where its files are damaged."""
    digests = np.load(place / _DIGESTS, mmap_mode="r")
    with HammingIndex.open(place / _PICTURES) as index:
        return _within(index, wanted) | _among(digests[0], digests[1], wanted)


def find_in(
    hashes: Hashes, hash_rows: Rows, digests: npt.NDArray[np.uint64], digest_rows: Rows, wanted: Wanted
) -> set[int]:
    """The same, of a stretch that is not written."""
    order = np.argsort(digests, kind="stable")
    return _within(HammingIndex.build(hashes, hash_rows), wanted) | _among(digests[order], digest_rows[order], wanted)


def _within(index: HammingIndex, wanted: Wanted) -> set[int]:
    if not len(wanted.hashes):
        return set()
    queries, rows, distances = index.search_many(wanted.hashes, int(wanted.limits.max()))
    return set(rows[distances <= wanted.limits[queries]].tolist())


def _among(keys: npt.NDArray[np.uint64], rows: npt.NDArray[np.generic], wanted: Wanted) -> set[int]:
    """`keys` are sorted."""
    out: set[int] = set()
    starts = np.searchsorted(keys, wanted.digests, "left")
    for start, end in zip(starts, np.searchsorted(keys, wanted.digests, "right"), strict=True):
        out.update(int(row) for row in rows[start:end])
    return out
