"""Exact search of 256-bit hashes within a Hamming distance, for known pictures and frames.

The idea is two sizes: a big base that never changes and can be mapped from a file by any number of processes, and a small
delta of what came since, which each process keeps for itself and which is folded into a new base once it has grown. How
the base is searched stands in `hamming_kernels`, how it lies in a file in `hamming_segment`, how news travels in
`hamming_log`.
"""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from redshank.core import BadInput, Problem
from redshank.matching import hamming_kernels as kernels
from redshank.matching.hamming_log import PAGE, REPLACED, Change, Log, WriterLock, log_path
from redshank.matching.hamming_segment import FLAT_BELOW, Bytes, Ids, Segment, Words, new_path

MAX_RADIUS = 31
TAIL = 2048
"""So many entries at the end of the delta are compared one by one, which takes about as many nanoseconds."""
DELTA_LEAST, DELTA_MOST, DELTA_SHARE = 1 << 16, 1 << 18, 32
"""The delta is folded into the base beyond this share of the base's entries, but not below the least, nor above the most."""
LOG_MOST = 1 << 26
"""Bytes of the log beyond which the delta is folded in as well."""
ROOM = 64
"""Matches of one query that are expected; more cost a second search."""

Places = npt.NDArray[np.int64]


class HammingIndex:
    """Entries, each a 256-bit hash with an integer id, found by Hamming distance; exact, never approximate.

    Several entries may have equal hashes, equal ids, or both: each is found by itself, and `remove` takes away all
    entries of an id. A removed id may be added again.

    In memory, an index is made by `build` and changed by `add` and `remove`. In a file, it is written by `save`, mapped by
    `open` in any number of processes, and changed in the one process that opened it with `write=True` (after it forked, if
    it forks). What that one
    adds is found, and what it removes is gone, in every process's first search after `add` or `remove` has returned: a
    search looks at one number in shared memory, and reads on in the log if it has moved. A process that is killed at any
    moment leaves an index with everything that it had been told is taken. Threads may search while others change.

    Memory, and size of the file: 100 bytes an entry (32 the hash, 68 the tables), 4 for the id, or 8 where the ids
    span 2**32 or more, and 4.3 MB; below 4,096 entries 40 bytes and no tables. `build`, `save` and `merge` take up to
    100 bytes an entry besides. There are no parameters to tune: 16 tables, whatever the size. One core builds 10 million
    entries in 6 s and searches them in 30 µs a query, one million in 16 µs; with hashes grown from real ones, which crowd
    more, a query of 10 million takes a fifth longer (`bench.matching`).
    """

    def __init__(self) -> None:
        """An empty index in memory."""
        self._lock = threading.RLock()
        self._contents = _Contents(_nothing())
        self._path: Path | None = None
        self._writer: WriterLock | None = None
        self._log: Log | None = None
        self._seen = 0  # What the log's number was when it was last read,
        self._place = 0  # and how far it was read: further, if its writer was killed.
        self._since: list[Change] | None = None  # Changes since the merge that is under way began.
        self._merging: threading.Thread | None = None
        self._failure: Exception | None = None

    @classmethod
    def build(cls, hashes: npt.ArrayLike, ids: npt.ArrayLike) -> Self:
        """An index in memory of hashes, uint8 (n, 32), and ids, integers (n,) that fit int64.

        Raises `BadInput` for another shape or type.
        """
        index = cls()
        index._contents = _Contents(Segment.build(*_entries(hashes, ids)))
        return index

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, write: bool = False, wait: bool = False) -> Self:
        """The index that `save` wrote to `path`, mapped: pages are read as searches need them, and shared by processes.

        With `write` it can be changed here, and nowhere else until it is closed or this process ends. A second writer
        gets a `Problem`, or, with `wait`, sleeps until the first is gone. Raises `BadInput` for a file that is cut off,
        damaged, of another version or byte order, or no index at all, and `Problem` where there is none.
        """
        index = cls()
        index._path = Path(path)
        if write:
            index._writer = WriterLock(index._path, wait=wait)
        try:
            index._attach()
        except BaseException:
            index.close()
            raise
        return index

    @classmethod
    def write(cls, path: str | os.PathLike[str], hashes: npt.ArrayLike, ids: npt.ArrayLike) -> None:
        """As `build` and `save`, and made in the file itself: nothing of it stays in this process's memory.

        Raises `BadInput` as `build`, and `Problem` where another writer has `path` open.
        """
        given = _entries(hashes, ids)
        target = Path(path)
        lock = WriterLock(target, wait=False)
        try:
            segment = Segment.build(*given, target)
            _commit(target, segment, [])
            _settle(target, segment.generation)
        finally:
            lock.free()

    def entries(self) -> tuple[Bytes, Ids]:
        """All entries: hashes, uint8 (n, 32), and ids, int64 (n,), in no order that means anything. Not to be changed."""
        self._freshen()
        with self._lock:
            snapshot = self._contents.snapshot()
        return snapshot.living()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all entries to a new file at `path`, with an empty log beside it, and replace atomically what is there.

        Whoever has the replaced index open goes over to the new one with the next search. This index stays what it was,
        in memory or attached to its own file; where `path` is the file that it writes, its delta is folded in. Raises
        `Problem` where another writer has `path` open.
        """
        target = Path(path)
        if self._writer is not None and self._path is not None and self._path.resolve() == target.resolve():
            self.merge()
            return
        self._freshen()
        lock = WriterLock(target, wait=False)
        try:
            with self._lock:
                snapshot = self._contents.snapshot()
            segment = snapshot.write(target)
            _commit(target, segment, [])
            _settle(target, segment.generation)
        finally:
            lock.free()

    def close(self) -> None:
        """Wait for a merge that is under way and give back the right to write; it can still be searched.

        Raises `Problem` where that merge, or an earlier one that nobody heard of, failed.
        """
        while True:
            with self._lock:
                merging = self._merging
                if merging is None:
                    if self._writer is not None:
                        self._writer.free()
                        self._writer = None
                    break
            merging.join()
        self._tell_failure()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def search(self, query: bytes | npt.NDArray[np.uint8], radius: int) -> list[tuple[int, int]]:
        """(id, distance) of all entries within `radius` bits, 0 to 31, of a hash of 32 bytes; nearest first, then by id.

        Raises `BadInput` for a hash of another length or another radius.
        """
        raw = query if type(query) is bytes else _raw(query)
        if len(raw) != 32:
            raise BadInput(f"a hash of {len(raw)} bytes instead of 32")
        if not 0 <= radius <= MAX_RADIUS:
            raise BadInput(f"a radius of {radius}; it can be 0 to {MAX_RADIUS}")
        words = np.frombuffer(raw, np.uint64)
        if self._log is not None and self._log.committed != self._seen:
            self._freshen()
        parts = self._contents.parts
        room = ROOM
        while True:
            out = np.empty((room, 2), np.int64)
            found = 0
            for part in parts:
                if part.rows:
                    found = part.search(words, radius, out, found)
            if found <= room:
                break
            room = found + ROOM  # Others may add between two tries.
        if not found:
            return []
        matches = [(match[0], match[1]) for match in out[:found].tolist()]
        if found > 1:
            matches.sort(key=_nearest_first)
        return matches

    def search_many(self, queries: npt.NDArray[np.uint8], radius: int) -> tuple[Places, Ids, Places]:
        """As `search`, for queries uint8 (n, 32): three int64 arrays of equal length, one place for each match.

        They hold the query's row, the entry's id and the distance, sorted in the order row, distance, id.
        """
        hashes, _ = _entries(queries, np.empty(len(queries), np.int64))
        if not 0 <= radius <= MAX_RADIUS:
            raise BadInput(f"a radius of {radius}; it can be 0 to {MAX_RADIUS}")
        self._freshen()
        words = hashes.view(np.uint64).reshape(-1, 4)
        rows = [np.empty(0, np.int64)]
        matches = [np.empty((0, 2), np.int64)]
        for part in self._contents.parts:
            if part.rows:
                counts, found = part.search_many(words, radius)
                rows.append(np.repeat(np.arange(len(words)), counts))
                matches.append(found)
        row, (ids, distances) = np.concatenate(rows), np.concatenate(matches).T
        order = np.lexsort((ids, distances, row))
        return row[order], ids[order], distances[order]

    def add(self, hashes: npt.ArrayLike, ids: npt.ArrayLike) -> None:
        """Add entries: hashes, uint8 (n, 32), and ids, integers (n,). In a file, they are on the disk on return.

        One entry costs a file about as long as the disk takes to confirm a write; many at once cost no more of these.
        """
        new = _entries(hashes, ids)
        if len(new[1]):
            self._change(("add", new[0].copy(), new[1].copy()))

    def remove(self, ids: npt.ArrayLike) -> int:
        """Remove all entries with these ids, integers (n,); returns how many there were. Unknown ids are no error.

        This reads the ids of all entries once, however many are removed: about 2 ms a million.
        """
        gone = np.unique(_ids(ids))
        return self._change(("remove", None, gone)) if len(gone) else 0

    def merge(self) -> None:
        """Fold the delta into a new base, and a file's into a new file, now; it happens by itself as the delta grows.

        Searching and changing go on meanwhile in other threads. Raises `Problem` where it failed, and then nothing is lost.
        """
        self._may_change()
        while True:  # One that is under way began before the latest changes.
            merging = self._merging
            if merging is None:
                break
            merging.join()
        self._tell_failure()
        merging = self._start_merge()
        merging.join()
        self._tell_failure()

    def verify(self) -> None:
        """Read the whole file and compare it with its sums, about a second for 10 million entries; `BadInput` if it is damaged."""
        if self._path is not None:
            self._contents.parts[0].verify(str(self._path))

    def __len__(self) -> int:
        self._freshen()
        return sum(part.rows - part.dead_count for part in self._contents.parts)

    @property
    def delta(self) -> int:
        """How many entries were added since the base was built."""
        return sum(part.rows for part in self._contents.parts[1:])

    @property
    def nbytes(self) -> int:
        """Bytes of memory, those of a mapped file included."""
        return sum(part.nbytes for part in self._contents.parts)

    def _may_change(self) -> None:
        if self._path is not None and self._writer is None:
            raise Problem("opened for reading", where=str(self._path), hint="Open it with write=True to change it.")

    def _change(self, change: Change) -> int:
        self._tell_failure()
        with self._lock:
            self._may_change()
            if self._log is not None:
                self._log.append([change])
                self._seen = self._place = self._log.committed
            count = self._contents.apply(change)
            if self._since is not None:
                self._since.append(change)
            elif self._is_due():
                self._start_merge()
        return count

    def _freshen(self) -> None:
        """Take in what another process wrote, and wrote down in the log."""
        if self._log is None or self._log.committed == self._seen:
            return
        with self._lock:
            seen = self._log.committed
            if seen == REPLACED:
                self._attach()
            elif seen != self._seen:
                changes, self._place = self._log.read(self._place)
                for change in changes:
                    self._contents.apply(change)
                self._seen = seen

    def _attach(self) -> None:
        """Open the file and its log, which may be replaced by another process at any moment."""
        path = self._path
        assert path is not None
        known = b""
        while True:
            try:
                with path.open("rb") as file:
                    base = Segment.open(file, str(path))
            except FileNotFoundError:
                raise Problem("there is no index", where=str(path), hint="Write one with save.") from None
            try:
                log = Log.open(log_path(path, base.generation), base.generation, write=self._writer is not None)
            except FileNotFoundError:
                if base.generation == known:
                    raise BadInput(
                        "its log is missing, which holds the latest additions and removals",
                        where=str(path),
                        hint="Copy an index with save, not file by file; or rebuild it.",
                    ) from None
                known = base.generation
                continue
            seen = log.committed
            if seen == REPLACED:
                continue
            break
        contents = _Contents(base)
        changes, place = log.read(PAGE)
        for change in changes:
            contents.apply(change)
        if self._writer is not None:
            log.take_over(place)
            seen = place
            _sweep(path, base.generation)
        self._contents, self._log, self._seen, self._place = contents, log, seen, place

    def _is_due(self) -> bool:
        """Whether the delta, the marks of removal or the log have grown so far that a new base is worth its price."""
        base = self._contents.parts[0]
        limit = min(max(base.rows // DELTA_SHARE, DELTA_LEAST), DELTA_MOST)
        return self.delta + base.dead_count > limit or self._place > LOG_MOST

    def _start_merge(self) -> threading.Thread:
        with self._lock:
            if self._merging is None:
                self._since = []
                snapshot = self._contents.snapshot()
                self._merging = threading.Thread(target=self._merge, args=(snapshot,), name="hamming-merge")
                self._merging.start()
            return self._merging

    def _merge(self, snapshot: _Snapshot) -> None:
        try:
            base = Segment.build(*snapshot.living()) if self._path is None else snapshot.write(self._path)
            contents = _Contents(base)
            with self._lock:
                since, replaced = self._since or [], self._log
                if self._path is not None:
                    self._log = _commit(self._path, base, since)
                    self._seen = self._place = self._log.committed
                for change in since:
                    contents.apply(change)
                self._contents = contents
                if self._path is not None:
                    _settle(self._path, base.generation, replaced)
        except Exception as error:  # noqa: BLE001  # Told to the next who changes, merges or closes.
            self._failure = error
        finally:
            with self._lock:
                self._since = self._merging = None

    def _tell_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise Problem(
                f"the delta could not be folded into the index: {failure}",
                where=str(self._path or "index in memory"),
                hint="Nothing is lost, and it is tried again with the next change.",
            ) from failure


class _Tail:
    """The latest entries, compared one by one; the same face as a `Segment`'s."""

    __slots__ = ("dead", "dead_count", "ids", "rows", "words")
    nbytes = TAIL * 40

    def __init__(self) -> None:
        self.words: Words = np.empty(TAIL * 4, np.uint64)
        self.ids: Ids = np.empty(TAIL, np.int64)
        self.dead: Bytes = np.zeros(TAIL // 8, np.uint8)
        self.dead_count = 0
        self.rows = 0

    def append(self, hashes: Bytes, ids: Ids) -> None:
        start, end = self.rows, self.rows + len(ids)
        self.words[start * 4 : end * 4] = hashes.view(np.uint64).ravel()
        self.ids[start:end] = ids
        self.rows = end  # Last, so that a search in another thread sees whole entries.

    def remove(self, gone: Ids) -> int:
        count = int(kernels.mark_dead(self.ids, 0, self.rows, gone, self.dead))
        self.dead_count += count
        return count

    def living(self) -> tuple[Bytes, Ids]:
        alive = np.unpackbits(self.dead, count=self.rows, bitorder="little") == 0
        hashes = self.words[: self.rows * 4].view(np.uint8).reshape(-1, 32)
        return hashes[alive], self.ids[: self.rows][alive]

    def search(self, query: Words, radius: int, out: Places, found: int) -> int:
        return int(kernels.search_rows(query, radius, self.words, self.ids, self.rows, self.dead, out, found))

    def search_many(self, queries: Words, radius: int) -> tuple[Places, Places]:
        found: tuple[Places, Places]
        found = kernels.search_many_rows(queries, radius, self.words, self.ids, self.rows, self.dead)
        return found


class _Contents:
    """What is in an index: base, middle (the delta's older part, with tables of its own) and tail.

    `parts` is replaced as a whole, so that a search in another thread sees each entry once.
    """

    __slots__ = ("parts",)

    def __init__(self, base: Segment) -> None:
        self.parts: tuple[Segment, Segment, _Tail] = (base, _nothing(), _Tail())

    def apply(self, change: Change) -> int:
        """Carry out a change that was checked; returns how many entries it touched."""
        base, middle, tail = self.parts
        if change[0] == "remove":
            return sum(part.remove(change[2]) for part in self.parts)
        _, hashes, ids = change
        if tail.rows + len(ids) <= TAIL:
            tail.append(hashes, ids)
        else:
            older, newer = middle.living(), tail.living()
            middle = Segment.build(
                np.concatenate((older[0], newer[0], hashes)), np.concatenate((older[1], newer[1], ids))
            )
            self.parts = (base, middle, _Tail())
        return len(ids)

    def snapshot(self) -> _Snapshot:
        """The contents of this moment, to be read while changes go on."""
        return _Snapshot(*self.parts)


class _Snapshot:
    """The contents of an index at one moment. The base is not copied, only its marks of the dead."""

    def __init__(self, base: Segment, middle: Segment, tail: _Tail) -> None:
        self._base = base
        self._dead = base.dead.copy()
        self._delta = (middle.living(), tail.living())

    def living(self) -> tuple[Bytes, Ids]:
        parts = (self._base.living(self._dead), *self._delta)
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])

    def write(self, path: Path) -> Segment:
        """A segment in a new file beside `path`, which `_commit` puts in its place."""
        unchanged = not (self._dead.any() or any(len(ids) for _, ids in self._delta))
        return self._base.copy(path) if unchanged else Segment.build(*self.living(), path)


