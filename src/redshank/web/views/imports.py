"""Files that are imported into a bank: choosing one, what it would do, how far it is, what became of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from redshank.banks import imports
from redshank.banks.models import Bank, ImportJob
from redshank.core import BadInput, Problem
from redshank.jobs.services import ACTIVE, State, cancel
from redshank.web.permissions import Asked, needs

PAGE = 20
SLOW = timedelta(seconds=15)


@require_http_methods(["GET", "POST"])
@needs("banks.change")
def bulk(request: Asked, name: str) -> HttpResponseBase:
    """Choose a file to import into a bank; what was imported so far."""
    bank = Bank.objects.filter(name=name).first()
    if bank is None:
        raise Http404(_("There is no bank of this name."))
    problem = None
    if request.method == "POST":
        upload = request.FILES.get("file")
        try:
            if upload is None:
                raise BadInput(_("no file was given"))
            job = imports.ask(bank, upload.name or "", upload.chunks(), by=request.user, now=timezone.now())
            return redirect("import", name, job.pk)
        except Problem as said:
            problem = said
    context = {
        "bank": bank,
        "most": settings.REDSHANK.banks.max_import_bytes,
        "jobs": list(bank.imports.select_related("asked_by").defer("looked", "result")[:PAGE]),
        "problem": problem,
    }
    return render(request, "console/bank_import.html", context, status=422 if problem else 200)


@require_GET
@needs("banks.change")
def one(request: Asked, name: str, job_id: int) -> HttpResponseBase:
    """One file: what it would do, how far it is, or what became of it."""
    return render(request, "console/import.html", _told(_job(name, job_id)))


@require_GET
@needs("banks.change")
def status(request: Asked, name: str, job_id: int) -> HttpResponseBase:
    """How far it is; once that has ended, the whole page is due."""
    job = _job(name, job_id)
    answer = render(request, "console/parts/import_progress.html", _told(job))
    if job.ended_at is not None:
        answer["HX-Refresh"] = "true"
    return answer


@require_POST
@needs("banks.change")
def step(request: Asked, name: str, job_id: str, what: str) -> HttpResponse:
    """Import what was looked at, or go on; cancel; forget the file."""
    job, now = _job(name, int(job_id)), timezone.now()
    if what == "release":
        if not imports.release(job, by=request.user, now=now):
            messages.error(request, _("This file does not wait any more. Choose it again."))
    elif what == "cancel":
        if cancel(job, now=now):
            messages.success(request, _("It is canceled. What was taken in stays."))
        else:
            messages.info(request, _("It had ended already."))
    elif imports.discard(job, now=now):
        messages.success(request, _("The file is forgotten."))
    return redirect("import", name, job.pk)


def _told(job: ImportJob) -> dict[str, Any]:
    looked, added = imports.looked(job), imports.added(job)
    return {
        "job": job,
        "bank": job.bank,
        "is_active": job.state in ACTIVE,
        "is_slow": job.state == State.WAITING and timezone.now() - (job.released_at or job.asked_at) > SLOW,
        "looked": looked,
        "would_add": looked.would.added + looked.would.revived if looked else 0,
        "added": added,
        "came": added.added + added.revived,
        "may_go_on": bool(job.file and looked) and job.state in (State.CANCELED, State.FAILED),
    }


def _job(name: str, job_id: int) -> ImportJob:
    found = ImportJob.objects.select_related("bank", "asked_by", "released_by").filter(
        pk=min(job_id, 2**62), bank__name=name
    )
    job = found.first()
    if job is None:
        raise Http404(_("There is no such import, or it is no longer kept."))
    return job
