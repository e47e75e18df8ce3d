"""What is known now, in this process, and the files beside it that all processes of a machine share.

The one idea: every change to a bank takes one row's lock, draws the next number, and writes it on the entries that it
changed. So a reader asks the store for one number, and then for what changed since the one it has: it reads each change
once, and never all. What is in the store is the truth; the files (`base`) save reading it from the beginning, and whoever
finds that much has changed since they were made makes new ones.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import structlog
from django.conf import settings
from django.db import connections, transaction
from django.db.models import F

from redshank.banks import base as files
from redshank.banks.base import Base, Forms, Row, forms, joined
from redshank.banks.catalog import Catalog
from redshank.banks.detect import Known, KnownBank, KnownEntry
from redshank.banks.models import Bank, BankRevision, BankStep, Entry
from redshank.banks.parted import parts_at
from redshank.core import Problem
from redshank.matching import TermIndex
from redshank.media.plugins import INSTALLED, PluginIndex, indexes
from redshank.rows import batched

log = structlog.get_logger(__name__)

CHECKED_EVERY = 0.25
"""Seconds for which a process trusts what it has without asking the store."""
DELTA_LEAST, DELTA_MOST, DELTA_SHARE = 1 << 14, 1 << 18, 16
"""Hashes and keys beside the base beyond which a new one is made: this share of it, but not below the least, nor above the most."""
BEHIND = 8 * DELTA_LEAST
"""Changed entries that a process reads one by one as it begins; where there are more, it makes a base first."""
ROWS, VIDEOS = 10_000, 50
"""Rows that are read together; of videos fewer, as an hour of one takes 130 kB."""
MET = 200_000
"""Entries that a process remembers; beyond it forgets them, and asks the store again."""
BATCH = 800
"""Values asked for in one query: SQLite takes a thousand parameters everywhere."""


def bump() -> int:
    """Draw the banks' next number, and wait here for whoever else is changing something. In the caller's transaction.

    It is to be written on each entry that the caller changes, as `changed`.
    """
    step = secrets.randbelow(1 << 30) + 1
    if not BankRevision.objects.filter(pk=1).update(number=F("number") + step):
        BankRevision.objects.get_or_create(pk=1, defaults={"number": step})
        BankRevision.objects.filter(pk=1).update(number=F("number") + 1)
    number = _number()
    BankStep.objects.create(number=number)
    _forget_check()
    transaction.on_commit(_forget_check)
    return number


def _forget_check() -> None:
    global _checked  # noqa: PLW0603 - one view a process
    _checked = 0.0


def _number() -> int:
    return BankRevision.objects.filter(pk=1).values_list("number", flat=True).first() or 0


class _View(msgspec.Struct):
    """What this process knows: as of `revision`, with `banks` as they were then, out of files in `folder`."""

    known: Known
    revision: int
    banks: Mapping[int, KnownBank]
    terms: TermIndex
    plugged: Mapping[str, PluginIndex]
    folder: Path


_lock = threading.RLock()
_view: _View | None = None
_checked = 0.0


def known(*, fresh: bool = False) -> Known:
    """All that is known. With `fresh` as the store has it now; else as of a quarter of a second ago or this process's last change.

    One view a process, shared by its threads.
    """
    global _view, _checked  # noqa: PLW0603 - one view a process
    if not fresh and _view is not None and time.monotonic() - _checked < CHECKED_EVERY:
        return _view.known
    with _lock:
        at = time.monotonic()
        if not fresh and _view is not None and at - _checked < CHECKED_EVERY:
            return _view.known
        number = _number()
        if _view is None or _view.folder != _folder() or not _is_past(_view.revision, number):
            _view = _open(number)
        elif number != _view.revision:
            _view = _advance(_view, number)
        if time.time() >= _view.known.expires or len(_view.known.met) > MET:
            _view = _renewed(_view)
        _checked = at
        return _view.known


def _folder() -> Path:
    return Path(settings.DATA_DIR) / "known"


def _quality() -> int:
    quality: int = settings.REDSHANK.media.pdq_quality
    return quality


def _is_past(revision: int, number: int) -> bool:
    """Whether this store's banks ever had the number `revision`, before or at `number`."""
    return revision == number or (revision < number and BankStep.objects.filter(pk=revision).exists())


# The view


