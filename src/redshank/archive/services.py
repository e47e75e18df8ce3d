"""The door of the archive: claim events, keep accounts and media, look back at what was seen.

An event is claimed by inserting its row: whoever inserts it works on it, and whoever comes second learns that it is a
duplicate. What is claimed is true only when the caller's transaction commits, so a kill in between leaves nothing behind.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, Q

from redshank.archive.blobs import BlobStore
from redshank.archive.models import AccountRecord, Blob, EventRecord
from redshank.audit.services import Step, record
from redshank.core import (
    AccountDeleted,
    AccountRestored,
    AccountSuspended,
    Event,
    Subject,
    Verdict,
    encode_event,
    event_key,
    subject_of,
)
from redshank.rows import Among

CLAIM_ROWS = 500
"""Rows of one INSERT; 13 values a row stay below SQLite's 32,766 parameters a statement."""
LEASE = timedelta(minutes=10)
"""How long a worker may be at a waiting event before another one may take it."""

_COLUMNS = (
    "network", "event_id", "type", "at", "received_at", "account_id", "subject_kind", "subject_id", "body", "blobs",
    "state", "due_at", "verdict", "attempts", "error",
)  # fmt: skip
_verdict_encoder = msgspec.json.Encoder()
_verdict_decoder = msgspec.json.Decoder(Verdict)


def blob_store() -> BlobStore:
    """The blob store of this installation."""
    return BlobStore(Path(settings.DATA_DIR) / "blobs")


@lru_cache(maxsize=8192)
def _adapt(value: datetime) -> Any:
    return connection.ops.adapt_datetimefield_value(value)  # the same for every connection of an installation


class NewEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event on its way in. `event` carries no media bytes; `blobs` says where they lie, by media id.

    `waiting`: its media have yet to be hashed by a worker, so it cannot be walked now.
    """

    event: Event
    blobs: Mapping[str, str] = {}
    waiting: bool = False


def claim(new: Sequence[NewEvent], *, now: datetime) -> dict[tuple[str, str], int]:
    """Insert the events that are not there yet; give their rows' ids by (network, id). Runs in the caller's transaction."""
    received = _adapt(now)
    claimed: dict[tuple[str, str], int] = {}
    row = f"({', '.join(['%s'] * (len(_COLUMNS) - 3))}, '', 0, '')"
    head = f"INSERT INTO {EventRecord._meta.db_table} ({', '.join(_COLUMNS)}) VALUES "  # noqa: SLF001, S608
    tail = " ON CONFLICT (network, event_id) DO NOTHING RETURNING network, event_id, id"
    with connection.cursor() as cursor:
        for start in range(0, len(new), CLAIM_ROWS):
            chunk = new[start : start + CLAIM_ROWS]
            values: list[Any] = []
            for item in chunk:
                event = item.event
                subject = subject_of(event)
                account = getattr(event, "account", None)
                values += (
                    event.network,
                    event.id,
                    event.__struct_config__.tag,
                    _adapt(event.at),
                    received,
                    account.id if account else "",
                    subject.kind if subject else "",
                    subject.id if subject else "",
                    encode_event(event).decode(),
                    json.dumps(dict(item.blobs)) if item.blobs else "",
                    EventRecord.State.WAITING.value if item.waiting else EventRecord.State.WALKED.value,
                    received if item.waiting else None,
                )
            cursor.execute(head + ", ".join([row] * len(chunk)) + tail, values)
            claimed |= {(network, event_id): pk for network, event_id, pk in cursor.fetchall()}
    return claimed


def known_ids(keys: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """Those of `keys`, as (network, event id), that are in the archive already."""
    by_network: dict[str, list[str]] = {}
    for network, event_id in keys:
        by_network.setdefault(network, []).append(event_id)
    found: set[tuple[str, str]] = set()
    for network, ids in by_network.items():
        rows = EventRecord.objects.filter(Among(F("event_id"), ids), network=network).values_list("event_id", flat=True)
        found.update((network, event_id) for event_id in rows)
    return found


def save_verdicts(verdicts: Mapping[tuple[str, str], Verdict]) -> None:
    """Write the verdicts of events, by (network, event id). Runs in the caller's transaction."""
    with connection.cursor() as cursor:
        cursor.executemany(
            f"UPDATE {EventRecord._meta.db_table} SET verdict = %s WHERE network = %s AND event_id = %s",  # noqa: SLF001, S608
            [(_verdict_encoder.encode(verdict).decode(), *key) for key, verdict in verdicts.items()],
        )


