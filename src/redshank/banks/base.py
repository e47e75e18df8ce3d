"""The forms of all known content in files: hashes of pictures and of frames by distance, everything else by a key.

The one idea: a base is a folder that is written once, at one number of the banks, renamed into its place whole, and never
changed. Any number of processes map it and share its memory; a newer one takes its place, and whoever has the old one
mapped goes on with it. It can be deleted at any time, and is made again from the store. No Django here.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt

from redshank.banks.frames import good_frames
from redshank.banks.values import space
from redshank.core import BadInput, Problem

if TYPE_CHECKING:
    from redshank.matching import HammingIndex

Hashes = npt.NDArray[np.uint8]
Ids = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]

FRAME_BITS = 24
"""A frame's id is its entry's, shifted by so many bits, and its place in the video: enough for half a year of seconds."""
VERSION = 1
_META, _PICTURES, _FRAMES, _KEYS = "meta.json", "pictures.hamming", "frames.hamming", "keys.npy"
_NAME = re.compile(r"\d{20}-[0-9a-f]{16}")


class Row(msgspec.Struct, frozen=True, gc=False):
    """What of an entry is searched: `value` is canonical for a bank of `kind`, `frames` a video's, packed."""

    id: int
    kind: str
    value: str
    frames: bytes = b""


class Forms(msgspec.Struct, frozen=True):
    """Hashes, uint8 (n, 32), with ids, int64 (n,), of pictures and of frames; keys, uint64 (n,), of all else."""

    pictures: Hashes
    picture_ids: Ids
    frames: Hashes
    frame_ids: Ids
    keys: Keys
    key_ids: Ids

    def __len__(self) -> int:
        return len(self.picture_ids) + len(self.frame_ids) + len(self.key_ids)


def key(kind: str, value: str) -> int:
    """64 bits by which a canonical value of a bank of `kind` is found."""
    text = f"{space(kind)}:{value}".encode("utf-8", "replace")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def forms(rows: Iterable[Row], quality: int) -> Forms:
    """What of `rows` is searched; of videos the frames of at least `quality` that show something. Terms are not."""
    pictures, picture_ids, frame_ids, keys, key_ids = bytearray(), [], [], [], []
    frames: list[Hashes] = []
    for row in rows:
        if row.kind == "pdq":
            pictures += bytes.fromhex(row.value)
            picture_ids.append(row.id)
        elif row.kind != "term":
            keys.append(key(row.kind, row.value))
            key_ids.append(row.id)
        if row.kind == "video":
            _, good = good_frames(row.frames, quality)
            frames.append(good)
            frame_ids.append((row.id << FRAME_BITS) + np.arange(len(good)))
    return Forms(
        np.frombuffer(bytes(pictures), np.uint8).reshape(-1, 32), np.array(picture_ids, np.int64),
        np.concatenate(frames or [np.empty((0, 32), np.uint8)]), np.concatenate(frame_ids or [np.empty(0, np.int64)]),
        np.array(keys, np.uint64), np.array(key_ids, np.int64),
    )  # fmt: skip


def joined(parts: Sequence[Forms]) -> Forms:
    """Several as one."""
    return Forms(*(np.concatenate([getattr(part, name) for part in parts]) for name in Forms.__struct_fields__))


class _Meta(msgspec.Struct, frozen=True, kw_only=True):
    version: int
    order: str
    revision: int
    quality: int
    pictures: int
    frames: int
    keys: int
    keys_sum: int


