"""Everything about one account on one page, and the box that finds accounts, cases and actions."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.core.paginator import Paginator
from django.db.models import Q
from django.http import Http404, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET

from redshank.archive.models import AccountRecord, EventRecord
from redshank.campaigns import services as campaigns
from redshank.cases.models import Case
from redshank.enforcement.models import Action
from redshank.peers.services import standing
from redshank.web import reading, tied
from redshank.web.permissions import Asked, needs

PAGE = 15
FOUND = 12


@require_GET
@needs("accounts.view")
def account(request: Asked, network: str, account_id: str) -> HttpResponseBase:
    """What is known of an account, its cases and actions, and its events, newest first."""
    known = reading.past(network, account_id)
    events = EventRecord.objects.filter(network=network, account_id=account_id).order_by("-at", "-id")
    if known.get("account") is None and not known.get("case_count") and not events.exists():
        raise Http404(_("No event ever spoke of this account."))
    page = Paginator(events, PAGE).get_page(request.GET.get("page"))
    kept = reading.kept_blobs(page.object_list)
    context = {
        "network": network,
        "account_id": account_id,
        "page": page,
        "pieces": [reading.read_event(record, (), kept) for record in page],
        "may_ask_peers": request.user.may("peers.ask") and standing(timezone.now()).exists(),
        "campaigns": campaigns.of_account(network, account_id) if request.user.may("campaigns.view") else [],
        **known,
        **tied.of_account(network, account_id),
        "may_except": request.user.may("ties.except"),
    }
    return render(request, "console/account.html", context)


@require_GET
@needs("cases.view")
def find(request: Asked) -> HttpResponseBase:
    """Whatever was pasted: a case's number, an account's handle or id, a subject's or an action's id, a link to either."""
    asked = request.GET.get("q", "").strip()[:500]
    found = _found(asked) if asked else []
    if request.htmx:
        return render(request, "console/parts/found.html", {"asked": asked, "found": found})
    if len(found) == 1:
        return redirect(found[0]["url"])
    return render(request, "console/find.html", {"asked": asked, "found": found})


def _found(asked: str) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    number = asked.upper().removeprefix("C-").removeprefix("#")
    if number.isdecimal() and len(number) < 18:
        out += [_case(case) for case in Case.objects.filter(pk=int(number))]
    words = {asked, asked.removeprefix("@")}
    links = [asked]
    if "://" in asked:
        try:
            last = urlsplit(asked).path.rstrip("/").rpartition("/")[2]
        except ValueError:
            last = ""
        if last:
            words |= {last, last.removeprefix("@")}
    for action in Action.objects.filter(pk__in=words).exclude(case_id=None)[:FOUND]:
        out.append(
            {
                "kind": _("Action"),
                "text": str(action),
                "sub": action.network,
                "url": reverse("case", args=[action.case_id]),
            }
        )
    about = Case.objects.filter(Q(subject_id__in=words) | Q(account_id__in=words)).order_by("-pk")[:FOUND]
    out += [_case(case) for case in about]
    accounts = AccountRecord.objects.filter(Q(account_id__in=words) | Q(handle__in=words) | Q(url__in=links))
    for record in accounts.order_by("-last_seen")[:FOUND]:
        out.append(
            {
                "kind": _("Account"),
                "text": record.handle or record.account_id,
                "sub": record.network,
                "url": reverse("account", args=[record.network, record.account_id]),
            }
        )
    return list({row["url"]: row for row in out}.values())[:FOUND]


def _case(case: Case) -> dict[str, Any]:
    return {
        "kind": _("Case"),
        "text": f"C-{case.pk} · {case.subject_id}",
        "sub": f"{case.network} · {case.state}",
        "url": reverse("case", args=[case.pk]),
    }