def verdict_of(seen: EventRecord) -> Verdict:
    """The verdict on an event; an empty one where nothing was seen."""
    return _verdict_decoder.decode(seen.verdict) if seen.verdict else Verdict()


_TOLD = ("handle", "display_name", "bio", "url", "created_at", "followers", "following", "posts", "automated")
_TEXTS = 4  # of them are texts, which are empty, not null, where nothing was told
_CREATED = _TOLD.index("created_at")
_STATES: dict[type, str] = {
    AccountSuspended: AccountRecord.State.SUSPENDED.value,
    AccountRestored: AccountRecord.State.ACTIVE.value,
    AccountDeleted: AccountRecord.State.DELETED.value,
}


def see_accounts(events: Iterable[Event]) -> None:
    """Bring the accounts that `events` speak of up to date: the newest of each field, older news never over newer.

    Runs in the caller's transaction.
    """
    seen: dict[tuple[str, str], dict[str, Any]] = {}
    for event in events:
        for account in (getattr(event, "account", None), getattr(event, "followed", None)):
            if account is None:
                continue
            state = _STATES.get(type(event)) if account is getattr(event, "account", None) else None
            news = {name: value for name in _TOLD if (value := getattr(account, name)) is not None}
            if state:
                news["state"] = state
            key = (event.network, account.id)
            if key in seen:
                _merge(seen[key], news, event.at)
            else:
                seen[key] = {**news, "first_seen": event.at, "last_seen": event.at}
    if not seen:
        return
    rows = []
    for (network, account_id), row in sorted(seen.items()):
        told = [_storable(row.get(name)) for name in _TOLD]
        told[_CREATED] = _adapt(row["created_at"]) if "created_at" in row else None
        texts = ["" if value is None else value for value in told[:_TEXTS]]
        state = row.get("state")
        first, last = _adapt(row["first_seen"]), _adapt(row["last_seen"])
        rows.append((network, account_id, *texts, *told[_TEXTS:], state or "active", first, last, *told, state))
    table = AccountRecord._meta.db_table  # noqa: SLF001
    newer = f"excluded.last_seen >= {table}.last_seen"
    told_sql = ", ".join(
        f"{name} = CASE WHEN {newer} OR {table}.{name} IS NULL THEN COALESCE(%s, {table}.{name}) ELSE {table}.{name} END"
        for name in _TOLD
    )
    with connection.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO {table} (network, account_id, {', '.join(_TOLD)}, state, labels, first_seen, last_seen) "  # noqa: S608
            f"VALUES ({', '.join(['%s'] * (len(_TOLD) + 3))}, '[]', %s, %s) ON CONFLICT (network, account_id) DO UPDATE SET {told_sql}, "
            f"state = CASE WHEN {newer} THEN COALESCE(%s, {table}.state) ELSE {table}.state END, "
            f"first_seen = CASE WHEN excluded.first_seen < {table}.first_seen THEN excluded.first_seen ELSE {table}.first_seen END, "
            f"last_seen = CASE WHEN {newer} THEN excluded.last_seen ELSE {table}.last_seen END",
            rows,
        )


def _merge(row: dict[str, Any], news: Mapping[str, Any], at: datetime) -> None:
    if at >= row["last_seen"]:
        row |= {**news, "last_seen": at}
    else:
        row |= {name: value for name, value in news.items() if name not in row}
        row["first_seen"] = min(at, row["first_seen"])


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return (
            value if "\x00" not in value else value.replace("\x00", "\N{REPLACEMENT CHARACTER}")
        )  # PostgreSQL's text cannot hold it
    if isinstance(value, int):
        return min(value, 2**63 - 1)
    return value


