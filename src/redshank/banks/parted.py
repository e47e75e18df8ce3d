"""Known pictures that are found by a part of them: their points in the store, and all of them in this process.

The one idea: points lie beside the entries, in a table of their own, and are read once, then as entries change, by the
same number by which all that is known goes on (`current`). Where no bank asks for parts nothing is read.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

from redshank.banks.models import Entry, EntryPoints
from redshank.banks.parts import PartIndex
from redshank.media.parts import POINT_BYTES, poverty, telling

ROWS = 500
"""Pictures that are read together: 6 MB."""
BATCH = 800

_lock = threading.Lock()
_index: PartIndex | None = None
_at = -1
_folder: Path | None = None


def keep_points(points: Mapping[int, bytes], *, number: int) -> None:
    """Keep a picture's points, as the child found them, by entry's id; `number` is the banks'. In the caller's transaction."""
    rows = []
    for pk, packed in points.items():
        kept = telling(packed)
        rows.append(EntryPoints(entry_id=pk, packed=kept, poor=poverty(kept)))
    EntryPoints.objects.bulk_create(
        rows, batch_size=BATCH // 3, update_conflicts=True, unique_fields=["entry"], update_fields=["packed", "poor"]
    )
    pks = list(points)
    for start in range(0, len(pks), BATCH):
        Entry.objects.filter(pk__in=pks[start : start + BATCH]).update(changed=number)


def count_points(packed: bytes) -> int:
    """How many points are packed."""
    return len(packed) // POINT_BYTES


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
            some: dict[int, bytes] = {}
            for pk, packed, poor, withdrawn in rows.iterator(chunk_size=ROWS):
                _index.remove(pk)
                if not poor and withdrawn is None:
                    some[pk] = bytes(packed)
                if len(some) >= ROWS:
                    _index.add(some)
                    some = {}
            _index.add(some)
            _at = number
        return _index
