"""The door of evasion: evidence from events, suspensions as targets, new accounts asked about, their ties kept.

The walk only notes which events are evidence, in its own transaction, and makes a suspension a target at once. A worker
gathers what the noted events say, and asks about accounts that have reached a stage; both are written down first, so that
a worker killed at any point leaves nothing undone and nothing done twice.
"""

from __future__ import annotations

import functools
import hashlib
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import structlog
from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import F, Q

from redshank.archive import services as archive
from redshank.archive.models import AccountRecord, EventRecord
from redshank.audit.services import Step, record
from redshank.core import (
    AccountCreated,
    AccountRestored,
    AccountSuspended,
    AccountUpdated,
    Event,
    FollowCreated,
    FollowDeleted,
    PostCreated,
    Problem,
    decode_event,
    event_key,
)
from redshank.core.settings import EvasionSettings
from redshank.evasion.census import census
from redshank.evasion.fitting import default_model
from redshank.evasion.gathering import (
    Evidence,
    Pictures,
    forget_tokens,
    gather,
    pack,
    profile_of,
    shared_by,
    spoken_of,
    unpack,
)
from redshank.evasion.model import Model, Scorer, Tie, bands, load_model
from redshank.evasion.models import DayCount, NeverTie, News, ProfileRecord, TieRecord
from redshank.evasion.targets import live_keys, oldest_token, targets
from redshank.rows import Among, add

log = structlog.get_logger(__name__)

EVIDENCE = (AccountCreated, AccountUpdated, FollowCreated, FollowDeleted, PostCreated)
FOLLOWS = (5, 10, 20, 50)
POSTS = (1, 3, 10)
"""An account is asked about when it has followed so many, and when it has posted so often, beside at sign-up and when its
profile changes."""
SETTLE = timedelta(seconds=30)
"""What brings no account to a stage is weighed after so long, together with what came meanwhile."""
HISTORY = 2_000
"""So many of an account's events are read when it is suspended and was not watched before."""
LEASE = timedelta(minutes=2)
"""How long a worker may be at one account before another asks about it."""
KEPT = 5
"""Ties of one account that are kept: the surest."""


# ── Out of the walk ─────────────────────────────────────────────────────────────────────────────────────────────────


def note(events: Iterable[tuple[int, Event]], *, pictures: Mapping[int, Pictures] | None = None) -> None:
    """Note events, with their rows' ids, that are evidence. In the caller's transaction; the same again changes nothing.

    `pictures` are hashes of the events' accounts' pictures, by the row's id.
    """
    young = timedelta(days=settings.REDSHANK.evasion.young_days)
    rows = []
    for pk, event in events:
        if not isinstance(event, EVIDENCE):
            continue
        created = event.account.created_at
        if (
            isinstance(event, PostCreated)
            and created is not None
            and event.at - created > young
            and not event.post.mentions
        ):
            continue
        found = (pictures or {}).get(pk)
        rows.append((pk, msgspec.msgpack.encode(found) if found else b""))
    add(News, rows, ("event_id", "pictures"), unique=("event_id",))


def see_states(events: Iterable[Event], *, now: datetime) -> None:
    """Make targets of accounts that were suspended, and none of those that were restored, at once.

    In the caller's transaction, after the archive has seen the same events: an older event never undoes a newer one.
    """
    for event in events:
        if isinstance(event, AccountSuspended | AccountRestored):
            known = archive.account_of(event.network, event.account.id)
            if known is not None:
                set_state(event.network, event.account.id, known.state, at=event.at, now=now)


def set_state(network: str, account_id: str, state: str, *, at: datetime, now: datetime) -> None:
    """An account's state on its platform is `state` since `at`. In the caller's transaction."""
    about = ProfileRecord.objects.select_for_update().filter(network=network, account_id=account_id).first()
    if state == AccountRecord.State.SUSPENDED:
        if about is not None and about.target:
            return
        if about is None:
            about = ProfileRecord(
                network=network, account_id=account_id, seen_at=now, evidence=pack(_from_archive(network, account_id))
            )
        about.target, about.ended_at, about.target_changed_at, about.due_at = True, at, now, None
        about.save()
        record([Step(actor="system", step="evasion.target", object=f"account:{about}")], now=now)
    elif state == AccountRecord.State.ACTIVE and about is not None and about.target:
        about.target, about.ended_at, about.target_changed_at = False, None, now
        owner, about.owner = about.owner, None
        about.save()
        if owner is not None:
            settle_chain(owner, now=now)
        record([Step(actor="system", step="evasion.target_gone", object=f"account:{about}")], now=now)
        tied = TieRecord.objects.filter(old=about, state__in=(TieRecord.State.OPEN, TieRecord.State.CONFIRMED))
        withdraw(tied, why="the suspension ended", by="system", now=now)