def labels_of(accounts: Iterable[tuple[str, str]]) -> dict[tuple[str, str], frozenset[str]]:
    """Our labels of those of `accounts`, as (network, account id), that bear any."""
    by_network: dict[str, set[str]] = {}
    for network, account_id in accounts:
        by_network.setdefault(network, set()).add(account_id)
    found: dict[tuple[str, str], frozenset[str]] = {}
    for network, ids in by_network.items():
        rows = AccountRecord.objects.filter(Among(F("account_id"), ids), network=network).exclude(labels=[])
        for account_id, labels in rows.values_list("account_id", "labels"):
            found[network, account_id] = frozenset(labels)
    return found


def add_labels(wanted: Mapping[tuple[str, str], set[str]]) -> dict[tuple[str, str], set[str]]:
    """Put labels of ours on accounts; give those that are new. Runs in the caller's transaction."""
    fresh: dict[tuple[str, str], set[str]] = {}
    for (network, account_id), labels in sorted(wanted.items()):
        account = AccountRecord.objects.select_for_update().get(network=network, account_id=account_id)
        new = labels - set(account.labels)
        if new:
            account.labels = sorted({*account.labels, *new})
            account.save(update_fields=["labels"])
            fresh[network, account_id] = new
    return fresh


def remove_labels(gone: Mapping[tuple[str, str], set[str]]) -> None:
    """Take labels of ours off accounts. Runs in the caller's transaction."""
    for (network, account_id), labels in sorted(gone.items()):
        account = AccountRecord.objects.select_for_update().filter(network=network, account_id=account_id).first()
        if account is not None and labels & set(account.labels):
            account.labels = sorted(set(account.labels) - labels)
            account.save(update_fields=["labels"])


def account_of(network: str, account_id: str) -> AccountRecord | None:
    """What is known of an account now; None where no event ever spoke of it."""
    return AccountRecord.objects.filter(network=network, account_id=account_id).first()


def automated_accounts() -> set[tuple[str, str]]:
    """The accounts, as (network, account id), that say of themselves that a program runs them."""
    return set(AccountRecord.objects.filter(automated=True).values_list("network", "account_id"))


def set_account_state(network: str, account_id: str, state: str, *, now: datetime) -> None:
    """The platform confirmed that an account stands so now. One that is deleted stays so. In the caller's transaction."""
    record, _ = AccountRecord.objects.get_or_create(
        network=network, account_id=account_id, defaults={"state": state, "first_seen": now, "last_seen": now}
    )
    if record.state not in (state, AccountRecord.State.DELETED):
        AccountRecord.objects.filter(pk=record.pk).update(state=state)


def records_of(keys: Iterable[tuple[str, str]]) -> list[EventRecord]:
    """The archived events among `keys`, as (network, event id), oldest first."""
    by_network: dict[str, set[str]] = {}
    for network, event_id in keys:
        by_network.setdefault(network, set()).add(event_id)
    found: list[EventRecord] = []
    for network, ids in by_network.items():
        found += EventRecord.objects.filter(Among(F("event_id"), ids), network=network)
    return sorted(found, key=lambda record: (record.at, record.pk))


def events_about(subject: Subject, *, limit: int = 50) -> list[EventRecord]:
    """The newest events whose subject is `subject`, newest first."""
    about = EventRecord.objects.filter(network=subject.network, subject_kind=subject.kind, subject_id=subject.id)
    return list(about.order_by("-at", "-id")[:limit])


def note_blobs(sha256s: Mapping[str, int], *, now: datetime) -> None:
    """Note that these bytes (SHA-256 to size) were stored or came again at `now`. In the caller's transaction."""
    Blob.objects.bulk_create(
        [Blob(sha256=sha256, size=size, stored_at=now) for sha256, size in sorted(sha256s.items())],
        update_conflicts=True,
        unique_fields=["sha256"],
        update_fields=["stored_at"],
    )


def note_media(sha256: str, *, kind: str, width: int, height: int, seconds: float | None) -> None:
    """Note what the bytes of `sha256` are, once they were decoded: image or video, pixels as shown, length."""
    Blob.objects.filter(sha256=sha256).update(kind=kind, width=width, height=height, seconds=seconds)


def media_facts(sha256: str) -> Blob | None:
    """What is known of kept bytes that were decoded; None where they are not kept, or not decoded yet."""
    return Blob.objects.filter(sha256=sha256).exclude(kind="").first()


