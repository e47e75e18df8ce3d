"""For those who answer for the whole: the outbox, events that wait or failed, the disk, and the audit log."""

from __future__ import annotations

import shutil
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.db import connection
from django.db.models import Count, Min, Q, Sum
from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from redshank.archive import services as archive
from redshank.archive.models import Blob, EventRecord
from redshank.audit.models import Entry
from redshank.banks import quarantine
from redshank.core import Problem
from redshank.enforcement import services as enforcement
from redshank.enforcement.models import Action
from redshank.exchanges import services as exchanges
from redshank.rules import breakers
from redshank.web import reading
from redshank.web.permissions import Asked, needs
from redshank.web.words import STEPS, word

PAGE = 100


@require_GET
@needs("system.view")
def system(request: Asked) -> HttpResponseBase:
    """How the installation stands now."""
    now = timezone.now()
    late = EventRecord.objects.filter(state=EventRecord.State.WAITING)
    failed = EventRecord.objects.filter(
        Q(state=EventRecord.State.FAILED) | Q(state=EventRecord.State.WAITING, attempts__gt=0)
    )
    disk = shutil.disk_usage(settings.DATA_DIR)
    context: dict[str, Any] = {
        "outbox": enforcement.outbox_state(now),
        "dead": enforcement.dead_letters(limit=50),
        "waiting": late.aggregate(n=Count("pk"), oldest=Min("received_at")),
        "failed": list(failed.order_by("-id")[:50]),
        "last_event": EventRecord.objects.order_by("-id").first(),
        "store": {"sqlite": "SQLite", "postgresql": "PostgreSQL"}.get(connection.vendor, connection.vendor),
        "disk": disk,
        "disk_share": disk.used / disk.total if disk.total else 0,
        "quarantined": list(quarantine.quarantined()[:20]),
        "tripped": list(breakers.tripped()[:20]),
        "blobs": Blob.objects.aggregate(n=Count("pk"), size=Sum("size")),
        "alarming": [row for row in exchanges.standings(now) if row[1].alarming],
        "data_dir": settings.DATA_DIR,
    }
    return render(request, "console/system.html", context)


@require_POST
@needs("outbox.resend")
def resend(request: Asked, action_id: str) -> HttpResponse:
    """Send a dead letter again."""
    try:
        enforcement.resend(action_id, by=f"user:{request.user.username}", now=timezone.now())
    except Problem as problem:
        messages.error(request, _("It was not sent again: %(why)s") % {"why": problem})
    else:
        messages.success(request, _("It is in the outbox again and leaves with the next round."))
    case_id = Action.objects.filter(pk=action_id).values_list("case_id", flat=True).first()
    if request.POST.get("back") == "case" and case_id:
        return redirect("case", case_id)
    return redirect("system")


@require_POST
@needs("outbox.resend")
def retry(request: Asked, event: int) -> HttpResponse:
    """Let a worker take up an event again whose media could not be read."""
    found = archive.retry(event, by=f"user:{request.user.username}", now=timezone.now())
    if found:
        messages.success(request, _("The event waits for a worker again."))
    else:
        messages.info(request, _("The event was walked meanwhile; nothing is left to try."))
    return redirect("system")


@require_GET
@needs("audit.view")
def audit(request: Asked) -> HttpResponseBase:
    """What was done, newest first, by whom, on what evidence. Nothing here can be changed, not by anybody."""
    entries = Entry.objects.order_by("-id")
    asked = {name: request.GET.get(name, "").strip()[:300] for name in ("object", "actor", "step")}
    if asked["object"]:
        entries = entries.filter(object=asked["object"])
    if asked["actor"]:
        entries = entries.filter(actor__startswith=asked["actor"])
    if asked["step"]:
        entries = entries.filter(step=asked["step"])
    before = request.GET.get("before", "")
    if before.isdecimal() and len(before) < 18:
        entries = entries.filter(pk__lt=int(before))
    page = list(entries[: PAGE + 1])
    query = request.GET.copy()
    query.pop("before", None)
    more = f"?{query.urlencode()}&before={page[PAGE - 1].pk}" if len(page) > PAGE else ""
    rows = [{"entry": entry, "icon": reading.sign(entry.step), "what": word(STEPS, entry.step), "who": reading.actor_words(entry.actor), "case": _case_of(entry)} for entry in page[:PAGE]]  # fmt: skip
    context = {"rows": rows, "asked": asked, "more": more, "later": bool(before), "steps": sorted(STEPS)}
    return render(request, "console/audit.html", context)


def _case_of(entry: Entry) -> int | None:
    kind, _colon, number = entry.object.partition(":")
    if kind == "case" and number.isdecimal():
        return int(number)
    case_id = entry.body.get("case") if isinstance(entry.body, dict) else None
    return case_id if isinstance(case_id, int) else None
