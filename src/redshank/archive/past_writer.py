"""From the store to the past: batches of walked events become files, old ones go, and so does what must be erased.

A batch is settled in the store before its files are written, and marked as written after. A process that is killed in
between leaves a batch that the next one writes again, to the same names: nothing is lost and nothing is there twice.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, quote_plus

import msgspec
from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet

from redshank.archive.models import AccountRecord, Erasure, EventRecord, PastBatch, SavedSearch
from redshank.archive.past import Past, PastEvent, batch_of
from redshank.audit.services import Step, record

READ_ROWS = 2_000
"""Rows that are fetched from the store at a time."""


def past() -> Past:
    """The past of this installation."""
    return Past(Path(settings.DATA_DIR) / "past")


def write_due(*, now: datetime, all_of_it: bool = False) -> int:
    """Write the next batch that is due to the past; give how many events it has, at least 1, or 0 where none is due.

    A batch is due when it is full, when its oldest event came long enough ago, or where `all_of_it` is asked for.
    """
    files = past()
    with files.lock():
        left = PastBatch.objects.filter(written_at=None).order_by("pk").first()
        batch = left or _next_batch(now, all_of_it=all_of_it)
        if batch is None:
            return 0
        events = list(_events(EventRecord.objects.filter(past_batch=batch.pk)))
        files.write(batch.pk, events)
        PastBatch.objects.filter(pk=batch.pk).update(written_at=now)
    return max(1, len(events))


def _next_batch(now: datetime, *, all_of_it: bool) -> PastBatch | None:
    size = settings.REDSHANK.archive.batch
    waiting = EventRecord.objects.filter(past_batch=None, state=EventRecord.State.WALKED).order_by("pk")
    oldest = waiting.values_list("received_at", flat=True).first()
    if oldest is None:
        return None
    is_old = oldest <= now - timedelta(minutes=settings.REDSHANK.archive.after_minutes)
    last = next(iter(waiting.values_list("pk", flat=True)[size - 1 : size]), None)
    if not (all_of_it or is_old or last):
        return None
    with transaction.atomic():
        batch = PastBatch.objects.create(made_at=now)
        # Whoever comes second finds the rows taken: each is looked at again when its lock is free.
        chosen = waiting.order_by() if last is None else waiting.order_by().filter(pk__lte=last)
        chosen.update(past_batch=batch.pk)
    return batch


def _events(records: QuerySet[EventRecord]) -> Iterator[PastEvent]:
    for found in records.order_by("pk").iterator(READ_ROWS):
        yield PastEvent(
            network=found.network,
            id=found.event_id,
            type=found.type,
            at=found.at,
            received_at=found.received_at,
            account=found.account_id,
            followed=_followed(found),
            subject_kind=found.subject_kind,
            subject_id=found.subject_id,
            body=found.body,
            verdict=found.verdict,
        )


class _Id(msgspec.Struct, frozen=True):
    id: str = ""


class _Follow(msgspec.Struct, frozen=True):
    followed: _Id = _Id()


_follow_decoder = msgspec.json.Decoder(_Follow)


def _followed(found: EventRecord) -> str:
    return _follow_decoder.decode(found.body).followed.id if found.type.startswith("follow.") else ""


class Now(msgspec.Struct, frozen=True):
    """All that was received until now, once: the files of the past, and the walked events that are in none of them.

    `left_out` are events that are in no file, but too many to be read here: the worker that writes them is behind.
    """

    files: tuple[Path, ...]
    fresh: tuple[PastEvent, ...]
    left_out: int = 0


def everything(*, since: datetime | None = None, most: int = 100_000) -> Now:
    """Every event from `since` on, none of them twice, whatever is written meanwhile; of fresh ones the newest `most`."""
    unwritten = set(PastBatch.objects.filter(written_at=None).values_list("pk", flat=True))
    newest = PastBatch.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
    # What is put into a batch from here on is fresh for us, whether its file comes before we list the files or after.
    here = Q(past_batch=None) | Q(past_batch__in=unwritten) | Q(past_batch__gt=newest)
    records = EventRecord.objects.filter(here, state=EventRecord.State.WALKED)
    left_out = max(0, records.count() - most)
    if left_out:
        records = records.filter(pk__gt=records.order_by("-pk").values_list("pk", flat=True)[most])
    fresh = tuple(_events(records))
    files = past().files(since=since)
    later = set(PastBatch.objects.filter(pk__gt=newest).values_list("pk", flat=True)) | unwritten
    return Now(tuple(file for file in files if batch_of(file) not in later), fresh, left_out)


def trim_store(
    after: int, needed: Callable[[Sequence[EventRecord]], Collection[int]], *, now: datetime, limit: int = 500
) -> int:
    """Take old events out of the store that are in the past, `limit` after the key `after`; give the last key, 0 at the end.

    `needed` gives, of some events, the keys of those that must stay. Events come in the order of their keys, so it stops at
    the first that is not old.
    """
    days = settings.REDSHANK.archive.keep_store_days
    if not days:
        return 0
    seen = list(EventRecord.objects.filter(pk__gt=after).order_by("pk")[:limit])
    old = [found for found in seen if found.received_at < now - timedelta(days=days)]
    batches = {found.past_batch for found in old if found.past_batch and found.state == EventRecord.State.WALKED}
    written = set(PastBatch.objects.filter(pk__in=batches, written_at__isnull=False).values_list("pk", flat=True))
    gone = [found for found in old if found.past_batch in written and found.state == EventRecord.State.WALKED]
    keep = needed(gone) if gone else ()
    EventRecord.objects.filter(pk__in=[found.pk for found in gone if found.pk not in keep]).delete()
    return seen[-1].pk if seen and len(old) == len(seen) else 0


def forget(*, now: datetime) -> int:
    """Take events out of the past that were kept for their time; give how many."""
    keep = settings.REDSHANK.archive
    files = past()
    with files.lock():
        return files.forget(
            now,
            {
                "account": keep.keep_account_days,
                "post": keep.keep_post_days,
                "media": keep.keep_media_days,
                "follow": keep.keep_follow_days,
                "report": keep.keep_report_days,
                "action": keep.keep_action_days,
            },
        )


def erase(network: str, account_id: str, *, by: str, reason: str, now: datetime) -> tuple[int, int]:
    """Erase one account's data: its events, reports of it, who followed it, and what is known of it.

    Kept searches that name it go, too. Gives how many events went from the store, and how many from the past. What stands in cases, in evidence and in the
    audit log stays: there are duties to keep it. An erasure that is cut off is ended by the next `finish_erasures`;
    asking again changes nothing.
    """
    events = EventRecord.objects.filter(network=network)
    about = events.filter(Q(account_id=account_id) | Q(subject_kind="account", subject_id=account_id))
    with transaction.atomic():
        follows = [found.pk for found in events.filter(type__startswith="follow.") if _followed(found) == account_id]
        gone, _ = about.delete()
        for start in range(0, len(follows), READ_ROWS):
            more, _ = EventRecord.objects.filter(pk__in=follows[start : start + READ_ROWS]).delete()
            gone += more
        AccountRecord.objects.filter(network=network, account_id=account_id).delete()
        for kept in SavedSearch.objects.filter(asked__contains=quote_plus(account_id)):
            if names_account(kept.asked, account_id):
                kept.delete()
        Erasure.objects.create(network=network, account_id=account_id, asked_at=now)
        step = Step(actor=by, step="account.erasure_asked", object=f"account:{network}/{account_id}", reason=reason)
        record([step], now=now)
    return gone, finish_erasures(now=now)


def names_account(asked: str, account_id: str) -> bool:
    """Whether a kept search asks for this account: as its filter, or as a text in its condition."""
    fields = parse_qs(asked)
    conditions = fields.get("q", [])
    return account_id in fields.get("account", []) or any(
        quote + account_id + quote in condition for condition in conditions for quote in ("'", '"')
    )


def finish_erasures(*, now: datetime) -> int:
    """Take what must be erased out of the past; give how many events went."""
    gone = 0
    files = past()
    for asked in Erasure.objects.filter(done_at=None).order_by("pk"):
        with files.lock():
            rows = files.erase(asked.network, asked.account_id)
        with transaction.atomic():
            if Erasure.objects.filter(pk=asked.pk, done_at=None).update(done_at=now):
                about = f"account:{asked.network}/{asked.account_id}"
                record([Step(actor="system", step="account.erased", object=about, body={"past_events": rows})], now=now)
        gone += rows
    return gone
