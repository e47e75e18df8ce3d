"""The suspended accounts, found by what a new account shares with them, with what agrees and what does not, in a millisecond.

The one idea: a big base that never changes and is mapped from a file, and beside it what came since. A suspension is
added to a short tail that is simply read through, so it is a target at once; full tails become small segments with
postings of their own, and segments of like size are joined. What is removed is marked dead, and gone at once.
"""

from __future__ import annotations

import mmap
import os
import secrets
import threading
import zlib
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgspec
import numpy as np
import numpy.typing as npt

from redshank.core import Problem
from redshank.evasion import kernels
from redshank.evasion.circles import Circles, find_circles
from redshank.evasion.evidence import KINDS, LIMITS, Accounts, Encoded, take
from redshank.evasion.names import MAX_SKELETON
from redshank.evasion.population import Network, Usual, unknown

MAGIC = b"\x89RSEVA\r\n"
VERSION = 2
COMMON = 3000
"""Keys of more accounts than this find nobody: they are counted, not posted."""
BUDGET = 200_000
"""Postings that one search reads at most, rarest keys first."""
TAIL = 256
FAN = 4
"""So many segments of like size are joined into one."""
KIND_WEIGHTS = np.array([1, 1, 1, 0.5, 1, 0.3, 0.4, 1, 0.6, 1, 1, 0.3, 0.3] + [0.4] * kernels.LOOKUPS, np.float64)
"""How far each kind of key is trusted to find candidates, in the order of `KINDS`, then avatar bands and handle."""

_COLUMNS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "ids": (np.int64, ()), "ended": (np.uint32, ()), "numbers": (np.uint32, ()), "avatars": (np.uint64, (4,)),
    "hours": (np.uint8, (24,)), "handles": (np.uint8, (MAX_SKELETON,)), "names": (np.uint8, (MAX_SKELETON,)),
    "languages": (np.uint16, ()), "counts": (np.uint16, (len(KINDS),)), "starts": (np.int64, ()), "keys": (np.uint32, ()),
}  # fmt: skip
_POSTINGS: dict[str, Any] = {
    "vocabulary": np.uint32, "firsts": np.uint32, "docs": np.uint32, "lone": np.uint32, "common": np.uint32,
    "counted": np.uint32, "directory": np.uint32, "lone_directory": np.uint32,
}  # fmt: skip
_CIRCLES: dict[str, tuple[Any, tuple[int, ...]]] = {
    "members": (np.uint16, ()), "sizes": (np.int64, ()), "starts": (np.int64, ()), "keys": (np.uint32, ()),
    "counts": (np.uint32, ()), "hours": (np.float32, (24,)),
}  # fmt: skip


class Postings(NamedTuple):
    """Who has which key: see `kernels.build_postings`; all uint32."""

    vocabulary: npt.NDArray[np.uint32]
    firsts: npt.NDArray[np.uint32]
    docs: npt.NDArray[np.uint32]
    lone: npt.NDArray[np.uint32]
    common: npt.NDArray[np.uint32]
    counted: npt.NDArray[np.uint32]
    directory: npt.NDArray[np.uint32]
    lone_directory: npt.NDArray[np.uint32]


class Pairs(NamedTuple):
    """What a search gives: suspended accounts' ids, int64 (m,), and what was measured, float32 (m, len(FEATURES))."""

    ids: npt.NDArray[np.int64]
    features: npt.NDArray[np.float32]


class _Section(msgspec.Struct, frozen=True):
    name: str
    at: int
    length: int
    crc: int


class _Header(msgspec.Struct, frozen=True):
    version: int
    accounts: int
    generation: str
    note: str
    sections: tuple[_Section, ...]


