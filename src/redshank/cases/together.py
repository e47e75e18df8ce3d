"""Decides on several accounts of a campaign at once: the same policy, reason and actions, and yet one decision a person.

Each member gets a case, which holds why it is here, and its decision, so that evidence, message, undo and appeal are as for
anybody else. Where they are many, what one person proposes another one has to agree with before anything is asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, cast

import msgspec
from django.conf import settings
from django.db import transaction
from django.utils.translation import gettext as _

from redshank.archive.models import AccountRecord, EventRecord
from redshank.audit.services import Step, record
from redshank.campaigns.models import Campaign, Member, Proposal
from redshank.campaigns.services import Conflict
from redshank.cases import services as cases
from redshank.cases.models import Case, Decision
from redshank.cases.priority import CaseRequest, NewItem
from redshank.core import BadInput, Finding, Problem, Subject, Verb, Whole, event_key, stable_id
from redshank.enforcement import services as enforcement
from redshank.enforcement.services import Ask
from redshank.people.models import User

MOST = 200
"""Members that are decided on at once; each is a case, evidence, and a letter."""
EVIDENCE = 10
"""Events of a member that are preserved as evidence: the newest of those in which it shared something."""


class Wish(msgspec.Struct, frozen=True):
    """What is asked for on each member."""

    verb: str
    label: str | None = None
    duration_hours: int | None = None


class Sample(msgspec.Struct, frozen=True):
    """One member in a preview: who, what stands there now, and what it would be told."""

    network: str
    account: str
    handle: str
    state: str
    objects: int
    message: str


class Preview(msgspec.Struct, frozen=True):
    """What a decision on several members would do, before anything is done.

    `networks` counts by network, `states` by what the accounts are now; `cannot` says, by network, why an action cannot be
    asked there (those members are left out); `held` are those whose case somebody else is at.
    """

    members: int
    networks: Mapping[str, int]
    states: Mapping[str, int]
    cannot: Mapping[str, str]
    held: int
    samples: tuple[Sample, ...]
    second_look: bool


def preview(
    campaign: Campaign, members: Sequence[Member], *, policy: str, reason: str, wishes: Sequence[Wish], by: User, now: datetime
) -> Preview:  # fmt: skip
    """Counts and samples of what `propose` would do with the same words. Raises BadInput as that would."""
    reason = _checked(members, policy, reason, wishes)
    accounts = _accounts(members)
    cannot = _cannot({member.network for member in members}, wishes)
    able = [member for member in members if member.network not in cannot]
    states = Counter(
        accounts[who].state
        if (who := (member.network, member.account_id)) in accounts
        else AccountRecord.State.ACTIVE.value
        for member in able
    )
    held = sum(
        1
        for case in _open_cases(able)
        if case.held_by_id not in (None, by.pk) and case.held_until and case.held_until > now
    )
    samples = []
    for member in sorted(able, key=lambda one: -one.objects_shared)[:5]:
        known = accounts.get((member.network, member.account_id))
        told = [cases.preview_message(policy, ask, reason) for ask in _asks(member.network, member.account_id, wishes)]
        samples.append(
            Sample(
                member.network, member.account_id, known.handle if known else "", known.state if known else "",
                member.objects_shared, "\n\n".join(told),
            )
        )  # fmt: skip
    return Preview(
        members=len(able), networks=dict(Counter(member.network for member in able)), states=dict(states), cannot=cannot, held=held,
        samples=tuple(samples), second_look=len(able) > settings.REDSHANK.campaigns.second_look_above,
    )  # fmt: skip


def propose(
    campaign_id: int, members: Sequence[int], *, policy: str, reason: str, wishes: Sequence[Wish], by: User, now: datetime
) -> Proposal:  # fmt: skip
    """Decide on these members (primary keys) as wished; where they are many, ask for a second person first.

    Raises `NotAllowed`, and BadInput naming what is missing. Members on networks that do not offer an action are left out.
    """
    _may(by)
    with transaction.atomic():
        campaign = Campaign.objects.select_for_update().filter(pk=campaign_id).first()
        if campaign is None:
            raise BadInput(_("no such campaign"), where=f"K-{campaign_id}")
        chosen = list(campaign.members.filter(pk__in=list(members), out=False).order_by("network", "account_id"))
        if len(chosen) < len(set(members)):
            raise Conflict(_("some of these are members no more"), hint=_("Load the page again."))
        reason = _checked(chosen, policy, reason, wishes)
        cannot = _cannot({member.network for member in chosen}, wishes)
        able = [member for member in chosen if member.network not in cannot]
        if not able:
            raise BadInput(next(iter(cannot.values())).rstrip("."), where="asks")
        proposal = Proposal.objects.create(
            campaign=campaign, members=[[member.network, member.account_id] for member in able], policy=policy,
            reason=reason, asks=msgspec.to_builtins(list(wishes)), by=by, at=now,
        )  # fmt: skip
        if campaign.state == Campaign.State.NEW:
            Campaign.objects.filter(pk=campaign.pk).update(state=Campaign.State.OPEN)
        if len(able) > settings.REDSHANK.campaigns.second_look_above:
            body = {"members": len(able), "policy": policy}
            record([_step("campaign.proposed", proposal, by, reason, **body)], now=now)
        else:
            _do(proposal, by=by, now=now)
    return proposal


def confirm(proposal_id: int, *, by: User, note: str = "", now: datetime) -> Proposal:
    """Agree with what another person proposed: now it is decided. Raises `Conflict` where it waits no more, or is one's own."""
    _may(by)
    with transaction.atomic():
        proposal = _waiting(proposal_id)
        if proposal.by_id == by.pk:
            raise Conflict(_("you proposed this yourself; a second person has to look"))
        proposal.second, proposal.note = by, note.strip()[:2000]
        _do(proposal, by=by, now=now)
    return proposal


