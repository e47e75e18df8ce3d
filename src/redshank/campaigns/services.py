"""The door of the campaigns: what people do with one. Each step is checked under a lock, done, and written down at once.

What a person says stays: a label they put, members they moved, split off or took out. Searches only add to it. Nothing here acts on
an account; `redshank.cases.together` does, through decisions like any other.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Count, Max, Min
from django.utils.translation import gettext as _

from redshank.audit.services import Step, record
from redshank.campaigns.models import Campaign, CampaignDay, Change, Member, Note, Proposal, SharedObject
from redshank.core import BadInput, Problem
from redshank.people.models import User

__all__ = [
    "Conflict",
    "NotAllowed",
    "hand_over",
    "label",
    "merge",
    "note",
    "of_account",
    "related",
    "rename",
    "set_state",
    "split",
    "take_out",
    "undo",
]


class Conflict(Problem):
    """Somebody else was here meanwhile: `what` says who did what. Nothing was changed."""


class NotAllowed(Problem):
    """This person's role does not allow it."""


# ── Looking ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def of_account(network: str, account_id: str) -> list[Member]:
    """The campaigns that an account is in, as its membership in each, the newest first."""
    mine = Member.objects.filter(network=network, account_id=account_id, out=False)
    return list(mine.exclude(campaign__state=Campaign.State.MERGED).select_related("campaign").order_by("-seen_at"))


def related(campaign: Campaign, *, least: int = 3, limit: int = 10) -> list[tuple[Campaign, int]]:
    """Other campaigns that share at least so many objects with this one, and how many, the most first."""
    keys = list(campaign.shared_objects.order_by("-members").values_list("key", flat=True)[:300])
    rows = (
        SharedObject.objects.filter(key__in=keys)
        .exclude(campaign=campaign)
        .exclude(campaign__state=Campaign.State.MERGED)
        .values("campaign")
        .annotate(common=Count("pk"))
        .filter(common__gte=least)
        .order_by("-common", "campaign")[:limit]
    )
    counts = {row["campaign"]: row["common"] for row in rows}
    there = Campaign.objects.in_bulk(list(counts))
    return [(there[pk], count) for pk, count in counts.items() if pk in there]


# ── What people do ──────────────────────────────────────────────────────────────────────────────────────────────────


def rename(campaign_id: int, name: str, *, by: User, now: datetime) -> None:
    """Give a campaign a name that people know it by; empty takes it away. Raises `NotAllowed`, BadInput."""
    with transaction.atomic():
        campaign = _locked(campaign_id, by)
        before, campaign.name = campaign.name, _clean(name)[:120]
        _look(campaign)
        _save(campaign, "name")
        record([_step("campaign.renamed", campaign, by, before=before, name=campaign.name)], now=now)


def label(campaign_id: int, value: str, *, by: User, reason: str, now: datetime) -> None:
    """Say what a campaign is; empty: what the rule says. Searches leave a person's word as it is.

    Raises `NotAllowed`, and BadInput where there is no such label or no reason.
    """
    reason = _clean(reason)
    if value and value not in Campaign.Label.values:
        raise BadInput(_("no such label"), where="label")
    if not reason:
        raise BadInput(_("say why"), where="reason")
    with transaction.atomic():
        campaign = _locked(campaign_id, by)
        before = campaign.label
        campaign.label = value or campaign.seen_label
        campaign.labeled_by = by if value else None
        _look(campaign)
        _save(campaign, "label", "labeled_by")
        record([_step("campaign.labeled", campaign, by, reason, before=before, label=campaign.label)], now=now)