def settle_chain(owner: int, *, now: datetime) -> None:
    """Bring the accounts of one owner up to date after one joined or left: who is alone has no chain."""
    members = list(ProfileRecord.objects.select_for_update().filter(owner=owner).order_by("pk"))
    first = members[0].pk if len(members) > 1 else None
    for member in members:
        member.owner = first
        if member.target:
            member.target_changed_at = now
        member.save(update_fields=["owner", "target_changed_at"])


def withdraw(ties: Iterable[TieRecord], *, why: str, by: str, now: datetime) -> None:
    """Take ties back, and the labels that rules put because of them. In the caller's transaction."""
    for tie in list(ties):
        was = tie.state
        tie.state, tie.changed_at = TieRecord.State.WITHDRAWN, now
        tie.save(update_fields=["state", "changed_at"])
        take_labels_back(tie)
        step = Step(
            actor=by,
            step="tie.withdrawn",
            object=f"tie:{tie.pk}",
            reason=why,
            body={"was": was, "account": str(tie.new)},
        )
        record([step], now=now)


def take_labels_back(tie: TieRecord) -> None:
    """Take the labels off that a tie brought, but for those that another tie of the same account brought as well."""
    if not tie.labels:
        return
    standing = TieRecord.objects.filter(new=tie.new, state__in=(TieRecord.State.OPEN, TieRecord.State.CONFIRMED))
    others = {label for labels in standing.exclude(pk=tie.pk).values_list("labels", flat=True) for label in labels}
    archive.remove_labels({(tie.new.network, tie.new.account_id): set(tie.labels) - others})
    tie.labels = []
    tie.save(update_fields=["labels"])


def _from_archive(network: str, account_id: str) -> Evidence:
    """What the kept events of an account say of it."""
    evidence = Evidence()
    rows = EventRecord.objects.filter(network=network, account_id=account_id).order_by("-at", "-id")
    for body, received_at in reversed(rows.values_list("body", "received_at")[:HISTORY]):
        event = decode_event(body, now=received_at)
        gather(evidence, event, account_id)
    return evidence


# ── Evidence ────────────────────────────────────────────────────────────────────────────────────────────────────────


def gather_news(*, now: datetime, limit: int = 500) -> int:
    """Gather what up to `limit` noted events say; give how many there were. Its own transaction.

    Whoever has reached a stage is due to be asked about.
    """
    try:
        with transaction.atomic():
            return _gather_news(now, limit)
    except IntegrityError:  # Another worker saw one of the accounts first; its row is there now.
        return 1