def _commit(path: Path, segment: Segment, since: list[Change]) -> Log:
    """Put a segment's new file in the place of `path`, with a new log of the changes since, or change nothing.

    From then on the new ones count: whatever fails in `_settle`, which must follow, the returned log is the one to write.
    """
    new = new_path(path, segment.generation)
    log = Log.create(log_path(path, segment.generation), segment.generation)
    try:
        log.append(since)
        _sync(new)
        new.replace(path)
    except BaseException:
        log.replace()
        new.unlink(missing_ok=True)
        raise
    return log


def _settle(path: Path, generation: bytes, replaced: Log | None = None) -> None:
    """Make the replacement at `path` last, and send the readers of the logs before it there; `replaced` is the writer's."""
    try:
        _sync(path.parent)
    finally:
        if replaced is not None:
            replaced.replace()
    _sweep(path, generation)


def _sweep(path: Path, keep: bytes) -> None:
    """Take away logs and new files of other generations, and send the logs' readers to the index at `path`."""
    pattern = re.compile(re.escape(path.name) + r"\.([0-9a-f]{32})\.(log|new)")
    for other in path.parent.iterdir():
        match = pattern.fullmatch(other.name)
        if match and match[1] != keep.hex():
            if match[2] == "log":
                try:
                    Log.open(other, bytes.fromhex(match[1]), write=True).replace()
                except BadInput:
                    other.unlink(missing_ok=True)
            else:
                other.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _nothing() -> Segment:
    return Segment.build(np.empty((0, 32), np.uint8), np.empty(0, np.int64))


