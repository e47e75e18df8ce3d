"""The log beside an index file: what was added and removed since the file was written, for those who have it mapped.

The idea is one number in shared memory. The writer appends a record with its checksum, brings it to the disk, and only
then moves `committed` in the log's first page, which every reader has mapped: looking for news costs a reader one load,
and it never sees half a record. The same number, set to `REPLACED`, says that there is a new index file to open. After a
crash the records themselves are the truth: all whole ones count, for their writer may have been told that they are safe.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from redshank.core import BadInput, Problem
from redshank.matching.hamming_segment import Bytes, Ids

MAGIC = b"\x89RSLOG\r\n"
VERSION = 1
PAGE = 4096
# magic, version, a number that shows the byte order, generation of the index file it belongs to.
_HEAD = struct.Struct("=8sII16s")
_ORDER = 0x01020304
_COMMITTED = 8
"""Where the number stands in the first page, counted in uint64."""
REPLACED = (1 << 64) - 1
# what (1 add, 2 remove), how many, sum of the rest.
_RECORD = struct.Struct("=IQI")
_ADD, _REMOVE = 1, 2
MOST = 1 << 20
"""Entries in one record at most; larger additions become several."""

Change = tuple[Literal["add"], Bytes, Ids] | tuple[Literal["remove"], None, Ids]


def log_path(path: Path, generation: bytes) -> Path:
    """The log of the index file at `path` that has this generation."""
    return path.with_name(f"{path.name}.{generation.hex()}.log")


class Log:
    """The open log of one index file; `committed` is how far it may be read, in bytes, or `REPLACED`."""

    def __init__(self, path: Path, fd: int, page: mmap.mmap) -> None:
        self.path = path
        self._fd = fd
        self._page = memoryview(page).cast("Q")

    def __del__(self, close: Callable[[int], None] = os.close) -> None:  # As the process ends, `os` may be gone.
        close(self._fd)

    @classmethod
    def create(cls, path: Path, generation: bytes) -> Log:
        """A new, empty log on the disk."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        head = _HEAD.pack(MAGIC, VERSION, _ORDER, generation).ljust(_COMMITTED * 8, b"\0")
        _write(fd, (head + struct.pack("=Q", PAGE)).ljust(PAGE, b"\0"), 0)
        os.fsync(fd)
        return cls(path, fd, mmap.mmap(fd, PAGE))

    @classmethod
    def open(cls, path: Path, generation: bytes, *, write: bool) -> Log:
        """The log at `path`. Raises FileNotFoundError, and `BadInput` for what is no log of that index file."""
        fd = os.open(path, (os.O_RDWR if write else os.O_RDONLY) | os.O_CLOEXEC)
        try:
            head = os.pread(fd, PAGE, 0)
            if len(head) < PAGE or _HEAD.unpack_from(head) != (MAGIC, VERSION, _ORDER, generation):
                raise BadInput(  # noqa: TRY301
                    "not the log of this index, or of another version",
                    where=str(path),
                    hint="Restore it, or rebuild the index: it holds the latest additions and removals.",
                )
            page = mmap.mmap(fd, PAGE, access=mmap.ACCESS_WRITE if write else mmap.ACCESS_READ)
        except BaseException:
            os.close(fd)
            raise
        return cls(path, fd, page)

    @property
    def committed(self) -> int:
        """How far the log may be read, in bytes; `REPLACED` once there is another index file."""
        return self._page[_COMMITTED]

    def append(self, changes: list[Change]) -> None:
        """Bring changes to the disk, then show them to the readers."""
        end = start = self.committed
        try:
            for change in changes:
                for record in _records(change):
                    _write(self._fd, record, end)
                    end += len(record)
            if end != start:
                os.fdatasync(self._fd)
        except BaseException:
            os.ftruncate(self._fd, start)  # A whole record without its fellows must not count after a crash.
            raise
        self._page[_COMMITTED] = end

    def read(self, start: int) -> tuple[list[Change], int]:
        """The changes from byte `start` (`PAGE` for all), and the place behind the last one.

        Raises `BadInput` where one is damaged. What lies behind the committed part counts while it is whole.
        """
        changes: list[Change] = []
        while True:
            change = None
            head = os.pread(self._fd, _RECORD.size, start)
            if len(head) == _RECORD.size:
                what, count, expected = _RECORD.unpack(head)
                if what in {_ADD, _REMOVE} and 0 < count <= MOST:
                    length = count * (40 if what == _ADD else 8)
                    body = os.pread(self._fd, length, start + _RECORD.size)
                    if len(body) == length and zlib.crc32(body, zlib.crc32(head[:12])) == expected:
                        change = _change(what, count, body)
            if change is None:
                if start < self.committed < REPLACED:
                    hint = "Restore it, or rebuild the index."
                    raise BadInput(f"damaged at byte {start}", where=str(self.path), hint=hint)
                return changes, start
            changes.append(change)
            start += _RECORD.size + length

    def take_over(self, end: int) -> None:
        """Become the writer: everything up to `end` counts, what a killed writer left behind it is cut off."""
        os.ftruncate(self._fd, end)
        self._page[_COMMITTED] = end

    def replace(self) -> None:
        """Tell all who have this log open that there is a new index file, and take the log away."""
        self._page[_COMMITTED] = REPLACED
        self.path.unlink(missing_ok=True)


def _records(change: Change) -> Iterator[bytes]:
    what, hashes, ids = change
    for start in range(0, len(ids), MOST):
        some = ids[start : start + MOST]
        body = some.tobytes()
        if hashes is not None:
            body += hashes[start : start + MOST].tobytes()
        head = _RECORD.pack(_ADD if what == "add" else _REMOVE, len(some), 0)[:12]
        yield head + struct.pack("=I", zlib.crc32(body, zlib.crc32(head))) + body


def _change(what: int, count: int, body: bytes) -> Change:
    ids = np.frombuffer(body, np.int64, count)
    if what == _REMOVE:
        return "remove", None, ids
    return "add", np.frombuffer(body, np.uint8, offset=count * 8).reshape(-1, 32), ids


def _write(fd: int, data: bytes, at: int) -> None:
    done = 0
    while done < len(data):
        done += os.pwrite(fd, data[done:], at + done)


class WriterLock:
    """The right to write the index at a path, held by one process at a time and freed when that ends, however it ends."""

    def __init__(self, path: Path, *, wait: bool) -> None:
        try:
            self._fd = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except FileNotFoundError:
            raise Problem("there is no such folder", where=str(path.parent), hint="Make it first.") from None
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            os.close(self._fd)
            if isinstance(error, BlockingIOError):
                raise Problem(
                    "another writer has this index open", where=str(path), hint="Only one may write at a time."
                ) from None
            raise

    def free(self) -> None:
        """Give the right back."""
        with contextlib.suppress(OSError):
            os.close(self._fd)
        self._fd = -1
