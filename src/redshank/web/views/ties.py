"""Ties of new accounts to suspended ones: those that wait, one with all its reasons, and what a person says of it.

There is no way in here but from a tie that was found, or from the account that is asked about: nobody is searched for.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import Http404, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from redshank.core import BadInput, Problem
from redshank.evasion import deciding
from redshank.evasion.models import NeverTie, TieRecord
from redshank.evasion.services import current_model
from redshank.web import tied
from redshank.web.permissions import Asked, needs

PAGE = 30
DRIFT_DAYS = 90
SHOWN = {
    "waiting": TieRecord.State.OPEN,
    "confirmed": TieRecord.State.CONFIRMED,
    "rejected": TieRecord.State.REJECTED,
    "withdrawn": TieRecord.State.WITHDRAWN,
}


@require_GET
@needs("ties.view")
def ties(request: Asked) -> HttpResponseBase:
    """The ties that wait for a person, the surest first; and how the model does against what it promised."""
    show = request.GET.get("show", "waiting")
    band = request.GET.get("band", "")
    rows = TieRecord.objects.filter(state=SHOWN.get(show, TieRecord.State.OPEN)).select_related("new", "old")
    if band in ("likely", "possible"):
        # Whether one is sure is not told of those that are to be judged without knowing it.
        rows = rows.filter(band=band).exclude(blind=True, state=TieRecord.State.OPEN)
    order = ("-blind", "band", "-probability") if show == "waiting" else ("-changed_at",)
    page = Paginator(rows.order_by(*order, "pk"), PAGE).get_page(request.GET.get("page"))
    model, version = current_model()
    card = model.card

    def link(**changed: str) -> str:
        wanted = {"show": show, "band": band, **changed}
        kept = {name: value for name, value in wanted.items() if value and (name, value) != ("show", "waiting")}
        return reverse("ties") + (f"?{urlencode(kept)}" if kept else "")

    context = {
        "page": page,
        "rows": tied.lines(list(page)),
        "show": show,
        "chips": [(name, _(label), name == show, link(show=name)) for name, label in (
            ("waiting", "waiting"), ("confirmed", "confirmed"), ("rejected", "rejected"), ("withdrawn", "withdrawn"),
        )],
        "bands": [(name, label, name == band, link(band=name)) for name, label in (
            ("", _("any")), ("likely", _("likely")), ("possible", _("possible")),
        )],
        "drift": deciding.drift(since=(timezone.now() - timedelta(days=DRIFT_DAYS)).date()),
        "days": DRIFT_DAYS,
        "version": version,
        "card": card,
        "scorer": _("trees") if model.trees else _("bits of each piece of evidence"),
        "measured": [
            (_("Innocent accounts called possible"), card.false_ties, card.false_ties_by_script),
            (_("Returned accounts tied rightly"), card.found, card.found_by_script),
        ],
    }  # fmt: skip
    return render(request, "console/ties.html", context)


@require_GET
@needs("ties.view")
def tie(request: Asked, tie_id: int) -> HttpResponseBase:
    """One tie: its bits one by one, both accounts side by side, the chain, what surrounds them, and the decision."""
    found = TieRecord.objects.filter(pk=tie_id).select_related("new", "old", "decided_by").first()
    if found is None:
        raise Http404(_("There is no such tie."))
    return render(request, "console/tie.html", tied.explained(found) | _choices(request))


@require_POST
@needs("ties.decide")
def step(request: Asked, tie_id: int, what: str) -> HttpResponseBase:
    """Confirm, reject, reopen, or never tie these two again."""
    reason = request.POST.get("reason", "")
    now = timezone.now()
    try:
        if what == "undo":
            deciding.undo(tie_id, by=request.user, reason=reason, now=now)
            messages.success(request, _("It waits again."))
        elif what == "never":
            found = TieRecord.objects.filter(pk=tie_id).select_related("new", "old").first()
            if found is None:
                raise BadInput("no such tie", where=str(tie_id))
            deciding.never_tie(
                found.new.network, found.new.account_id, other=(found.old.network, found.old.account_id),
                what=request.POST.get("kind", "other"), reason=reason, by=request.user, now=now,
            )  # fmt: skip
            messages.success(
                request, _("These two are not tied again. The account's page shows it, and lets it be undone.")
            )
        else:
            says: Any = "confirmed" if what == "confirm" else "rejected"
            independent = request.POST.get("independent") == "yes"
            deciding.decide(tie_id, by=request.user, says=says, reason=reason, independent=independent, now=now)
            messages.success(
                request, _("Confirmed. Nobody was suspended by it.") if says == "confirmed" else _("Rejected.")
            )
    except Problem as problem:
        messages.error(request, f"{problem.what}. {problem.hint}".strip())
    return redirect("tie", tie_id)


@require_POST
@needs("ties.except")
def never(request: Asked, network: str, account_id: str) -> HttpResponseBase:
    """Put an account on the list of those that are tied to nobody, with what its owner is and why."""
    try:
        deciding.never_tie(
            network, account_id, what=request.POST.get("kind", ""), reason=request.POST.get("reason", ""),
            by=request.user, now=timezone.now(),
        )  # fmt: skip
        messages.success(request, _("This account is tied to nobody from now on."))
    except Problem as problem:
        messages.error(request, f"{problem.what}. {problem.hint}".strip())
    return redirect("account", network, account_id)


@require_POST
@needs("ties.decide")
def may(request: Asked, exception_id: int) -> HttpResponseBase:
    """Take an exception back."""
    listed = NeverTie.objects.filter(pk=exception_id).first()
    if listed is None:
        raise Http404(_("There is no such exception."))
    if not listed.other_id and not request.user.may("ties.except"):
        messages.error(request, _("Ask a lead: it holds towards every account."))
        return redirect("account", listed.network, listed.account_id)
    try:
        deciding.end_never_tie(exception_id, by=request.user, reason=request.POST.get("reason", ""), now=timezone.now())
        messages.success(request, _("The account is asked about again."))
    except Problem as problem:
        messages.error(request, f"{problem.what}. {problem.hint}".strip())
    return redirect("account", listed.network, listed.account_id)


def _choices(request: Asked) -> dict[str, Any]:
    return {
        "kinds": NeverTie.What.choices,
        "may_decide": request.user.may("ties.decide"),
        "may_except": request.user.may("ties.except"),
    }