def refuse(proposal_id: int, *, by: User, note: str, now: datetime) -> Proposal:
    """Let a proposal be; whoever made it may take it back so as well. Raises `Conflict`, BadInput without a reason."""
    _may(by)
    note = note.strip()[:2000]
    if not note:
        raise BadInput(_("say why"), where="reason")
    with transaction.atomic():
        proposal = _waiting(proposal_id)
        proposal.state, proposal.second, proposal.note, proposal.settled_at = Proposal.State.REFUSED, by, note, now
        proposal.save()
        record([_step("campaign.refused", proposal, by, note)], now=now)
    return proposal


def undo(proposal_id: int, *, by: User, reason: str, now: datetime) -> tuple[int, list[str]]:
    """Undo all decisions of a proposal that can be; give how many, and why others cannot."""
    _may(by)
    with transaction.atomic():
        proposal = Proposal.objects.select_for_update().filter(pk=proposal_id, state=Proposal.State.DONE).first()
        if proposal is None:
            raise Conflict(_("there is nothing to undo here"))
        undone, why_not = 0, []
        for decision in proposal.decisions:
            try:
                with transaction.atomic():
                    cases.undo(decision, by=by, reason=reason, now=now)
                undone += 1
            except Problem as problem:
                why_not.append(str(problem))
        if undone:
            proposal.state, proposal.settled_at = Proposal.State.UNDONE, now
            proposal.save(update_fields=["state", "settled_at"])
            record([_step("campaign.decision_undone", proposal, by, reason, undone=undone)], now=now)
    return undone, why_not


def _do(proposal: Proposal, *, by: User, now: datetime) -> None:
    """Open a case for each member, and decide it. Those whose case another person is at are passed over, and named."""
    wishes = [msgspec.convert(ask, Wish) for ask in proposal.asks]
    campaign = proposal.campaign
    decisions, left = [], []
    for network, account_id in proposal.members:
        try:
            with transaction.atomic():
                decisions.append(_decide(proposal, campaign, network, account_id, wishes, by=by, now=now).pk)
        except Problem as problem:
            left.append(f"{network}/{account_id}: {problem.what}")
    if not decisions:
        raise Conflict(_("none of these could be decided: %(why)s") % {"why": left[0] if left else ""})
    proposal.decisions, proposal.state, proposal.settled_at = decisions, Proposal.State.DONE, now
    if left:
        proposal.note = "\n".join([proposal.note, *left]).strip()
    proposal.save()
    body = {"proposed_by": proposal.by.username, "decisions": decisions, "left": len(left)}
    record([_step("campaign.decided", proposal, by, proposal.reason, policy=proposal.policy, **body)], now=now)


