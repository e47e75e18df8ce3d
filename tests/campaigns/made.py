"""A campaign as a search would find it, put into the store by the searches' own way."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from redshank.campaigns import runs
from redshank.campaigns.finding import Campaign as Found
from redshank.campaigns.finding import Day, Member, Move, SharedObject
from redshank.campaigns.models import Campaign

Account = tuple[str, str]


def found(accounts: Sequence[Account], *, now: datetime, objects: int = 12, name: str = "tern", **more: Any) -> Found:
    begins = now - timedelta(days=4)
    times = [begins + timedelta(hours=4 * at) for at in range(objects)]
    members = tuple(
        Member(
            network, account, len(accounts) - 1, begins + timedelta(seconds=at), objects - at % 3, 20.0 + at,
            tuple((place, times[place] + timedelta(seconds=9 * at)) for place in range(objects - at % 3)),
        )
        for at, (network, account) in enumerate(accounts)
    )  # fmt: skip
    told: dict[str, Any] = {
        "number": 1, "members": members, "object_count": objects, "begins": begins, "ends": times[-1],
        "objects": tuple(
            SharedObject("link", f"https://{name}.example/{at}", len(accounts), 2, times[at]) for at in range(objects)
        ),
        "networks": tuple(sorted({network for network, _ in accounts})), "ties": 10, "bits": 42.0, "met": 9, "lag": 12.0,
        "label": "coordinated", "signs": ("Of those who shared one of its objects, 8% are in no campaign (median).",),
        "days": tuple(
            Day((begins + timedelta(days=at)).date().isoformat(), len(accounts), 0, 9 + 7 * at % 11) for at in range(4)
        ),
        "moves": (),
    }  # fmt: skip
    return Found(**(told | more))


def plant(*groups: Found, now: datetime) -> list[Campaign]:
    before = set(Campaign.objects.values_list("pk", flat=True))
    with transaction.atomic():
        runs._save(groups, tested=123_456_789, smallest=3, now=now)
    return list(Campaign.objects.exclude(pk__in=before).order_by("pk"))


MOVE = Move("marsh.example", "dune.example", 9, 1.2, 5_400.0, 0.0005)