class Base:
    """A base that is open. `revision` is the banks' number that it was made at; everything changed until then is in it."""

    def __init__(self, place: Path, meta: _Meta) -> None:
        self.place = place
        self.revision = meta.revision
        self.size = meta.pictures + meta.frames + meta.keys
        self._sum = meta.keys_sum
        self.pictures = _index(place / _PICTURES, meta.pictures)
        self.frames = _index(place / _FRAMES, meta.frames)
        loaded = np.load(place / _KEYS, mmap_mode="r", allow_pickle=False)
        if loaded.shape != (2, meta.keys) or loaded.dtype != np.uint64:
            raise BadInput(
                "not the keys that its description names", where=str(place / _KEYS), hint="Delete the folder."
            )
        table: Keys = np.asarray(loaded)
        self._table = table
        self.keys, self.key_ids = table[0], table[1].view(np.int64)

    @classmethod
    def open(cls, place: Path, *, quality: int) -> Base:
        """The base in the folder `place`. Raises `BadInput` for one that is damaged, or made for another `quality`,
        version or byte order, and OSError where it is gone.
        """
        try:
            meta = msgspec.json.decode((place / _META).read_bytes(), type=_Meta)
            if (meta.version, meta.order, meta.quality) != (VERSION, sys.byteorder, quality):
                raise BadInput("made by another version, on another machine, or for another quality", where=str(place))
            return cls(place, meta)
        except (msgspec.DecodeError, ValueError, EOFError) as error:
            raise BadInput(f"damaged: {error}", where=str(place), hint="Delete it; it is made again.") from None
        except Problem as problem:
            raise BadInput(problem.what, where=problem.where, hint="Delete it; it is made again.") from None

    def verify(self) -> None:
        """Read all of it and compare it with its sums, about a second for 10 M hashes. Raises `BadInput` if it is damaged."""
        for index in (self.pictures, self.frames):
            if index is not None:
                index.verify()
        if zlib.crc32(self._table.data) != self._sum:
            raise BadInput("the keys are damaged", where=str(self.place), hint="Delete it; it is made again.")

    def without(self, ids: Ids) -> Forms:
        """All of it but what is of the entries `ids`, sorted."""
        nothing = (np.empty((0, 32), np.uint8), np.empty(0, np.int64))
        pictures, picture_ids = self.pictures.entries() if self.pictures else nothing
        frames, frame_ids = self.frames.entries() if self.frames else nothing
        stay, stay_frames = _not_in(picture_ids, ids), _not_in(frame_ids >> FRAME_BITS, ids)
        stay_keys = _not_in(self.key_ids, ids)
        return Forms(
            pictures[stay], picture_ids[stay], frames[stay_frames], frame_ids[stay_frames],
            self.keys[stay_keys], self.key_ids[stay_keys],
        )  # fmt: skip


def _index(path: Path, count: int) -> HammingIndex | None:
    if not count:
        return None
    from redshank.matching import HammingIndex  # Half a second, for banks of pictures and videos alone.

    index = HammingIndex.open(path)
    if len(index) != count:
        raise BadInput(f"{len(index)} hashes instead of {count}", where=str(path))
    return index


def _not_in(ids: Ids, gone: Ids) -> npt.NDArray[np.bool_]:
    """Which of `ids` are not in `gone`, sorted."""
    if not len(gone):
        return np.ones(len(ids), np.bool_)
    places = np.minimum(np.searchsorted(gone, ids), len(gone) - 1)
    stay: npt.NDArray[np.bool_] = gone[places] != ids
    return stay


def write(folder: Path, content: Forms, *, revision: int, quality: int) -> Path:
    """Write a base into a new folder in `folder`, all of it on the disk before it is seen; give where it is."""
    place = folder / f"{revision:020}-{secrets.token_hex(8)}"
    fresh = folder / f".{place.name}"
    fresh.mkdir(parents=True)
    try:
        for name, hashes, ids in (
            (_PICTURES, content.pictures, content.picture_ids), (_FRAMES, content.frames, content.frame_ids),
        ):  # fmt: skip
            if len(ids):
                from redshank.matching import HammingIndex

                HammingIndex.write(fresh / name, hashes, ids)
        order = np.argsort(content.keys, kind="stable")
        table = np.stack([content.keys[order], content.key_ids[order].view(np.uint64)])
        with (fresh / _KEYS).open("wb") as out:
            np.save(out, table)
            _to_disk(out)
        meta = _Meta(
            version=VERSION, order=sys.byteorder, revision=revision, quality=quality, pictures=len(content.picture_ids),
            frames=len(content.frame_ids), keys=len(content.key_ids), keys_sum=zlib.crc32(table.data),
        )  # fmt: skip
        with (fresh / _META).open("wb") as out:
            out.write(msgspec.json.encode(meta))
            _to_disk(out)
        fresh.rename(place)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return place


def _to_disk(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())


def bases(folder: Path) -> Iterator[Path]:
    """The bases in `folder`, the newest first. What was being written when its writer was killed is none."""
    try:
        places = [place for place in folder.iterdir() if _NAME.fullmatch(place.name)]
    except FileNotFoundError:
        return
    yield from sorted(places, reverse=True)


def revision_of(place: Path) -> int:
    """The banks' number that a base was made at, by its name."""
    return int(place.name.partition("-")[0])


def sweep(folder: Path, keep: Path) -> None:
    """Take away all bases but `keep`, and what was left half-written. Only for who holds the right to write there."""
    for other in folder.iterdir():
        if other.is_dir() and other != keep:
            shutil.rmtree(other, ignore_errors=True)
