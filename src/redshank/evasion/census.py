"""Keeps what is usual on each network, for all processes: a log of marks, and the table that they are joined into.

The one idea: a worker writes the marks of the accounts that it gathered in the very transaction that gathers them, as one row of a
log, which costs next to nothing; now and then the log is joined into the pages of the table. Marks may be read and joined any
number of times, by anybody, in any order: the table is the same. A season lasts 90 days; what was counted is forgotten with the
end of the next one.
"""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
from django.conf import settings
from django.db import transaction
from django.db.models import Count, Sum

from redshank.evasion.evidence import encode
from redshank.evasion.models import Tally, TallyPage
from redshank.evasion.population import ROWS, Network, Population, join, lift, marks_of, number_of
from redshank.evasion.profiles import Profile
from redshank.evasion.targets import live_keys

FRESH = 10.0
"""Seconds after which the store is asked again: what is usual changes slowly."""
SEASON_DAYS = 90
PAGE = 1 << 14
"""Places of a page: 128 KB before they are packed."""
STEP = 16
"""Pages that one transaction changes."""
LONG, HEAVY = 500, 1_000_000
"""The log is joined into the table when it has so many rows, or so many marks (8 MB)."""


class Census:
    """What is usual, as of a moment ago. Threads share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._season = -1
        self._begin()

    def _begin(self) -> None:
        self._population = Population()
        self._tallies: set[int] = set()
        self._pages: dict[int, int] = {}
        self._networks: dict[str, Network] = {}
        self._asked = -FRESH

    def network(self, name: str, *, now: datetime) -> Network:
        """What is usual on a network, no older than `FRESH` seconds."""
        with self._lock:
            self._catch_up(season_of(now))
            found = self._networks.get(name)
            if found is None:
                found = self._networks[name] = self._population.network(number_of(name))
            return found

    def count(self, gathered: Iterable[tuple[str, str, Profile]], *, now: datetime) -> None:
        """Count accounts, as (network, account id, profile), under all that they carry. In the caller's transaction.

        Whoever was counted under a key before is not counted again.
        """
        listed = list(gathered)
        encoded = encode((profile for _, _, profile in listed), live_keys=live_keys())
        networks = [number_of(network) for network, _, _ in listed]
        marks = marks_of(encoded, networks, [number_of(network, account) for network, account, _ in listed])
        season = season_of(now)
        with self._lock:
            self._catch_up(season)
            marks = self._population.fresh(marks)
        if len(marks):
            Tally.objects.create(season=season, marks=marks.astype("<u8").tobytes(), size=len(marks))
            transaction.on_commit(lambda: self._add(season, marks))

    def _add(self, season: int, marks: npt.NDArray[np.uint64]) -> None:
        with self._lock:
            if season == self._season:
                self._population.add(marks)
                self._networks = {}  # Their totals are of a moment ago.

    def _catch_up(self, season: int) -> None:
        if season != self._season:
            self._season = season
            self._begin()
        if time.monotonic() - self._asked < FRESH:
            return None
        # The log first: what is joined while we read leaves pages of another version.
        live = (season - 1, season)
        tallies = set(Tally.objects.filter(season__in=live).values_list("pk", flat=True))
        logged = list(Tally.objects.filter(pk__in=tallies - self._tallies))
        pages = dict(TallyPage.objects.filter(season__in=live).values_list("pk", "version"))
        changed = [pk for pk, version in pages.items() if self._pages.get(pk) != version]
        if self._tallies - tallies and not changed:  # Not joined, but gone: the store is another one.
            self._begin()
            return self._catch_up(season)
        for row in logged:
            self._population.add(np.frombuffer(bytes(row.marks), "<u8"), before=row.season < season)
        for start in range(0, len(changed), STEP):
            for page in TallyPage.objects.filter(pk__in=changed[start : start + STEP]):
                self._population.join(page.page * PAGE, _unpack(bytes(page.places)), before=page.season < season)
        self._tallies, self._pages, self._networks = tallies, pages, {}
        self._asked = time.monotonic()
        return None


def season_of(now: datetime) -> int:
    """The number of the season that `now` lies in."""
    return int(now.timestamp() // (SEASON_DAYS * 86_400))


def join_log(*, now: datetime, always: bool = False) -> int:
    """Join the log into the table, where it is long or `always`; forget what is older than the season before. Give how many rows went.

    In small transactions: a worker that is killed between them has joined some pages, and the next joins them again.
    """
    season = season_of(now)
    Tally.objects.filter(season__lt=season - 1).delete()
    TallyPage.objects.filter(season__lt=season - 1).delete()
    waiting = Tally.objects.aggregate(rows=Count("pk"), marks=Sum("size"))
    if not waiting["rows"] or not (always or waiting["rows"] >= LONG or waiting["marks"] >= HEAVY):
        return 0
    rows: list[Tally] = []
    for row in Tally.objects.order_by("pk").iterator(chunk_size=50):
        rows.append(row)
        if sum(one.size for one in rows) >= 4 * HEAVY:
            break
    for number in sorted({row.season for row in rows}):
        marks = np.concatenate([np.frombuffer(bytes(row.marks), "<u8") for row in rows if row.season == number])
        _join_marks(number, marks)
    return Tally.objects.filter(pk__in=[row.pk for row in rows]).delete()[0]


def _join_marks(season: int, marks: npt.NDArray[np.uint64]) -> None:
    table = np.zeros(ROWS, np.uint64)
    lift(table, marks)
    touched = np.flatnonzero(table.reshape(-1, PAGE).any(axis=1)).tolist()
    TallyPage.objects.bulk_create([TallyPage(season=season, page=page) for page in touched], ignore_conflicts=True)
    for start in range(0, len(touched), STEP):
        with transaction.atomic():
            pages = TallyPage.objects.select_for_update().filter(season=season, page__in=touched[start : start + STEP])
            for page in pages.order_by("page"):
                first = page.page * PAGE
                before = _unpack(bytes(page.places))
                joined = join(before.copy(), 0, table[first : first + PAGE])
                if (joined != before).any():
                    page.places, page.version = _pack(joined), page.version + 1
                    page.save(update_fields=["places", "version"])


def _pack(places: npt.NDArray[np.uint64]) -> bytes:
    return zlib.compress(places.astype("<u8").tobytes(), 1)


def _unpack(packed: bytes) -> npt.NDArray[np.uint64]:
    if not packed:
        return np.zeros(PAGE, np.uint64)
    return np.frombuffer(zlib.decompress(packed), "<u8").astype(np.uint64)


_lock = threading.Lock()
_census: tuple[Path, Census] | None = None


def census() -> Census:
    """This process's census."""
    global _census  # noqa: PLW0603 - one a process
    folder = Path(settings.DATA_DIR)
    with _lock:
        if _census is None or _census[0] != folder:
            _census = (folder, Census())
        return _census[1]
