"""The queue: what waits, in the order in which it should be looked at."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from redshank.cases import services as cases
from redshank.cases.models import Case, Item
from redshank.policies import services as policies
from redshank.web import reading
from redshank.web.permissions import Asked, needs
from redshank.web.words import SOURCES, word

PAGE = 50

_DUE = {"overdue": timedelta(0), "hour": timedelta(hours=1), "day": timedelta(days=1)}


def _chips(request: Asked, name: str, choices: list[tuple[str, str]]) -> list[dict[str, Any]]:
    now = request.GET.get(name, "")
    out = []
    if now and now not in dict(choices):
        choices = [*choices, (now, now)]  # what nothing has: the filter shows all the same, so that it can be taken off
    for value, label in choices:
        query = request.GET.copy()
        query.pop("page", None)
        if value == now:
            query.pop(name, None)
        else:
            query[name] = value
        out.append({"label": label, "on": value == now, "url": "?" + query.urlencode()})
    return out


def _filtered(request: Asked, found: QuerySet[Case]) -> QuerySet[Case]:
    now = timezone.now()
    for name in ("queue", "source", "network"):
        if value := request.GET.get(name):
            found = found.filter(**{name: value[:200]})
    if policy := request.GET.get("policy"):
        found = found.filter(policy=policy[:64])
    if request.GET.get("due") in _DUE:
        found = found.filter(deadline__lt=now + _DUE[request.GET["due"]])
    free = Q(held_until=None) | Q(held_until__lte=now)
    if request.GET.get("holder") == "mine":
        found = found.filter(held_by=request.user, held_until__gt=now)
    elif request.GET.get("holder") == "nobody":
        found = found.filter(free)
    return found


@require_GET
@needs("cases.view")
def queue(request: Asked) -> HttpResponseBase:
    """What waits: by deadline, then priority; filters stand in the address."""
    now = timezone.now()
    counted = cases.counts(now)
    found = _filtered(request, Case.objects.filter(state=Case.State.OPEN))
    pages = Paginator(found.select_related("policy", "held_by").order_by("deadline", "-priority", "pk"), PAGE)
    page = pages.get_page(request.GET.get("page"))
    phrases: dict[int, list[Any]] = {case.pk: [] for case in page}
    for case_id, body in Item.objects.filter(case__in=list(phrases), kind=Item.Kind.FINDING).values_list(
        "case", "body"
    ):
        phrases[case_id].append(body)
    rows = [
        {
            "case": case,
            "phrase": reading.queue_phrase(case, phrases[case.pk]),
            "holder": case.held_by if case.held_until and case.held_until > now else None,
        }
        for case in page
    ]
    open_cases = Case.objects.filter(state=Case.State.OPEN)
    networks = sorted(set(open_cases.values_list("network", flat=True).distinct()))
    sources = sorted(set(open_cases.values_list("source", flat=True).distinct()))
    used = set(open_cases.values_list("policy", flat=True).distinct())
    filters = [
        (_("Queue"), _chips(request, "queue", [(q.queue, f"{q.queue} {q.waiting}") for q in counted.by_queue])),
        (_("Due"), _chips(request, "due", [("overdue", _("Overdue")), ("hour", _("Within 1 h")), ("day", _("Within 24 h"))])),
        (_("Source"), _chips(request, "source", [(name, word(SOURCES, name)) for name in sources])),
        (_("Policy"), _chips(request, "policy", [(p.slug, p.name) for p in policies.active() if p.slug in used])),
        (_("Network"), _chips(request, "network", [(name, name) for name in networks])),
        (_("Held by"), _chips(request, "holder", [("mine", _("Me")), ("nobody", _("Nobody"))])),
    ]  # fmt: skip
    narrow = [(name, chips) for name, chips in filters if len(chips) > 1 or any(chip["on"] for chip in chips)]
    context = {
        "counts": counted,
        "page": page,
        "rows": rows,
        "filters": narrow if counted.waiting else [],
        "filtered": any(chip["on"] for _name, chips in filters for chip in chips),
        "queue_name": request.GET.get("queue", ""),
    }
    return render(request, "console/queue.html", context)


@require_POST
@needs("cases.decide")
def start(request: Asked) -> HttpResponse:
    """Take the next case by deadline, then risk, and open it."""
    return next_case(request, request.POST.get("queue") or None)


def next_case(request: Asked, queue_name: str | None = None, skip: tuple[int, ...] = ()) -> HttpResponse:
    """Open the next case, or the queue where nothing waits."""
    case = cases.take_next(request.user, queue=queue_name, skip=skip, now=timezone.now())
    if case is None:
        messages.info(request, _("Nothing waits that nobody else holds."))
        return redirect("queue")
    return redirect("case", case.pk)