def keep_blobs(sha256s: Iterable[str], reason: str) -> None:
    """Keep these bytes beyond the usual time: `reason` is case or evidence, evidence being the stronger."""
    weaker = Q(kept_for="") if reason == "case" else ~Q(kept_for="evidence")
    Blob.objects.filter(weaker, sha256__in=list(sha256s)).update(kept_for=reason)


def keep_media_of(subjects: Iterable[Subject]) -> None:
    """Keep the media of earlier events about `subjects`, now that a case looks at them."""
    by_kind: dict[tuple[str, str], set[str]] = {}
    for subject in subjects:
        by_kind.setdefault((subject.network, subject.kind), set()).add(subject.id)
    wanted: set[str] = set()
    for (network, kind), ids in by_kind.items():
        about = EventRecord.objects.filter(network=network, subject_kind=kind, subject_id__in=ids).exclude(blobs="")
        for blobs in about.values_list("blobs", flat=True):
            wanted.update(json.loads(blobs).values())
    if wanted:
        keep_blobs(wanted, "case")


def sweep_blobs(*, older_than: datetime, limit: int = 1000) -> int:
    """Delete bytes that nothing keeps and that came last before `older_than`; give how many. Its own transactions."""
    gone = 0
    for sha256 in Blob.objects.filter(kept_for="", stored_at__lt=older_than).values_list("sha256", flat=True)[:limit]:
        with transaction.atomic():
            deleted, _ = Blob.objects.filter(sha256=sha256, kept_for="", stored_at__lt=older_than).delete()
            if deleted:
                blob_store().delete(sha256)
                gone += 1
    return gone


def claim_waiting(*, now: datetime, limit: int) -> list[EventRecord]:
    """Lease up to `limit` waiting events that are due, oldest first. Its own transaction."""
    with transaction.atomic():
        due = EventRecord.objects.select_for_update(skip_locked=True) if _skips_locked() else EventRecord.objects
        records = list(due.filter(state=EventRecord.State.WAITING, due_at__lte=now).order_by("due_at", "id")[:limit])
        EventRecord.objects.filter(pk__in=[waiting.pk for waiting in records]).update(
            due_at=now + LEASE, attempts=F("attempts") + 1
        )
    for waiting in records:
        waiting.attempts += 1
    return records


def retry(pk: int, *, by: str, now: datetime) -> bool:
    """Let an event that waits or failed be taken up at once, its tries counted anew; False where it was walked."""
    with transaction.atomic():
        found = EventRecord.objects.select_for_update().filter(pk=pk).exclude(state=EventRecord.State.WALKED).first()
        if found is None:
            return False
        found.state, found.due_at, found.attempts = EventRecord.State.WAITING.value, now, 0
        found.save(update_fields=["state", "due_at", "attempts"])
        record(
            [Step(actor=by, step="event.retried", object=f"event:{event_key(found.network, found.event_id)}")], now=now
        )
    return True


def put_back(waiting: EventRecord, *, due_at: datetime, error: str) -> None:
    """Let a waiting event wait on until `due_at`, because of `error`."""
    EventRecord.objects.filter(pk=waiting.pk, state=EventRecord.State.WAITING).update(due_at=due_at, error=error)


def give_up(waiting: EventRecord, *, error: str) -> None:
    """Set a waiting event aside as failed, because of `error`, until a person lets it try again."""
    EventRecord.objects.filter(pk=waiting.pk, state=EventRecord.State.WAITING).update(
        state=EventRecord.State.FAILED, due_at=None, error=error
    )


def settle_waiting(waiting: EventRecord, blobs: Mapping[str, str], *, error: str) -> bool:
    """Mark a waiting event as walked; False where another worker was first. In the caller's transaction."""
    return bool(
        EventRecord.objects.filter(pk=waiting.pk, state=EventRecord.State.WAITING).update(
            state=EventRecord.State.WALKED, due_at=None, blobs=json.dumps(dict(blobs)) if blobs else "", error=error
        )
    )


def _skips_locked() -> bool:
    return connection.features.has_select_for_update_skip_locked
