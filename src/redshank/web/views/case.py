"""One case: what it is about, what a person decides on it, and what comes of the decision."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

import msgspec
from django.contrib import messages
from django.db.models import Prefetch
from django.http import Http404, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from redshank.cases import services as cases
from redshank.cases.models import Case, Comment, Decision
from redshank.core import BadInput, Frames, Part, Problem, Region, Subject, Verb
from redshank.enforcement import services as enforcement
from redshank.enforcement.models import Action
from redshank.enforcement.services import Ask
from redshank.media import MediaError
from redshank.people.models import User
from redshank.policies import services as policies
from redshank.web import previews, reading, tied
from redshank.web.permissions import Asked, needs
from redshank.web.views.banks import bankable
from redshank.web.views.queue import next_case
from redshank.web.words import OUTCOMES, SUBJECTS, VERB_KEYS, VERBS, word

DURATIONS = ((0, _("Until restored")), (24, _("24 hours")), (72, _("3 days")), (168, _("7 days")), (720, _("30 days")))
TIMED = ("restrict", "suspend")
HARSH = ("remove", "suspend")


class Offered(msgspec.Struct, frozen=True):
    """One line of the decision form: an action that could be asked for."""

    value: str
    key: str
    verb: str
    name: str
    sentence: str
    possible: bool
    why_not: str
    harsh: bool
    on: bool


def _case(case_id: int) -> Case:
    found = (
        Case.objects.select_related("policy", "held_by")
        .prefetch_related(
            "items",
            Prefetch("decisions", Decision.objects.select_related("by", "policy", "undone_by")),
            Prefetch("comments", Comment.objects.select_related("by")),
        )
        .filter(pk=case_id)
        .first()
    )
    if found is None:
        raise Http404(_("There is no case C-%(id)s.") % {"id": case_id})
    return found


@require_GET
@needs("cases.view")
def case(request: Asked, case_id: int) -> HttpResponseBase:
    """Everything about one case on one page."""
    return _page(request, _case(case_id))


def _page(request: Asked, found: Case, *, status: int = 200, **more: Any) -> HttpResponse:
    seen = reading.findings_of(found)
    pieces, rest = reading.content(found, seen)
    whys = reading.whys(found, seen)
    context = {
        "case": found,
        "subject": word(SUBJECTS, found.subject_kind),
        "reports": [why for why in whys if why.kind == "report"],
        "found": [why for why in whys if why.kind == "finding"],
        "fired": [why for why in whys if why.kind == "fired"],
        "pieces": pieces,
        "rest": rest,
        "bankable": bankable(pieces) if request.user.may("banks.change") else None,
        "earlier": cases.earlier_cases(found),
        "history": reading.history(found),
        **reading.past(found.network, found.account_id, but=found.pk),
        **tied.of_account(found.network, found.account_id),
        **_standing(request, found),
        **_form(request, found),
        **more,
    }
    return render(request, "console/case.html", context, status=status)


def _standing(request: Asked, found: Case) -> dict[str, Any]:
    """Who holds the case, what was decided, and what became of the actions."""
    now = timezone.now()
    held = found.held_by if found.held_until and found.held_until > now else None
    decision = next((one for one in reversed(found.decisions.all()) if one.outcome in ("act", "no_violation")), None)
    actions = list(
        Action.objects.filter(case_id=found.pk)
        .select_related("delivery", "undone_by")
        .order_by("requested_at", "delivery__position")
    )
    moving = any(action.state in ("requested", "sent") for action in actions)
    newest = max((action.requested_at for action in actions), default=now)
    return {
        "holder": held,
        "mine": held == request.user,
        "decision": decision if found.state == Case.State.DECIDED else None,
        "outcome": word(OUTCOMES, decision.outcome) if decision else "",
        "why_no_undo": cases.may_undo(decision) if decision else "",
        "actions": actions,
        "moving": moving,
        "every": "2s" if now - newest < timedelta(minutes=2) else "20s",
    }


def _targets(found: Case) -> list[tuple[str, Subject]]:
    own = reading.subject_of(found)
    targets = [("subject", own)]
    if found.subject_kind != "account" and found.account_id:
        targets.append(("account", Subject(found.network, "account", found.account_id, found.account_id)))
    return targets


def _form(request: Asked, found: Case) -> dict[str, Any]:
    """The decision form, with what was filled in so far."""
    data = request.POST
    asked = data.getlist("ask")
    groups = []
    for place, (target, subject) in enumerate(_targets(found)):
        lines = []
        offers = enforcement.offers(subject.network, subject.kind)
        for offer in sorted(offers, key=lambda one: one.verb == "restore"):  # the way back stands last
            value = f"{offer.verb}:{target}"
            letter = VERB_KEYS[offer.verb]
            lines.append(
                Offered(
                    value=value,
                    key=f"a {letter.upper() if place else letter}",
                    verb=offer.verb,
                    name=word(VERBS, offer.verb),
                    sentence=offer.sentence,
                    possible=offer.possible,
                    why_not=offer.why_not,
                    harsh=offer.verb in HARSH,
                    on=value in asked and offer.possible,
                )
            )
        groups.append({"kind": word(SUBJECTS, subject.kind), "target": target, "lines": lines})
    chosen = data.get("policy") or found.policy_id or ""
    return {
        "groups": groups,
        "policies": list(policies.active()),
        "chosen": chosen,
        "outcome_chosen": data.get("outcome", "act"),
        "durations": [(hours, label, str(hours) == data.get("duration", "0")) for hours, label in DURATIONS],
        "label_text": data.get("label", ""),
        "reason_text": data.get("reason", ""),
        "nothing": cases.no_violation_sentence(found),
        "colleagues": User.objects.filter(is_active=True).exclude(pk=request.user.pk),
    }


def _asks(request: Asked, found: Case) -> list[Ask]:
    targets = dict(_targets(found))
    asks = []
    for value in request.POST.getlist("ask")[:20]:
        verb, _colon, target = value.partition(":")
        if verb not in VERBS or target not in targets:
            raise BadInput(_("no such action"), where="ask")
        hours = request.POST.get("duration", "")
        asks.append(
            Ask(
                verb=cast("Verb", verb),
                subject=targets[target],
                label=request.POST.get("label", "").strip()[:100] or None if verb == "label" else None,
                duration_hours=int(hours) or None
                if verb in TIMED and hours in {str(h) for h, _l in DURATIONS}
                else None,
            )
        )
    return asks


def _version(request: Asked) -> int:
    text = request.POST.get("version", "")
    return int(text) if text.isdecimal() and len(text) < 10 else -1


@require_POST
@needs("cases.decide")
def decide(request: Asked, case_id: int) -> HttpResponseBase:
    """Decide, and go on with the next or stay."""
    found = _case(case_id)
    outcome = "no_violation" if request.POST.get("outcome") == "no_violation" else "act"
    try:
        decision = cases.decide(
            case_id,
            by=request.user,
            version=_version(request),
            outcome=outcome,  # type: ignore[arg-type]  # one of the two, by the line above
            policy=request.POST.get("policy", ""),
            reason=request.POST.get("reason", "")[:10_000],
            asks=_asks(request, found) if outcome == "act" else (),
            now=timezone.now(),
        )
    except cases.Conflict as conflict:
        return _page(request, _case(case_id), status=409, conflict=conflict)
    except BadInput as wrong:
        return _page(request, found, status=422, wrong=wrong)
    count = Action.objects.filter(decision_id=decision.pk).count()
    if outcome == "act":
        text = _("C-%(id)s is decided; %(n)d action(s) requested.") % {"id": case_id, "n": count}
    else:
        text = _("C-%(id)s is decided: no violation.") % {"id": case_id}
    messages.success(request, text, extra_tags=f"undo-{decision.pk}")
    if request.POST.get("then") == "next":
        return next_case(request, request.POST.get("queue") or None)
    return redirect("case", case_id)


@require_POST
@needs("cases.decide")
def preview(request: Asked, case_id: int) -> HttpResponseBase:
    """What the person would be told, as the form stands."""
    found = _case(case_id)
    told: list[dict[str, str]] = []
    if request.POST.get("outcome") != "no_violation":
        try:
            asks = _asks(request, found)
        except BadInput:
            asks = []
        reason = request.POST.get("reason", "").strip() or _("[your reason]")
        told = [
            {"verb": word(VERBS, ask.verb), "text": cases.preview_message(request.POST.get("policy", ""), ask, reason)}
            for ask in asks
        ]
    none = request.POST.get("outcome") == "no_violation"
    return render(request, "console/parts/told.html", {"told": told, "none": none})


@require_http_methods(["POST"])
@needs("cases.decide")
def step(request: Asked, case_id: int, what: str) -> HttpResponseBase:
    """Take a case, put it back, hand it over, escalate it, or say something about it."""
    now = timezone.now()
    try:
        if what == "take":
            cases.take(case_id, request.user, now=now)
        elif what == "release":
            cases.release(case_id, request.user, now=now)
            messages.success(request, _("C-%(id)s is back in the queue.") % {"id": case_id})
            return redirect("queue")
        elif what == "hand-over":
            to = _colleague(request.POST.get("to", ""))
            cases.hand_over(case_id, by=request.user, to=to, now=now)
            messages.success(request, _("%(name)s holds C-%(id)s now.") % {"name": to.username, "id": case_id})
        elif what == "escalate":
            cases.escalate(
                case_id, by=request.user, version=_version(request), reason=request.POST.get("reason", ""), now=now
            )
            messages.success(request, _("C-%(id)s is escalated.") % {"id": case_id})
            return redirect("queue")
        else:
            cases.comment(case_id, by=request.user, text=request.POST.get("text", "")[:10_000], now=now)
            return redirect(reverse("case", args=[case_id]) + "#past")
    except cases.Conflict as conflict:
        return _page(request, _case(case_id), status=409, conflict=conflict)
    except BadInput as wrong:
        return _page(request, _case(case_id), status=422, wrong=wrong)
    return redirect("case", case_id)


def _colleague(name: str) -> User:
    found = User.objects.filter(username=name, is_active=True).first()
    if found is None:
        raise BadInput(_("choose a colleague"), where="to")
    return found


@require_POST
@needs("cases.decide")
def undo(request: Asked, decision_id: int) -> HttpResponseBase:
    """Undo a decision: its actions are taken back, and its case is open again."""
    decision = Decision.objects.filter(pk=decision_id).first()
    if decision is None:
        raise Http404(_("There is no such decision."))
    reason = request.POST.get("reason", "").strip() or _("Taken back by the person who decided it.")
    try:
        cases.undo(decision_id, by=request.user, reason=reason[:10_000], now=timezone.now())
    except Problem as problem:
        messages.error(request, _("Nothing was undone: %(why)s") % {"why": problem})
    else:
        messages.success(
            request, _("The decision is undone; what it asked for is being taken back. The case is open again.")
        )
    return redirect("case", decision.case_id)


@require_GET
@needs("cases.view")
def actions(request: Asked, case_id: int) -> HttpResponseBase:
    """What became of the actions: polled while one of them is on its way."""
    found = _case(case_id)
    return render(request, "console/parts/actions.html", {"case": found, **_standing(request, found)})


@require_GET
@needs("cases.view")
def status(request: Asked, case_id: int) -> HttpResponseBase:
    """The clock and who holds the case; and a word where it changed under the reader's eyes."""
    found = _case(case_id)
    seen = request.GET.get("version", "")
    context = {"case": found, "moved": seen.isdecimal() and int(seen) != found.version, **_standing(request, found)}
    return render(request, "console/parts/status.html", context)


