"""Asks a source, weighs what it sends, and takes it over: each step so that it can be killed anywhere.

The one idea: what is fetched lies in files, page by page, before anything changes; then it is weighed against what the source
gave before; then it is taken over, page by page, each in one transaction with the mark of how far that is. One worker at a
time holds an exchange by a lease that it renews; whoever comes after one that died goes on at the last mark.
"""

from __future__ import annotations

import hashlib
import os
import secrets as chance
import shutil
import threading
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

import msgspec
import numpy as np
import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import Q
from numpy.typing import NDArray

from redshank.audit.services import Step, record
from redshank.banks import services as banks
from redshank.banks.models import Bank, Entry, Opinion
from redshank.banks.values import canonical
from redshank.core import BadInput, Problem
from redshank.exchanges import services
from redshank.exchanges.http import Http
from redshank.exchanges.models import Claim, Exchange, Run, SetAside
from redshank.exchanges.records import (
    Aside,
    Ask,
    Kind,
    Page,
    Record,
    SourceError,
    StaleError,
    Unchanged,
    Word,
    digest,
    short_key,
)
from redshank.exchanges.weighing import Diff, too_much
from redshank.rows import Turns, batched, pick, put

log = structlog.get_logger(__name__)

LEASE = timedelta(minutes=5)
RENEWED = timedelta(seconds=20)
BATCH = 800
"""Keys asked for in one query: SQLite takes a thousand parameters everywhere."""
TOGETHER = 10_000
"""Things that are taken over in one transaction at most, or few more: pieces are as small as the source sends them."""
MANY_VALUES = 8
"""Numbered values of one thing that are looked for together."""
SHOWN = 20
KEPT_ASIDE = 10_000
"""Of what one run sets aside so much is kept; the rest is counted."""
LONGEST_PAUSE = timedelta(hours=1)
_LISTED_BY = "exchange:"

Clock = Callable[[], datetime]
Progress = Callable[[str, int], None]


def _now() -> datetime:
    return datetime.now(UTC)


def _quiet(phase: str, done: int) -> None:
    """Tells nobody."""


class LostError(Exception):
    """Somebody else works on this exchange now, or it was changed meanwhile."""


class StoppedError(LostError):
    """This worker is to end; whoever comes next goes on at the last mark."""


class _Lease:
    """One worker's hold on one exchange."""

    def __init__(self, exchange: Exchange, token: str, clock: Clock, stop: threading.Event) -> None:
        self.exchange = exchange
        self.token = token
        self.clock = clock
        self._stop = stop
        self._renewed = clock()

    @classmethod
    def take(cls, exchange: Exchange, clock: Clock, stop: threading.Event) -> _Lease | None:
        """The hold; None where another has it."""
        now, token = clock(), chance.token_hex(16)
        free = Q(leased_until=None) | Q(leased_until__lt=now)
        if not Exchange.objects.filter(free, pk=exchange.pk).update(lease=token, leased_until=now + LEASE):
            return None
        exchange.refresh_from_db()
        return cls(exchange, token, clock, stop)

    def beat(self) -> None:
        """Renew the hold now and then. Raises `LostError` where it was lost, or where this worker is to end."""
        if self._stop.is_set():
            raise StoppedError
        now = self.clock()
        if now - self._renewed < RENEWED:
            return
        self._renewed = now
        if not Exchange.objects.filter(pk=self.exchange.pk, lease=self.token).update(leased_until=now + LEASE):
            raise LostError

    def hold(self) -> None:
        """In a transaction: nobody else can change this exchange before it ends. Raises as `beat`."""
        if self._stop.is_set():
            raise StoppedError
        held = Exchange.objects.select_for_update().filter(pk=self.exchange.pk, lease=self.token)
        if held.values_list("pk", flat=True).first() is None:
            raise LostError
        Exchange.objects.filter(pk=self.exchange.pk).update(leased_until=self.clock() + LEASE)
        self._renewed = self.clock()

    def release(self) -> None:
        """Let others take it."""
        Exchange.objects.filter(pk=self.exchange.pk, lease=self.token).update(lease="", leased_until=None)


def run_due(*, clock: Clock = _now, stop: threading.Event | None = None) -> int:
    """Ask one exchange that is due and that nobody else is at; give how many were asked: 1 or 0. `stop` as for `run`."""
    now = clock()
    due = (
        Exchange.objects.filter(Q(leased_until=None) | Q(leased_until__lt=now), paused_at=None, due_at__lte=now)
        .exclude(runs__state=Run.State.HELD)
        .order_by("due_at")
    )
    for exchange in due[:5]:
        if run(exchange, clock=clock, stop=stop) is not None:
            return 1
    return 0


