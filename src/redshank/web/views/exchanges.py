"""Other organizations' sources and our shares: how each stands, what is held for a person, what was set aside, what was given."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import chain
from typing import Any

import msgspec
from django.contrib import messages
from django.db.models import Count, Q
from django.http import Http404, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from redshank.audit.models import Entry as Logged
from redshank.banks.models import Bank
from redshank.core import BadInput, Problem
from redshank.exchanges import giving, running, services, sharing, telling
from redshank.exchanges.models import Claim, Exchange, Run, SetAside, Share, Shared, Telling
from redshank.exchanges.sources import KINDS
from redshank.exchanges.weighing import Diff
from redshank.intake.models import ApiKey
from redshank.web.permissions import Asked, needs

RUNS = 20
ASIDE = 50
OPTION = "option-"
"""Fields of the form that are options of a kind begin with this and the kind's name."""


def _actor(request: Asked) -> str:
    return f"user:{request.user.username}"


def _exchange(name: str) -> Exchange:
    found = Exchange.objects.filter(name=name).first()
    if found is None:
        raise Http404(_("There is no exchange of this name."))
    return found


def _share(name: str) -> Share:
    found = Share.objects.filter(name=name).first()
    if found is None:
        raise Http404(_("There is no share of this name."))
    return found


@require_GET
@needs("exchanges.view")
def exchanges(request: Asked) -> HttpResponseBase:
    """All sources with how each stands, and all shares."""
    counts = dict(
        Exchange.objects.annotate(n=Count("claims", filter=Q(claims__gone_at=None))).values_list("pk", "n")
    )  # fmt: skip
    now = timezone.now()
    rows = [
        {
            "one": one,
            "about": _about(one),
            "standing": standing,
            "listed": counts.get(one.pk, 0),
            "is_due": _is_due(one, now),
        }
        for one, standing in services.standings(now)
    ]
    living = Count("shared", filter=Q(shared__withdrawn=False))
    context = {
        "rows": rows,
        "shares": Share.objects.annotate(living=living).prefetch_related("banks"),
        "may_change": request.user.may("exchanges.change"),
    }
    return render(request, "console/exchanges.html", context)


def _is_due(one: Exchange, now: datetime) -> bool:
    return one.due_at is not None and one.due_at <= now


def _about(one: Exchange) -> str:
    return KINDS[one.kind].about if one.kind in KINDS else one.kind


@require_GET
@needs("exchanges.view")
def exchange(request: Asked, name: str) -> HttpResponseBase:
    """One source: how it stands, what waits for a person, its last runs, what was set aside."""
    one = _exchange(name)
    runs = list(Run.objects.filter(exchange=one)[:RUNS])
    active = next((run for run in runs if run.state in services.ACTIVE), None)
    held = active if active is not None and active.state == Run.State.HELD else None
    told = {row["state"]: row["n"] for row in Telling.objects.filter(claim__exchange=one).values("state").annotate(n=Count("pk"))}  # fmt: skip
    aside = SetAside.objects.filter(run__exchange=one).order_by("-run", "id")
    context = {
        "one": one,
        "about": _about(one),
        "standing": services.standing(one, active, timezone.now()),
        "is_due": _is_due(one, timezone.now()),
        "banks": list(one.banks.all()),
        "listed": Claim.objects.filter(exchange=one, gone_at=None).count(),
        "held": held,
        "diff": msgspec.convert(held.diff, Diff) if held else None,
        "active": active,
        "runs": [{"run": run, "counts": _counts(run)} for run in runs],
        "aside": list(aside[:ASIDE]),
        "aside_count": aside.count(),
        "told": told,
        "trouble": Telling.objects.filter(claim__exchange=one).exclude(last_error="").order_by("-due_at").first(),
        "can_be_told": one.kind in KINDS and KINDS[one.kind].can_be_told,
        "untold": KINDS[one.kind].untold if one.kind in KINDS else "",
        "says_seen": one.kind in KINDS and "seen" in KINDS[one.kind].takes,
        "may_run": request.user.may("exchanges.run"),
        "may_change": request.user.may("exchanges.change"),
    }
    return render(request, "console/exchange.html", context)


def _counts(run: Run) -> Mapping[str, int]:
    return {name: run.counts.get(name, 0) for name in ("added", "revived", "withdrawn", "known", "set_aside")}


@require_POST
@needs("exchanges.run")
def step(request: Asked, name: str, what: str) -> HttpResponse:
    """Release or discard what is held; ask now, for all, or to see it first; pause, go on; note that what is odd was read."""
    one, by, now = _exchange(name), _actor(request), timezone.now()
    try:
        if what in {"release", "discard"}:
            run = Run.objects.filter(exchange=one, pk=request.POST.get("run") or 0).select_related("exchange").first()
            if run is None:
                raise BadInput(_("this run is not there"))
            (running.release if what == "release" else running.discard)(run, by=by, now=now)
            said = (
                _("Released: a worker takes it over.") if what == "release" else _("Discarded: nothing was taken over.")
            )
        elif what == "pause":
            services.pause(one, by=by, now=now, reason=request.POST.get("reason", "")[:1000])
            said = _("It is asked no more until you go on. What it gave stays in force.")
        elif what == "resume":
            services.resume(one, by=by, now=now)
            said = _("A worker asks it with its next round.")
        elif what == "noticed":
            services.seen_odd(one, by=by, now=now)
            said = _("Noted.")
        else:
            services.ask_now(one, full=what == "full", look=what == "look", by=by, now=now)
            said = _("A worker asks it with its next round.")
    except (Problem, ValueError) as problem:
        messages.error(request, _("Nothing was changed: %(why)s") % {"why": problem})
    else:
        messages.success(request, said)
    return redirect("exchange", name)


