"""What the kill -9 test of looking back for parts does in processes of its own: `fill N`, `work` (says each step), `report`."""

from __future__ import annotations

import json
import sys
from datetime import timedelta

import django

django.setup()

from django.conf import settings  # noqa: E402 - Django must be set up first
from PIL import ImageOps  # noqa: E402

from redshank.audit.models import Entry as AuditEntry  # noqa: E402
from redshank.banks import lookback, services  # noqa: E402
from redshank.banks.models import Entry, EntryPoints  # noqa: E402
from redshank.cases.models import Case  # noqa: E402
from redshank.media import Hasher  # noqa: E402
from redshank.pipeline import accept, look_back, look_back_for_parts, walk_waiting  # noqa: E402
from tests.banks.conftest import NOW  # noqa: E402
from tests.banks.test_parts import keeping, new, sent  # noqa: E402
from tests.media.test_parts import PICTURES, within  # noqa: E402

LATER = NOW + timedelta(minutes=1)
lookback.POINTS = 3  # type: ignore[misc]  # As little as that in one step.


def fill(number: int) -> None:
    settings.REDSHANK = keeping(settings, days=2)
    shown = [within(ImageOps.mirror(PICTURES[0]), PICTURES[2], 0.2, 0.2), PICTURES[3]]
    accept([sent(shown[at % 2], id_=f"e{at}") for at in range(number)], now=NOW, actor="key:marsh")
    with Hasher(settings.REDSHANK.media) as hasher:
        while walk_waiting(now=NOW, limit=10, hasher=hasher):
            pass
    bank = services.make_bank(
        "known", kind="pdq", policy="terrorist-content", severity=4, by="system", now=NOW, partial=True
    )
    services.add_entries(bank, [new(PICTURES[0]), new(PICTURES[5])], by="system", now=NOW)


def main(what: str, *args: str) -> None:
    if what == "fill":
        fill(int(args[0]))
    elif what == "work":
        look_back(now=LATER)
        while look_back_for_parts(now=LATER):
            print(json.dumps(list(EntryPoints.objects.values_list("sought", flat=True).distinct())), flush=True)
    else:
        print(
            json.dumps(
                {
                    "cases": sorted(Case.objects.values_list("subject_id", flat=True)),
                    "found": sorted(
                        AuditEntry.objects.filter(step="event.looked_back").values_list("object", flat=True)
                    ),
                    "sought": Entry.objects.exclude(looked_back_at=None).filter(points__sought=None).count(),
                }
            )
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
