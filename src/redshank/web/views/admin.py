"""For admins: who signs in here, and which platforms are connected."""

from __future__ import annotations

from django.contrib import messages
from django.db import transaction
from django.http import Http404, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from redshank.archive.models import EventRecord
from redshank.audit.services import Step, record
from redshank.core import VERBS as ALL_VERBS
from redshank.core import Problem
from redshank.enforcement import services as enforcement
from redshank.enforcement.models import Connector
from redshank.people import services as people
from redshank.people.models import User
from redshank.people.roles import Role
from redshank.web.permissions import Asked, needs
from redshank.web.words import VERBS, word


@require_http_methods(["GET", "POST"])
@needs("people.change")
def all_people(request: Asked) -> HttpResponseBase:
    """Who signs in here. Adding somebody shows their password this once."""
    context: dict[str, object] = {}
    status = 200
    if request.method == "POST":
        now = timezone.now()
        name, role = request.POST.get("name", ""), request.POST.get("role", "")
        try:
            with transaction.atomic():
                user, password = people.add(name, role, full_name=request.POST.get("full_name", ""), now=now)
                _note(request, "user.made", user, role=role)
        except Problem as problem:
            context = {"problem": problem, "name": name, "role_chosen": role}
            status = 422
        else:
            context = {"made": user, "password": password}
    context |= {"people": list(User.objects.order_by("-is_active", "username")), "roles": list(Role)}
    return render(request, "console/people.html", context, status=status)


@require_POST
@needs("people.change")
def person(request: Asked, username: str, what: str) -> HttpResponseBase:
    """Change somebody's role, switch their account off or on, or give them a new password."""
    if not User.objects.filter(username=username).exists():
        raise Http404(_("There is nobody of this name."))
    try:
        with transaction.atomic():
            if what == "role":
                user = people.set_role(username, request.POST.get("role", ""))
                _note(request, "user.role_changed", user, role=user.role)
                messages.success(
                    request, _("%(name)s is %(role)s now.") % {"name": username, "role": user.get_role_display()}
                )
            elif what == "password":
                user, password = people.reset_password(username)
                _note(request, "user.password_reset", user)
                context = {
                    "made": user,
                    "password": password,
                    "again": True,
                    "people": list(User.objects.order_by("-is_active", "username")),
                    "roles": list(Role),
                }
                return render(request, "console/people.html", context)
            else:
                user = people.set_active(username, what == "on")
                _note(request, "user.activated" if user.is_active else "user.deactivated", user)
                said = _("%(name)s can sign in again.") if user.is_active else _("%(name)s can no longer sign in.")
                messages.success(request, said % {"name": username})
    except Problem as problem:
        messages.error(request, _("Nothing was changed: %(why)s") % {"why": problem})
    return redirect("people")


def _note(request: Asked, step: str, user: User, **body: str) -> None:
    actor = f"user:{request.user.username}"
    record([Step(actor=actor, step=step, object=f"user:{user.username}", body=dict(body))], now=timezone.now())


@require_GET
@needs("connectors.change")
def connectors(request: Asked) -> HttpResponseBase:
    """The platforms that are connected, what each offers, and how its outbox stands."""
    states = {state.network: state for state in enforcement.outbox_state(timezone.now())}
    rows = [
        {
            "connector": connector,
            "verbs": [(word(VERBS, verb), verb in connector.verbs) for verb in ALL_VERBS],
            "state": states.get(connector.network),
            "last": EventRecord.objects.filter(network=connector.network).order_by("-id").first(),
        }
        for connector in Connector.objects.order_by("network")
    ]
    events_url = request.build_absolute_uri(reverse("queue")) + "api/v1/events"
    return render(request, "console/connectors.html", {"rows": rows, "events_url": events_url})


@require_POST
@needs("connectors.change")
def connector(request: Asked, network: str, what: str) -> HttpResponse:
    """Pause sending to a platform, or go on with it."""
    act = enforcement.pause if what == "pause" else enforcement.resume
    try:
        act(network, by=f"user:{request.user.username}", now=timezone.now())
    except Problem as problem:
        messages.error(request, _("Nothing was changed: %(why)s") % {"why": problem})
    else:
        messages.success(
            request,
            _("Nothing is sent to %(name)s until you go on; what is asked for waits.") % {"name": network}
            if what == "pause"
            else _("What waited for %(name)s leaves with the next round.") % {"name": network},
        )
    return redirect("connectors")
