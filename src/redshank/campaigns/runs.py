"""The searches: what the walk keeps, what a worker makes of it, when it searches, and how what it finds becomes campaigns.

Each search looks at the last days together, those of the files and what is not in files yet, and adds to what is known: so a day
costs one search, a day that comes late is looked at again with the days around it, and what is hot is looked into within minutes.
A search that is cut off leaves nothing behind; all that one found is saved in one transaction.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import F, Min, Q

from redshank.archive import services as archive
from redshank.archive.models import Erasure
from redshank.audit.services import Step, record
from redshank.campaigns import identity, kept
from redshank.campaigns.identity import Account, Group
from redshank.campaigns.kept import ShareFiles
from redshank.campaigns.models import (
    Campaign,
    CampaignDay,
    Erased,
    HotObject,
    Member,
    Proposal,
    Run,
    ShareBlock,
    ShareDay,
    SharedObject,
)
from redshank.core import Event
from redshank.media import MediaHashes

if TYPE_CHECKING:
    import pyarrow as pa

    from redshank.campaigns import finding
    from redshank.campaigns.shares import Shares

log = structlog.get_logger(__name__)

Why = Literal["day", "hot", "due", "asked"]
BLOCK = 2_000
"""Events of one block, at most."""
SEAL_AFTER = timedelta(minutes=15)
"""Blocks become files so long after the window in which something can be hot."""
SEAL_BLOCKS = 2_000
QUIET = timedelta(minutes=20)
"""A day that is over, or came late, is searched when nothing was added to it for so long."""
REST = 10
"""So many times what the last search took lies between searches for what is hot: they never take a tenth of a processor."""
GREW = 1.5
HOTTEST = 50
SHARED_KEPT = 60
"""Objects that are kept with a member; of a campaign, five times as many."""
CAMPAIGN_DAYS = 400
"""So long after its end a campaign is kept on which nobody decided anything."""
CHUNK = 800


# ── What the walk keeps ─────────────────────────────────────────────────────────────────────────────────────────────


def keep(walked: Iterable[tuple[Event, Mapping[str, MediaHashes]]], *, now: datetime) -> None:
    """Keep what each event shared, the hashes of its media by their id beside it. In the caller's transaction."""
    quality = settings.REDSHANK.media.pdq_quality
    shared = [one for event, hashes in walked if (one := kept.shared_of(event, hashes, quality=quality))]
    ShareBlock.objects.bulk_create(
        [
            ShareBlock(received_at=now, body=kept.pack(shared[start : start + BLOCK]))
            for start in range(0, len(shared), BLOCK)
        ]
    )


def files() -> ShareFiles:
    """The files of this installation."""
    return ShareFiles(Path(settings.DATA_DIR) / "shares")


def seal(*, now: datetime, all_of_it: bool = False) -> int:
    """Write blocks that are due, or `all_of_it`, to files; give how many.

    Which blocks are a batch is settled in the store before the first byte is written, and their rows go when the files are
    on disk: whoever is killed in between leaves a batch that is written again, under the same names.
    """
    place = files()
    with place.lock():
        left = ShareBlock.objects.filter(batch__isnull=False).aggregate(batch=Min("batch"))["batch"]
        if left is None:
            window = timedelta(minutes=settings.REDSHANK.campaigns.window_minutes)
            free = ShareBlock.objects.filter(batch=None)
            due = free if all_of_it else free.filter(received_at__lte=now - window - SEAL_AFTER)
            chosen = list(due.order_by("pk").values_list("pk", flat=True)[:SEAL_BLOCKS])
            if not chosen:
                return 0
            left = chosen[-1]
            with transaction.atomic():
                for start in range(0, len(chosen), CHUNK):
                    ShareBlock.objects.filter(pk__in=chosen[start : start + CHUNK]).update(batch=left)
        blocks = [(pk, bytes(body)) for pk, body in ShareBlock.objects.filter(batch=left).values_list("pk", "body")]
        rows = place.write(left, kept.table_of(blocks))
        with transaction.atomic():
            for day, count in sorted(rows.items()):
                found, made = ShareDay.objects.get_or_create(day=day, defaults={"rows": count, "changed_at": now})
                if not made:
                    ShareDay.objects.filter(pk=found.pk).update(rows=F("rows") + count, changed_at=now)
            ShareBlock.objects.filter(batch=left).delete()
    return len(blocks)


