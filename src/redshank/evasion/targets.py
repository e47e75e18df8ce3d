"""This process's view of all suspended accounts: a base mapped from a file, and what the store says has changed since.

The one idea: the store is the only truth, and every process asks it what changed, some times a second. The file spares
reading it all again; it can be deleted or damaged at any time, and is made again. Since transactions commit out of order
and clocks differ, a little more than what is new is read each time, and what is known already is passed over.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog
from django.conf import settings

from redshank.core import Problem
from redshank.evasion.evidence import Encoded, encode, join
from redshank.evasion.gathering import merged, profile_of, unpack
from redshank.evasion.index import Pairs, SuspensionIndex
from redshank.evasion.models import ProfileRecord
from redshank.evasion.population import Network
from redshank.evasion.profiles import Profile

log = structlog.get_logger(__name__)

FRESH = 0.25
"""Seconds after which the store is asked again."""
OVERLAP = timedelta(seconds=60)
"""Changes so much older than the newest known are read again: longer than a transaction, or two clocks' difference."""
REBUILD = 256
"""After so many changes, and a twentieth of all, the base is written anew."""
VERIFIED = 256 * 1024 * 1024
"""A file up to so many bytes is read and summed up when it is opened; of a larger one only what a search follows is checked."""
CHUNK = 2_000


class Targets:
    """The suspended accounts, as of a moment ago. Threads share it."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "suspended.rsx"
        self._lock = threading.Lock()
        self._stamp: object = None
        self._index = SuspensionIndex.build(encode([]))
        self._since: datetime | None = None
        self._known: dict[int, tuple[datetime, bool, int]] = {}
        self._asked = 0.0
        self.changes = 0

    def __len__(self) -> int:
        return len(self._index)

    def index(self, *, fresh: bool = False) -> SuspensionIndex:
        """The index, no older than `FRESH` seconds; with `fresh`, as the store stands now."""
        with self._lock:
            if fresh or time.monotonic() - self._asked >= FRESH:
                self._open()
                self._catch_up()
                self._asked = time.monotonic()
            return self._index

    def search(self, profile: Profile, network: Network) -> Pairs:
        """The suspended accounts that have most in common with `profile`, of an account on that network."""
        return self.index().search(encode([profile], live_keys=live_keys()), network=network)

    def _open(self) -> None:
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        self._stamp, self._known, self.changes = stamp, {}, 0
        self._index, self._since = SuspensionIndex.build(encode([])), None
        if stamp is None:
            return
        try:
            self._index = SuspensionIndex.open(self._path, verify=self._path.stat().st_size <= VERIFIED)
            self._since = datetime.fromisoformat(self._index.note)
        except (Problem, OSError, ValueError) as problem:
            log.warning("evasion.index_damaged", problem=str(problem), now="all is read from the store")
            self._index, self._since = SuspensionIndex.build(encode([])), None
            self._path.unlink(missing_ok=True)
            self._stamp = None

    def _catch_up(self) -> None:
        changed = ProfileRecord.objects.filter(target_changed_at__isnull=False)
        if self._since is not None:
            changed = changed.filter(target_changed_at__gte=self._since - OVERLAP)
        else:
            changed = changed.filter(target=True)
        new: list[int] = []
        gone: list[int] = []
        for pk, at, target, version in changed.values_list("pk", "target_changed_at", "target", "version"):
            if at is None or self._known.get(pk) == (at, target, version):
                continue
            self._known[pk] = (at, target, version)
            (new if target else gone).append(pk)
            self._since = at if self._since is None else max(self._since, at)
        for pk in gone:
            self.changes += self._index.remove(pk)
        for encoded in encoded_targets(new):
            self._index.add(encoded)
            self.changes += len(encoded)
        if self._since is not None and len(self._known) > 10_000:
            old = self._since - 2 * OVERLAP
            self._known = {pk: known for pk, known in self._known.items() if known[0] >= old}

    def keep(self, *, now: datetime, always: bool = False) -> bool:
        """Write the base anew, from the store, where enough has changed, or `always`; whether it was written.

        One process at a time does; one that is killed at it leaves the old file.
        """
        size = len(self.index(fresh=True))
        if not always and self.changes < max(REBUILD, size // 20):
            return False
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.with_name("writing").open("wb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return False
            pks = list(ProfileRecord.objects.filter(target=True).order_by("pk").values_list("pk", flat=True))
            made = SuspensionIndex.build(join(list(encoded_targets(pks))), note=now.isoformat())
            made.save(self._path)
        log.info("evasion.index_written", accounts=len(made))
        return True

    def drop(self) -> None:
        """Delete the file: what is in it must go. It is made again from the store."""
        self._path.unlink(missing_ok=True)


def live_keys() -> frozenset[str] | None:
    """Names of the keys whose tokens are compared; None: all."""
    named = settings.REDSHANK.evasion.token_keys
    return frozenset(named) if named else None


def oldest_token(now: datetime) -> int:
    """Tokens that were last told before this time, in seconds since 1970, are expired."""
    return int((now - timedelta(days=settings.REDSHANK.evasion.token_days)).timestamp())


def target_profiles(pks: Iterable[int]) -> list[Profile]:
    """The profiles of targets; each with the evidence of all accounts that a person found to be its owner's."""
    records = list(ProfileRecord.objects.filter(pk__in=list(pks), target=True).order_by("pk"))
    owners = {record.owner for record in records if record.owner is not None}
    chains: dict[int, list[ProfileRecord]] = {}
    if owners:
        for member in ProfileRecord.objects.filter(owner__in=owners).order_by("pk"):
            chains.setdefault(int(member.owner or 0), []).append(member)
    oldest = oldest_token(datetime.now(UTC))
    out = []
    for record in records:
        evidence = unpack(bytes(record.evidence))
        if record.owner is not None:
            others = [unpack(bytes(one.evidence)) for one in chains[record.owner] if one.pk != record.pk]
            evidence = merged(evidence, others)
        ended = int(record.ended_at.timestamp()) if record.ended_at else 0
        out.append(profile_of(evidence, record.pk, ended_at=max(0, min(ended, 2**32 - 1)), oldest_token=oldest))
    return out


def encoded_targets(pks: list[int]) -> Iterator[Encoded]:
    """The targets among `pks` as columns, some thousands at a time."""
    for start in range(0, len(pks), CHUNK):
        profiles = target_profiles(pks[start : start + CHUNK])
        if profiles:
            yield encode(profiles, live_keys=live_keys())


def _stamp(path: Path) -> object:
    try:
        stat: os.stat_result = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


_lock = threading.Lock()
_targets: tuple[Path, Targets] | None = None


def targets() -> Targets:
    """This process's targets."""
    global _targets  # noqa: PLW0603 - one a process
    folder = Path(settings.DATA_DIR) / "evasion"
    with _lock:
        if _targets is None or _targets[0] != folder:
            _targets = (folder, Targets(folder))
        return _targets[1]