@require_GET
@needs("exchanges.view")
def set_aside(request: Asked, name: str) -> HttpResponseBase:
    """What was set aside of a source, with reasons, as CSV."""
    rows = SetAside.objects.filter(run__exchange=_exchange(name)).order_by("-run", "id")

    def lines() -> Iterator[list[Any]]:
        yield ["run", "place", "value", "reason"]
        for row in rows.values_list("run", "place", "value", "reason").iterator():
            yield _plain(row)

    writer = csv.writer(_Echo())
    return _download(f"{name}-set-aside.csv", (writer.writerow(line) for line in lines()), "text/csv")


@require_GET
@needs("exchanges.view")
def told(request: Asked, name: str) -> HttpResponseBase:
    """What people here think of what a source gave, and what of it was seen, as CSV for its people."""
    rows = telling.rows_of(_exchange(name), now=timezone.now())
    lines: Iterator[tuple[Any, ...]] = chain([("key", "kind", "value", "says", "events")], rows)
    writer = csv.writer(_Echo())
    return _download(f"{name}-told.csv", (writer.writerow(_plain(line)) for line in lines), "text/csv")


def _plain(line: Iterable[Any]) -> list[Any]:
    """A spreadsheet runs what begins so; what strangers sent is never run."""
    return [f"'{cell}" if isinstance(cell, str) and cell[:1] in "=+-@\t" and cell else cell for cell in line]


class _Echo:
    def write(self, text: str) -> str:
        return text