class _Shelf:
    """The store's entries, for those that an index proposed."""

    def __init__(self, banks: Mapping[int, KnownBank]) -> None:
        self._banks = banks

    def entries(self, ids: Sequence[int]) -> Mapping[int, KnownEntry]:
        out: dict[int, KnownEntry] = {}
        for part in batched(ids, BATCH):
            out |= _in_force(self._banks, pk__in=part)
        return out

    def frames(self, entry: int) -> bytes:
        found = Entry.objects.filter(pk=entry).values_list("frames", flat=True).first()
        return bytes(found or b"")


def _in_force(banks: Mapping[int, KnownBank], **which: object) -> dict[int, KnownEntry]:
    now = datetime.now(UTC)
    rows = Entry.objects.filter(withdrawn_at=None, **which).order_by().values_list(
        "pk", "bank_id", "value", "label", "source", "weak", "quarantined_at", "foreign", "confirmed_at", "expires_at"
    )  # fmt: skip
    return {
        pk: KnownEntry(
            pk, banks[bank], value, label, source, bool(weak), quarantined is not None,
            not foreign or confirmed is not None, expires.timestamp() if expires else float("inf"),
        )
        for pk, bank, value, label, source, weak, quarantined, foreign, confirmed, expires in rows.iterator(ROWS)
        if bank in banks and (expires is None or expires > now)
    }  # fmt: skip


def _banks() -> dict[int, KnownBank]:
    limit = settings.REDSHANK.media.pdq_limit
    return {
        bank.pk: KnownBank(
            bank.name,
            bank.kind,
            bank.policy_id,
            bank.severity,
            limit if bank.limit is None else bank.limit,
            bank.source,
            bank.negative,
            bank.sampled,
            frozenset(tag.partition("-")[0].lower() for tag in bank.languages.split()),
            settings.REDSHANK.banks.quarantine_matches if bank.surge is None else bank.surge,
            bank.partial,
            settings.REDSHANK.media.video_share if bank.share is None else bank.share / 100,
        )
        for bank in Bank.objects.filter(active=True).order_by("pk")
    }


def _terms(banks: Mapping[int, KnownBank]) -> dict[int, KnownEntry]:
    """The terms in force. They are read anew, all of them, whenever one changes: an automaton is built whole."""
    of_terms = [pk for pk, bank in banks.items() if bank.kind == "term"]
    return _in_force(banks, bank__in=of_terms) if of_terms else {}


def _plugged(banks: Mapping[int, KnownBank]) -> dict[str, PluginIndex]:
    """Indexes of plug-ins' kinds. They too are built whole, whenever one of their entries changes."""
    of_kind: dict[str, list[tuple[int, str]]] = {}
    for kind in INSTALLED:
        pks = [pk for pk, bank in banks.items() if bank.kind == kind]
        if pks:
            of_kind[kind] = [
                (pk, entry.value) for pk, entry in _in_force(banks, bank__in=pks).items() if not entry.weak
            ]
    return indexes(of_kind)


def _view_of(
    catalog: Catalog,
    revision: int,
    *,
    met: Mapping[int, KnownEntry],
    before: _View | None = None,
    same_terms: bool = False,
    same_plugged: bool = False,
) -> _View:
    """A view of `catalog`. Of the view `before` the terms and plug-ins' indexes stay, and what it met, where nothing changed."""
    banks = _banks()
    if before is None or not same_terms or banks != before.banks:
        terms = _terms(banks)
        index = TermIndex((pk, entry.value) for pk, entry in terms.items())
        met = terms if before is None or banks != before.banks else {**met, **terms}
    else:
        index = before.terms
    kept = before is not None and same_plugged and banks == before.banks
    plugged = before.plugged if before is not None and kept else _plugged(banks)
    if any(bank.kind in {"pdq", "video"} for bank in banks.values()):
        _load_once()
    parts = None
    if any(bank.partial for bank in banks.values()):
        parts = parts_at(revision, folder=_folder(), goes_on=before is not None)
    shown = Known(
        catalog, _Shelf(banks), banks.values(), settings.REDSHANK.media, terms=index, met=met, revision=revision,
        parts=parts, plugged=plugged,
    )  # fmt: skip
    return _View(shown, revision, banks, index, plugged, _folder())


def _renewed(view: _View) -> _View:
    """The same, but for entries that expired, or for all that were met where these are too many."""
    met = dict(view.known.met) if len(view.known.met) <= MET else {}
    now = time.time()
    met = {pk: entry for pk, entry in met.items() if entry.expires > now}
    return _view_of(view.known.catalog, view.revision, met=met, before=view, same_terms=True, same_plugged=True)