@require_GET
@needs("cases.view")
def elsewhere(request: Asked, case_id: int) -> HttpResponseBase:
    """Other cases with the same content, and how they ended."""
    found = _case(case_id)
    page = "console/parts/elsewhere.html" if request.htmx else "console/elsewhere.html"
    return render(request, page, {"case": found, **reading.elsewhere(found)})


@require_GET
@needs("media.view")
def media(request: Asked, case_id: int, sha256: str) -> HttpResponseBase:
    """A media item of a case: what it is, its picture or its strip of frames, veiled, with what was found in it."""
    found = _case(case_id)
    seen = reading.frames_in(found, sha256)
    ranges = [
        (part.start, part.end)
        for one in seen
        if isinstance(one.finding.where, Frames)
        for part in one.finding.where.ranges
    ]
    parts: dict[float | None, list[tuple[int, Region]]] = {}
    for one in seen:
        if isinstance(where := one.finding.where, Part):
            parts.setdefault(where.second, []).append((one.number, where.region))
    ranges += [(second, second + 1) for second in parts if second is not None]
    marks = parts.pop(None, [])
    context: dict[str, Any] = {
        "case": found, "sha256": sha256, "seen": seen, "ranges": ranges, "marks": marks, "parts": sorted(parts.items()),
    }  # fmt: skip
    try:
        context["facts"] = what = previews.facts(sha256)
        context["frames"] = previews.moments(what.seconds, ranges) if what.seconds else []
    except MediaError as trouble:
        context["trouble"] = trouble.what
    except BadInput as trouble:
        context["trouble"] = trouble.what
    page = "console/parts/medium.html" if request.htmx else "console/medium.html"
    return render(request, page, context)