def _nearest_first(match: tuple[int, int]) -> tuple[int, int]:
    return match[1], match[0]


def _raw(query: object) -> bytes:
    if isinstance(query, bytes | bytearray | memoryview):
        return bytes(query)
    if isinstance(query, np.ndarray) and query.dtype == np.uint8 and query.ndim == 1:
        return query.tobytes()
    raise BadInput("a hash is given as 32 bytes or as an array of uint8 (32,)")


def _ids(ids: npt.ArrayLike) -> Ids:
    given = np.asarray(ids)
    if given.size == 0:
        given = given.astype(np.int64)
    if given.ndim != 1 or given.dtype.kind not in "iu":
        raise BadInput(f"ids are integers of shape (n,), not {given.dtype} of shape {given.shape}")
    if given.dtype == np.uint64 and given.size and int(given.max()) >= 1 << 63:
        raise BadInput(f"the id {given.max()} does not fit a signed 64-bit integer")
    return np.ascontiguousarray(given, np.int64)


def _entries(hashes: npt.ArrayLike, ids: npt.ArrayLike) -> tuple[Bytes, Ids]:
    given, numbers = np.asarray(hashes), _ids(ids)
    if given.dtype != np.uint8 or given.ndim != 2 or given.shape[1] != 32:
        raise BadInput(f"hashes are uint8 of shape (n, 32), not {given.dtype} of shape {given.shape}")
    if len(given) != len(numbers):
        raise BadInput(f"{len(given)} hashes with {len(numbers)} ids")
    return np.ascontiguousarray(given), numbers


def get_ready() -> None:
    """Load all that searching needs, and compile it where nobody did before, which takes seconds: no first query waits for it."""
    hashes = np.random.default_rng(0).integers(0, 256, (FLAT_BELOW, 32), np.uint8)
    query = np.frombuffer(bytes(32), np.uint8).reshape(1, 32)
    for rows in (1, FLAT_BELOW):
        index = HammingIndex.build(hashes[:rows], np.arange(rows))
        index.add(hashes[:1], [rows])
        index.search(query.tobytes(), MAX_RADIUS)
        index.search_many(query, MAX_RADIUS)