def _gather_news(now: datetime, limit: int) -> int:
    waiting = News.objects.order_by("event_id")
    if connection.features.has_select_for_update_skip_locked:
        waiting = waiting.select_for_update(skip_locked=True)
    noted = {row.event_id: bytes(row.pictures) for row in waiting[:limit]}
    if not noted:
        return 0
    events: list[tuple[int, Event]] = []
    rows = EventRecord.objects.filter(pk__in=noted).order_by("at", "pk").values_list("pk", "body", "received_at")
    for pk, body, received_at in rows:
        try:
            events.append((pk, decode_event(body, now=received_at)))
        except Problem as problem:  # Written under another version; the archive keeps it.
            log.warning("evasion.event_unread", row=pk, problem=str(problem))
    records = _records(events)
    changed: set[tuple[str, str]] = set()
    heaps: dict[tuple[str, str], Evidence] = {}
    strangers: dict[tuple[str, str], Evidence] = {}
    for pk, event in events:
        pictures = msgspec.msgpack.decode(noted[pk], type=Pictures) if noted[pk] else Pictures()
        for account_id in dict.fromkeys(spoken_of(event)):
            key = (event.network, account_id)
            about = records.get(key)
            if about is None:
                account = getattr(event, "account", None)
                if account is None or account.id != account_id or not _is_young(event, now):
                    # Nothing is kept of it, but that one more carries this.
                    gather(strangers.setdefault(key, Evidence()), event, account_id, pictures)
                    continue
                about = records[key] = ProfileRecord(network=event.network, account_id=account_id, seen_at=now)
            heap = heaps.get(key) or heaps.setdefault(key, unpack(bytes(about.evidence)))
            before = len(heap.follows), heap.posts
            news = gather(heap, event, account_id, pictures)
            if news or isinstance(event, AccountCreated):
                changed.add(key)
            if (why := _stage(event, account_id, news, before, heap)) and not about.target:
                about.due_at, about.why, about.event = now, why, event_key(event.network, event.id)
            elif news and about.due_at is None and not about.target:
                about.due_at, about.why = now + SETTLE, "more evidence"
    new: list[ProfileRecord] = []
    old: list[ProfileRecord] = []
    for key in sorted(changed):
        about = records[key]
        about.evidence = pack(heaps[key])
        about.version += 1
        if about.target:
            about.target_changed_at = now
        (old if about.pk else new).append(about)
    oldest = oldest_token(now)
    told = (*((key, heaps[key]) for key in changed), *strangers.items())
    census().count(((*key, profile_of(heap, 0, oldest_token=oldest)) for key, heap in told), now=now)
    ProfileRecord.objects.bulk_create(new, batch_size=500)
    ProfileRecord.objects.bulk_update(
        old, ["evidence", "version", "target_changed_at", "due_at", "why", "event"], batch_size=100
    )
    News.objects.filter(pk__in=noted).delete()
    return len(noted)


def _records(events: Sequence[tuple[int, Event]]) -> dict[tuple[str, str], ProfileRecord]:
    wanted: dict[str, set[str]] = {}
    for _pk, event in events:
        wanted.setdefault(event.network, set()).update(spoken_of(event))
    found: dict[tuple[str, str], ProfileRecord] = {}
    for network, ids in sorted(wanted.items()):
        listed = sorted(ids)
        for start in range(0, len(listed), 5_000):
            about = ProfileRecord.objects.filter(network=network, account_id__in=listed[start : start + 5_000])
            found |= {(network, one.account_id): one for one in about.select_for_update().order_by("pk")}
    return found


def _is_young(event: Event, now: datetime) -> bool:
    young = timedelta(days=settings.REDSHANK.evasion.young_days)
    created = event.account.created_at if isinstance(event, EVIDENCE) else None
    if created is None:
        return isinstance(event, AccountCreated) and now - event.at <= young
    return now - created <= young


def _stage(event: Event, account_id: str, news: Collection[str], before: tuple[int, int], heap: Evidence) -> str:
    """Why the account is to be asked about now; empty where nothing new makes it worth asking."""
    account = getattr(event, "account", None)
    if account is None or account.id != account_id:
        return ""
    if isinstance(event, AccountCreated):
        return "sign-up"
    for stage in reversed(FOLLOWS):
        if before[0] < stage <= len(heap.follows):
            return f"{stage} follows"
    for stage in reversed(POSTS):
        if before[1] < stage <= heap.posts:
            return "first post" if stage == 1 else f"{stage} posts"
    if "profile" in news:
        return "profile change"
    return "new token" if "token" in news else ""


def forget(*, now: datetime, limit: int = 1_000) -> int:
    """Let go of what was gathered of accounts that grew old untied, and of expired tokens; give how many accounts."""
    oldest = now - timedelta(days=settings.REDSHANK.evasion.young_days)
    with transaction.atomic():
        old = ProfileRecord.objects.filter(target=False, owner=None, seen_at__lt=oldest, ties=None, tied=None)
        gone = list(old.order_by("seen_at").values_list("pk", flat=True)[:limit])
        ProfileRecord.objects.filter(pk__in=gone).delete()
    return len(gone)


def forget_old_tokens(*, now: datetime) -> int:
    """Drop the tokens that expired, and those under keys that are no longer live, from all that is kept; give from how many."""
    live, oldest, changed, after = live_keys(), oldest_token(now), 0, 0
    while True:
        with transaction.atomic():
            rows = list(ProfileRecord.objects.select_for_update().filter(pk__gt=after).order_by("pk")[:500])
            if not rows:
                break
            after = rows[-1].pk
            for about in rows:
                heap = unpack(bytes(about.evidence))
                if forget_tokens(heap, oldest=oldest, live_keys=live):
                    about.evidence = pack(heap)
                    if about.target:
                        about.target_changed_at = now
                    about.save(update_fields=["evidence", "target_changed_at"])
                    changed += 1
    return changed