def table(since: datetime, until: datetime) -> pa.Table:
    """All that was shared from `since` to `until`, `until` excluded: in files, and in blocks that are in none yet."""
    import pyarrow as pa
    import pyarrow.compute as pc

    blocks = [(pk, bytes(body)) for pk, body in ShareBlock.objects.order_by("pk").values_list("pk", "body").iterator()]
    # The files are read after the blocks: what was written in between is in both, and counts once.
    filed = files().read(since, until)
    done = set(pc.unique(filed["block"]).to_pylist())
    whole = pa.concat_tables([filed, kept.table_of(block for block in blocks if block[0] not in done)])
    inside = pc.and_(pc.greater_equal(whole["at"], since.timestamp()), pc.less(whole["at"], until.timestamp()))
    return whole.filter(inside)


def shares_in(rows: pa.Table, automated: Collection[Account] = ()) -> Shares | None:
    """The shares in a table of `kept.SCHEMA`; `automated` accounts say that they are. None where there are none."""
    import numpy as np

    from redshank.campaigns.shares import shares_of
    from redshank.core import BadInput

    roles = {"account": "account", "time": "at", "network": "network", "post": "post"}
    roles |= {kind: kind for kind in ("link", "media", "text", "hashtags", "follow")}
    try:
        shares = shares_of({role: rows[name] for role, name in roles.items()}, formed=True)
    except BadInput:  # Nothing is in it: the rows themselves were checked when they came.
        return None
    if automated:
        names = zip(shares.network.tolist(), shares.names.to_pylist(), strict=True)
        says = np.fromiter(((shares.networks[network], name) in automated for network, name in names), np.bool_)
        shares = shares._replace(automated=says)
    return shares


def object_key(kind: str, value: str) -> str:
    """What an object is called in the store."""
    return hashlib.sha256(f"{kind}\0{value}".encode("utf-8", "surrogatepass")).hexdigest()[:24]


# ── What is hot ─────────────────────────────────────────────────────────────────────────────────────────────────────


