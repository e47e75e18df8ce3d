"""Known pictures, and frames of known videos, that are found by a part of them: their points in the store, and all of them in this process.

The one idea: points lie beside the entries, in a table of their own, and are read once, then as entries change, by the
same number by which all that is known goes on (`current`). Where no bank asks for parts nothing is read.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from redshank.banks.models import Entry, EntryPoints
from redshank.banks.parts import PartIndex
from redshank.media.parts import Shown, poverty, telling, unpack_points

ROWS = 500
"""Pictures that are read together: 10 MB."""
BATCH = 800

_lock = threading.Lock()
_index: PartIndex | None = None
_at = -1
_folder: Path | None = None
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Shown]).decode


def keep_points(points: Mapping[int, Sequence[Shown]], *, number: int) -> None:
    """Keep the points of pictures and of videos' frames, as the child found them, by entry's id; `number` is the banks'.

    In the caller's transaction. The entries are sought in the past again.
    """
    rows = []
    for pk, given in points.items():
        kept = [(second, telling(packed)) for second, packed in given]
        poor = [poverty(packed) for _, packed in kept]
        rich = [one for one, why in zip(kept, poor, strict=True) if not why]
        rows.append(EntryPoints(entry_id=pk, packed=_encode(rich or kept[:1]), poor="" if rich else max(poor, key=len)))
    EntryPoints.objects.bulk_create(
        rows, batch_size=BATCH // 3, update_conflicts=True, unique_fields=["entry"], update_fields=["packed", "poor"]
    )
    pks = list(points)
    for start in range(0, len(pks), BATCH):
        Entry.objects.filter(pk__in=pks[start : start + BATCH]).update(changed=number, looked_back_at=None)


def shown_by(packed: bytes) -> list[Shown]:
    """What the store keeps of an entry: of a picture one, of a video each frame that tells something."""
    return _decode(packed)


def count_points(packed: bytes) -> tuple[int, int]:
    """How many pictures, and points of all of them, are packed."""
    shown = shown_by(packed)
    return len(shown), sum(len(unpack_points(points).bits) for _, points in shown)


def parts_at(number: int, *, folder: Path, goes_on: bool) -> PartIndex:
    """All known pictures that have points enough, as of the banks' `number` or later; without `goes_on` read anew.

    One index a process and store (whose files lie in `folder`). Those of banks that do not ask for parts are in it too.
    """
    global _index, _at, _folder  # noqa: PLW0603 - one index a process
    with _lock:
        if _index is None or not goes_on or _folder != folder or number < _at:
            _index, _at, _folder = PartIndex(), -1, folder
        if number != _at:
            changed = EntryPoints.objects.filter(entry__changed__gt=_at).order_by("entry_id")
            rows = changed.values_list("entry_id", "packed", "poor", "entry__withdrawn_at")
            some: dict[int, list[Shown]] = {}
            for pk, packed, poor, withdrawn in rows.iterator(chunk_size=ROWS):
                _index.remove(pk)
                if not poor and withdrawn is None:
                    some[pk] = shown_by(bytes(packed))
                if sum(map(len, some.values())) >= ROWS:
                    _index.add(some)
                    some = {}
            _index.add(some)
            _at = number
        return _index
