"""Campaigns: the list, one campaign with all that speaks for and against it, and deciding on members with a preview."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import msgspec
from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import BooleanField, Count, ExpressionWrapper, Q, QuerySet
from django.http import Http404, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_GET, require_POST

from redshank.archive.models import AccountRecord
from redshank.audit.models import Entry
from redshank.campaigns import services as campaigns
from redshank.campaigns.models import Campaign, Change, HotObject, Member, Proposal, Run, SharedObject
from redshank.cases import together
from redshank.cases.models import Case, Decision
from redshank.cases.together import Wish
from redshank.core import BadInput, Problem
from redshank.enforcement import services as enforcement
from redshank.enforcement.models import Action
from redshank.people.models import User
from redshank.policies import services as policies
from redshank.policies.models import Policy
from redshank.web.permissions import Asked, needs
from redshank.web.showing import span_words
from redshank.web.views.case import DURATIONS, HARSH, TIMED
from redshank.web.words import CAMPAIGN_LABELS, VERBS, word

PAGE = 25
MEMBERS = 60
OBJECTS = 20
GRID = (24, 30)
"""Members and objects that the picture of who shared what shows."""
HOT_FOR = timedelta(hours=6)
RECENT = timedelta(days=7)

INNOCENT = ("automation", "feed", "audience")
_FILTERS: tuple[tuple[str, Any, tuple[tuple[str, Any], ...]], ...] = (
    ("looks", gettext_lazy("Looks like"), (("coordinated", gettext_lazy("coordinated")), ("innocent", gettext_lazy("innocent synchrony")))),
    ("state", gettext_lazy("State"), (("new", gettext_lazy("new")), ("open", gettext_lazy("being looked at")), ("closed", gettext_lazy("closed")))),
    ("who", gettext_lazy("Held by"), (("me", gettext_lazy("you")), ("nobody", gettext_lazy("nobody")))),
)  # fmt: skip


class Row(msgspec.Struct, frozen=True):
    """A campaign in the list: how many joined within a week of its last days, and its moves in words."""

    campaign: Campaign
    joined: int
    moves: str


# ── The list ────────────────────────────────────────────────────────────────────────────────────────────────────────


@require_GET
@needs("campaigns.view")
def campaigns_list(request: Asked) -> HttpResponseBase:
    """All campaigns, those that look coordinated and nobody looked at first; what is hot; what waits for a second person."""
    now = timezone.now()
    wanted = {name: request.GET.get(name, "") for name, _label, _choices in _FILTERS}
    there = Campaign.objects.exclude(state=Campaign.State.MERGED)
    found = _filtered(there, wanted, request.user).select_related("held_by")
    # Closed ones last; innocent looks after others; then the newest.
    found = found.annotate(
        innocent=ExpressionWrapper(Q(label__in=INNOCENT), BooleanField()),
        closed=ExpressionWrapper(Q(state=Campaign.State.CLOSED), BooleanField()),
    ).order_by("closed", "innocent", "-ends", "-size", "-pk")
    page = Paginator(found, PAGE).get_page(request.GET.get("page"))
    joined = dict(
        Member.objects.filter(
            campaign__in=[one.pk for one in page.object_list], out=False, joined_at__gte=now - RECENT
        ).values_list("campaign").annotate(Count("pk"))
    )  # fmt: skip
    hot = list(HotObject.objects.filter(seen_at__gte=now - HOT_FOR).order_by("-seen_at", "-accounts")[:8])
    of_hot: dict[str, list[Campaign]] = {}
    for one in SharedObject.objects.filter(key__in=[h.key for h in hot]).select_related("campaign"):
        of_hot.setdefault(one.key, []).append(one.campaign)
    context = {
        "page": page,
        "rows": [Row(one, joined.get(one.pk, 0), _moves_words(one.moves)) for one in page.object_list],
        "filters": _chips(wanted),
        "filtered": any(wanted.values()),
        "total": there.count(),
        "new": there.filter(state=Campaign.State.NEW, label=Campaign.Label.COORDINATED).count(),
        "hot": [(one, of_hot.get(one.key, [])) for one in hot],
        "waiting": list(
            Proposal.objects.filter(state=Proposal.State.WAITING).select_related("campaign", "by").order_by("pk")[:20]
        ),
        "run": Run.objects.order_by("pk").last(),
        "window": f"{_minutes():g}",
    }
    return render(request, "console/campaigns.html", context)


def _minutes() -> float:
    from django.conf import settings

    return float(settings.REDSHANK.campaigns.window_minutes)


def _filtered(found: QuerySet[Campaign], wanted: dict[str, str], user: User) -> QuerySet[Campaign]:
    if wanted["looks"] == "coordinated":
        found = found.filter(label=Campaign.Label.COORDINATED)
    elif wanted["looks"] == "innocent":
        found = found.filter(label__in=INNOCENT)
    if wanted["state"] in Campaign.State.values:
        found = found.filter(state=wanted["state"])
    if wanted["who"] == "me":
        found = found.filter(held_by=user)
    elif wanted["who"] == "nobody":
        found = found.filter(held_by=None)
    return found


def _chips(wanted: dict[str, str]) -> list[tuple[Any, list[dict[str, Any]]]]:
    out = []
    for name, label, choices in _FILTERS:
        chips = []
        for value, words in choices:
            on = wanted[name] == value
            query = {key: one for key, one in wanted.items() if one} | {name: "" if on else value}
            address = urlencode({key: one for key, one in query.items() if one})
            chips.append({"label": words, "on": on, "url": f"?{address}" if address else reverse("campaigns")})
        out.append((label, chips))
    return out


def _moves_words(moves: Sequence[dict[str, Any]]) -> str:
    return "; ".join(f"{move['source']} → {move['target']}" for move in moves[:3])


# ── One campaign ────────────────────────────────────────────────────────────────────────────────────────────────────


class Shown(msgspec.Struct, frozen=True):
    """A member on the page: what is known of the account, and what it shared, the newest first."""

    member: Member
    account: AccountRecord | None
    shared: list[tuple[str, str, datetime]]
    late: bool
    on: bool


def _campaign(campaign_id: int) -> Campaign:
    found = Campaign.objects.select_related("held_by", "labeled_by", "merged_into").filter(pk=campaign_id).first()
    if found is None:
        raise Http404(_("There is no campaign K-%(id)s.") % {"id": campaign_id})
    return found


@require_GET
@needs("campaigns.view")
def campaign(request: Asked, campaign_id: int) -> HttpResponseBase:
    """Everything about one campaign on one page."""
    return _page(request, _campaign(campaign_id))


def _page(request: Asked, found: Campaign, *, status: int = 200, **more: Any) -> HttpResponse:
    members = found.members.filter(out=False).order_by("-objects_shared", "-ties", "network", "account_id")
    page = Paginator(members, MEMBERS).get_page(request.GET.get("page"))
    objects = list(found.shared_objects.order_by("-members", "others", "first_at")[: GRID[1]])
    days = _days(found)
    context = {
        "campaign": found,
        "innocent": found.label in INNOCENT,
        "lede": _lede(found),
        "why": _why(found),
        "page": page,
        "shown": _shown(found, list(page.object_list), {int(pk) for pk in _chosen(request)}),
        "objects": objects[:OBJECTS],
        "grid": _grid(members[: GRID[0]], objects),
        "days": days,
        "shares": [(day, row["shares"]) for day, row in days],
        "growth": _growth(found, [day for day, _row in days]),
        "moves": [_move(move) for move in found.moves],
        "related": campaigns.related(found),
        "labels": [(value, words) for value, words in CAMPAIGN_LABELS.items()],
        "colleagues": User.objects.filter(is_active=True).exclude(pk=found.held_by_id or 0).order_by("username"),
        "others": Campaign.objects.exclude(pk=found.pk).exclude(state=Campaign.State.MERGED).order_by("-ends")[:50],
        "notes": found.notes.select_related("by"),
        "changes": Change.objects.filter(Q(campaign=found) | Q(other=found)).select_related("by", "campaign", "other")[:20],
        "proposals": [_proposal(one, request.user) for one in found.proposals.select_related("by", "second")[:10]],
        "history": Entry.objects.filter(object=f"campaign:{found.pk}").order_by("-pk")[:30],
        "may_change": request.user.may("campaigns.change") and found.state != Campaign.State.MERGED,
        "may_decide": request.user.may("cases.decide") and found.state != Campaign.State.MERGED,
        **more,
    }  # fmt: skip
    return render(request, "console/campaign.html", context, status=status)


def _lede(found: Campaign) -> str:
    networks = ", ".join(found.networks)
    return _("%(n)d accounts on %(networks)s shared %(objects)d of the same things, the next one %(lag)s after another (median).") % {
        "n": found.size, "networks": networks, "objects": found.object_count,
        "lag": span_words(timedelta(seconds=max(1, found.lag))),
    }  # fmt: skip


def _why(found: Campaign) -> list[str]:
    """Why it is not chance, in sentences."""
    return [
        ngettext(
            "%(n)d tie holds it together: two accounts that met more often than chance allows.",
            "%(n)d ties hold it together: pairs of accounts that met more often than chance allows.",
            found.ties,
        ) % {"n": found.ties},
        ngettext(
            "Over %(n)d thing, the accounts of a tie in the middle shared the same within the window.",
            "Over %(n)d things, the accounts of a tie in the middle shared the same within the window.",
            found.met,
        ) % {"n": found.met},
        _(
            "Given how much each of the two shares, and what all others shared then, chance would bring any of %(tested)s "
            "pairs to this less than once in %(odds)s such weeks."
        ) % {"tested": f"{found.tested:,}", "odds": _odds(found.bits)},
    ]  # fmt: skip


def _odds(bits: float) -> str:
    if bits < 20:
        return f"{round(2 ** max(0.0, bits)):,}"
    return f"10^{int(bits * 0.30103)}"


def _days(found: Campaign) -> list[tuple[Any, dict[str, int]]]:
    """The days of its life, those without a share among them; of a long life the last 90."""
    rows = {day.day: {"active": day.active, "joined": day.joined, "shares": day.shares} for day in found.days.all()}
    if not rows:
        return []
    last = max(rows)
    first = max(min(rows), last - timedelta(days=89))
    empty = {"active": 0, "joined": 0, "shares": 0}
    count = (last - first).days + 1
    return [(day := first + timedelta(days=at), rows.get(day, empty)) for at in range(count)]


def _growth(found: Campaign, days: Sequence[date]) -> list[tuple[date, int]]:
    """How many of those who are members now had shared something of it by the end of each day (UTC)."""
    joined = found.members.filter(out=False).values_list("joined_at", flat=True)
    there = sorted(at.astimezone(UTC).date() for at in joined)
    return [(day, bisect_right(there, day)) for day in days]


def _grid(members: QuerySet[Member], objects: Sequence[SharedObject]) -> list[tuple[Member, list[bool]]]:
    """Who shared what: the members with the most, by the most shared objects."""
    out = []
    for member in members:
        had = {key for key, _at in member.shared}
        out.append((member, [one.key in had for one in objects]))
    return out


def _shown(found: Campaign, members: Sequence[Member], chosen: set[int]) -> list[Shown]:
    accounts: dict[tuple[str, str], AccountRecord] = {}
    for network in {member.network for member in members}:
        ids = [member.account_id for member in members if member.network == network]
        for account in AccountRecord.objects.filter(network=network, account_id__in=ids):
            accounts[network, account.account_id] = account
    keys = {key for member in members for key, _at in member.shared}
    named = {one.key: one for one in found.shared_objects.filter(key__in=sorted(keys)[:5_000])}
    pace = sorted(member.after for member in members)
    middle = pace[len(pace) // 2] if pace else 0.0
    out = []
    for member in members:
        shared = [
            (named[key].kind, named[key].value, datetime.fromisoformat(at).astimezone(UTC))
            for key, at in member.shared
            if key in named
        ]
        late = member.after > max(60.0, 4 * middle)
        out.append(
            Shown(
                member=member, account=accounts.get((member.network, member.account_id)), shared=shared, late=late,
                on=member.pk in chosen,
            )
        )  # fmt: skip
    return out


def _move(move: dict[str, Any]) -> dict[str, Any]:
    return {**move, "lag_words": span_words(timedelta(seconds=move["lag"])), "chance": f"{move['probability']:.4f}"}


def _proposal(one: Proposal, user: User) -> dict[str, Any]:
    actions = Action.objects.filter(decision_id__in=one.decisions).exclude(verb="restore") if one.decisions else None
    return {
        "one": one,
        "verbs": ", ".join(str(word(VERBS, ask["verb"])) for ask in one.asks),
        "size": len(one.members),
        "mine": one.by_id == user.pk,
        "policy": Policy.objects.filter(slug=one.policy).values_list("name", flat=True).first() or one.policy,
        "states": dict(actions.values_list("state").annotate(Count("pk"))) if actions is not None else {},
        "cases": list(
            Case.objects.filter(pk__in=Decision.objects.filter(pk__in=one.decisions).values("case")).order_by("pk")[:12]
        ),
    }


# ── What people do ──────────────────────────────────────────────────────────────────────────────────────────────────


def _chosen(request: Asked) -> list[str]:
    return [pk for pk in request.POST.getlist("member")[:5_000] if pk.isdecimal() and len(pk) < 18]


@require_POST
@needs("campaigns.change")
def step(request: Asked, campaign_id: int, what: str) -> HttpResponseBase:
    """Name it, say what it is, close it or open it, hand it over, say something, split it, merge it, take members out."""
    now, data = timezone.now(), request.POST
    found = _campaign(campaign_id)
    campaign_id = found.pk
    reason, chosen = data.get("reason", ""), [int(pk) for pk in _chosen(request)]
    go = redirect("campaign", campaign_id)
    try:
        if what == "name":
            campaigns.rename(campaign_id, data.get("name", ""), by=request.user, now=now)
        elif what == "label":
            campaigns.label(campaign_id, data.get("label", ""), by=request.user, reason=reason, now=now)
        elif what == "close":
            campaigns.set_state(campaign_id, "closed", by=request.user, reason=reason, now=now)
            messages.success(request, _("%(campaign)s is closed; it comes back if it grows.") % {"campaign": found})
        elif what == "open":
            campaigns.set_state(campaign_id, "open", by=request.user, reason=reason, now=now)
        elif what == "hand-over":
            to = _colleague(data.get("to", ""))
            campaigns.hand_over(campaign_id, by=request.user, to=to, now=now)
            who = to.username if to else _("nobody")
            messages.success(request, _("%(campaign)s: %(who)s looks at it now.") % {"campaign": found, "who": who})
        elif what == "note":
            campaigns.note(campaign_id, data.get("text", ""), by=request.user, now=now)
        elif what == "split":
            fresh = campaigns.split(campaign_id, chosen, by=request.user, reason=reason, now=now)
            messages.success(request, _("%(n)d members are %(campaign)s now.") % {"n": fresh.size, "campaign": fresh})
            go = redirect("campaign", fresh.pk)
        elif what == "merge":
            other = _number(data.get("other", ""))
            campaigns.merge(campaign_id, other, by=request.user, reason=reason, now=now)
            messages.success(request, _("K-%(other)s is part of this campaign now.") % {"other": other})
        else:
            campaigns.take_out(campaign_id, chosen, by=request.user, reason=reason, now=now)
            messages.success(request, _("They are members no more, and searches do not bring them back."))
    except campaigns.Conflict as conflict:
        return _page(request, _campaign(campaign_id), status=409, wrong=conflict)
    except BadInput as wrong:
        return _page(request, _campaign(campaign_id), status=422, wrong=wrong)
    return go


def _colleague(name: str) -> User | None:
    to = User.objects.filter(username=name, is_active=True).first()
    if to is None and name:
        raise BadInput(_("choose a colleague"), where="to")
    return to


def _number(text: str) -> int:
    text = text.upper().removeprefix("K-")
    if not text.isdecimal() or len(text) > 17:
        raise BadInput(_("choose a campaign"), where="other")
    return int(text)


@require_POST
@needs("campaigns.change")
def undo(request: Asked, change_id: int) -> HttpResponseBase:
    """Put back what a merge, a split or a taking out moved."""
    change = Change.objects.filter(pk=change_id).first()
    if change is None:
        raise Http404(_("There is no such change."))
    try:
        found = campaigns.undo(change_id, by=request.user, now=timezone.now())
    except Problem as problem:
        messages.error(request, _("Nothing was undone: %(why)s") % {"why": problem})
        return redirect("campaign", change.campaign_id)
    messages.success(request, _("The members are back where they were."))
    return redirect("campaign", found.pk)


# ── Deciding on members ─────────────────────────────────────────────────────────────────────────────────────────────


def _wishes(request: Asked) -> list[Wish]:
    hours = request.POST.get("duration", "")
    valid = {str(number) for number, _words in DURATIONS}
    out = []
    for verb in request.POST.getlist("ask")[:5]:
        if verb not in VERBS:
            raise BadInput(_("no such action"), where="ask")
        out.append(
            Wish(
                verb=verb,
                label=request.POST.get("label", "").strip()[:100] or None if verb == "label" else None,
                duration_hours=int(hours) or None if verb in TIMED and hours in valid else None,
            )
        )
    return out


@require_POST
@needs("cases.decide")
def act(request: Asked, campaign_id: int) -> HttpResponseBase:
    """Decide on chosen members: first the form, then what it would do, then, asked again, it is done."""
    found = _campaign(campaign_id)
    chosen = list(found.members.filter(pk__in=_chosen(request), out=False).order_by("network", "account_id"))
    if not chosen:
        wrong = BadInput(_("choose at least one member"), where="members")
        return _page(request, found, status=422, wrong=wrong)
    stage = request.POST.get("stage", "")
    more: dict[str, Any] = {}
    status = 200
    if stage in ("preview", "do"):
        words: dict[str, Any] = {
            "policy": request.POST.get("policy", ""), "reason": request.POST.get("reason", ""), "by": request.user,
            "now": timezone.now(),
        }  # fmt: skip
        try:
            wishes = _wishes(request)
            if stage == "do":
                proposal = together.propose(campaign_id, [member.pk for member in chosen], wishes=wishes, **words)
                return _after(request, proposal)
            more["preview"] = together.preview(found, chosen, wishes=wishes, **words)
        except Problem as wrong:
            status, more["wrong"] = 422, wrong
    return render(request, "console/campaign_act.html", {**_act_form(request, found, chosen), **more}, status=status)


def _act_form(request: Asked, found: Campaign, chosen: Sequence[Member]) -> dict[str, Any]:
    networks = sorted({member.network for member in chosen})
    lines = []
    offers = {network: {offer.verb: offer for offer in enforcement.offers(network, "account")} for network in networks}
    for verb in offers[networks[0]]:
        able = [network for network in networks if offers[network][verb].possible]
        lines.append(
            {
                "verb": verb, "name": word(VERBS, verb), "harsh": verb in HARSH, "possible": bool(able),
                "on": verb in request.POST.getlist("ask") and bool(able),
                "says": offers[able[0]][verb].sentence if able else offers[networks[0]][verb].why_not,
                "unable": [network for network in networks if network not in able] if able else [],
            }
        )  # fmt: skip
    return {
        "campaign": found,
        "innocent": found.label in INNOCENT,
        "chosen": chosen,
        "networks": networks,
        "lines": sorted(lines, key=lambda line: line["verb"] == "restore"),
        "policies": list(policies.active()),
        "policy": request.POST.get("policy", ""),
        "durations": [(hours, label, str(hours) == request.POST.get("duration", "0")) for hours, label in DURATIONS],
        "label_text": request.POST.get("label", ""),
        "reason_text": request.POST.get("reason", ""),
    }


def _after(request: Asked, proposal: Proposal) -> HttpResponseBase:
    if proposal.state == Proposal.State.WAITING:
        messages.warning(
            request,
            _("%(n)d members are many: a second person has to agree before anything is asked for.")
            % {"n": len(proposal.members)},
        )
    else:
        count = Action.objects.filter(decision_id__in=proposal.decisions).count()
        messages.success(
            request,
            _("%(n)d members are decided on; %(actions)d action(s) requested. All of it can be undone below.")
            % {"n": len(proposal.decisions), "actions": count},
        )
    return redirect(reverse("campaign", args=[proposal.campaign_id]) + "#decisions")


@require_POST
@needs("cases.decide")
def proposal(request: Asked, proposal_id: int, what: str) -> HttpResponseBase:
    """Agree with what another one proposed, refuse it, or undo what came of it."""
    found = Proposal.objects.filter(pk=proposal_id).first()
    if found is None:
        raise Http404(_("There is no such proposal."))
    now, note = timezone.now(), request.POST.get("note", "")[:2000]
    try:
        if what == "agree":
            return _after(request, together.confirm(proposal_id, by=request.user, note=note, now=now))
        if what == "refuse":
            together.refuse(proposal_id, by=request.user, note=note, now=now)
            messages.success(request, _("Nothing is asked for; the proposal is refused."))
        else:
            reason = note.strip() or _("Taken back by the person who decided it.")
            undone, why_not = together.undo(proposal_id, by=request.user, reason=reason, now=now)
            messages.success(
                request, _("%(n)d decisions are undone; what they asked for is being taken back.") % {"n": undone}
            )
            for why in why_not[:5]:
                messages.warning(request, _("One was not undone: %(why)s") % {"why": why})
    except Problem as problem:
        messages.error(request, _("Nothing was changed: %(why)s") % {"why": problem})
    return redirect(reverse("campaign", args=[found.campaign_id]) + "#decisions")
