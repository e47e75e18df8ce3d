"""Backtests: asking for one, how far it is, and what came out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
from django.contrib import messages
from django.http import Http404, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from redshank.cases.models import Case
from redshank.cases.services import decided
from redshank.core import BadInput, Problem
from redshank.enforcement.models import Connector
from redshank.jobs.services import cancel as cancel_job
from redshank.rules import jobs, services
from redshank.rules.backtest import Backtest, Day, Sample, Tried
from redshank.rules.models import BacktestJob, ConsoleRule, RuleVersion
from redshank.web.permissions import Asked, needs

DAYS = 30
PAGE = 50
CHART_DAYS = 400
"""Columns of a chart at most; of a longer stretch the newest days are drawn."""
SLOW = timedelta(seconds=20)
"""A job that no worker has taken up for so long waits for one that does not run."""


class Shown(msgspec.Struct, frozen=True):
    """One sample, with where to look: the account, the case, and what a person decided."""

    sample: Sample
    network: str
    event: str
    case: int | None
    acted: bool | None


def told(tried: Tried, *, since: datetime | None, until: datetime | None) -> dict[str, Any]:
    """What a page shows of one rule that was tried, or that judged live."""
    numbers = {day.day: day for day in tried.days}
    days: list[str] = []
    if numbers:
        first = since.astimezone(UTC).date() if since else date.fromisoformat(min(numbers))
        last = (until - timedelta(microseconds=1)).astimezone(UTC).date() if until else date.fromisoformat(max(numbers))
        first = max(first, last - timedelta(days=CHART_DAYS - 1))
        days = [(first + timedelta(days=at)).isoformat() for at in range((last - first).days + 1)]
    none = Day("", 0, 0, 0)
    counted = [
        ("events", _("Events a day"), _("Events"), [(day, numbers.get(day, none).events) for day in days]),
        ("accounts", _("Accounts a day"), _("Accounts"), [(day, numbers.get(day, none).accounts) for day in days]),
        ("cases", _("Cases a day"), _("Cases"), [(day, numbers.get(day, none).cases) for day in days]),
    ]
    spread = max(1, len(days))
    return {
        "tried": tried,
        "charts": [
            (f"{tried.mode}-{tried.rule}-{kind}", title, unit, points)
            for kind, title, unit, points in counted
            if any(count for _at, count in points)
        ],
        "cases_a_day": sum(day.cases for day in tried.days) / spread,
        "events_a_day": tried.events / spread,
        "beside": list(tried.beside.items())[:8],
        "samples": _shown(tried.samples),
    }


def _shown(samples: Sequence[Sample]) -> list[Shown]:
    keys = {}
    for sample in samples:
        network = sample.event.partition("/")[0]
        kind, _slash, subject = sample.subject.partition("/")
        if subject:
            keys[sample.event] = (network, kind, subject)
    rows = Case.objects.filter(subject_id__in={key[2] for key in keys.values()}).order_by("pk")
    cases = {(one.network, one.subject_kind, one.subject_id): one.pk for one in rows}
    words = decided(set(keys.values()))
    out = []
    for sample in samples:
        network, _slash, event = sample.event.partition("/")
        key = keys.get(sample.event)
        out.append(
            Shown(sample, network, event, cases.get(key) if key else None, words.get(key) if key else None)
        )  # fmt: skip
    return out


def jobs_of(rule_id: str, version: int | None = None) -> list[BacktestJob]:
    """The newest backtests of a rule, or of one of its versions."""
    kept = BacktestJob.objects.select_related("asked_by").defer("result")[: jobs.KEPT]
    return [
        job for job in kept if any(one["id"] == rule_id and version in (None, one["version"]) for one in job.rules)
    ][:5]


@require_GET
@needs("rules.view")
def backtests(request: Asked) -> HttpResponseBase:
    """All backtests, newest first, and the form to ask for one; `?rule=` and `?version=` choose beforehand."""
    return _page(request)


def _page(request: Asked, *, problem: Problem | None = None, status: int = 200) -> HttpResponse:
    sent = request.POST if request.method == "POST" else request.GET
    chosen = [int(one) for one in sent.getlist("version") if one.isdecimal() and len(one) < 18]
    stored = ConsoleRule.objects.filter(retired_at=None)
    newest = [rule.versions.order_by("-number")[0].pk for rule in stored]
    offered = RuleVersion.objects.filter(pk__in={*newest, *chosen}).exclude(fingerprint="").select_related("rule")
    context = {
        "page": list(BacktestJob.objects.select_related("asked_by").defer("result")[:PAGE]),
        "versions": list(offered.order_by("rule__rule_id", "-number")),
        "chosen_versions": chosen,
        "files": sorted(services.ids_of_files()),
        "chosen_files": sent.getlist("rule"),
        "networks": list(Connector.objects.order_by("network").values_list("network", flat=True)),
        "network": sent.get("network", ""),
        "since": sent.get("since", (timezone.now() - timedelta(days=DAYS)).date().isoformat()),
        "until": sent.get("until", ""),
        "may_change": request.user.may("rules.change"),
        "problem": problem,
    }
    return render(request, "console/backtests.html", context, status=status)


@require_POST
@needs("rules.change")
def ask(request: Asked) -> HttpResponse:
    """Ask for a backtest; a worker runs it."""
    sent = request.POST
    try:
        pks = [int(one) for one in sent.getlist("version") if one.isdecimal() and len(one) < 18]
        versions = list(RuleVersion.objects.filter(pk__in=pks).select_related("rule"))
        ids = [version.rule_id for version in versions]
        if len(set(ids)) < len(ids):
            raise BadInput(_("two versions of one rule"), hint=_("Try them one after the other."))
        job = jobs.ask(
            sent.getlist("rule"),
            versions,
            by=request.user,
            now=timezone.now(),
            since=_day(sent.get("since", ""), "since"),
            until=_day(sent.get("until", ""), "until", last=True),
            network=sent.get("network", "")[:63],
        )
    except Problem as problem:
        return _page(request, problem=problem, status=422)
    return redirect("backtest", job.pk)


def _day(text: str, where: str, *, last: bool = False) -> datetime | None:
    """The beginning of a day (UTC); with `last`, its end. None where nothing is given."""
    if not text.strip():
        return None
    try:
        day = datetime.strptime(text.strip(), "%Y-%m-%d").replace(tzinfo=UTC)
        return day + timedelta(days=1) if last else day
    except (ValueError, OverflowError):
        raise BadInput(_("not a day"), where=where, hint=_("Write it as 2026-07-31.")) from None


@require_GET
@needs("rules.view")
def backtest(request: Asked, job_id: int) -> HttpResponseBase:
    """One backtest: how far it is, or what came out."""
    job = _job(job_id)
    context = _progress(job)
    found = jobs.result_of(job)
    if found is not None:
        context |= {"found": found, "shown": _told(job, found), "span": _span(found)}
    context |= {
        "versions": {one["id"]: one["version"] for one in job.rules},
        "may_change": request.user.may("rules.change"),
        "may_search": request.user.may("archive.search"),
    }
    return render(request, "console/backtest.html", context)


def _told(job: BacktestJob, found: Backtest) -> list[dict[str, Any]]:
    versions = {one["id"]: one["version"] for one in job.rules}
    return [
        {
            **told(tried, since=found.first, until=found.last and found.last + timedelta(microseconds=1)),
            "versions": [_("version %(n)s") % {"n": versions[tried.rule]}] if versions.get(tried.rule) else [],
        }
        for tried in found.rules
    ]


def _span(found: Backtest) -> int:
    return (found.last.date() - found.first.date()).days + 1 if found.first and found.last else 0


@require_GET
@needs("rules.view")
def status(request: Asked, job_id: int) -> HttpResponseBase:
    """How far it is; once it has ended, the whole page is due."""
    job = _job(job_id)
    answer = render(request, "console/parts/backtest_progress.html", _progress(job))
    if job.ended_at is not None:
        answer["HX-Refresh"] = "true"
    return answer


def _progress(job: BacktestJob) -> dict[str, Any]:
    return {
        "job": job,
        "is_slow": job.state == BacktestJob.State.WAITING and timezone.now() - job.asked_at > SLOW,
    }


@require_POST
@needs("rules.change")
def cancel(request: Asked, job_id: int) -> HttpResponse:
    """End a backtest that has not ended."""
    if cancel_job(_job(job_id), now=timezone.now()):
        messages.success(request, _("The backtest is canceled."))
    else:
        messages.info(request, _("It had ended already."))
    return redirect("backtest", job_id)


def _job(job_id: int) -> BacktestJob:
    job = BacktestJob.objects.select_related("asked_by").filter(pk=min(job_id, 2**62)).first()
    if job is None:
        raise Http404(_("There is no such backtest, or it is no longer kept."))
    return job
