"""The door of the intake: who may send, what a report says, and how far a file was read."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from django.db import transaction

from redshank.audit.services import Step, record
from redshank.core import Problem, ReportReceived, event_key
from redshank.intake.models import ApiKey, IngestFile, Report

KEY_PREFIX = "rsk_"
PARTS = {
    "events": "send events for its network, and ask what became of them",
    "ties": "ask whether the owner of one account was suspended before",
    "hma": "look up, hash and bank content as clients of Hasher-Matcher-Actioner do",
    "taxii": "read the shares that name the key, over TAXII 2.1",
}
"""The parts of the API that a key may open, each with what it lets somebody do."""
_USE_NOTED_EVERY = timedelta(minutes=1)


def make_key(name: str, network: str = "", *, may: Collection[str] = ("events",), by: str, now: datetime) -> str:
    """A new API key that opens the parts that `may` names, for `network`. It is given once; only its SHA-256 is kept.

    Raises Problem where a key of that name exists, for an unknown part, and where a part needs a network and has none.
    """
    if strange := sorted(set(may) - PARTS.keys()):
        raise Problem("no such part of the API", where=strange[0], hint=f"There are {', '.join(PARTS)}.")
    if not may:
        raise Problem("a key that opens nothing", where=name, hint=f"There are {', '.join(PARTS)}.")
    if "events" in may and not network:
        raise Problem("events are sent for a network, and none is named", where=name)
    if ApiKey.objects.filter(name=name).exists():
        raise Problem("a key of this name exists", where=name, hint="Choose another name, or revoke it first.")
    token = KEY_PREFIX + secrets.token_urlsafe(32)
    with transaction.atomic():
        opens = [part for part in PARTS if part in may]
        ApiKey.objects.create(name=name, network=network, may=" ".join(opens), digest=_digest(token), created_at=now)
        body = {"network": network, "may": opens}
        record([Step(actor=by, step="key.made", object=f"key:{name}", body=body)], now=now)
    return token


def revoke_key(name: str, *, by: str, now: datetime) -> None:
    """From now on the key opens nothing. Raises Problem where no such key is in use."""
    with transaction.atomic():
        if not ApiKey.objects.filter(name=name, revoked_at=None).update(revoked_at=now):
            raise Problem("no key of this name is in use", where=name)
        record([Step(actor=by, step="key.revoked", object=f"key:{name}")], now=now)


def key_of(token: str, part: str = "events", *, now: datetime) -> ApiKey | None:
    """The key that `token` is, where it is one, opens `part` and is not revoked. Its use is noted, once a minute."""
    key = ApiKey.objects.filter(digest=_digest(token), revoked_at=None).first()
    if key and part not in key.may.split():
        return None
    if key and (key.last_used_at is None or now - key.last_used_at > _USE_NOTED_EVERY):
        ApiKey.objects.filter(pk=key.pk).update(last_used_at=now)
    return key


def save_reports(events: Sequence[ReportReceived], *, now: datetime) -> None:
    """Keep what the reports said, as they said it. The same report again changes nothing."""
    Report.objects.bulk_create(
        [
            Report(
                network=event.network,
                report_id=event.report.id,
                event=event_key(event.network, event.id),
                subject_kind=event.report.subject_kind,
                subject_id=event.report.subject_id,
                reason=_clean(event.report.reason),
                text=_clean(event.report.text),
                reporter_kind=event.report.reporter.kind,
                reporter_id=event.report.reporter.id or "",
                reporter_name=_clean(event.report.reporter.name or ""),
                received_at=now,
            )
            for event in events
        ],
        ignore_conflicts=True,
    )


def open_file(path: Path) -> IngestFile:
    """How far the file at `path` was read; a mark at its start where it is new.

    A file is known by its path and its first 64 KiB: one that only grew is gone on with, one that was replaced is new.
    """
    digest = hashlib.sha256(str(path.resolve()).encode("utf-8", "surrogateescape"))
    with path.open("rb") as file:
        digest.update(file.read(64 * 1024))
    mark, _ = IngestFile.objects.get_or_create(fingerprint=digest.hexdigest(), defaults={"path": str(path)})
    return mark


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _clean(text: str) -> str:
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}")