class _Segment:
    """Accounts with postings that no longer change, but for the mark of the dead."""

    def __init__(self, accounts: Accounts, postings: Postings, members: npt.NDArray[np.uint16]) -> None:
        self.accounts = accounts
        self.postings = postings
        self.members = members
        self.dead = np.zeros(len(accounts.ids), np.bool_)
        self.killed = 0
        self.order: npt.NDArray[np.int64] | None = None
        if len(accounts.ids) and (np.diff(accounts.ids) <= 0).any():
            self.order = np.argsort(accounts.ids, kind="stable")

    @classmethod
    def build(cls, accounts: Accounts, members: npt.NDArray[np.uint16]) -> _Segment:
        if len(accounts.keys) + len(accounts.ids) * kernels.LOOKUPS >= 1 << 32:
            raise Problem("more evidence than one index holds", hint="Some 40 million accounts: split them by network.")
        if not len(accounts.ids):  # Nothing to invert, so nothing to compile for it.
            none, heads = np.zeros(0, np.uint32), np.zeros(65537, np.uint32)
            return cls(accounts, Postings(none, np.zeros(1, np.uint32), none, none, none, none, heads, heads), members)
        made = kernels.build_postings(accounts.starts, accounts.keys, accounts.avatars, accounts.handles, COMMON)
        directories = kernels.build_directory(made[0]), kernels.build_directory(made[3])
        vocabulary, firsts, docs, lone, common, counted = made
        return cls(accounts, Postings(vocabulary, firsts, docs, lone, common, counted, *directories), members)

    def place(self, number: int) -> int:
        """Where the live account of that id stands, or -1."""
        ids = self.accounts.ids
        at = int(np.searchsorted(ids, number, sorter=self.order))
        if at >= len(ids):
            return -1
        at = at if self.order is None else int(self.order[at])
        return at if ids[at] == number and not self.dead[at] else -1


class _Tail:
    """The accounts that came last, at most `TAIL`, in columns with room to spare."""

    def __init__(self) -> None:
        self.count = 0
        self.columns: dict[str, npt.NDArray[Any]] = {
            name: np.zeros((TAIL, *shape), dtype)
            for name, (dtype, shape) in _COLUMNS.items()
            if name not in {"starts", "keys"}
        }
        self.starts = np.zeros(TAIL + 1, np.int64)
        self.keys = np.zeros(TAIL * 96, np.uint32)
        self.lookups = np.full((TAIL, kernels.LOOKUPS), -1, np.int64)
        self.members = np.zeros(TAIL, np.uint16)
        self.dead = np.zeros(TAIL, np.bool_)
        self.killed = 0
        self.where: dict[int, int] = {}

    def add(self, encoded: Encoded, row: int, circle: int) -> None:
        accounts = encoded.accounts
        at = self.count
        for name, column in self.columns.items():
            column[at] = getattr(accounts, name)[row]
        first, last = accounts.starts[row], accounts.starts[row + 1]
        start = self.starts[at]
        end = start + last - first
        if end > len(self.keys):
            self.keys = np.concatenate([self.keys, np.zeros(max(len(self.keys), int(end)), np.uint32)])
        self.keys[start:end] = accounts.keys[first:last]
        self.starts[at + 1] = end
        kernels.lookup_keys(accounts.avatars[row], accounts.handles[row], self.lookups[at])
        self.members[at] = circle
        self.where[int(accounts.ids[row])] = at
        self.count += 1

    def accounts(self) -> Accounts:
        """All columns, the dead among them."""
        count = self.count
        columns = {name: column[:count].copy() for name, column in self.columns.items()}
        return Accounts(**columns, starts=self.starts[: count + 1].copy(), keys=self.keys[: self.starts[count]].copy())