def run(
    exchange: Exchange,
    *,
    clock: Clock = _now,
    progress: Progress = _quiet,
    file: Path | None = None,
    full: bool = False,
    stop: threading.Event | None = None,
) -> Run | None:
    """Ask `exchange`, or go on with its run that was cut off; give the run as it ended, or None where another is at it.

    Where `stop` is set meanwhile, it ends at the next mark, and gives None.

    `file`: a list that takes the place of the source's answer, for kinds that come whole. `full`: all of it is fetched.
    Raises `Problem` where a run of it waits for a person, and for a file where none can be taken.
    """
    if file is not None and not services.kind_of(exchange).whole:
        raise Problem("a file cannot take the place of this source's answers", where=exchange.name)
    if Run.objects.filter(exchange=exchange, state=Run.State.HELD).exists():
        hint = f"Look at it: `redshank exchanges status {exchange.name}`."
        raise Problem("a run of it waits for a person", where=exchange.name, hint=hint)
    lease = _Lease.take(exchange, clock, stop or threading.Event())
    if lease is None:
        return None
    try:
        return _Running(lease, progress).go(file, full=full)
    except StoppedError:
        log.info("exchange.stopped", exchange=exchange.name)
        return None
    except LostError:
        log.warning("exchange.lost", exchange=exchange.name)
        return None
    finally:
        lease.release()


def rehearse(
    exchange: Exchange, folder: Path, *, clock: Clock = _now, progress: Progress = _quiet, file: Path | None = None,
    full: bool = False,
) -> Diff:  # fmt: skip
    """Fetch into `folder` and say what taking it over would change; nothing is changed, the checkpoint neither.

    Raises as the source's client does, and `Unchanged` where a list is the same as before.
    """
    kind = services.kind_of(exchange)
    whole = kind.whole or full or exchange.checkpoint is None
    http = _http(exchange, lambda: None)
    checkpoint = None if full else exchange.checkpoint
    try:
        read = 0
        ask = _ask(exchange, checkpoint, http, clock(), folder, file)
        for number, page in enumerate(map(_storable, kind.fetch(ask)), 1):
            read += len(page.records)
            _check_number(read)
            _write(folder, number, page)
            progress("fetched", read)
    finally:
        http.close()
    return _weigh(exchange, folder, full=whole, progress=progress)


def release(run: Run, *, by: str, now: datetime) -> None:
    """A person looked at a held run: it is taken over with the worker's next round. Raises `Problem` where it is held no more."""
    with transaction.atomic():
        changed = Run.objects.filter(pk=run.pk, state=Run.State.HELD).update(
            state=Run.State.APPLYING, released_by=by[:200]
        )
        _answered(run, changed, "exchange.released", by, now)
        Exchange.objects.filter(pk=run.exchange_id).update(due_at=now)


def discard(run: Run, *, by: str, now: datetime) -> None:
    """A person looked at a held run: nothing of it is taken over. Raises `Problem` where it is held no more."""
    with transaction.atomic():
        changed = Run.objects.filter(pk=run.pk, state=Run.State.HELD).update(
            state=Run.State.DISCARDED, released_by=by[:200], ended_at=now
        )
        _answered(run, changed, "exchange.discarded", by, now)
        after = timedelta(minutes=run.exchange.every_minutes)
        Exchange.objects.filter(pk=run.exchange_id).update(due_at=now + after)
    shutil.rmtree(folder_of(run), ignore_errors=True)


def _answered(run: Run, changed: int, step: str, by: str, now: datetime) -> None:
    if not changed:
        raise Problem("this run is held no more", where=run.exchange.name, hint="Somebody else may have been faster.")
    name = f"exchange:{run.exchange.name}"
    record([Step(actor=by, step=step, object=name, reason=run.reason, body={"run": run.pk, **run.counts})], now=now)


def forget(*, now: datetime) -> int:
    """Delete runs that ended too long ago, with what they set aside, and files that no run needs; give how many runs."""
    before = now - timedelta(days=settings.REDSHANK.exchanges.keep_days)
    root = Path(settings.DATA_DIR) / "exchanges"
    for place in root.iterdir() if root.exists() else ():
        if place.name.isdigit() and not Run.objects.filter(pk=int(place.name), state__in=services.ACTIVE).exists():
            shutil.rmtree(place, ignore_errors=True)
    old = list(Run.objects.filter(ended_at__lt=before).values_list("pk", flat=True)[:BATCH])
    Run.objects.filter(pk__in=old).delete()
    return len(old)


def folder_of(run: Run) -> Path:
    """Where what a run fetched lies until it is taken over."""
    return Path(settings.DATA_DIR) / "exchanges" / str(run.pk)