def _decide(
    proposal: Proposal, campaign: Campaign, network: str, account_id: str, wishes: Sequence[Wish], *, by: User, now: datetime
) -> Decision:  # fmt: skip
    subject = Subject(network, "account", account_id, account_id)
    member = campaign.members.filter(network=network, account_id=account_id).first()
    why = _("Acts together with %(n)d others in campaign %(campaign)s.") % {
        "n": max(0, campaign.size - 1), "campaign": str(campaign)
    }  # fmt: skip
    seen = _("%(campaign)s: shared %(n)d of its objects, %(after)d s after the first member (median)") % {
        "campaign": str(campaign), "n": member.objects_shared if member else 0, "after": member.after if member else 0
    }  # fmt: skip
    shared = EventRecord.objects.filter(
        network=network, account_id=account_id, at__range=(campaign.begins, campaign.ends)
    )
    events = list(shared.order_by("-at").values_list("event_id", flat=True)[:EVIDENCE])
    finding = Finding(detector="campaigns", kind="campaign", score=1.0, where=Whole("account"), seen=seen)
    items = tuple(
        NewItem(
            key=stable_id("itm", "campaign", str(proposal.pk), network, account_id, event_id), kind="finding",
            event=event_key(network, event_id), body=msgspec.to_builtins(finding), at=now,
        )
        for event_id in events or [f"campaign-{campaign.pk}"]
    )  # fmt: skip
    request = CaseRequest(
        subject=subject, policy=proposal.policy, queue="review", priority=50, priority_reason=why, source="person",
        deadline=None, items=items,
    )  # fmt: skip
    opened = cases.gather([request], now=now)
    case = Case.objects.get(pk=opened[network, "account", account_id])
    return cases.decide(
        case.pk, by=by, version=case.version, outcome="act", policy=proposal.policy, reason=proposal.reason,
        asks=_asks(network, account_id, wishes), now=now,
    )  # fmt: skip


def _checked(members: Sequence[Member], policy: str, reason: str, wishes: Sequence[Wish]) -> str:
    if not members:
        raise BadInput(_("choose at least one member"), where="members")
    if len(members) > MOST:
        raise BadInput(_("at most %(n)d members at once") % {"n": MOST}, where="members")
    if not policy:
        raise BadInput(_("choose a policy that is in force"), where="policy")
    if not wishes:
        raise BadInput(_("choose at least one action"), where="asks")
    if any(wish.verb == "label" and not wish.label for wish in wishes):
        raise BadInput(_("say which label"), where="asks")
    reason = reason.strip().replace("\x00", "\N{REPLACEMENT CHARACTER}")[:10_000]
    if not reason:
        raise BadInput(_("say why, in a sentence that the person can be told"), where="reason")
    return reason


def _cannot(networks: set[str], wishes: Sequence[Wish]) -> dict[str, str]:
    out = {}
    for network in sorted(networks):
        offered = {offer.verb: offer for offer in enforcement.offers(network, "account")}
        for wish in wishes:
            offer = offered.get(wish.verb)
            if offer is None or not offer.possible:
                out[network] = (
                    offer.why_not if offer else _("%(verb)s cannot be asked for an account.") % {"verb": wish.verb}
                )
    return out


def _asks(network: str, account_id: str, wishes: Sequence[Wish]) -> list[Ask]:
    subject = Subject(network, "account", account_id, account_id)
    return [
        Ask(verb=cast("Verb", wish.verb), subject=subject, label=wish.label, duration_hours=wish.duration_hours)
        for wish in wishes
    ]


def _accounts(members: Sequence[Member]) -> dict[tuple[str, str], AccountRecord]:
    found = {}
    for network in {member.network for member in members}:
        ids = [member.account_id for member in members if member.network == network]
        for account in AccountRecord.objects.filter(network=network, account_id__in=ids):
            found[network, account.account_id] = account
    return found


def _open_cases(members: Sequence[Member]) -> list[Case]:
    found: list[Case] = []
    for network in {member.network for member in members}:
        ids = [member.account_id for member in members if member.network == network]
        found += Case.objects.filter(network=network, subject_kind="account", subject_id__in=ids, state=Case.State.OPEN)
    return found


def _waiting(proposal_id: int) -> Proposal:
    proposal = Proposal.objects.select_for_update().filter(pk=proposal_id).first()
    if proposal is None:
        raise BadInput(_("no such proposal"), where=str(proposal_id))
    if proposal.state != Proposal.State.WAITING:
        raise Conflict(_("this was settled already"))
    return proposal


def _may(user: User) -> None:
    if not user.may("cases.decide"):
        raise cases.NotAllowed(f"{user.username} may not do this", where="cases.decide")


def _step(step: str, proposal: Proposal, by: User, reason: str = "", **body: Any) -> Step:
    return Step(
        actor=f"user:{by.username}",
        step=step,
        object=f"campaign:{proposal.campaign_id}",
        reason=reason,
        body={"proposal": proposal.pk, **body},
    )