def _download(filename: str, parts: Any, kind: str) -> StreamingHttpResponse:
    response = StreamingHttpResponse(parts, content_type=f"{kind}; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{filename}"'
    response["Cache-Control"] = "no-store"
    return response


# Setting up


def _said(data: Any) -> dict[str, Any]:
    kind = data.get("kind", "")
    prefix = f"{OPTION}{kind}-"
    minutes = data.get("every_minutes", "").strip()
    days = data.get("full_days", "").strip()
    for text in (minutes or "60", days or "1"):
        if not (text.isascii() and text.isdigit() and len(text) < 7):
            raise BadInput(_("not a number"), where=text[:20])
    return {
        "address": data.get("address", "").strip(),
        "options": {key.removeprefix(prefix): data[key] for key in data if key.startswith(prefix)},
        "secret": data.get("secret", "").strip(),
        "banks": data.getlist("banks"),
        "license": data.get("license", ""),
        "every_minutes": int(minutes or 60),
        "full_days": int(days) if days else None,
        "tells": data.get("tells") == "on",
    }


def _form(request: Asked, said: Mapping[str, Any], **more: Any) -> HttpResponse:
    banks = Bank.objects.filter(negative=False).order_by("kind", "name")
    context = {"said": said, "kinds": KINDS.values(), "banks": banks, "folder": services.folder(), **more}
    return render(request, "console/exchange_form.html", context, status=422 if "problem" in more else 200)


def _first(kind: str) -> dict[str, Any]:
    """What the form says of a kind before anybody typed."""
    if kind not in KINDS:
        return {}
    known = KINDS[kind]
    options = {option.name: option.default for option in known.options}
    return {
        "kind": kind, "address": known.address, "every_minutes": 60, "full_days": known.full_days, "options": options,
        "banks": [],
    }  # fmt: skip


def _again(data: Any, kind: str) -> dict[str, Any]:
    """What was typed, for the form to show again; a secret is not shown again."""
    prefix = f"{OPTION}{kind}-"
    options = {key.removeprefix(prefix): data[key] for key in data if key.startswith(prefix)}
    return {**data.dict(), "secret": "", "banks": data.getlist("banks"), "options": options, "kind": kind}


@require_http_methods(["GET", "POST"])
@needs("exchanges.change")
def make(request: Asked) -> HttpResponseBase:
    """Set up a source."""
    kind = request.POST.get("kind") or request.GET.get("kind", "")
    if request.method == "GET":
        return _form(request, _first(kind))
    try:
        said = _said(request.POST)
        made = services.add_exchange(
            request.POST.get("name", ""), kind=kind, by=_actor(request), now=timezone.now(), **said
        )
        services.ask_now(made, look=True, by=_actor(request), now=timezone.now())
    except Problem as problem:
        return _form(request, _again(request.POST, kind), problem=problem)
    messages.success(request, _("%(name)s is set up. Its first run waits for you to look at it.") % {"name": made.name})
    return redirect("exchange", made.name)


@require_http_methods(["GET", "POST"])
@needs("exchanges.change")
def change(request: Asked, name: str) -> HttpResponseBase:
    """Change how a source is asked. A secret that is left empty stays."""
    one = _exchange(name)
    if request.method == "GET":
        said = {
            "kind": one.kind, "address": one.address, "options": one.options, "license": one.license,
            "every_minutes": one.every_minutes, "full_days": one.full_days or "", "tells": one.tells,
            "banks": [bank.name for bank in one.banks.all()],
        }  # fmt: skip
        return _form(request, said, one=one)
    data = request.POST.copy()
    data["kind"] = one.kind
    try:
        different = services.change_exchange(one, _said(data), by=_actor(request), now=timezone.now())
    except Problem as problem:
        return _form(request, _again(data, one.kind), one=one, problem=problem)
    if different:
        messages.success(request, _("Changed: %(what)s.") % {"what": ", ".join(different)})
    else:
        messages.info(request, _("Nothing was changed: all was so already."))
    return redirect("exchange", name)


# Sharing


@require_GET
@needs("exchanges.view")
def share(request: Asked, name: str) -> HttpResponseBase:
    """One share: what is in it, who may read it, what was handed out to whom."""
    one = _share(name)
    rows = Shared.objects.filter(share=one).aggregate(
        living=Count("pk", filter=Q(withdrawn=False)), withdrawn=Count("pk", filter=Q(withdrawn=True))
    )
    handed = Logged.objects.filter(object=f"share:{one.name}", step="share.handed_out").order_by("-id")[:50]
    context = {
        "one": one,
        "banks": list(one.banks.all()),
        "rows": rows,
        "handed": list(handed),
        "latest": sharing.rows_of(one).order_by("-changed_at")[:10],
        "waiting": sharing.waiting(one, timezone.now()),
        "formats": giving.FORMATS,
        "url": request.build_absolute_uri("/taxii2/"),
        "may_give": request.user.may("shares.give"),
        "may_change": request.user.may("exchanges.change"),
    }
    return render(request, "console/share.html", context)


_TYPES = {
    "csv": "text/csv",
    "json": "application/x-ndjson",
    "stix": "application/stix+json",
    "misp": "application/json",
}


@require_POST
@needs("shares.give")
def give(request: Asked, name: str) -> HttpResponseBase:
    """All of a share as a file, for somebody who is named; the log keeps for whom."""
    one, format_ = _share(name), request.POST.get("format", "")
    try:
        parts = sharing.give(one, format_, to=request.POST.get("to", ""), by=_actor(request), now=timezone.now())
    except Problem as problem:
        messages.error(request, _("Nothing was given: %(why)s") % {"why": problem})
        return redirect("share", name)
    ending = {"csv": "csv", "json": "jsonl"}.get(format_, "json")
    return _download(f"{name}-{format_}.{ending}", parts, _TYPES[format_])


def _share_form(request: Asked, said: Mapping[str, Any], **more: Any) -> HttpResponse:
    keys = [key for key in ApiKey.objects.filter(revoked_at=None).order_by("name") if "taxii" in key.may.split()]
    banks = Bank.objects.filter(negative=False).order_by("name")
    context = {"said": said, "keys": keys, "banks": banks, **more}
    return render(request, "console/share_form.html", context, status=422 if "problem" in more else 200)


@require_http_methods(["GET", "POST"])
@needs("exchanges.change")
def share_new(request: Asked) -> HttpResponseBase:
    """Make a share."""
    if request.method == "GET":
        return _share_form(request, {})
    data = request.POST
    said: dict[str, Any] = {
        "banks": data.getlist("banks"),
        "readers": data.getlist("readers"),
        "description": data.get("description", ""),
    }
    try:
        made = sharing.make_share(data.get("name", ""), by=_actor(request), now=timezone.now(), **said)
        sharing.publish(made, now=timezone.now())
    except Problem as problem:
        return _share_form(request, said | {"name": data.get("name", "")}, problem=problem)
    messages.success(request, _("The share %(name)s is made.") % {"name": made.name})
    return redirect("share", made.name)


@require_http_methods(["GET", "POST"])
@needs("exchanges.change")
def share_change(request: Asked, name: str) -> HttpResponseBase:
    """Change what is in a share and who may read it, or close it."""
    one = _share(name)
    if request.method == "GET":
        said = {
            "banks": [bank.name for bank in one.banks.all()], "readers": one.readers, "description": one.description,
            "closed": one.closed_at is not None,
        }  # fmt: skip
        return _share_form(request, said, one=one)
    data = request.POST
    said = {
        "banks": data.getlist("banks"), "readers": data.getlist("readers"), "description": data.get("description", ""),
        "closed": data.get("closed") == "on",
    }  # fmt: skip
    try:
        different = sharing.change_share(one, said, by=_actor(request), now=timezone.now())
        sharing.publish(one, now=timezone.now())
    except Problem as problem:
        return _share_form(request, said, one=one, problem=problem)
    if different:
        messages.success(request, _("Changed: %(what)s.") % {"what": ", ".join(different)})
    else:
        messages.info(request, _("Nothing was changed: all was so already."))
    return redirect("share", name)