class SuspensionIndex:
    """Suspended accounts by what they share. Made by `build`, written by `save`, mapped by `open`.

    `add` and `remove` take effect in this process's very next search; they are not written down here: whoever keeps the
    record of suspensions adds what came after the base's `note`. Threads may search while another changes.
    """

    def __init__(self, base: _Segment, circles: Circles, note: str = "") -> None:
        self._lock = threading.RLock()
        self._base = base
        self._segments: list[_Segment] = []
        self._tail = _Tail()
        self._circles = circles
        self.note = note
        self._live = len(base.accounts.ids)
        self._totals = base.accounts.counts.sum(axis=0, dtype=np.float64)
        self._votes: tuple[Any, Any, Any] | None = None
        self._scratch = threading.local()

    @classmethod
    def build(cls, encoded: Encoded, *, note: str = "", seed: int = 1) -> Self:
        """An index of `encoded`, in memory. The last of several accounts with one id counts. `seed` is of the circles."""
        ids = encoded.accounts.ids
        _, last = np.unique(ids[::-1], return_index=True)
        rows = (len(ids) - 1 - last).astype(np.int64)
        if len(rows) != len(ids) or (np.diff(ids) <= 0).any():
            encoded = take(encoded, rows)
        circles = find_circles(encoded, seed=seed)
        return cls(_Segment.build(encoded.accounts, circles.members), circles, note)

    def __len__(self) -> int:
        """How many accounts are targets."""
        return self._live

    def __contains__(self, number: int) -> bool:
        with self._lock:
            return self._find(number) is not None

    def _find(self, number: int) -> tuple[_Segment | _Tail, int] | None:
        at = self._tail.where.get(number, -1)
        if at >= 0:
            return self._tail, at
        for segment in (*self._segments, self._base):
            at = segment.place(number)
            if at >= 0:
                return segment, at
        return None

    def add(self, encoded: Encoded) -> None:
        """Make the accounts targets, at once; one that is there already is replaced."""
        accounts = encoded.accounts
        with self._lock:
            for row in range(len(encoded)):
                self.remove(int(accounts.ids[row]))
                if self._tail.count == TAIL:
                    self._freeze()
                first, last = accounts.starts[row], accounts.starts[row + 1]
                circle = self._circle_of(accounts.keys[first:last], encoded.kinds[first:last])
                self._tail.add(encoded, row, circle)
                self._live += 1
                self._totals += accounts.counts[row]

    def remove(self, number: int) -> bool:
        """Forget a target, at once; False where it was none."""
        with self._lock:
            found = self._find(number)
            if found is None:
                return False
            holder, at = found
            if isinstance(holder, _Tail):
                del holder.where[number]
                self._totals -= holder.columns["counts"][at]
                holder.columns["counts"][at] = 0  # What the law wants gone is gone from the tail with this.
                holder.columns["avatars"][at] = holder.columns["handles"][at] = holder.columns["names"][at] = 0
                holder.keys[holder.starts[at] : holder.starts[at + 1]] = 0
                holder.lookups[at] = -1
            else:
                self._totals -= holder.accounts.counts[at]
            holder.dead[at] = True
            holder.killed += 1
            self._live -= 1
            return True

    def _freeze(self) -> None:
        """The tail becomes a segment; segments of like size are joined."""
        tail, self._tail = self._tail, _Tail()
        self._segments.append(_living(tail.accounts(), tail.members[: tail.count], tail.dead[: tail.count]))
        while len(self._segments) >= FAN:
            last = self._segments[-FAN:]
            if len(last[0].dead) > 2 * FAN * max(len(last[-1].dead), TAIL):
                break
            joined = _join([(s.accounts, s.members, s.dead) for s in last])
            self._segments[-FAN:] = [_Segment.build(*joined)]

    def _circle_of(self, keys: npt.NDArray[np.uint32], kinds: npt.NDArray[np.uint8]) -> int:
        if len(self._circles.sizes) < 2:
            return 0
        if self._votes is None:
            self._votes = self._count_votes()
        circle: int = kernels.vote(keys, kinds, *self._votes, np.zeros(len(self._circles.sizes), np.float32))
        return circle

    def _count_votes(self) -> tuple[Any, Any, Any]:
        """Which key speaks for which circle: keys uint32 ascending, circles uint16, bits float32."""
        circles, postings = self._circles, self._base.postings
        places = np.zeros(len(circles.keys), np.int64)
        counted = np.zeros(len(circles.keys), np.int64)
        kernels.find_keys(
            circles.keys.astype(np.int64), postings.directory, postings.vocabulary, postings.firsts, postings.lone_directory, postings.lone, postings.common,
            postings.counted, places, places.copy(), counted,
        )  # fmt: skip
        bits = kernels.best_votes(
            circles.starts, circles.keys, circles.counts, circles.sizes, counted, len(self._base.dead)
        )
        order = np.lexsort((-bits, circles.keys))
        keys = circles.keys[order]
        first = np.ones(len(keys), np.bool_)
        first[1:] = keys[1:] != keys[:-1]
        which = np.repeat(np.arange(len(circles.sizes), dtype=np.uint16), np.diff(circles.starts))
        return keys[first], which[order][first], bits[order][first]

    def search(self, encoded: Encoded, row: int = 0, *, limit: int = 40, network: Network | None = None) -> Pairs:
        """The suspended accounts that have most in common with account `row` of `encoded`, best first, at most `limit`.

        `network` is where the account is, and knows what is usual there. An account is never its own candidate.
        """
        accounts = encoded.accounts
        first, last = accounts.starts[row], accounts.starts[row + 1]
        keys, kinds = accounts.keys[first:last], encoded.kinds[first:last]
        created = int(encoded.created[row])
        number = int(accounts.ids[row])
        m = len(keys)
        wanted = np.empty(m + kernels.LOOKUPS, np.int64)
        wanted[:m] = keys
        kernels.lookup_keys(accounts.avatars[row], accounts.handles[row], wanted[m:])
        usual = unknown(len(wanted)) if network is None else network.usual(wanted, kinds)
        with self._lock:
            segments = [segment for segment in (self._base, *self._segments) if len(segment.dead)]
            tail, total = self._tail, max(self._live, 1)
            count, totals = tail.count, self._totals.copy()
            frequencies = np.zeros(len(wanted), np.int64)
            ranges = []
            for segment in segments:
                low, high = np.zeros(len(wanted), np.int64), np.zeros(len(wanted), np.int64)
                p = segment.postings
                kernels.find_keys(
                    wanted,
                    p.directory,
                    p.vocabulary,
                    p.firsts,
                    p.lone_directory,
                    p.lone,
                    p.common,
                    p.counted,
                    low,
                    high,
                    frequencies,
                )
                ranges.append((low, high))
            if count:
                kernels.count_plain(
                    keys, kinds, wanted[m:], count, tail.starts, tail.keys, tail.columns["counts"], LIMITS, tail.lookups,
                    frequencies,
                )  # fmt: skip
            trust = np.concatenate([KIND_WEIGHTS[kinds], KIND_WEIGHTS[-kernels.LOOKUPS :]])
            bits = kernels.weigh(frequencies, total, usual.known, usual.sampled, kinds)
            weights = (bits * trust).astype(np.float32)
            order = np.argsort(frequencies, kind="stable")
            room = limit + 1
            hits: list[tuple[float, int, int]] = []
            for at, (segment, (low, high)) in enumerate(zip(segments, ranges, strict=True)):
                size = len(segment.dead)
                counters, touched = self._counters(size)
                best, scores = np.empty(room, np.int64), np.empty(room, np.float32)
                found = kernels.gather(
                    order, low, high, weights, segment.postings.docs, segment.dead, segment.accounts.ended, created,
                    counters[:size], touched, BUDGET, best, scores,
                )  # fmt: skip
                hits += [(float(scores[i]), at, int(best[i])) for i in range(found)]
            if count:
                best, scores = np.empty(room, np.int64), np.empty(room, np.float32)
                found = kernels.gather_plain(
                    keys, kinds, weights, wanted[m:], weights[m:], count, tail.starts, tail.keys, tail.columns["counts"],
                    LIMITS, tail.lookups, tail.dead, tail.columns["ended"], created, best, scores,
                )  # fmt: skip
                hits += [(float(scores[i]), -1, int(best[i])) for i in range(found)]
            hits.sort(key=lambda hit: -hit[0])
            holders: list[_Segment | _Tail] = [*segments, tail]
            hits = [hit for hit in hits if _id_at(holders[hit[1]], hit[2]) != number][:limit]
            return self._compare(encoded, row, wanted, frequencies, usual, hits, holders, total, totals)

    def _counters(self, size: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint32]]:
        """Counters at 0 and room for who was touched; each thread has its own."""
        mine = self._scratch
        if not hasattr(mine, "counters") or len(mine.counters) < size:
            mine.counters = np.zeros(size, np.float32)
            mine.touched = np.empty(max(size, 1), np.uint32)
        return mine.counters, mine.touched

    def _compare(
        self, encoded: Encoded, row: int, wanted: npt.NDArray[np.int64], frequencies: npt.NDArray[np.int64], usual: Usual,
        hits: list[tuple[float, int, int]], holders: list[_Segment | _Tail], total: int, totals: npt.NDArray[np.float64],
    ) -> Pairs:  # fmt: skip
        new, circles = encoded.accounts, self._circles
        first, last = new.starts[row], new.starts[row + 1]
        m = int(last - first)
        ids = np.empty(len(hits), np.int64)
        features = np.empty((len(hits), len(kernels.FEATURES)), np.float32)
        by_holder: dict[int, list[int]] = {}
        for at, hit in enumerate(hits):
            by_holder.setdefault(hit[1], []).append(at)
        for which, rows in by_holder.items():
            holder = holders[which]
            places = np.array([hits[at][2] for at in rows], np.int64)
            part = np.empty((len(rows), len(kernels.FEATURES)), np.float32)
            old: dict[str, Any]
            if isinstance(holder, _Tail):
                old = {**holder.columns, "starts": holder.starts, "keys": holder.keys}
            else:
                old = holder.accounts._asdict()
            kernels.compare(
                new.keys[first:last], encoded.kinds[first:last], frequencies[:m], new.counts[row], wanted[m:],
                frequencies[m:], new.avatars[row], new.handles[row], new.names[row], new.numbers[row], new.hours[row],
                new.languages[row], int(encoded.created[row]), places, old["starts"], old["keys"], old["counts"],
                old["avatars"], old["handles"], old["names"], old["numbers"], old["hours"], old["languages"], old["ended"],
                holder.members, circles.sizes, circles.starts, circles.keys, circles.counts, circles.hours, LIMITS, total,
                totals, usual.known[:m], usual.known[m:], usual.sampled, usual.carried, part,
            )  # fmt: skip
            ids[rows] = old["ids"][places]
            features[rows] = part
        scores = np.array([hit[0] for hit in hits], np.float32)
        if len(hits):
            features[:, kernels.LEAD] = scores - (
                scores[5] if len(hits) > 5 else 0
            )  # Where nobody else is, all is lead.
            features[:, kernels.LISTED] = scores
        return Pairs(ids, features)

    def compacted(self, *, note: str, seed: int = 1) -> SuspensionIndex:
        """A new index, in memory, of the living alone, with circles found anew. `note` says what it is current with."""
        with self._lock:
            parts = [(s.accounts, s.members, s.dead) for s in (self._base, *self._segments)]
            tail = self._tail
            parts.append((tail.accounts(), tail.members[: tail.count], tail.dead[: tail.count]))
            accounts, _ = _join(parts)
        kinds = kernels.kinds_of(accounts.starts, accounts.counts, LIMITS)
        return SuspensionIndex.build(
            Encoded(accounts, kinds, np.zeros(len(accounts.ids), np.int64)), note=note, seed=seed
        )

    def save(self, path: Path) -> None:
        """Write the base to `path`; the file appears whole or not at all. Raises `Problem` while there are changes since."""
        if self._segments or self._tail.count or self._base.killed:
            raise Problem("an index with changes cannot be saved", where=str(path), hint="Save what compacted() gives.")
        arrays = _arrays_of(self._base, self._circles)
        sections = []
        at = 0
        for name, array in arrays.items():
            raw = _bytes(array)
            sections.append(_Section(name, at, len(raw), zlib.crc32(raw)))
            at += -(-len(raw) // 64) * 64
        header = msgspec.json.encode(
            _Header(VERSION, len(self._base.dead), secrets.token_hex(16), self.note, tuple(sections))
        )
        head = MAGIC + len(header).to_bytes(8, "little") + zlib.crc32(header).to_bytes(8, "little") + header
        head += b"\0" * (-len(head) % 4096)
        part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
        try:
            with part.open("xb") as file:
                file.write(head)
                for array in arrays.values():
                    raw = _bytes(array)
                    file.write(raw)
                    file.write(b"\0" * (-len(raw) % 64))
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    @classmethod
    def open(cls, path: Path, *, verify: bool = False) -> SuspensionIndex:
        """Map the base at `path`. Raises `Problem` where the file is not one, is cut off or damaged.

        Whatever a search follows without looking is checked each time; `verify` reads all of it and compares the sums.
        """
        hint = "Build it again from the record of suspensions."
        try:
            with path.open("rb") as file:
                block = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
        except (OSError, ValueError) as error:
            raise Problem(f"cannot be opened: {error}", where=str(path), hint=hint) from None
        arrays, header = _mapped(block, str(path), hint, verify=verify)
        accounts = Accounts(**{name: arrays[f"accounts.{name}"] for name in Accounts._fields})
        postings = Postings(**{name: arrays[f"postings.{name}"] for name in Postings._fields})
        circles = Circles(**{name: arrays[f"circles.{name}"] for name in Circles._fields})
        _check(accounts, postings, circles, header, str(path), hint)
        return cls(_Segment(accounts, postings, circles.members), circles, header.note)


def _id_at(holder: _Segment | _Tail, place: int) -> int:
    ids = holder.columns["ids"] if isinstance(holder, _Tail) else holder.accounts.ids
    return int(ids[place])


def _living(accounts: Accounts, members: npt.NDArray[np.uint16], dead: npt.NDArray[np.bool_]) -> _Segment:
    return _Segment.build(*_join([(accounts, members, dead)]))


def _join(
    parts: list[tuple[Accounts, npt.NDArray[np.uint16], npt.NDArray[np.bool_]]],
) -> tuple[Accounts, npt.NDArray[np.uint16]]:
    """The living of all parts."""
    taken = []
    for accounts, members, dead in parts:
        rows = np.flatnonzero(~dead).astype(np.int64)
        none = np.zeros(len(accounts.keys), np.uint8)
        living = take(Encoded(accounts, none, np.zeros(len(dead), np.int64)), rows)
        taken.append((living.accounts, members[rows]))
    columns = {
        name: np.concatenate([getattr(accounts, name) for accounts, _ in taken])
        for name in Accounts._fields
        if name != "starts"
    }
    starts = np.zeros(len(columns["ids"]) + 1, np.int64)
    np.cumsum(np.concatenate([np.diff(accounts.starts) for accounts, _ in taken]), out=starts[1:])
    return Accounts(**columns, starts=starts), np.concatenate([members for _, members in taken])


def _bytes(array: npt.NDArray[Any]) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _arrays_of(base: _Segment, circles: Circles) -> dict[str, npt.NDArray[Any]]:
    arrays: dict[str, npt.NDArray[Any]] = {}
    arrays |= {f"accounts.{name}": value for name, value in base.accounts._asdict().items()}
    arrays |= {f"postings.{name}": value for name, value in base.postings._asdict().items()}
    arrays |= {f"circles.{name}": value for name, value in circles._asdict().items()}
    return arrays


def _mapped(
    block: npt.NDArray[np.uint8], where: str, hint: str, *, verify: bool
) -> tuple[dict[str, npt.NDArray[Any]], _Header]:
    head = block[:24].tobytes()
    if len(head) < 24 or head[:8] != MAGIC:
        raise Problem("is no index of suspensions", where=where, hint=hint)
    length, crc = int.from_bytes(head[8:16], "little"), int.from_bytes(head[16:24], "little")
    raw = block[24 : 24 + length].tobytes() if length <= len(block) else b""
    if len(raw) != length or zlib.crc32(raw) != crc:
        raise Problem("the header is damaged", where=where, hint=hint)
    header = msgspec.json.decode(raw, type=_Header)
    if header.version != VERSION:
        raise Problem(f"is of version {header.version}, this program reads {VERSION}", where=where, hint=hint)
    first = -(-(24 + length) // 4096) * 4096
    shapes: dict[str, tuple[Any, tuple[int, ...]]] = {
        **{f"accounts.{name}": value for name, value in _COLUMNS.items()},
        **{f"postings.{name}": (value, ()) for name, value in _POSTINGS.items()},
        **{f"circles.{name}": value for name, value in _CIRCLES.items()},
    }
    arrays = {}
    for section in header.sections:
        dtype, shape = shapes.pop(section.name)
        data = block[first + section.at : first + section.at + section.length]
        if len(data) != section.length:
            raise Problem("the file is cut off", where=where, hint=hint)
        if verify and zlib.crc32(data.data) != section.crc:
            raise Problem(f"{section.name} is damaged", where=where, hint=hint)
        arrays[section.name] = data.view(dtype).reshape(-1, *shape)
    if shapes:
        raise Problem(f"has no {next(iter(shapes))}", where=where, hint=hint)
    return arrays, header


def _check(accounts: Accounts, postings: Postings, circles: Circles, header: _Header, where: str, hint: str) -> None:
    n = header.accounts

    def runs(starts: npt.NDArray[Any], length: int) -> bool:
        return len(starts) > 0 and starts[0] == 0 and starts[-1] == length and bool((starts[1:] >= starts[:-1]).all())

    count = len(circles.sizes)
    sound = (
        all(len(getattr(accounts, name)) == n for name in Accounts._fields if name not in {"starts", "keys"})
        and len(accounts.starts) == n + 1
        and runs(accounts.starts, len(accounts.keys))
        and len(postings.firsts) == len(postings.vocabulary) + 1
        and runs(postings.firsts, len(postings.docs) - len(postings.lone))
        and len(postings.directory) == 65537
        and runs(postings.directory, len(postings.vocabulary))
        and len(postings.lone_directory) == 65537
        and runs(postings.lone_directory, len(postings.lone))
        and len(postings.common) == len(postings.counted)
        and len(circles.members) == n
        and len(circles.hours) == count > 0
        and len(circles.starts) == count + 1
        and runs(circles.starts, len(circles.keys))
        and len(circles.keys) == len(circles.counts)
        and (n == 0 or int(circles.members.max()) < count)
    )
    if not sound:
        raise Problem("what it is made of does not fit together: the file is damaged", where=where, hint=hint)
