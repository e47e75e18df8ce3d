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
    ("banks.view", "banks", _("Banks"), "b", "/bank"),
    ("rules.view", "rules", _("Rules"), "r", "/rule /backtest"),
    ("archive.search", "search", _("Search"), "f", "/search /events"),
)
"""Permission, view, name, key after `g`, and how the addresses of its pages begin."""
_MORE = (
    ("exchanges.view", "exchanges", _("Exchanges"), "i", "/exchange /share"),
    ("peers.view", "peers", _("Peers"), "e", "/peers"),
    ("connectors.change", "connectors", _("Connectors"), "c", "/connectors"),
    ("people.change", "people", _("People"), "p", "/people"),
    ("audit.view", "audit", _("Audit log"), "l", "/audit"),
    ("system.view", "system", _("System"), "s", "/system"),
)
"""Places that are seldom gone to: they stand in a menu."""


def console(request: HttpRequest) -> dict[str, Any]:
    """The places that this person may go to, and their scheme."""
    scheme = request.COOKIES.get("scheme", "auto")
    known: dict[str, Any] = {"scheme": scheme if scheme in SCHEMES else "auto"}
    user = getattr(request, "user", None)
    if isinstance(user, User):
        known["places"], known["more_places"] = (
            [
                {
                    "name": name, "label": label, "key": key,
                    "here": request.path.startswith(tuple(starts.split())) or (name == "queue" and request.path == "/"),
                }
                for permission, name, label, key, starts in places
                if user.may(permission)
            ]
            for places in (_PLACES, _MORE)
        )  # fmt: skip
        known["more_here"] = next((place for place in known["more_places"] if place["here"]), None)
        known["exposure"] = SimpleLazyObject(lambda: people.exposure_today(user, timezone.now()))
    return known