# Fetching


def _http(exchange: Exchange, beat: Callable[[], None]) -> Http:
    return Http(exchange.address, settings.REDSHANK.exchanges, beat=beat)


def _ask(
    exchange: Exchange, checkpoint: dict[str, object] | None, http: Http, now: datetime, folder: Path, file: Path | None
) -> Ask:
    folder.mkdir(parents=True, exist_ok=True)
    place, given = folder / "list", False
    if file is None and exchange.address.startswith("file:"):
        file = services.folder() / exchange.address.removeprefix("file:")
    if file is not None:
        if not file.is_file():
            raise SourceError("the file is not there", where=str(file))
        place, given = file, True
    return Ask(
        address=exchange.address, options=exchange.options, secret=services.secret_of(exchange), checkpoint=checkpoint,
        http=http, now=now, place=str(place), given=given,
    )  # fmt: skip


def _check_number(read: int) -> None:
    most = settings.REDSHANK.exchanges.max_records
    if read > most:
        hint = "The setting exchanges.max_records says how many are taken."
        raise SourceError(f"sends more than {most:,} things", hint=hint)


_pages = msgspec.msgpack.Decoder(Page)


def _storable(page: Page) -> Page:
    """`page` as both stores can keep it: what holds characters that are none is set aside."""
    try:
        body = msgspec.msgpack.encode(page)
    except UnicodeEncodeError:
        good: list[Record | Aside] = []
        for one in page.records:
            try:
                msgspec.msgpack.encode(one)
            except UnicodeEncodeError:
                good.append(Aside("", _plain(str(one), 200), "characters that are none"))
            else:
                good.append(one)
        page = msgspec.structs.replace(page, records=tuple(good))
        body = msgspec.msgpack.encode(page)
    if b"\0" not in body:
        return page
    checkpoint = {
        name: value.replace("\0", "") if isinstance(value, str) else value for name, value in page.checkpoint.items()
    }
    return msgspec.structs.replace(
        page, checkpoint=checkpoint, reached=_plain(page.reached, 200), noticed=_plain(page.noticed, 2000)
    )


def _write(folder: Path, number: int, page: Page) -> None:
    place = folder / f"{number:06}"
    with (folder / ".writing").open("wb") as file:
        file.write(msgspec.msgpack.encode(page))
        file.flush()
        os.fsync(file.fileno())
    (folder / ".writing").replace(place)


def _read(folder: Path, number: int) -> Page:
    return _pages.decode((folder / f"{number:06}").read_bytes())


def _pieces(folder: Path) -> Iterator[Page]:
    number = 1
    while (folder / f"{number:06}").exists():
        yield _read(folder, number)
        number += 1


# Weighing


