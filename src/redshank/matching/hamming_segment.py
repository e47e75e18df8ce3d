"""A segment: an immutable set of hashes with its search tables, as one block of bytes, the same in memory and in a file.

The idea is that a file is opened by mapping it: nothing is parsed, and all processes that map it share its memory. What
the kernels follow without looking (the bucket offsets) is checked when a file is opened; the rest can only mislead, not
lead out of the block, and `Segment.verify` checks it against its sums when asked to.
"""

from __future__ import annotations

import mmap
import os
import secrets
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from redshank.core import BadInput
from redshank.matching import hamming_kernels as kernels

Bytes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint64]
Ids = npt.NDArray[np.int64]

FLAT_BELOW = 4096
"""Segments of fewer rows have no tables: reading them all is as fast, and the tables' offsets take 4 MB."""
MAGIC = b"\x89RSHAM\r\n"
VERSION = 1
NATIVE_ORDER = 0x01020304
HEADER = 4096
# magic, version, byte order, generation, rows, postings, id base, id bytes, sections' sums, sum of all before.
_HEAD = struct.Struct("=8sII16sQQqI6I")
_SUM = struct.Struct("=I")
NO_BYTES: Bytes = np.empty(0, np.uint8)


class Segment:
    """Hashes and ids that no longer change, but for the mark of those removed.

    `block` is the block of bytes; `meta` the int64 numbers of `hamming_kernels`; `dead` a bit for each row, or empty.
    """

    __slots__ = ("block", "dead", "dead_count", "generation", "ids", "meta", "rows", "tabled", "words")

    def __init__(self, block: Bytes, meta: npt.NDArray[np.int64], generation: bytes) -> None:
        self.block = block
        self.meta = meta
        self.generation = generation
        self.rows = int(meta[kernels.ROWS])
        self.tabled = bool(meta[kernels.POSTINGS])
        self.dead: Bytes = NO_BYTES
        self.dead_count = 0
        at_words, at_ids = int(meta[kernels.AT_WORDS]), int(meta[kernels.AT_IDS])
        self.words: Words = block[at_words : at_words + self.rows * 32].view(np.uint64)
        wide = int(meta[kernels.ID_BYTES])
        raw_ids = block[at_ids : at_ids + self.rows * wide]
        self.ids: Ids | npt.NDArray[np.uint32] = raw_ids.view(np.int64) if wide == 8 else raw_ids.view(np.uint32)

    @classmethod
    def build(cls, hashes: Bytes, ids: Ids, beside: Path | None = None) -> Segment:
        """A segment of hashes, uint8 (n, 32), and ids, int64 (n,); in memory, or mapped to a new file (see `new_path`)."""
        words = np.ascontiguousarray(hashes).view(np.uint64).reshape(-1, 4)
        rows = len(words)
        tabled = rows >= FLAT_BELOW
        if tabled:
            order = _sorting(words)
            words, ids = words[order], ids[order]
            del order
        base = int(ids.min()) if tabled else 0
        narrow = tabled and int(ids.max()) - base < 1 << 32
        postings = int(kernels.count_distinct(words)) if tabled else 0
        meta, size, _ = _layout(rows, postings, base if narrow else 0, 4 if narrow else 8)

        def fill(segment: Segment) -> None:
            segment.words.reshape(-1, 4)[:] = words
            segment.ids[:] = ids - base if narrow else ids
            if tabled:
                kernels.build_tables(words.view(np.uint16), segment.block, meta)

        return cls._made(meta, size, fill, beside)

    def copy(self, beside: Path) -> Segment:
        """The same again, as when it was built, in a new file (see `new_path`)."""

        def fill(segment: Segment) -> None:
            segment.block[HEADER:] = self.block[HEADER:]

        return self._made(self.meta, len(self.block), fill, beside)

    @classmethod
    def _made(
        cls, meta: npt.NDArray[np.int64], size: int, fill: Callable[[Segment], None], beside: Path | None
    ) -> Segment:
        generation = secrets.token_bytes(16)
        if beside is None:
            # Pages of its own, so that the kernels' cache lines begin where the processor's do.
            pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            segment = cls(np.frombuffer(pages, np.uint8), meta, generation)
            fill(segment)
            return segment
        path = new_path(beside, generation)
        try:
            with path.open("xb+") as file:
                # Ask for the room now: a full disk is an error here, but would be a killing signal in a mapping.
                os.posix_fallocate(file.fileno(), 0, size)
                mapping = mmap.mmap(file.fileno(), size)
            segment = cls(np.frombuffer(mapping, np.uint8), meta, generation)
            fill(segment)
            segment._write_header()
            mapping.flush()
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return segment

    def _write_header(self) -> None:
        rows, postings = self.rows, int(self.meta[kernels.POSTINGS])
        base, wide = int(self.meta[kernels.ID_BASE]), int(self.meta[kernels.ID_BYTES])
        _, _, sections = _layout(rows, postings, base, wide)
        sums = [zlib.crc32(self.block[start:end].data) for start, end in sections]
        head = _HEAD.pack(MAGIC, VERSION, NATIVE_ORDER, self.generation, rows, postings, base, wide, *sums)
        head += _SUM.pack(zlib.crc32(head))
        self.block[: len(head)] = np.frombuffer(head, np.uint8)

    @property
    def nbytes(self) -> int:
        """Bytes of memory, mapped or not."""
        return self.block.nbytes + self.dead.nbytes

    @classmethod
    def open(cls, file: BinaryIO, where: str) -> Segment:
        """The segment in an open file, mapped. Raises `BadInput` for whatever is no whole segment of this version."""
        size = os.fstat(file.fileno()).st_size
        head = os.pread(file.fileno(), HEADER, 0)
        if head[:8] != MAGIC:
            raise BadInput("not an index of hashes", where=where, hint="Rebuild it.")
        if len(head) < HEADER:
            raise BadInput("the file ends inside its header", where=where, hint="Copy or rebuild it.")
        _, version, order, generation, rows, postings, base, wide, *sums = _HEAD.unpack_from(head)
        if order != NATIVE_ORDER:
            if order == int.from_bytes(NATIVE_ORDER.to_bytes(4, "little"), "big"):
                raise BadInput(
                    f"written on a machine of another byte order than this one ({sys.byteorder}-endian)",
                    where=where,
                    hint="Rebuild it on this machine.",
                )
            raise BadInput("the header is damaged", where=where, hint="Copy or rebuild it.")
        if version != VERSION:
            raise BadInput(
                f"an index of version {version}, and this Redshank reads version {VERSION}",
                where=where,
                hint="Rebuild it.",
            )
        if _SUM.unpack_from(head, _HEAD.size)[0] != zlib.crc32(head[: _HEAD.size]):
            raise BadInput("the header is damaged", where=where, hint="Copy or rebuild it.")
        meta, expected, sections = _layout(rows, postings, base, wide)
        if size != expected:
            raise BadInput(f"{size} bytes long instead of {expected}", where=where, hint="Copy or rebuild it.")
        # Copy on write, which never happens: numba compiles one form for arrays that can be written, not two.
        block = np.frombuffer(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY), np.uint8)
        start, end = sections[2]
        if zlib.crc32(block[start:end].data) != sums[2]:
            raise BadInput("the bucket offsets are damaged", where=where, hint="Copy or rebuild it.")
        return cls(block, meta, generation)

    def verify(self, where: str) -> None:
        """Read all of a segment from a file and compare it with its sums. Raises `BadInput` naming what is damaged."""
        *_, rows, postings, base, wide, s0, s1, s2, s3, s4, s5 = _HEAD.unpack_from(self.block[:HEADER].tobytes())
        _, _, sections = _layout(rows, postings, base, wide)
        names = ("hashes", "ids", "bucket offsets", "next words", "rows' low bits", "rows' high bits")
        for name, (start, end), expected in zip(names, sections, (s0, s1, s2, s3, s4, s5), strict=True):
            if zlib.crc32(self.block[start:end].data) != expected:
                raise BadInput(f"the {name} are damaged", where=where, hint="Copy or rebuild it.")

    def remove(self, gone: Ids) -> int:
        """Mark the rows whose id is in `gone`, sorted and not empty; returns how many were alive."""
        if not self.rows:
            return 0
        dead = self.dead if self.dead.size else np.zeros((self.rows + 7) // 8, np.uint8)
        count = int(kernels.mark_dead(self.ids, int(self.meta[kernels.ID_BASE]), self.rows, gone, dead))
        if count:
            self.dead = dead
            self.dead_count += count
        return count

    def living(self, dead: Bytes | None = None) -> tuple[Bytes, Ids]:
        """The hashes, uint8 (n, 32), and ids, int64 (n,), that are not marked in `dead` (None: its own); not to be changed."""
        dead = self.dead if dead is None else dead
        hashes = self.words.view(np.uint8).reshape(-1, 32)
        ids = self.ids.astype(np.int64) + int(self.meta[kernels.ID_BASE])
        if not dead.size:
            return hashes, ids
        alive = np.unpackbits(dead, count=self.rows, bitorder="little") == 0
        return hashes[alive], ids[alive]

    def search(self, query: Words, radius: int, out: npt.NDArray[np.int64], found: int) -> int:
        """Write matches of one query into `out` from row `found` on; returns found + their number."""
        if self.tabled:
            return int(kernels.search_tables(query, radius, self.block, self.meta, self.dead, out, found))
        return int(kernels.search_rows(query, radius, self.words, self.ids, self.rows, self.dead, out, found))

    def search_many(self, queries: Words, radius: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The number of matches of each query, and (matches, 2) ids and distances in the queries' order."""
        found: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
        if self.tabled:
            found = kernels.search_many_tables(queries, radius, self.block, self.meta, self.dead)
        else:
            found = kernels.search_many_rows(queries, radius, self.words, self.ids, self.rows, self.dead)
        return found


def new_path(path: Path, generation: bytes) -> Path:
    """Where a new file for the index at `path` is made, before it takes that one's place."""
    return path.with_name(f"{path.name}.{generation.hex()}.new")


def _sorting(words: Words) -> npt.NDArray[np.intp]:
    """An order of the rows of words, uint64 (n, 4), in which equal ones stand side by side."""
    first = np.ascontiguousarray(words[:, 0])
    order = np.argsort(first)
    sorted_first = first[order]
    tied = np.zeros(len(words), np.bool_)
    np.equal(sorted_first[1:], sorted_first[:-1], out=tied[1:])
    tied[:-1] |= tied[1:]
    places = np.flatnonzero(tied)
    if len(places):
        rows = order[places]
        order[places] = rows[np.lexsort((words[rows, 3], words[rows, 2], words[rows, 1], words[rows, 0]))]
    return order


def _layout(
    rows: int, postings: int, id_base: int, id_bytes: int
) -> tuple[npt.NDArray[np.int64], int, list[tuple[int, int]]]:
    """Where everything stands: the kernels' numbers, the size of the block, and (start, end) of its six sections."""
    highs = (rows >> 16) + 1
    next_stride = -(-postings // kernels.LANES) * kernels.LANES
    highs_stride = (postings + kernels.KEYS * highs + 63) // 64 + 1
    tables = kernels.PARTS if postings else 0
    lengths = [
        rows * 32,
        rows * id_bytes,
        tables * (kernels.KEYS + 1) * 4,
        tables * next_stride * 2,
        tables * postings * 2,
        tables * highs_stride * 8,
    ]
    sections = []
    at = HEADER
    for length in lengths:
        sections.append((at, at + length))
        at += (length + 63) // 64 * 64
    meta = np.array(
        [rows, postings, highs, id_bytes, id_base, *(start for start, _ in sections), next_stride, highs_stride],
        np.int64,
    )
    return meta, at, sections
