"""Other installations: agreements, what was asked both ways, and asking about one account."""

from __future__ import annotations

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from redshank.core import BadInput, Problem
from redshank.peers import services
from redshank.peers.models import Agreement, Question
from redshank.web.permissions import Asked, needs

PAGE = 50


@require_http_methods(["GET", "POST"])
@needs("peers.view")
def peers(request: Asked) -> HttpResponseBase:
    """The agreements and the questions under them. Who may, makes one here; its secret is shown this once."""
    now = timezone.now()
    context: dict[str, object] = {}
    status = 200
    if request.method == "POST" and request.user.may("peers.change"):
        name, url = request.POST.get("name", "").strip(), request.POST.get("url", "").strip()
        given = request.POST.get("secret", "").strip()
        try:
            if not name.replace("-", "").isalnum() or not name.isascii() or len(name) > 64:
                raise BadInput(_("not a name"), where=name[:64], hint=_("Letters, digits and hyphens."))
            secret = services.agree(name, url, secret=given, by=f"user:{request.user.username}", now=now)
        except Problem as problem:
            context, status = {"problem": problem, "name": name, "url": url}, 422
        else:
            context = {"made": name, "secret": "" if given else secret}
    page = Paginator(Question.objects.select_related("agreement"), PAGE).get_page(request.GET.get("page"))
    context |= {
        "agreements": sorted(Agreement.objects.all(), key=lambda one: one.ended_at is not None), "page": page, "now": now, "may_change": request.user.may("peers.change"),
    }  # fmt: skip
    return render(request, "console/peers.html", context, status=status)


@require_POST
@needs("peers.change")
def end(request: Asked, name: str) -> HttpResponse:
    """End an agreement: nothing is asked or answered any more, its tokens go."""
    try:
        services.end(name, by=f"user:{request.user.username}", now=timezone.now())
    except Problem as problem:
        messages.error(request, _("Nothing was changed: %(why)s") % {"why": problem})
    else:
        messages.success(request, _("The agreement with %(name)s has ended.") % {"name": name})
    return redirect("peers")


@require_POST
@needs("peers.ask")
def ask(request: Asked, network: str, account_id: str) -> HttpResponse:
    """Ask all peers whether they suspended this account's owner."""
    try:
        found = services.ask(network, account_id, by=f"user:{request.user.username}", now=timezone.now())
    except Problem as problem:
        messages.error(request, _("Nobody was asked: %(why)s") % {"why": problem})
        return redirect("account", network=network, account_id=account_id)
    for one in found:
        if one.problem:
            messages.warning(request, f"{one.peer}: {one.problem}")
        elif one.found:
            said = _(
                "%(peer)s suspended the owner of a token of this account (%(kinds)s). A reason to look, none to act."
            )
            messages.success(request, said % {"peer": one.peer, "kinds": ", ".join(one.found)})
        else:
            messages.success(
                request, _("%(peer)s has suspended nobody with a token of this account.") % {"peer": one.peer}
            )
    return redirect("account", network=network, account_id=account_id)
