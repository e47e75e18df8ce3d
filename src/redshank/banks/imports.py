"""Files that somebody imports in the console, as jobs: looked at first, and taken in when a person says so.

The one idea: how far a file is lies in the job's row, written in one transaction with what was taken up to there. So an import
that was killed, canceled or has failed goes on at the next line, and its counts are those of one that was never cut off.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import msgspec
from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from redshank.audit.services import Step, record
from redshank.banks import services
from redshank.banks.models import Bank, ImportJob
from redshank.banks.services import Added, NewEntry, clean
from redshank.core import BadInput
from redshank.jobs import services as jobs
from redshank.jobs.services import ACTIVE, Hold, State
from redshank.people.models import User

WAITS = timedelta(days=1)
"""A file that was looked at waits so long for the word to import it, or to go on."""
KEEP = timedelta(days=90)
"""How long is kept what became of an import."""
SENDING = timedelta(hours=1)
"""A file that nothing was written to for so long, and that no job names, was never sent whole."""
MOST_FILES = 10
"""Files that wait at a time: what they take on the disk is bounded by this and `banks.max_import_bytes`."""


class Looked(msgspec.Struct, frozen=True):
    """What a file would do, and the first entries that it would add."""

    would: Added
    first: tuple[NewEntry, ...] = ()


def looked(job: ImportJob) -> Looked | None:
    """What looking at the file showed, where that is done."""
    return msgspec.json.decode(job.looked, type=Looked) if job.looked else None


def added(job: ImportJob) -> Added:
    """What became of the file so far."""
    return msgspec.json.decode(job.result, type=Added) if job.result else Added()


def place_of(job: ImportJob) -> Path:
    """Where its file lies, unless it is done with."""
    return _folder() / job.file


def _folder() -> Path:
    return Path(settings.DATA_DIR) / "imports"


def ask(bank: Bank, name: str, chunks: Iterable[bytes], *, by: User, now: datetime) -> ImportJob:
    """Keep a file, called `name` by who sends it, and have a worker look at what it would do in `bank`.

    Raises `BadInput` for one that is empty or too large, and where too many files wait already.
    """
    forget(now=now)
    if ImportJob.objects.exclude(file="").count() >= MOST_FILES:
        raise BadInput(_("%(n)d files wait already") % {"n": MOST_FILES}, hint=_("Import or discard one of them."))
    _folder().mkdir(parents=True, exist_ok=True)
    place = _folder() / secrets.token_hex(16)
    try:
        size = _write(place, chunks)
        return ImportJob.objects.create(
            bank=bank, name=clean(name, 200), file=place.name, whole=size, asked_by=by, asked_at=now
        )
    except BaseException:
        place.unlink(missing_ok=True)
        raise


def _write(place: Path, chunks: Iterable[bytes]) -> int:
    """How many bytes that is. Raises `BadInput` for none, and for too many."""
    size = 0
    with place.open("wb") as out:
        for chunk in chunks:
            size += out.write(chunk)
            if size > settings.REDSHANK.banks.max_import_bytes:
                hint = _("The setting banks.max_import_bytes says how large it may be.")
                raise BadInput(_("the file is too large"), hint=hint)
        out.flush()
        os.fsync(out.fileno())
    if not size:
        raise BadInput(_("the file is empty"))
    return size


def release(job: ImportJob, *, by: User, now: datetime) -> bool:
    """Have a file imported that was looked at, or go on with one that was canceled or failed; whether it could be.

    Writes one audit step, `bank.imported`, the first time.
    """
    with transaction.atomic():
        ready = ImportJob.objects.filter(pk=job.pk, ended_at__isnull=False).exclude(file="").exclude(looked="")
        if not ready.update(
            state=State.WAITING, attempts=0, ended_at=None, error="", done=0, released_at=now, released_by=by
        ):
            return False
        if job.released_at is None:
            body = {"import": job.pk, "file": job.name}
            step = Step(actor=f"user:{by.username}", step="bank.imported", object=f"bank:{job.bank.name}", body=body)
            record([step], now=now)
    return True


def discard(job: ImportJob, *, now: datetime) -> bool:
    """Forget its file, unless a worker is at it; whether there was one. What was taken of it stays."""
    idle = ImportJob.objects.filter(pk=job.pk, ended_at__isnull=False).exclude(file="")
    if not idle.update(state=State.CANCELED, ended_at=now):
        return False
    return bool(_let_go(job))


def run_next(*, stop: threading.Event, clock: Callable[[], datetime] = timezone.now) -> int:
    """Look at, or import, the next file that is due; give 1, or 0 where none is."""
    ran = jobs.run_next(ImportJob, lambda job, hold: _work(job, hold, clock), stop=stop, clock=clock)
    if ran:
        forget(now=clock())
    return ran


def _work(job: ImportJob, hold: Hold[ImportJob], clock: Callable[[], datetime]) -> dict[str, Any]:
    place = place_of(job)
    if not place.is_file():
        raise BadInput(_("the file is not there any more"), hint=_("Choose it again."))
    with place.open("rb") as file, TextIOWrapper(file, "utf-8", errors="surrogateescape", newline="") as lines:
        if job.released_at is None:
            would, first = services.rehearse_import(
                job.bank, lines, progress=lambda _line: hold.told(file.tell(), job.whole)
            )
            return {"looked": _json(Looked(would, tuple(first)))}

        def keep(line: int, total: Added) -> None:
            hold.keep(done=file.tell(), line=line, result=_json(total))

        by = f"user:{job.released_by.username}" if job.released_by else "system"
        services.import_entries(job.bank, lines, by=by, now=clock(), before=(job.line, added(job)), kept=keep)
    return {"done": job.whole}


def _json(value: msgspec.Struct) -> str:
    return msgspec.json.encode(value).decode()


def forget(*, now: datetime) -> int:
    """Let go of files that are done with or that waited too long, and of what is kept for its time; give how many."""
    idle = ImportJob.objects.exclude(file="").exclude(state__in=ACTIVE)
    over = idle.filter(
        Q(state=State.DONE, released_at__isnull=False) | Q(state=State.FAILED, looked="") | Q(ended_at__lt=now - WAITS)
    )
    gone = sum(_let_go(job) for job in over)
    kept = set(ImportJob.objects.exclude(file="").values_list("file", flat=True))
    for place in _folder().iterdir() if _folder().exists() else ():
        with suppress(FileNotFoundError):
            if place.name not in kept and now.timestamp() - place.stat().st_mtime > SENDING.total_seconds():
                place.unlink()
    old, _by_model = ImportJob.objects.filter(file="", ended_at__lt=now - KEEP).delete()
    return gone + old


def _let_go(job: ImportJob) -> int:
    """Delete its file, unless somebody asked for it meanwhile; how many were."""
    there = ImportJob.objects.filter(pk=job.pk, file=job.file).exclude(state__in=ACTIVE).update(file="")
    if there:
        place_of(job).unlink(missing_ok=True)
    return there