def set_state(campaign_id: int, state: str, *, by: User, reason: str, now: datetime) -> None:
    """Close a campaign, with a reason, or open it again. One that is closed comes back by itself when it grows."""
    reason = _clean(reason)
    if state not in (Campaign.State.OPEN, Campaign.State.CLOSED):
        raise BadInput(_("neither open nor closed"), where="state")
    if state == Campaign.State.CLOSED and not reason:
        raise BadInput(_("say why"), where="reason")
    with transaction.atomic():
        campaign = _locked(campaign_id, by)
        campaign.state = state
        if state == Campaign.State.CLOSED:
            campaign.held_by = None
        _save(campaign, "state", "held_by")
        step = "campaign.closed" if state == Campaign.State.CLOSED else "campaign.opened"
        record([_step(step, campaign, by, reason)], now=now)


def hand_over(campaign_id: int, *, by: User, to: User | None, now: datetime) -> None:
    """Let a colleague (or oneself) be the one who looks at it; None: nobody. Raises `NotAllowed` for either."""
    if to is not None:
        _check(to)
    with transaction.atomic():
        campaign = _locked(campaign_id, by)
        campaign.held_by = to
        _look(campaign)
        _save(campaign, "held_by")
        record([_step("campaign.handed_over", campaign, by, to=to.username if to else "")], now=now)


def note(campaign_id: int, text: str, *, by: User, now: datetime) -> Note:
    """Say something about a campaign to one's colleagues. Raises BadInput where nothing is said."""
    text = _clean(text)
    if not text:
        raise BadInput(_("nothing written"), where="text")
    with transaction.atomic():
        campaign = _locked(campaign_id, by)
        said = Note.objects.create(campaign=campaign, by=by, text=text, at=now)
        record([_step("campaign.noted", campaign, by, note=said.pk)], now=now)
    return said


def split(campaign_id: int, members: Collection[int], *, by: User, reason: str, now: datetime) -> Campaign:
    """Make a campaign of its own of these members (primary keys); give it. Searches leave them apart.

    Raises BadInput where none is chosen, or all are.
    """
    with transaction.atomic():
        campaign = _locked(campaign_id, by)
        chosen = _chosen(campaign, members)
        if len(chosen) == campaign.members.filter(out=False).count():
            raise BadInput(_("all members are chosen, so nothing would be split"), where="members")
        fresh = Campaign.objects.get(pk=campaign.pk)
        fresh.pk = None
        fresh._state.adding = True  # noqa: SLF001 - Django's documented way to copy a row
        fresh.name, fresh.state, fresh.held_by, fresh.version = "", Campaign.State.OPEN, by, 0
        fresh.moves = []
        fresh.save()
        keys = {key for member in chosen for key, _at in member.shared}
        SharedObject.objects.bulk_create(
            [
                SharedObject(
                    campaign=fresh, key=one.key, kind=one.kind, value=one.value, others=one.others, first_at=one.first_at,
                    seen_at=one.seen_at, members=sum(any(key == one.key for key, _at in member.shared) for member in chosen),
                )
                for one in campaign.shared_objects.filter(key__in=sorted(keys))
            ]
        )  # fmt: skip
        change = _move(Change.Kind.SPLIT, campaign, fresh, chosen, by=by, reason=reason, now=now)
        _count(fresh)
        _count(campaign)
        body = {"into": fresh.pk, "members": len(chosen), "change": change.pk}
        record([_step("campaign.split", campaign, by, change.reason, **body)], now=now)
    return fresh