# ── Asking ──────────────────────────────────────────────────────────────────────────────────────────────────────────

_model_lock = threading.Lock()
_scorer: tuple[Model, EvasionSettings, Scorer] | None = None


def current_model() -> tuple[Model, str]:
    """The model in force and its version: the day and the checksum of its file."""
    path = settings.REDSHANK.evasion.model
    stamp = Path(path).stat().st_mtime_ns if path and Path(path).exists() else 0
    with _model_lock:
        return _model(path, stamp)


@functools.lru_cache(maxsize=2)
def _model(path: str, stamp: int) -> tuple[Model, str]:
    del stamp  # Another one is another file.
    if not path:
        return default_model(), "weights to start with"
    model = load_model(Path(path))
    return model, f"{model.card.date or 'undated'}-{hashlib.sha256(Path(path).read_bytes()).hexdigest()[:8]}"


def scorer() -> Scorer:
    """The model in force, with the bands that the settings want."""
    global _scorer  # noqa: PLW0603 - one a process
    model, _version = current_model()
    wanted = settings.REDSHANK.evasion
    made = _scorer
    if made is None or made[0] is not model or made[1] is not wanted:
        cuts = bands(model, rate=wanted.return_rate, likely=wanted.likely_precision, possible=wanted.possible_precision)
        made = _scorer = (model, wanted, Scorer(model, rate=wanted.return_rate, cuts=cuts))
    return made[2]


def claim_due(*, now: datetime, limit: int) -> list[ProfileRecord]:
    """Lease up to `limit` accounts that are due to be asked about, the longest waiting first. Its own transaction."""
    with transaction.atomic():
        due = ProfileRecord.objects.filter(due_at__lte=now, target=False)
        if connection.features.has_select_for_update_skip_locked:
            due = due.select_for_update(skip_locked=True)
        records = list(due.order_by("due_at", "pk")[:limit])
        for one in records:
            one.due_at = now + LEASE
        ProfileRecord.objects.filter(pk__in=[one.pk for one in records]).update(due_at=now + LEASE)
    return records


def ask(about: ProfileRecord, *, now: datetime) -> list[Tie]:
    """Who of the suspended the owner of a new account probably was, the surest first. Reads only.

    Never asks about an account that is itself suspended, or that stands on the list of those never to be tied.
    """
    if about.target:
        return []
    listed = NeverTie.objects.filter(network=about.network, account_id=about.account_id, ended_at=None)
    pairs = set(listed.values_list("other_network", "other_id"))
    if any(not other for _network, other in pairs):
        return []
    profile = profile_of(unpack(bytes(about.evidence)), about.pk, oldest_token=oldest_token(now))
    found = targets().search(profile, census().network(about.network, now=now))
    numbers = found.ids.tolist()
    networks = dict(ProfileRecord.objects.filter(pk__in=numbers).values_list("pk", "network"))
    olds = [networks.get(number, about.network) for number in numbers]
    ties = scorer().ties(found, networks=(about.network, olds), least=0.01, most=4 * KEPT)
    if pairs:
        named = ProfileRecord.objects.in_bulk([tie.number for tie in ties])
        ties = tuple(
            tie for tie in ties if (old := named.get(tie.number)) and (old.network, old.account_id) not in pairs
        )
    return list(ties[:KEPT])


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """What came of asking about one account: its standing ties, and whether one is new or more sure than it was."""

    ties: tuple[TieRecord, ...]
    grew: bool


_RANK = {"": 0, "possible": 1, "likely": 2}


