"""The banks of known content: what each holds, where it comes from, and what its matches led to."""

from __future__ import annotations

from typing import Any

from django.core.paginator import Paginator
from django.db.models import Count, Q
from django.http import Http404, HttpResponseBase
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET

from redshank.banks.models import Bank, Entry
from redshank.web.permissions import Asked, needs

PAGE = 50


@require_GET
@needs("banks.view")
def banks(request: Asked) -> HttpResponseBase:
    """All banks, with how many entries are in force."""
    found = Bank.objects.select_related("policy").annotate(
        in_force=Count("entries", filter=Q(entries__withdrawn_at=None)),
        withdrawn=Count("entries", filter=~Q(entries__withdrawn_at=None)),
    )
    return render(request, "console/banks.html", {"banks": list(found.order_by("name"))})


@require_GET
@needs("banks.view")
def bank(request: Asked, name: str) -> HttpResponseBase:
    """One bank and its entries, newest first; `?q=` looks in labels and values."""
    found = Bank.objects.select_related("policy").filter(name=name).first()
    if found is None:
        raise Http404(_("There is no bank of this name."))
    entries = Entry.objects.filter(bank=found).defer("frames")
    asked = request.GET.get("q", "").strip()[:200]
    if asked:
        entries = entries.filter(Q(label__icontains=asked) | Q(value__icontains=asked))
    context: dict[str, Any] = {
        "bank": found,
        "asked": asked,
        "in_force": Entry.objects.filter(bank=found, withdrawn_at=None).count(),
        "page": Paginator(entries.order_by("-id"), PAGE).get_page(request.GET.get("page")),
    }
    return render(request, "console/bank.html", context)
