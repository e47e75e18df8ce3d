"""What the kill -9 test does in processes of its own: `ask N URL`, `deliver SECONDS` (until killed or done), `report`."""

from __future__ import annotations

import json
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta

import django

django.setup()

from django.db import transaction  # noqa: E402 - Django must be set up first

from redshank.audit.models import Entry  # noqa: E402
from redshank.core import Subject  # noqa: E402
from redshank.enforcement import services  # noqa: E402
from redshank.enforcement.models import Action, Delivery  # noqa: E402


def main(what: str, *args: str) -> None:
    now = datetime.now(UTC)
    if what == "ask":
        verbs = ("suspend", "label", "restore")
        connector = services.connect("marsh", "Marsh", args[1], verbs, by="system", now=now)
        for number in range(int(args[0])):
            subject = Subject("marsh", "account", f"a{number}", f"a{number}")
            ask = services.Ask(verb="suspend", subject=subject)
            with transaction.atomic():
                services.request_actions(
                    [ask], policy="", reason="x", message="x", asked_by="user:anna", key=f"{number}", now=now
                )
        print(services.secret_of(connector))
    elif what == "deliver":
        ahead = timedelta(seconds=float(args[0]))
        while Delivery.objects.filter(state="pending").exists():
            at = datetime.now(UTC) + ahead
            services.deliver_due(now=at, limit=50, clock=lambda: datetime.now(UTC) + ahead)
    else:
        confirmed = Entry.objects.filter(step="action.confirmed").values_list("object", flat=True)
        states = Counter(Action.objects.values_list("state", flat=True))
        print(json.dumps({"states": states, "confirmations": len(confirmed), "of": len(set(confirmed))}))


main(*sys.argv[1:])
