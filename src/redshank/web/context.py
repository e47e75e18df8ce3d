"""What every page knows: where one can go from here, the scheme that was chosen, how much was revealed today."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.utils import timezone
from django.utils.functional import SimpleLazyObject
from django.utils.translation import gettext_lazy as _

from redshank.people import services as people
from redshank.people.models import User

SCHEMES = ("auto", "light", "dark")

_PLACES = (
    ("cases.view", "queue", _("Queue"), "q", "/cases"),
    ("campaigns.view", "campaigns", _("Campaigns"), "m", "/campaigns"),
    ("ties.view", "ties", _("Returning"), "t", "/ties"),
    ("banks.view", "banks", _("Banks"), "b", "/banks"),
    ("exchanges.view", "exchanges", _("Exchanges"), "i", "/exchange /share"),
    ("rules.view", "rules", _("Rules"), "r", "/rule /backtest"),
    ("archive.search", "search", _("Search"), "f", "/search /events"),
    ("audit.view", "audit", _("Audit log"), "l", "/audit"),
    ("system.view", "system", _("System"), "s", "/system"),
    ("connectors.change", "connectors", _("Connectors"), "c", "/connectors"),
    ("peers.view", "peers", _("Peers"), "e", "/peers"),
    ("people.change", "people", _("People"), "p", "/people"),
)


def console(request: HttpRequest) -> dict[str, Any]:
    """The places that this person may go to, and their scheme."""
    scheme = request.COOKIES.get("scheme", "auto")
    known: dict[str, Any] = {"scheme": scheme if scheme in SCHEMES else "auto"}
    user = getattr(request, "user", None)
    if isinstance(user, User):
        known["places"] = [
            {"name": name, "label": label, "key": key, "here": request.path.startswith(tuple(prefix.split())) or (name == "queue" and request.path == "/")}
            for permission, name, label, key, prefix in _PLACES
            if user.may(permission)
        ]  # fmt: skip
        known["exposure"] = SimpleLazyObject(lambda: people.exposure_today(user, timezone.now()))
    return known