def keep_ties(about: ProfileRecord, found: Sequence[Tie], *, now: datetime) -> Answered:
    """Keep what asking found. In the caller's transaction. What a person decided stays as they decided it."""
    leased = about.due_at
    about = ProfileRecord.objects.select_for_update().get(pk=about.pk)
    if about.due_at == leased:
        ProfileRecord.objects.filter(pk=about.pk).update(due_at=None)
    version = current_model()[1]
    there = {
        tie.old_id: tie for tie in TieRecord.objects.select_for_update().filter(new=about).select_related("old", "new")
    }
    wanted = [tie.number for tie in found if tie.band or tie.number in there]
    olds = ProfileRecord.objects.filter(target=True).in_bulk(wanted) if wanted else {}
    mine = unpack(bytes(about.evidence))
    grew, made = False, {"likely": 0, "possible": 0}
    steps: list[Step] = []
    for tie in found:
        old = olds.get(tie.number)
        before = there.get(tie.number)
        if old is None or (before is None and not tie.band):
            continue
        kept = before or TieRecord(new=about, old=old, made_at=now, blind=_is_audit(about.pk, tie.number))
        if kept.state in (TieRecord.State.CONFIRMED, TieRecord.State.REJECTED):
            continue
        rose = _RANK[tie.band] > (_RANK[kept.band] if before and kept.state == TieRecord.State.OPEN else 0)
        kept.probability, kept.band, kept.model = tie.probability, tie.band, version
        kept.reasons = msgspec.to_builtins(tie.reasons)
        kept.shared = msgspec.to_builtins(shared_by(mine, unpack(bytes(old.evidence))))
        kept.moments = [
            *kept.moments[-30:],
            {"at": now.isoformat(), "why": about.why, "probability": round(tie.probability, 4), "band": tie.band},
        ]
        kept.state = TieRecord.State.OPEN if tie.band else TieRecord.State.WITHDRAWN
        kept.changed_at = now
        kept.save()
        if not tie.band:
            take_labels_back(kept)
        there[tie.number] = kept
        if rose:
            grew = True
            made[tie.band] = made.get(tie.band, 0) + 1
            body = {
                "account": str(about),
                "suspended": str(old),
                "band": tie.band,
                "probability": round(tie.probability, 4),
                "model": version,
                "why": about.why,
            }
            steps.append(Step(actor="system", step="tie.found", object=f"tie:{kept.pk}", body=body))
    seen = {tie.number for tie in found}
    faded = [one for number, one in there.items() if number not in seen and one.state == TieRecord.State.OPEN]
    withdraw(faded, why="the evidence no longer bears it", by="system", now=now)
    record(steps, now=now)
    count(now, version, asked=1, likely=made["likely"], possible=made["possible"])
    standing = [one for one in there.values() if one.state in (TieRecord.State.OPEN, TieRecord.State.CONFIRMED)]
    return Answered(ties=tuple(sorted(standing, key=lambda one: -one.probability)), grew=grew)


def note_labels(ties: Sequence[TieRecord], labels: set[str]) -> None:
    """These labels were put on the new account because of these ties. In the caller's transaction."""
    for tie in ties:
        if labels - set(tie.labels):
            tie.labels = sorted({*tie.labels, *labels})
            tie.save(update_fields=["labels"])


def _is_audit(new: int, old: int) -> bool:
    """Whether a tie belongs to the random share that is judged blind: by its numbers, so that asking again changes nothing."""
    drawn = int.from_bytes(hashlib.blake2b(f"audit/{new}/{old}".encode(), digest_size=4).digest(), "big") / 2**32
    return drawn < settings.REDSHANK.evasion.audit_share


def count(now: datetime, version: str, **numbers: float) -> None:
    """Add to the day's counts. In the caller's transaction."""
    day = DayCount.objects.filter(day=now.date(), model=version)
    more = {name: F(name) + number for name, number in numbers.items() if number}
    if more and not day.update(**more):
        DayCount.objects.get_or_create(day=now.date(), model=version)
        day.update(**more)


def standing_ties(accounts: Iterable[tuple[str, str]]) -> dict[tuple[str, str], tuple[TieRecord, ...]]:
    """The standing ties of those of `accounts`, as (network, account id), that have any, the surest first."""
    by_network: dict[str, set[str]] = {}
    for network, account_id in accounts:
        by_network.setdefault(network, set()).add(account_id)
    found: dict[tuple[str, str], tuple[TieRecord, ...]] = {}
    standing = Q(state__in=(TieRecord.State.OPEN, TieRecord.State.CONFIRMED))
    for network, ids in by_network.items():
        rows = TieRecord.objects.filter(standing, Among(F("new__account_id"), ids), new__network=network)
        for tie in rows.select_related("new", "old").order_by("-probability"):
            key = (network, tie.new.account_id)
            found[key] = (*found.get(key, ()), tie)
    return found