def _open(number: int) -> _View:
    """The newest base of this store that is whole, and what changed since."""
    found = _newest_base(number)
    if _have_changed(BEHIND, -1 if found is None else found.revision):
        _apart(lambda: make_base(wait=True))
        found = _newest_base(number)
    catalog = Catalog(found, quality=_quality())
    for _ in _take_in(catalog, since=-1 if found is None else found.revision):
        pass
    _see_to_base(catalog)
    return _view_of(catalog, number, met={})


def _advance(view: _View, number: int) -> _View:
    """What changed since `view` was made."""
    catalog, since = view.known.catalog, view.revision
    if newer := _newer(catalog.base.revision if catalog.base else -1, number):
        catalog, since = newer.catalog, min(newer.revision, since)
    changed: set[int] = set()
    kinds: set[str] = set()
    for row in _take_in(catalog, since=since):
        changed.add(row.id)
        kinds.add(row.kind)
    _see_to_base(catalog)
    met = {pk: entry for pk, entry in dict(view.known.met).items() if pk not in changed}
    return _view_of(
        catalog, number, met=met, before=view, same_terms="term" not in kinds, same_plugged=kinds.isdisjoint(INSTALLED)
    )


def _have_changed(number: int, since: int) -> bool:
    """Whether `number` entries or more changed after the banks' number `since`."""
    return Entry.objects.filter(changed__gt=since).order_by()[:number].count() == number


class _Newer(msgspec.Struct):
    """A catalog on another base than the one in use, with what changed up to `revision`."""

    catalog: Catalog
    revision: int
    folder: Path


_ready: _Newer | None = None


def _newer(mine: int, number: int) -> _Newer | None:
    """A catalog on a newer base than that of the number `mine`, where there is one.

    While a long list is taken in, much has changed by the time that a base is whole: that is read beside what goes on, so that
    nothing waits for it, and is given when it is ready.
    """
    global _ready
    newest = next((place for place in files.bases(_folder()) if place not in _useless), None)
    if newest is None or files.revision_of(newest) <= mine:
        return None
    done, _ready = _ready, None
    if done and done.catalog.base and done.catalog.base.revision > mine and done.folder == _folder() and _is_past(done.revision, number):  # fmt: skip
        return done
    found = _newest_base(number)
    if found is None or found.revision <= mine:
        return None
    if not _have_changed(DELTA_LEAST, found.revision):
        return _Newer(Catalog(found, quality=_quality()), found.revision, _folder())
    _beside("known-open", _get_ready)
    return None


def _get_ready() -> None:
    global _ready  # noqa: PLW0603 - one view a process
    number, folder = _number(), _folder()
    if found := _newest_base(number):
        catalog = Catalog(found, quality=_quality())
        for _ in _take_in(catalog, since=found.revision):
            pass
        _ready = _Newer(catalog, number, folder)


def _take_in(catalog: Catalog, *, since: int) -> Iterator[Row]:
    """Have `catalog` propose all entries that changed after `since`; gives them as they are read."""
    for part in _changed(since):
        catalog.add(row for row, in_force in part if in_force)
        yield from (row for row, _ in part)


def _changed(since: int) -> Iterator[list[tuple[Row, bool]]]:
    """Entries that changed after the number `since`, some at a time, and whether each is in force. Banks that are off count as well."""
    kinds = dict(Bank.objects.values_list("pk", "kind"))
    videos = [pk for pk, kind in kinds.items() if kind == "video"]
    changed = Entry.objects.filter(changed__gt=since).order_by()
    for rows, size in ((changed.exclude(bank__in=videos), ROWS), (changed.filter(bank__in=videos), VIDEOS)):
        if not videos and size == VIDEOS:
            continue
        asked = ("pk", "bank_id", "value", "withdrawn_at", *(("frames",) if size == VIDEOS else ()))
        for part in batched(rows.values_list(*asked).iterator(chunk_size=size), size):
            yield [
                (Row(row[0], kinds[row[1]], row[2], bytes(row[4] or b"") if size == VIDEOS else b""), row[3] is None)
                for row in part
                if row[1] in kinds
            ]


# Bases


def _newest_base(number: int) -> Base | None:
    """The newest base that is whole and of this store's past. Others are named in the log, and left to who makes the next."""
    while True:
        places = list(files.bases(_folder()))
        for place in places:
            if place in _useless:
                continue
            if not _is_past(files.revision_of(place), number):
                log.info("known.base_of_another_past", place=str(place))
                continue
            try:
                found = Base.open(place, quality=_quality())
            except (Problem, OSError) as problem:
                if place.exists():
                    log.warning("known.base_damaged", place=str(place), problem=str(problem))
                    _useless.add(place)
                continue
            _verify_once(found)
            return found
        if list(files.bases(_folder())) == places:  # Else a newer one took the place of what was being opened.
            return None