def merge(campaign_id: int, other_id: int, *, by: User, reason: str, now: datetime) -> Campaign:
    """Make all members of `other_id` members of this one; the other is there no more, but where it went can be seen.

    Raises BadInput where they are one, `Conflict` where one of them is part of another already.
    """
    if campaign_id == other_id:
        raise BadInput(_("a campaign cannot be merged with itself"), where="other")
    with transaction.atomic():
        locked = {pk: _locked(pk, by) for pk in sorted((campaign_id, other_id))}
        campaign, other = locked[campaign_id], locked[other_id]
        here = set(campaign.members.values_list("network", "account_id"))
        moving = [member for member in other.members.all() if (member.network, member.account_id) not in here]
        change = _move(Change.Kind.MERGE, other, campaign, moving, by=by, reason=reason, now=now)
        known = {one.key: one for one in campaign.shared_objects.all()}
        for one in list(other.shared_objects.all()):
            if one.key not in known:
                SharedObject.objects.create(
                    campaign=campaign, key=one.key, kind=one.kind, value=one.value, members=one.members,
                    others=one.others, first_at=one.first_at, seen_at=one.seen_at,
                )  # fmt: skip
        days = {day.day: day for day in campaign.days.all()}
        for day in other.days.all():
            mine = days.get(day.day) or CampaignDay(campaign=campaign, day=day.day, active=0, joined=0, shares=0)
            mine.active, mine.joined, mine.shares = (
                mine.active + day.active, mine.joined + day.joined, mine.shares + day.shares
            )  # fmt: skip
            mine.save()
        other.state, other.merged_into, other.held_by = Campaign.State.MERGED, campaign, None
        _save(other, "state", "merged_into", "held_by")
        campaign.begins, campaign.ends = min(campaign.begins, other.begins), max(campaign.ends, other.ends)
        pairs = {(move["source"], move["target"]) for move in campaign.moves}
        campaign.moves += [
            {**move, "merged": other.pk} for move in other.moves if (move["source"], move["target"]) not in pairs
        ]
        _look(campaign)
        _count(campaign, "begins", "ends", "moves", "state")
        body = {"other": other.pk, "members": len(moving), "change": change.pk}
        record([_step("campaign.merged", campaign, by, change.reason, **body)], now=now)
    return campaign


def take_out(campaign_id: int, members: Collection[int], *, by: User, reason: str, now: datetime) -> None:
    """Say that these members (primary keys) do not belong. Searches do not bring them back."""
    with transaction.atomic():
        campaign = _locked(campaign_id, by)
        chosen = _chosen(campaign, members)
        pks = [member.pk for member in chosen]
        Member.objects.filter(pk__in=pks).update(out=True)
        change = Change.objects.create(
            kind=Change.Kind.OUT, campaign=campaign, members=pks, by=by, reason=_reason(reason), at=now
        )
        _look(campaign)
        _count(campaign, "state")
        body = {"members": len(pks), "change": change.pk}
        record([_step("campaign.members_out", campaign, by, change.reason, **body)], now=now)


def undo(change_id: int, *, by: User, now: datetime) -> Campaign:
    """Put back what a merge, a split or a taking out moved; give the campaign in which it was done.

    Raises `Conflict` where it was undone, or where members were moved on since.
    """
    found = Change.objects.filter(pk=change_id).first()
    if found is None:
        raise BadInput(_("no such change"), where=str(change_id))
    with transaction.atomic():
        both = sorted(pk for pk in (found.campaign_id, found.other_id) if pk)
        locked = {pk: _locked(pk, by, merged=True) for pk in both}
        change = Change.objects.select_for_update().get(pk=change_id)
        campaign = locked[change.campaign_id]
        if change.undone_at is not None:
            raise Conflict(_("this was undone already"))
        there = change.other_id or change.campaign_id
        rows = Member.objects.filter(pk__in=change.members)
        if rows.exclude(campaign=there).exists():
            raise Conflict(_("members were moved on since; undo that first"))
        if change.kind == Change.Kind.OUT:
            rows.update(out=False)
        elif change.other_id:
            other = locked[change.other_id]
            if change.kind == Change.Kind.MERGE:
                # `campaign` is the one that went; what it brought goes back with its members.
                campaign.state, campaign.merged_into = Campaign.State.OPEN, None
                _save(campaign, "state", "merged_into")
                for day in campaign.days.all():
                    mine = other.days.filter(day=day.day).first()
                    if mine:
                        mine.active = max(0, mine.active - day.active)
                        mine.joined = max(0, mine.joined - day.joined)
                        mine.shares = max(0, mine.shares - day.shares)
                        mine.save()
            rows.update(campaign=campaign)
            if change.kind == Change.Kind.MERGE:
                _leave(other, campaign)
            left = other.members.filter(out=False).exists()
            if change.kind == Change.Kind.SPLIT and not left:
                other.state, other.merged_into = Campaign.State.MERGED, campaign
                _save(other, "state", "merged_into")
            _count(other)
        change.undone_at = now
        change.save(update_fields=["undone_at"])
        _count(campaign)
        record([_step(f"campaign.{change.kind}_undone", campaign, by, change=change.pk)], now=now)
    return campaign


