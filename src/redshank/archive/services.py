"""The door of the archive: claim events, keep accounts and media, look back at what was seen.

An event is claimed by inserting its row: whoever inserts it works on it, and whoever comes second learns that it is a
duplicate. What is claimed is true only when the caller's transaction commits, so a kill in between leaves nothing behind.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from operator import attrgetter
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
    Account,
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
from redshank.rows import Among, add, change, pick, times

LEASE = timedelta(minutes=10)
"""How long a worker may be at a waiting event before another one may take it."""

_CLAIMED = (
    "network", "event_id", "type", "at", "account_id", "subject_kind", "subject_id", "body", "blobs", "state", "due_at"
)  # fmt: skip
_verdict_encoder = msgspec.json.Encoder()
_verdict_decoder = msgspec.json.Decoder(Verdict)


def blob_store() -> BlobStore:
    """The blob store of this installation."""
    return BlobStore(Path(settings.DATA_DIR) / "blobs")


class NewEvent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An event on its way in. `event` carries no media bytes; `blobs` says where they lie, by media id.

    `waiting`: its media have yet to be hashed by a worker, so it cannot be walked now.
    """

    event: Event
    blobs: Mapping[str, str] = {}
    waiting: bool = False


def claim(new: Sequence[NewEvent], *, now: datetime) -> dict[tuple[str, str], int]:
    """Insert the events that are not there yet; give their rows' ids by (network, id). Runs in the caller's transaction."""
    kept = times()
    received = kept(now)
    rows = []
    for item in new:
        event, state, due_at = item.event, EventRecord.State.WALKED.value, None
        if item.waiting:
            state, due_at = EventRecord.State.WAITING.value, received
        subject = subject_of(event)
        account = getattr(event, "account", None)
        rows.append(
            (
                event.network,
                event.id,
                event.__struct_config__.tag,
                kept(event.at),
                account.id if account else "",
                subject.kind if subject else "",
                subject.id if subject else "",
                encode_event(event).decode(),
                json.dumps(dict(item.blobs)) if item.blobs else "",
                state,
                due_at,
            )
        )
    same = {"received_at": now, "verdict": "", "attempts": 0, "error": ""}
    giving = ("network", "event_id", "id")
    claimed = add(EventRecord, rows, _CLAIMED, same=same, unique=("network", "event_id"), giving=giving)
    return {(network, event_id): pk for network, event_id, pk in claimed}


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
_told_by = attrgetter(*_TOLD)
_STANDING = (*_TOLD, "state", "first_seen", "last_seen")
_MOST = 2**63 - 1
_STATES: dict[type, str] = {
    AccountSuspended: AccountRecord.State.SUSPENDED.value,
    AccountRestored: AccountRecord.State.ACTIVE.value,
    AccountDeleted: AccountRecord.State.DELETED.value,
}


class _News(msgspec.Struct, gc=False):
    """What a batch of events says of one account: `told` as `_TOLD` and `state`, None where nothing was said."""

    told: Sequence[Any]
    state: str | None
    first: datetime
    last: datetime

    def join(self, told: Sequence[Any], state: str | None, at: datetime) -> None:
        """Another event of the batch says this."""
        if at >= self.last:
            self.told = _first_of(told, self.told)
            self.state, self.last = state or self.state, at
        else:
            self.told = _first_of(self.told, told)
            self.state, self.first = self.state or state, min(at, self.first)


def _first_of(told: Iterable[Any], else_: Iterable[Any]) -> list[Any]:
    return [other if one is None else one for one, other in zip(told, else_, strict=True)]


def see_accounts(events: Iterable[Event]) -> dict[tuple[str, str], frozenset[str]]:
    """Bring the accounts that `events` speak of up to date: the newest of each field, older news never over newer.

    Gives our labels of those of them, as (network, account id), that bear any. Runs in the caller's transaction.
    """
    seen: dict[str, dict[str, _News]] = {}
    for event in events:
        account = getattr(event, "account", None)
        accounts = seen.setdefault(event.network, {})
        if account is not None:
            _hear(accounts, account, _STATES.get(type(event)), event.at)
        if (followed := getattr(event, "followed", None)) is not None:
            _hear(accounts, followed, None, event.at)
    labels: dict[tuple[str, str], frozenset[str]] = {}
    for network, accounts in sorted(seen.items()):
        labels |= _bring(network, accounts)
    return labels


def _hear(accounts: dict[str, _News], account: Account, state: str | None, at: datetime) -> None:
    told = _told_by(account)
    news = accounts.get(account.id)
    if news is None:
        accounts[account.id] = _News(told, state, at, at)
    else:
        news.join(told, state, at)


def _bring(network: str, accounts: Mapping[str, _News]) -> dict[tuple[str, str], frozenset[str]]:
    """Write what was heard of accounts of one network, and give the labels of those that bear any."""
    kept = times()
    rows = {account_id: _row(accounts[account_id], kept) for account_id in sorted(accounts)}
    names = ("id", "account_id", "labels", *_STANDING)

    def insert(new: Iterable[str]) -> set[str]:
        told = [
            (
                account_id,
                *("" if text is None else text for text in row[:_TEXTS]),
                *row[_TEXTS:-3],
                row[-3] or "active",
                *row[-2:],
            )
            for account_id in new
            for row in (rows[account_id],)
        ]
        same = {"network": network, "labels": []}
        unique, giving = ("network", "account_id"), () if connection.vendor == "sqlite" else ("account_id",)
        added = add(AccountRecord, told, ("account_id", *_STANDING), same=same, unique=unique, giving=giving)
        return {account_id for (account_id,) in added}

    if connection.vendor == "sqlite":  # Whoever writes has the store to themselves already.
        there = pick(AccountRecord, "account_id", rows, names, same={"network": network})
        known = {row[1] for row in there}
        insert(account_id for account_id in rows if account_id not in known)
    else:  # New ones first, then those that are there, both in the order of their ids, so that nobody waits in a ring.
        added = insert(rows)
        others = [account_id for account_id in rows if account_id not in added]
        there = pick(AccountRecord, "account_id", others, names, same={"network": network}, lock=True)
    changed = []
    labels = {}
    for pk, account_id, borne, *stood in there:
        stands = _newest(rows[account_id], stood)
        if stands != stood:
            changed.append((*stands, pk))
        if borne != "[]":
            labels[network, account_id] = frozenset(json.loads(borne))
    change(AccountRecord, changed, _STANDING)
    return labels


def _row(news: _News, kept: Callable[[datetime], Any]) -> tuple[Any, ...]:
    """News as `_STANDING`, in the store's types; None where nothing was said."""
    told = [value if value is None else _storable(value, kept) for value in news.told]
    first = kept(news.first)
    return (*told, news.state, first, first if news.last is news.first else kept(news.last))


def _newest(row: Sequence[Any], stood: Sequence[Any]) -> list[Any]:
    """How an account stands after news, both as `_STANDING`: older news fill what is null, and no more."""
    *told, state, first, last = row
    *known, was, first_seen, last_seen = stood
    if last >= last_seen:
        return [*_first_of(told, known), state or was, min(first, first_seen), last]
    return [*_first_of(known, told), was, min(first, first_seen), last_seen]


def _storable(value: Any, kept: Callable[[datetime], Any]) -> Any:
    if isinstance(value, str):
        return (
            value if "\x00" not in value else value.replace("\x00", "\N{REPLACEMENT CHARACTER}")
        )  # PostgreSQL's text cannot hold it
    if isinstance(value, int):
        return min(value, _MOST)
    return kept(value)


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