class HotWatch:
    """Looks at what came in last. What it has read of blocks it keeps, so that each is unpacked once."""

    def __init__(self) -> None:
        self._read: dict[int, pa.Table] = {}

    def look(self, *, now: datetime) -> int:
        """Write down what so many accounts shared within the window that it is hot; give how much of that is new, or grew."""
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        window = timedelta(minutes=settings.REDSHANK.campaigns.window_minutes)
        recent = ShareBlock.objects.filter(received_at__gt=now - window)
        there = set(recent.values_list("pk", flat=True))
        fresh = sorted(there - self._read.keys())
        self._read = {pk: rows for pk, rows in self._read.items() if pk in there}
        if not fresh:
            return 0
        for start in range(0, len(fresh), CHUNK):
            rows = ShareBlock.objects.filter(pk__in=fresh[start : start + CHUNK]).values_list("pk", "body")
            self._read |= {pk: kept.table_of([(pk, bytes(body))]) for pk, body in rows}
        if not self._read:
            return 0
        whole = pa.concat_tables(self._read.values())
        low, high = (now - window).timestamp(), (now + window).timestamp()  # What comes late was not shared just now.
        shares = shares_in(whole.filter(pc.and_(pc.greater(whole["at"], low), pc.less(whole["at"], high))))
        if shares is None:
            return 0
        n = len(shares.names)
        pairs = np.unique(shares.object * n + shares.account)
        accounts = np.bincount(pairs // n, minlength=len(shares.kind))
        ranked = np.argsort(-accounts, kind="stable")[:HOTTEST]
        hot = ranked[accounts[ranked] >= settings.REDSHANK.campaigns.hot_accounts]
        return self._note(shares, {int(one): int(accounts[one]) for one in hot}, pairs, now=now)

    @staticmethod
    def _note(shares: Shares, hot: Mapping[int, int], pairs: Any, *, now: datetime) -> int:
        import numpy as np

        from redshank.campaigns.shares import KINDS

        n, grown = len(shares.names), 0
        window = timedelta(minutes=settings.REDSHANK.campaigns.window_minutes)
        for number, count in hot.items():
            kind, value = KINDS[shares.kind[number]], shares.value_of(number)
            who = pairs[np.searchsorted(pairs, number * n) : np.searchsorted(pairs, (number + 1) * n)] % n
            networks = sorted(shares.networks[at] for at in set(shares.network[who].tolist()))
            with transaction.atomic():
                found, made = HotObject.objects.select_for_update().get_or_create(
                    key=object_key(kind, value),
                    defaults={
                        "kind": kind, "value": value, "networks": networks, "accounts": count,
                        "noticed_at": now, "grew_at": now, "seen_at": now,
                    },
                )  # fmt: skip
                anew = not made and found.seen_at < now - window
                if anew:
                    found.noticed_at = found.grew_at = now
                    found.accounts = count
                elif count >= GREW * found.accounts:
                    found.grew_at, found.accounts = now, count
                grown += found.grew_at == now
                found.seen_at = now
                found.networks = sorted({*found.networks, *networks})
                found.save()
        return grown


# ── When to search ──────────────────────────────────────────────────────────────────────────────────────────────────


class Due(msgspec.Struct, frozen=True):
    """A search that is due: why, and the last of the days that it looks at."""

    why: Why
    until: date


def due(*, now: datetime) -> Due | None:
    """The search that should be made next; None where nothing calls for one."""
    wanted = settings.REDSHANK.campaigns
    today = now.astimezone(UTC).date()
    last = Run.objects.order_by("pk").last()
    hot = HotObject.objects.order_by("-grew_at").values_list("grew_at", flat=True).first()
    if hot is not None and (last is None or hot > last.started_at):
        ended = last.started_at + timedelta(seconds=last.seconds) if last else None
        rest = max(timedelta(minutes=wanted.hot_minutes), timedelta(seconds=REST * last.seconds)) if last else None
        if ended is None or rest is None or now >= ended + rest:
            return Due("hot", today)
    over = ShareDay.objects.filter(day__lt=today).exclude(rows=F("seen")).filter(changed_at__lte=now - QUIET)
    day = over.order_by("-day").values_list("day", flat=True).first()
    if day is not None:
        return Due("day", day)
    every = timedelta(hours=wanted.every_hours)
    since = last.started_at if last else datetime.min.replace(tzinfo=UTC)
    first = ShareBlock.objects.filter(received_at__gt=since).aggregate(at=Min("received_at"))["at"]
    if first is not None and now >= max(first, since if last else first) + every:
        return Due("due", today)
    return None


def last_run() -> int:
    """The number of the last search that was made; 0 where there was none."""
    return Run.objects.order_by("-pk").values_list("pk", flat=True).first() or 0


def run(wanted: Due, *, now: datetime, after: int | None = None, clock: Any = None) -> Run | None:
    """Search the days up to the one that is due, and save what is found; None where another worker searches just now, or has
    searched since `after`, the `last_run` when this one was found due.

    `clock` tells the seconds that it takes (default: the real one).
    """
    import time

    clock = clock or time.monotonic
    with files().lock("search.lock", wait=False) as held:
        if not held or (after is not None and after != last_run()):
            return None
        return _run(wanted, now=now, clock=clock)


def _run(wanted: Due, *, now: datetime, clock: Any) -> Run:
    from redshank.campaigns.finding import Search, find_campaigns

    began = clock()
    asked = settings.REDSHANK.campaigns
    first = kept.days_before(wanted.until, asked.days - 1)
    since, until = kept.midnight(first), kept.midnight(kept.days_before(wanted.until, -1))
    if wanted.until >= now.astimezone(UTC).date():
        until += timedelta(days=1)  # Clocks that run ahead of ours.
    covered = dict(ShareDay.objects.filter(day__gte=first, day__lt=until.date()).values_list("pk", "rows"))
    shares = shares_in(table(since, until), archive.automated_accounts())
    search = Search(window=60 * asked.window_minutes)
    found = find_campaigns(shares, search) if shares else None
    with transaction.atomic():
        if found:
            _save(found.campaigns, tested=found.ties.tested, smallest=search.smallest, now=now)
        for pk, rows in covered.items():
            ShareDay.objects.filter(pk=pk).update(seen=rows)
        made = Run.objects.create(
            why=wanted.why, since=since, until=until, started_at=now, seconds=round(clock() - began, 3),
            shares=len(shares.account) if shares else 0, accounts=len(shares.names) if shares else 0,
            tested=found.ties.tested if found else 0, campaigns=len(found.campaigns) if found else 0,
            narrowed=found.ties.narrowed if found else 0,
        )  # fmt: skip
    log.info("campaigns.searched", why=made.why, shares=made.shares, campaigns=made.campaigns, seconds=made.seconds)
    return made


# ── What was found ──────────────────────────────────────────────────────────────────────────────────────────────────


def _save(groups: Sequence[finding.Campaign], *, tested: int, smallest: int, now: datetime) -> None:
    """Make campaigns of what was found, or bring them up to date. In the caller's transaction."""
    oldest = now - timedelta(days=settings.REDSHANK.campaigns.keep_days)
    alive = Campaign.objects.exclude(state=Campaign.State.MERGED).filter(Q(seen_at__gte=oldest) | Q(ends__gte=oldest))
    list(alive.select_for_update().order_by("pk").values_list("pk", flat=True))
    # Read again under the locks: a person may have split one meanwhile.
    rows = {campaign.pk: campaign for campaign in alive.order_by("pk")}
    members: dict[int, dict[Account, Member]] = defaultdict(dict)
    for member in Member.objects.filter(campaign__in=rows):
        members[member.campaign_id][member.network, member.account_id] = member
    objects: dict[int, dict[str, SharedObject]] = defaultdict(dict)
    for one in SharedObject.objects.filter(campaign__in=rows):
        objects[one.campaign_id][one.key] = one
    known = {
        pk: Group(
            frozenset(who for who, member in members[pk].items() if not member.out), frozenset(objects[pk]), row.label
        )
        for pk, row in rows.items()
    }
    out = {(pk, who) for pk in rows for who, member in members[pk].items() if member.out}
    keys = [[object_key(one.kind, one.value) for one in group.objects] for group in groups]
    asked = [
        Group(frozenset((m.network, m.account) for m in group.members), frozenset(own), group.label)
        for group, own in zip(groups, keys, strict=True)
    ]
    parts: dict[int, list[_Part]] = defaultdict(list)
    settled = identity.places(asked, known, out=out, smallest=smallest)
    for group, own, place in zip(groups, keys, settled, strict=True):
        if place is not None:
            parts[place.campaign].append(_Part(group, own, place))
    steps: list[Step] = []
    for number, found in parts.items():
        row = rows.get(number) or _new(found[0].group, now)
        if row.pk not in rows:
            rows[row.pk] = row
        _update(row, found, members, objects[row.pk], tested=tested, smallest=smallest, now=now, steps=steps)
    record(steps, now=now)


class _Part(msgspec.Struct, frozen=True):
    """A group that feeds a campaign: what was found, its objects' keys, and where its members go."""

    group: finding.Campaign
    keys: list[str]
    place: identity.Place


def _new(group: finding.Campaign, now: datetime) -> Campaign:
    return Campaign.objects.create(
        label=group.label, seen_label=group.label, begins=group.begins, ends=group.ends, found_at=now, seen_at=now
    )


def _update(
    row: Campaign, found: Sequence[_Part], members: dict[int, dict[Account, Member]], objects: dict[str, SharedObject],
    *, tested: int, smallest: int, now: datetime, steps: list[Step],
) -> None:  # fmt: skip
    """Bring one campaign up to date with the groups that feed it; the largest speaks for it."""
    largest = max((part.group for part in found), key=lambda group: len(group.members))
    is_new = row.found_at == now and row.size == 0
    fresh = sum(len(part.place.fresh) for part in found)
    _put_members(row, found, members, now)
    _put_objects(row, found, objects, now)
    own = [member for member in members[row.pk].values() if not member.out]
    _put_days(row, found, own)
    before = row.label
    row.seen_label = largest.label
    if row.labeled_by_id is None:
        row.label = largest.label
    row.signs = list(largest.signs)
    moves = {(move["source"], move["target"]): move for move in row.moves}
    for part in found:
        for move in part.group.moves:
            moves[move.source, move.target] = msgspec.to_builtins(move)
    row.moves = [moves[pair] for pair in sorted(moves)]
    row.begins = min(row.begins, *(part.group.begins for part in found))
    row.ends = max(row.ends, *(part.group.ends for part in found))
    row.seen_at = now
    row.object_count = max(len(objects), sum(part.group.object_count for part in found))
    row.ties = sum(part.group.ties for part in found)
    row.bits, row.met, row.lag, row.tested = largest.bits, largest.met, largest.lag, tested
    row.size = len(own)
    row.networks = sorted({member.network for member in own})
    if row.state == Campaign.State.CLOSED and fresh >= smallest:
        row.state = Campaign.State.NEW
    row.save()
    body = {"members": row.size, "joined": fresh, "objects": row.object_count, "label": row.label}
    if is_new:
        steps.append(Step(actor="system", step="campaign.found", object=f"campaign:{row.pk}", body=body))
    elif fresh:
        steps.append(Step(actor="system", step="campaign.grew", object=f"campaign:{row.pk}", body=body))
    if not is_new and before != row.label:
        body = {"before": before, "label": row.label}
        steps.append(Step(actor="system", step="campaign.relabeled", object=f"campaign:{row.pk}", body=body))


def _put_members(
    row: Campaign, found: Sequence[_Part], members: dict[int, dict[Account, Member]], now: datetime
) -> None:
    made: list[Member] = []
    changed: list[Member] = []
    for part in found:
        for told in part.group.members:
            who = (told.network, told.account)
            home = part.place.elsewhere.get(who, row.pk)
            member = members[home].get(who)
            if member is None:
                if who not in part.place.fresh:  # A person took it out of here, or its campaign is gone.
                    continue
                member = Member(
                    campaign=row, network=told.network, account_id=told.account, joined_at=told.joined, found_at=now,
                    seen_at=now,
                )  # fmt: skip
                members[row.pk][who] = member
                made.append(member)
            else:
                changed.append(member)
            when = dict(member.shared) | {
                part.keys[at]: moment.isoformat(timespec="seconds") for at, moment in told.shared
            }
            newest = sorted(when.items(), key=lambda pair: pair[1], reverse=True)[:SHARED_KEPT]
            member.shared = [list(pair) for pair in newest]
            member.ties, member.after, member.objects_shared = told.ties, told.after, max(told.objects, len(newest))
            member.joined_at, member.seen_at = min(member.joined_at, told.joined), now
    Member.objects.bulk_create(made, batch_size=500)
    fields = ["ties", "after", "objects_shared", "shared", "joined_at", "seen_at"]
    Member.objects.bulk_update(changed, fields, batch_size=200)


def _put_objects(row: Campaign, found: Sequence[_Part], objects: dict[str, SharedObject], now: datetime) -> None:
    made, changed = {}, {}
    for part in found:
        for key, told in zip(part.keys, part.group.objects, strict=True):
            one = objects.get(key)
            if one is None:
                one = objects[key] = made[key] = SharedObject(
                    campaign=row, key=key, kind=told.kind, value=told.value[:500].replace("\x00", "\N{REPLACEMENT CHARACTER}"),
                    members=told.members, others=told.others, first_at=told.first, seen_at=now,
                )  # fmt: skip
                continue
            if key not in made:
                changed[key] = one
            seen = one.seen_at == now  # By another of the groups: they have no member in common.
            one.members = one.members + told.members if seen else max(one.members, told.members)
            one.others = max(one.others, told.others)
            one.first_at, one.seen_at = min(one.first_at, told.first), now
    SharedObject.objects.bulk_create(made.values(), batch_size=500)
    SharedObject.objects.bulk_update(changed.values(), ["members", "others", "first_at", "seen_at"], batch_size=200)
    if len(objects) > 5 * SHARED_KEPT:
        ranked = sorted(objects.values(), key=lambda one: (one.seen_at, one.members), reverse=True)
        for start in range(5 * SHARED_KEPT, len(ranked), CHUNK):
            SharedObject.objects.filter(pk__in=[one.pk for one in ranked[start : start + CHUNK]]).delete()


def _put_days(row: Campaign, found: Sequence[_Part], own: Iterable[Member]) -> None:
    active: Counter[str] = Counter()
    shares: Counter[str] = Counter()
    for part in found:
        for day in part.group.days:
            active[day.date] += day.active
            shares[day.date] += day.shares
    joined = Counter(member.joined_at.astimezone(UTC).date().isoformat() for member in own)
    CampaignDay.objects.bulk_create(
        [
            CampaignDay(campaign=row, day=date.fromisoformat(day), active=active[day], joined=joined[day], shares=shares[day])
            for day in sorted(active)
        ],
        update_conflicts=True,
        unique_fields=["campaign", "day"],
        update_fields=["active", "joined", "shares"],
    )  # fmt: skip


# ── What goes ───────────────────────────────────────────────────────────────────────────────────────────────────────


def erase(*, now: datetime) -> int:
    """Erase here, too, the accounts that the archive was asked to erase; give how many. What was counted stays counted."""
    done = Erased.objects.values("erasure")
    asked = list(Erasure.objects.exclude(pk__in=done).order_by("pk")[:200])
    if not asked:
        return 0
    accounts = {(one.network, one.account_id) for one in asked}
    place = files()
    with place.lock():
        place.erase(accounts)
        with transaction.atomic():
            mine = Q()
            for network, account in accounts:
                mine |= Q(network=network, account_id=account)
            touched = Member.objects.filter(mine).values("campaign")
            # In the order in which searches and people lock them, so that none waits for the other in a ring.
            list(Campaign.objects.select_for_update().filter(pk__in=touched).order_by("pk").values_list("pk"))
            blocks = ((pk, bytes(body)) for pk, body in ShareBlock.objects.values_list("pk", "body").iterator())
            for pk, body in kept.without(blocks, accounts).items():
                ShareBlock.objects.filter(pk=pk).update(body=body)
            for network, account in sorted(accounts):
                members = Member.objects.filter(network=network, account_id=account)
                there = members.filter(out=False).values("campaign")
                Campaign.objects.filter(pk__in=there, size__gt=0).update(size=F("size") - 1)
                members.delete()
                followed = Q(kind="follow", value=f"{network}/{account}")
                SharedObject.objects.filter(followed).delete()
                HotObject.objects.filter(followed).delete()
                for proposal in Proposal.objects.filter(state=Proposal.State.WAITING):
                    left = [pair for pair in proposal.members if tuple(pair) != (network, account)]
                    if len(left) < len(proposal.members):
                        Proposal.objects.filter(pk=proposal.pk).update(members=left)
            Erased.objects.bulk_create([Erased(erasure=one.pk, at=now) for one in asked], ignore_conflicts=True)
    return len(asked)


def forget(*, now: datetime) -> int:
    """Let go what was kept for its time: files of old days, what was hot, campaigns that ended long ago; give how much."""
    today = now.astimezone(UTC).date()
    oldest = kept.days_before(today, settings.REDSHANK.campaigns.keep_days)
    place = files()
    with place.lock():
        gone = place.forget(oldest)
        ShareDay.objects.filter(day__lt=oldest).delete()
    gone += HotObject.objects.filter(seen_at__lt=kept.midnight(oldest)).delete()[0]
    old = Campaign.objects.filter(ends__lt=now - timedelta(days=CAMPAIGN_DAYS), proposals=None, merged=None)
    for campaign in old[:100]:
        gone += campaign.delete()[0]
    return gone