def _leave(campaign: Campaign, gone: Campaign) -> None:
    """Take out of a campaign what only those shared who went back to `gone`."""
    left = {key for member in campaign.members.all() for key, _at in member.shared}
    theirs = gone.shared_objects.exclude(key__in=sorted(left)).values("key")
    campaign.shared_objects.filter(key__in=list(theirs.values_list("key", flat=True))).delete()
    campaign.moves = [move for move in campaign.moves if move.get("merged") != gone.pk]
    _save(campaign, "moves")


def _move(
    kind: Change.Kind, source: Campaign, target: Campaign, members: Sequence[Member], *, by: User, reason: str, now: datetime
) -> Change:  # fmt: skip
    pks = [member.pk for member in members]
    Member.objects.filter(pk__in=pks).update(campaign=target)
    return Change.objects.create(
        kind=kind, campaign=source, other=target, members=pks, by=by, reason=_reason(reason), at=now
    )


def _reason(reason: str) -> str:
    reason = _clean(reason)
    if not reason:
        raise BadInput(_("say why"), where="reason")
    return reason


def _chosen(campaign: Campaign, members: Collection[int]) -> list[Member]:
    chosen = list(campaign.members.filter(pk__in=list(members), out=False))
    if not chosen:
        raise BadInput(_("choose at least one member"), where="members")
    if len(chosen) < len(set(members)):
        raise Conflict(_("some of these are members no more"), hint=_("Load the page again."))
    return chosen


def _count(campaign: Campaign, *more: str) -> None:
    """Bring what is counted of the members up to date."""
    own = campaign.members.filter(out=False)
    campaign.size = own.count()
    campaign.networks = sorted(set(own.values_list("network", flat=True)))
    if campaign.size:
        times = own.aggregate(begins=Min("joined_at"), seen=Max("seen_at"))
        campaign.begins = min(campaign.begins, times["begins"])
    campaign.object_count = max(campaign.object_count, campaign.shared_objects.count())
    _save(campaign, "size", "networks", "begins", "object_count", *more)


def _look(campaign: Campaign) -> None:
    if campaign.state == Campaign.State.NEW:
        campaign.state = Campaign.State.OPEN
        _save(campaign, "state")


def _save(campaign: Campaign, *fields: str) -> None:
    campaign.version += 1
    campaign.save(update_fields=[*dict.fromkeys(fields), "version"])


def _check(user: User) -> None:
    if not user.may("campaigns.change"):
        raise NotAllowed(f"{user.username} may not do this", where="campaigns.change")


def _locked(campaign_id: int, by: User, *, merged: bool = False) -> Campaign:
    _check(by)
    campaign = Campaign.objects.select_for_update().filter(pk=campaign_id).first()
    if campaign is None:
        raise BadInput(_("no such campaign"), where=f"K-{campaign_id}")
    if campaign.state == Campaign.State.MERGED and not merged:
        raise Conflict(_("this campaign is part of K-%(other)s now") % {"other": campaign.merged_into_id})
    return campaign


def _clean(text: str) -> str:
    return text.strip().replace("\x00", "\N{REPLACEMENT CHARACTER}")[:10_000]


def _step(step: str, campaign: Campaign, by: User, reason: str = "", **body: Any) -> Step:
    return Step(actor=f"user:{by.username}", step=step, object=f"campaign:{campaign.pk}", reason=reason, body=body)


def waiting_proposals() -> int:
    """How many proposals wait for a second person."""
    return Proposal.objects.filter(state=Proposal.State.WAITING).count()