_useless: set[Path] = set()
"""Bases that were found to be damaged; whoever makes the next one takes them away."""
_verified: set[Path] = set()
_loaded = False
_busy: set[str] = set()
_busy_lock = threading.Lock()
_not_before = 0.0
"""When, by the monotonic clock, a base may be tried again after that failed."""
PAUSE = 60.0


def _verify_once(base: Base) -> None:
    """Compare a base with its sums, beside what else goes on; make a new one where it is damaged."""
    if base.place not in _verified and base.size > DELTA_LEAST:
        _verified.add(base.place)
        _beside("known-verify", lambda: _verify(base))


def _verify(base: Base) -> None:
    global _view  # noqa: PLW0603 - one view a process
    try:
        base.verify()
    except (Problem, OSError) as problem:
        log.warning("known.base_damaged", place=str(base.place), problem=str(problem))
        _useless.add(base.place)
        make_base(wait=True)
        with _lock:
            _view = None


def _load_once() -> None:
    """Load what looks pictures up, beside what else goes on, so that the first that becomes known does not wait for it."""
    global _loaded  # noqa: PLW0603 - once a process
    if not _loaded:
        _loaded = True
        # A process that ends waits for it: compilers bear no end.
        threading.Thread(target=_load, name="known-load").start()


def _load() -> None:
    from redshank.matching.hamming import get_ready

    get_ready()


def _see_to_base(catalog: Catalog) -> None:
    """Have a new base made, beside what else goes on, once the delta has grown."""
    size = catalog.base.size if catalog.base else 0
    if catalog.size > min(max(size // DELTA_SHARE, DELTA_LEAST), DELTA_MOST) and time.monotonic() >= _not_before:
        _beside("known-base", lambda: make_base(wait=False))


def _beside(name: str, what: Callable[[], object]) -> None:
    """Do it in a thread, unless it is being done."""
    with _busy_lock:
        if name in _busy:
            return
        _busy.add(name)

    def run() -> None:
        global _not_before  # noqa: PLW0603 - one view a process
        try:
            what()
        except Exception:
            log.exception("known.failed", what=name, again_in=PAUSE)
            _not_before = time.monotonic() + PAUSE
        finally:
            connections.close_all()
            _busy.discard(name)

    threading.Thread(target=run, name=name, daemon=True).start()


def _apart(what: Callable[[], object]) -> None:
    """Do it with a connection to the store of its own, which sees what is committed and nothing else, and wait for it."""

    def run() -> None:
        try:
            what()
        except Exception:  # Then everything is read one by one.
            log.exception("known.failed", what="known-base")
        finally:
            connections.close_all()

    thread = threading.Thread(target=run, name="known-base")
    thread.start()
    thread.join()


def make_base(*, wait: bool) -> Path | None:
    """Make a base of what is committed, out of the newest one and what changed since; None where nothing did.

    One process of a machine at a time: others wait for it, or, without `wait`, leave it to that one and get None.
    """
    folder = _folder()
    folder.mkdir(parents=True, exist_ok=True)
    with _right_to_write(folder, wait=wait) as have:
        if not have:
            return None
        number = _number()
        old = _newest_base(number)
        if old is not None and old.revision == number:
            return None
        began = time.monotonic()
        place = files.write(folder, _content(old), revision=number, quality=_quality())
        files.sweep(folder, place)
        log.info("known.base_made", revision=number, seconds=round(time.monotonic() - began, 2))
        return place


def _content(old: Base | None) -> Forms:
    """All that is in force by now, or was when it was read: what changes meanwhile has a higher number, and comes again."""
    parts: list[Forms] = []
    gone: list[int] = []
    for part in _changed(-1 if old is None else old.revision):
        parts.append(forms((row for row, in_force in part if in_force), _quality()))
        gone += [row.id for row, _ in part]
    if old is not None:
        parts.append(old.without(np.unique(np.array(gone, np.int64))))
    return joined(parts or [forms((), 0)])


@contextmanager
def _right_to_write(folder: Path, *, wait: bool) -> Iterator[bool]:
    """Whether this process may write there now. It may until the block ends, or the process does."""
    fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(fd)