def _mark(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big", signed=True)


def _latest(records: Iterable[Record | Aside]) -> dict[str, Record]:
    """By key, what was said last of a thing; opinions alone are left out."""
    out: dict[str, Record] = {}
    for one in records:
        if isinstance(one, Record) and (one.kind or one.gone):
            key = short_key(one.key)
            out.pop(key, None)
            out[key] = one
    return out


def _weigh(exchange: Exchange, folder: Path, *, full: bool, progress: Progress) -> Diff:
    """What taking over the pieces in `folder` would change. Bounded memory: eight bytes a thing."""
    diff = Diff(listed=Claim.objects.filter(exchange=exchange, gone_at=None).count())
    kinds = set(exchange.banks.values_list("kind", flat=True))
    first = not Claim.objects.filter(exchange=exchange).exists()
    named, new, going = array("q"), array("q"), array("q")
    skipped: Counter[str] = Counter()
    for page in _pieces(folder):
        for one in page.records:
            if isinstance(one, Aside):
                diff.aside += 1
                _show(diff.first_aside, one.value, f"{one.place}: {one.reason}" if one.place else one.reason)
            elif not one.kind and not one.gone:
                diff.words += 1
        diff.read += len(page.records)
        latest = _latest(page.records)
        known = {} if first else _known(exchange, latest)
        for key, one in latest.items():
            if not one.gone and one.kind not in kinds:
                skipped[one.kind] += 1
                continue
            there = known.get(key)
            living = there is not None and not there.gone
            if one.gone:
                if living:
                    going.append(_mark(key))
                    _show(diff.first_gone, one.kind, one.value)
                continue
            try:
                canonical(one.kind, one.value)
            except BadInput as problem:
                diff.aside += 1
                _show(diff.first_aside, one.value[:200], problem.what)
                continue
            if full and not first:  # Else nothing can be missing.
                named.append(_mark(key))
            if there is None or there.gone:
                new.append(_mark(key))
                _show(diff.first_new, one.kind, one.value[:200])
            elif there.digest != digest(one):
                diff.changed += 1
            else:
                diff.same += 1
        progress("weighed", diff.read)
    diff.new, diff.gone = _distinct(new), _distinct(going)
    diff.skipped, diff.skipped_kinds = skipped.total(), dict(skipped.most_common(SHOWN))
    if full and not first:
        named.extend(going)
        for pk, key in _missing(exchange, _sorted(named)):
            diff.missing += 1
            if len(diff.first_gone) < SHOWN:
                entry = Entry.objects.filter(claims=pk).values_list("bank__kind", "value").first()
                _show(diff.first_gone, *(entry or ("", key)))
    return diff


def _sorted(marks: array[int]) -> NDArray[np.int64]:
    """The same memory, sorted in place: a feed may be of many millions."""
    out = np.frombuffer(marks, np.int64) if marks else np.empty(0, np.int64)
    out.sort()
    return out


def _distinct(marks: array[int]) -> int:
    found = _sorted(marks)
    return len(found) and 1 + int(np.count_nonzero(found[1:] != found[:-1]))


class _Known(msgspec.Struct, frozen=True, gc=False):
    """A claim as it stands."""

    pk: int
    entry: int
    digest: int
    voices: str
    gone: bool


def _known(exchange: Exchange, keys: Iterable[str]) -> dict[str, _Known]:
    """What `exchange` lists, or listed, by these keys."""
    names = ("key", "id", "entry_id", "digest", "voices", "gone_at")
    rows = pick(Claim, "key", keys, names, same={"exchange_id": exchange.pk})
    return {key: _Known(pk, entry, said, voices, gone is not None) for key, pk, entry, said, voices, gone in rows}


def _show(shown: list[tuple[str, str]], one: str, other: str) -> None:
    if len(shown) < SHOWN:
        shown.append((_plain(one, 200), _plain(other, 300)))


def _missing(exchange: Exchange, marks: NDArray[np.int64]) -> Iterator[tuple[int, str]]:
    """What the source lists, by claim and key, and a whole list with these marks does not."""
    rows = Claim.objects.filter(exchange=exchange, gone_at=None).order_by("pk").values_list("pk", "key")
    last = 0
    while part := list(rows.filter(pk__gt=last)[:10_000]):
        last = part[-1][0]
        keys = np.fromiter((_mark(key) for _, key in part), np.int64, len(part))
        place = np.searchsorted(marks, keys)
        there = (place < len(marks)) & (marks[np.minimum(place, len(marks) - 1)] == keys) if len(marks) else np.zeros(len(part), bool)  # fmt: skip
        yield from (one for one, known in zip(part, there, strict=True) if not known)


# A run


class _Running:
    def __init__(self, lease: _Lease, progress: Progress) -> None:
        self.lease = lease
        self.exchange = lease.exchange
        self.clock = lease.clock
        self.progress = progress
        self.kind: Kind = services.kind_of(self.exchange)
        self.by = f"{_LISTED_BY}{self.exchange.name}"
        self.limits = settings.REDSHANK.exchanges

    def go(self, file: Path | None, *, full: bool) -> Run:
        run = Run.objects.filter(exchange=self.exchange, state__in=services.ACTIVE).first() or self._begin(full)
        try:
            return self._go_on(run, file)
        except LostError:
            raise
        except Exception as problem:  # One source's trouble, whatever it is, never stops the others.
            log.exception("exchange.broken", exchange=self.exchange.name)
            run.reason = services.plain(problem, self._secret())
            self._fail(run, run.reason, over=run.state == Run.State.FETCHING)
            return run

    def _go_on(self, run: Run, file: Path | None) -> Run:
        if run.state == Run.State.FETCHING:
            run.cut, run.reason = False, ""
            try:
                self._fetch(run, file)
            except Unchanged:
                return self._end(run)
            except (Problem, OSError) as problem:
                if not self._broke_off(run, problem):
                    return run
            if self._held(run):
                return run
        self._take_over_all(run)
        return self._end(run)

    def _begin(self, full: bool) -> Run:
        now, exchange = self.clock(), self.exchange
        reached = exchange.checkpoint_at
        noticed = ""
        keeps = self.kind.keeps_days
        if exchange.checkpoint is not None and keeps and reached and now - reached > timedelta(days=keeps):
            noticed = (
                f"Its checkpoint of {reached:%Y-%m-%d} was too old to go on from: all of it was fetched and compared."
            )
            full = True
        due = exchange.full_days and exchange.full_at and now - exchange.full_at > timedelta(days=exchange.full_days)
        full = full or exchange.asked_full or bool(due) or exchange.checkpoint is None
        with transaction.atomic():
            self.lease.hold()
            if self.kind.whole and not full:
                full, checkpoint = True, exchange.checkpoint  # By it an unchanged list is known.
            else:
                checkpoint = None if full else exchange.checkpoint
            run = Run.objects.create(
                exchange=exchange,
                full=full,
                look=exchange.asked_look,
                checkpoint=checkpoint,
                noticed=noticed,
                started_at=now,
            )
            Exchange.objects.filter(pk=exchange.pk).update(asked_full=False, asked_look=False)
        return run

    def _fetch(self, run: Run, file: Path | None) -> None:
        folder = folder_of(run)
        if self.kind.whole and run.pieces:  # A list that broke off begins anew.
            self._mark_piece(run, 0, Page(records=(), checkpoint=self.exchange.checkpoint or {}))
        http = _http(self.exchange, self.lease.beat)
        try:
            self._fetch_pages(run, folder, file, http)
        except StaleError as stale:
            if run.full:
                raise
            run.full, run.pieces, run.checkpoint = True, 0, None
            run.noticed = f"It {stale.what}: all of it was fetched and compared."
            run.save(update_fields=["full", "pieces", "checkpoint", "noticed"])
            self._fetch_pages(run, folder, file, http)
        finally:
            http.close()
        (folder / "list").unlink(missing_ok=True)

    def _fetch_pages(self, run: Run, folder: Path, file: Path | None, http: Http) -> None:
        read = sum(len(page.records) for page, _ in zip(_pieces(folder), range(run.pieces), strict=False)) if run.pieces else 0  # fmt: skip
        ask = _ask(self.exchange, run.checkpoint, http, self.clock(), folder, file)
        for page in map(_storable, self.kind.fetch(ask)):
            read += len(page.records)
            _check_number(read)
            _write(folder, run.pieces + 1, page)
            self._mark_piece(run, run.pieces + 1, page)
            self.progress("fetched", read)
        if self.kind.whole and not read:
            hint = "Nothing was changed. If that is right, withdraw its entries here."
            raise SourceError("the list names nothing", hint=hint)
        for extra in folder.glob("[0-9]" * 6):  # Of a run that was killed between the file and its mark.
            if int(extra.name) > run.pieces:
                extra.unlink()

    def _mark_piece(self, run: Run, number: int, page: Page) -> None:
        run.pieces, run.checkpoint = number, page.checkpoint
        run.reached = page.reached or run.reached
        if page.noticed and page.noticed not in run.noticed:
            run.noticed = f"{run.noticed} {page.noticed}".strip()[:2000]
        with transaction.atomic():
            self.lease.hold()
            changed = Run.objects.filter(pk=run.pk, state=Run.State.FETCHING).update(
                pieces=number, checkpoint=run.checkpoint, reached=run.reached[:200], noticed=run.noticed
            )
            if not changed:
                raise LostError

    def _broke_off(self, run: Run, problem: Problem | OSError) -> bool:
        """The source broke off. Gives whether what came before is complete by itself, and goes on being taken over."""
        said = services.plain(problem, self._secret())
        first = not Claim.objects.filter(exchange=self.exchange).exists()
        run.reason, run.cut = said, True
        if run.pieces and not self.kind.whole:
            if run.full and not first:  # What is missing so far may be yet to come: the next round goes on from here.
                run.save(update_fields=["reason", "cut"])
                self._fail(run, said, over=False)
                return False
            run.full = False
            run.save(update_fields=["reason", "cut", "full"])
            self._count_failure(said, temporary=True)
            return True
        self._fail(run, said, over=True)
        return False

    def _secret(self) -> str:
        with suppress(Problem):
            return services.secret_of(self.exchange)
        return ""

    def _count_failure(self, said: str, *, temporary: bool) -> None:
        failures = self.exchange.failures + 1
        interval = timedelta(minutes=self.exchange.every_minutes)
        pause = min(timedelta(minutes=2 ** min(failures, 10)), LONGEST_PAUSE, interval)
        Exchange.objects.filter(pk=self.exchange.pk).update(
            failures=failures, last_error=said, due_at=self.clock() + pause
        )
        self.exchange.failures = failures
        log.warning("exchange.failed", exchange=self.exchange.name, problem=said, failures=failures)

    def _fail(self, run: Run, said: str, *, over: bool) -> None:
        with transaction.atomic():
            self.lease.hold()
            self._count_failure(said, temporary=not over)
            if over:
                run.state, run.ended_at = Run.State.FAILED, self.clock()
                run.save(update_fields=["state", "ended_at", "reason", "cut"])
        if over:
            shutil.rmtree(folder_of(run), ignore_errors=True)

    def _held(self, run: Run) -> bool:
        """Weigh what was fetched; give whether it waits for a person, or can be taken over by nobody."""

        def progress(phase: str, done: int) -> None:
            self.lease.beat()
            self.progress(phase, done)

        diff = _weigh(self.exchange, folder_of(run), full=run.full, progress=progress)
        run.diff = msgspec.to_builtins(diff)
        taken = diff.new + diff.changed + diff.same
        if self.kind.whole and diff.aside and not taken and not diff.skipped:
            run.reason = f"None of its {diff.read:,} rows can be taken: {diff.first_aside[0][1]}."
            run.save(update_fields=["diff"])
            self._fail(run, run.reason, over=True)
            return True
        past = Run.objects.filter(exchange=self.exchange, state=Run.State.DONE, diff__listed__gt=0).order_by("-pk")[:20]
        why = too_much(diff, [old.diff.get("new", 0) for old in past], self.limits)
        if self.kind.whole and run.noticed and not diff.nothing:
            why = f"{run.noticed} {why}".strip()
        if run.look and not why:
            why = "Somebody asked to see it first."
        run.state = Run.State.HELD if why else Run.State.APPLYING
        if why:
            run.reason = why
        with transaction.atomic():
            self.lease.hold()
            run.save(update_fields=["diff", "state", "reason", "cut"])
            if why:
                body = {"run": run.pk, "new": diff.new, "leaving": diff.leaving, "listed": diff.listed}
                step = Step(actor=self.by, step="exchange.held", object=self.by, reason=why, body=body)
                record([step], now=self.clock())
                log.warning("exchange.held", exchange=self.exchange.name, reason=why)
        return bool(why)

    # Taking over

    def _take_over_all(self, run: Run) -> None:
        folder = folder_of(run)
        targets = {bank.kind: bank for bank in self.exchange.banks.all()}
        turns = Turns(TOGETHER)
        while run.applied < run.pieces:
            number, page = run.applied, Page(records=(), checkpoint={})
            while number < run.pieces and len(page.records) < turns.size:
                number += 1
                more = _read(folder, number)
                page = msgspec.structs.replace(more, records=page.records + more.records)
            now = self.clock()
            one = _TakeOver(self.exchange, run, targets, self.by, now)
            one.read(page)
            with turns.next():
                banks.bump()
                self.lease.hold()
                run.counts = dict(Counter(run.counts) + one.write())
                run.applied = number
                Run.objects.filter(pk=run.pk).update(applied=number, counts=run.counts)
                if not run.full:
                    Exchange.objects.filter(pk=self.exchange.pk).update(
                        checkpoint=page.checkpoint, checkpoint_at=now, reached=page.reached[:200]
                    )
            self.progress("taken over", number)
        if run.full and not run.cut and run.diff.get("missing", 1):
            self._withdraw_missing(run, folder)

    def _withdraw_missing(self, run: Run, folder: Path) -> None:
        named = array("q")
        for page in _pieces(folder):
            self.lease.beat()
            named.extend(_mark(key) for key, one in _latest(page.records).items() if not one.gone)
        turns = Turns(TOGETHER // 4)
        missing = _missing(self.exchange, _sorted(named))
        while part := list(islice(missing, turns.size)):
            now = self.clock()
            with turns.next():
                banks.bump()
                self.lease.hold()
                one = _TakeOver(self.exchange, run, {}, self.by, now)
                one.withdraw([pk for pk, _ in part])
                run.counts = dict(Counter(run.counts) + one.counts)
                Run.objects.filter(pk=run.pk).update(counts=run.counts)

    def _end(self, run: Run) -> Run:
        now = self.clock()
        with transaction.atomic():
            self.lease.hold()
            run.state, run.ended_at = Run.State.DONE, now
            run.save(update_fields=["state", "ended_at"])
            changes: dict[str, object] = {}
            if not run.cut:
                changes |= {
                    "failures": 0,
                    "last_error": "",
                    "due_at": now + timedelta(minutes=self.exchange.every_minutes),
                }
                changes |= {
                    "checkpoint_at": now,
                    "checkpoint": run.checkpoint if run.pieces else self.exchange.checkpoint,
                }
                changes |= {"reached": run.reached[:200]} if run.reached else {}
                changes |= {"full_at": now} if run.full else {}
            if run.noticed:
                changes |= {"noticed": run.noticed, "noticed_at": now}
            Exchange.objects.filter(pk=self.exchange.pk).update(**changes)
            if any(run.counts.get(name) for name in ("added", "revived", "withdrawn", "set_aside")) or run.noticed:
                body = {"run": run.pk, **run.counts}
                record(
                    [Step(actor=self.by, step="exchange.ran", object=self.by, reason=run.noticed, body=body)], now=now
                )
        shutil.rmtree(folder_of(run), ignore_errors=True)
        log.info("exchange.ran", exchange=self.exchange.name, **run.counts)
        return run


class _Listed(msgspec.Struct, frozen=True):
    """What a source lists new or otherwise than before."""

    key: str
    value: str
    record: Record
    digest: int
    before: _Known | None


class _TakeOver:
    """Takes over one page: `read` compares it with what there is, `write` changes that, in the caller's short transaction.

    What is compared meanwhile stays so: who holds the exchange's lease is alone in changing its claims.
    """

    def __init__(self, exchange: Exchange, run: Run, targets: dict[str, Bank], by: str, now: datetime) -> None:
        self.exchange = exchange
        self.run = run
        self.targets = targets
        self.by = by
        self.now = now
        self.counts: Counter[str] = Counter()
        self._aside: list[Aside] = []
        self._going: list[int] = []
        self._live: dict[str, list[_Listed]] = {}
        self._fits: dict[str, banks.Fit] = {}
        self._said: list[Record] = []

    def read(self, page: Page) -> None:
        self._aside = [one for one in page.records if isinstance(one, Aside)]
        self._said = [one for one in page.records if isinstance(one, Record) and not one.kind and not one.gone]
        latest = _latest(page.records)
        known = _known(self.exchange, latest)
        self._going = [
            known[key].pk for key, one in latest.items() if one.gone and key in known and not known[key].gone
        ]
        for key, one in latest.items():
            if one.gone or one.kind not in self.targets:
                continue
            before, said = known.get(key), digest(one)
            if before is not None and not before.gone and before.digest == said:
                continue
            try:
                value = canonical(one.kind, one.value)
            except BadInput as problem:
                why = f"{problem.where}: {problem.what}" if problem.where else problem.what
                self._aside.append(Aside(key, one.value[:200], why))
                continue
            self._live.setdefault(one.kind, []).append(_Listed(key, value, one, said, before))
        for kind, listed in self._live.items():
            by_value = {one.value: one.record for one in listed}
            new = (
                banks.NewEntry(
                    value=value, label=one.label, note=one.note, source=self.exchange.name, quality=one.quality, foreign=True,
                )
                for value, one in by_value.items()
            )  # fmt: skip
            self._fits[kind] = banks.fit(self.targets[kind], new)

    def write(self) -> Counter[str]:
        left: set[int] = set()
        words: list[banks.NewOpinion] = []
        for kind, listed in self._live.items():
            left |= self._list(self.targets[kind], listed, words)
        if left:
            self._let_go(left)
        self.withdraw(self._going)
        words += self._words(self._said)
        banks.keep_opinions(words, now=self.now)
        self._set_aside(self._aside)
        return self.counts

    def _list(self, bank: Bank, listed: Sequence[_Listed], words: list[banks.NewOpinion]) -> set[int]:
        """Put what is listed into `bank`; gives the entries that these keys named before, where they name others now."""
        # What a person here withdrew stays withdrawn, whatever others list.
        fitted = self._fits[bank.kind]
        added = banks.add_fitted(bank, fitted, by=self.by, now=self.now, revives=_LISTED_BY)
        self.counts["kept_out"] += added.kept_out
        self.counts["added"] += added.added
        self.counts["revived"] += added.revived
        self.counts["known"] += added.known + added.kept_out + len(added.set_aside)
        self._set_aside([Aside(one.value[:200], one.value[:200], one.reason) for one in added.set_aside])
        ids = dict(zip(fitted.wanted, added.entries, strict=True))
        left: set[int] = set()
        silent: list[tuple[int, str]] = []
        rows = []
        for one in listed:
            entry = ids.get(one.value)
            if entry is None:
                continue
            voices = {self._voice(word.who): word for word in one.record.words}
            if one.before is not None and not one.before.gone:
                if one.before.entry != entry:
                    left.add(one.before.entry)
                silent += [(one.before.entry, who) for who in one.before.voices.split("\n")[:-1] if who not in voices]
            rows.append(
                (one.key, entry, one.digest, _plain(one.record.ref, 300), "".join(f"{who}\n" for who in voices))
            )
            words += [self._opinion(entry, who, word) for who, word in voices.items()]
        put(
            Claim, rows, ("key", "entry_id", "digest", "ref", "voices"),
            same={"exchange_id": self.exchange.pk, "at": self.now, "gone_at": None},
            unique=("exchange_id", "key"), over=("entry_id", "digest", "ref", "voices", "gone_at"),
        )  # fmt: skip
        self._unsay(silent)
        return left

    def _unsay(self, silent: Sequence[tuple[int, str]]) -> None:
        """Forget what these voices said of these entries, where nothing that the source lists says it any more."""
        for part in batched(silent, BATCH // 2):
            entries = {entry for entry, _ in part}
            rows = Claim.objects.filter(exchange=self.exchange, entry__in=entries, gone_at=None)
            still = {(entry, who) for entry, said in rows.values_list("entry_id", "voices") for who in said.split("\n")[:-1]}  # fmt: skip
            going = {(entry, self._source(who)) for entry, who in part if (entry, who) not in still}
            kept = Opinion.objects.filter(entry__in=entries, source__in={source for _, source in going})
            gone = [pk for pk, *one in kept.values_list("pk", "entry_id", "source") if tuple(one) in going]
            Opinion.objects.filter(pk__in=gone).delete()

    def withdraw(self, claims: Sequence[int]) -> None:
        """The source lists these claims no more."""
        entries: set[int] = set()
        for part in batched(claims, BATCH):
            rows = Claim.objects.filter(pk__in=part, gone_at=None)
            entries |= set(rows.values_list("entry_id", flat=True))
            self.counts["unlisted"] += rows.update(gone_at=self.now)
        self._let_go(entries)

    def _let_go(self, entries: set[int]) -> None:
        """Withdraw those of `entries` that nobody lists any more and that no person here holds."""
        for part in batched(sorted(entries), BATCH):
            ours = set(Claim.objects.filter(exchange=self.exchange, entry__in=part, gone_at=None).values_list("entry_id", flat=True))  # fmt: skip
            silent = [entry for entry in part if entry not in ours]
            name = self.exchange.name
            Opinion.objects.filter(Q(source=name) | Q(source__startswith=f"{name}/"), entry__in=silent).delete()
            listed = set(Claim.objects.filter(entry__in=silent, gone_at=None).values_list("entry_id", flat=True))
            free = Entry.objects.filter(pk__in=[one for one in silent if one not in listed], withdrawn_at=None)
            going = free.filter(foreign=True, confirmed_at=None).values_list("pk", "bank_id")
            by_bank: dict[int, list[int]] = {}
            for pk, bank_id in going:
                by_bank.setdefault(bank_id, []).append(pk)
            for bank in Bank.objects.filter(pk__in=by_bank):
                reason = "Its source withdrew it."
                self.counts["withdrawn"] += banks.withdraw_entries(
                    bank, by_bank[bank.pk], by=self.by, now=self.now, reason=reason
                )

    def _words(self, said: Sequence[Record]) -> list[banks.NewOpinion]:
        """Opinions alone, on things of which the source may list several values: their keys are numbered from the second on."""
        entries: dict[str, list[int]] = {key: [] for one in said if (key := short_key(one.key))}
        asked, first = list(entries), 0
        while asked:
            by_key = {f"{key}#{at}" if at else key: key for key in asked for at in range(first, first + MANY_VALUES)}
            asked = []
            for name, claim in _known(self.exchange, by_key).items():
                if not claim.gone:
                    entries[by_key[name]].append(claim.entry)
                if name.endswith(f"#{first + MANY_VALUES - 1}"):
                    asked.append(by_key[name])
            first += MANY_VALUES
        out = []
        for one in said:
            named = entries.get(short_key(one.key), [])
            self.counts["unknown"] += not named
            out += [self._opinion(entry, self._voice(word.who), word) for entry in named for word in one.words]
        return out

    def _voice(self, who: str) -> str:
        """Who said something, in one line; the source itself is nobody."""
        return " ".join(_plain(who, 10_000).split())

    def _source(self, voice: str) -> str:
        return f"{self.exchange.name}/{voice}"[:200].strip() if voice else self.exchange.name

    def _opinion(self, entry: int, voice: str, word: Word) -> banks.NewOpinion:
        self.counts["opinions"] += 1
        return banks.NewOpinion(entry, self._source(voice), word.says, word.note)

    def _set_aside(self, aside: list[Aside]) -> None:
        if not aside:
            return
        before = self.counts["set_aside"] + self.run.counts.get("set_aside", 0)
        self.counts["set_aside"] += len(aside)
        room = max(0, KEPT_ASIDE - before)
        SetAside.objects.bulk_create(
            [
                SetAside(
                    run=self.run,
                    place=_plain(one.place, 200),
                    value=_plain(one.value, 200),
                    reason=_plain(one.reason, 300),
                )
                for one in aside[:room]
            ],
            batch_size=200,
        )


def _plain(text: str, most: int) -> str:
    return text.replace("\0", "").encode("utf-8", "replace").decode()[:most]
