"""What breakers hold back: whom it is about and why, to be let go on or discarded, all of it at once."""

from __future__ import annotations

import msgspec
from django.contrib import messages
from django.http import Http404, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_GET, require_POST

from redshank.archive import services as archive
from redshank.core import Effect, Fired, Problem
from redshank.pipeline import do_released
from redshank.rules import breakers
from redshank.rules.models import HeldEffect
from redshank.web.permissions import Asked, needs
from redshank.web.rule_words import effect_words

SAMPLES = 20


@require_GET
@needs("rules.view")
def held(request: Asked, breaker: int) -> HttpResponseBase:
    """One breaker that tripped, how much it holds, and its first and newest effects."""
    row = breakers.tripped().filter(pk=breaker).first()
    if row is None:
        raise Http404(_("Nothing is held here any more."))
    effects = HeldEffect.objects.filter(breaker=row, state=HeldEffect.State.HELD)
    shown = {one.pk: one for one in (*effects.order_by("pk")[: SAMPLES // 2], *effects.order_by("-pk")[: SAMPLES // 2])}
    records = archive.records_of((one.network, one.event_id) for one in shown.values())
    accounts = {(found.network, found.event_id): found.account_id for found in records}
    samples = [
        {
            "held": one,
            "account": accounts.get((one.network, one.event_id), ""),
            "fired": msgspec.json.decode(one.fired, type=Fired),
            "asks": effect_words(msgspec.json.decode(one.effect, type=Effect)),
        }
        for _pk, one in sorted(shown.items())
    ]
    context = {"row": row, "samples": samples, "may_settle": request.user.may("rules.review")}
    return render(request, "console/held.html", context)


@require_POST
@needs("rules.review")
def settle(request: Asked, breaker: int, what: str) -> HttpResponse:
    """Let all that a breaker holds go on, or discard it."""
    now = timezone.now()
    try:
        number = breakers.settle(breaker, release=what == "release", by=f"user:{request.user.username}", now=now)
    except Problem as problem:
        messages.error(request, _("Nothing was changed: %(why)s") % {"why": problem})
        return redirect("system" if request.user.may("system.view") else "rules")
    if what == "release":
        do_released(now=now)  # The first of them; a worker does the others.
        said = ngettext("%(n)d effect goes on now.", "%(n)d effects go on now.", number)
    else:
        said = ngettext("%(n)d effect was discarded.", "%(n)d effects were discarded.", number)
    messages.success(request, said % {"n": number})
    return redirect("system" if request.user.may("system.view") else "rules")
