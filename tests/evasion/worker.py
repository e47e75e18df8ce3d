"""What the kill -9 test of this lane does in processes of its own: `fill N`, `work SECONDS` (says each step), `report`."""

from __future__ import annotations

import json
import sys
from datetime import timedelta

import django
import numpy as np

django.setup()

from redshank.audit.models import Entry  # noqa: E402 - Django must be set up first
from redshank.cases.models import Case  # noqa: E402
from redshank.evasion import services as evasion  # noqa: E402
from redshank.evasion.census import census  # noqa: E402
from redshank.evasion.evidence import keys_of  # noqa: E402
from redshank.evasion.gathering import unpack  # noqa: E402
from redshank.evasion.models import News, ProfileRecord, TieRecord  # noqa: E402
from redshank.pipeline import ask_due  # noqa: E402
from tests.evasion.events import NOW, come_back, scene  # noqa: E402

FOLLOWED = np.append(
    keys_of([f"marsh/{one}" for one in ("f0", "f100", "f25", "f10000")], np.zeros(4, np.uint8)).astype(np.int64),
    np.full(5, -1),
)
LAST = NOW + timedelta(seconds=300)  # What the last worker left to settle is due later.


def main(what: str, *args: str) -> None:
    if what == "fill":
        scene(owners=int(args[0]))
        for number in range(int(args[0])):
            come_back(f"n{number}", of=number)
    elif what == "work":
        now = NOW + timedelta(seconds=float(args[0]))
        while done := evasion.gather_news(now=now, limit=20) + ask_due(now=now, limit=3):
            print(done, flush=True)
    else:
        heaps = {
            one.account_id: unpack(bytes(one.evidence))
            for one in ProfileRecord.objects.filter(account_id__startswith="n")
        }
        ties = {tie.pk: tie for tie in TieRecord.objects.select_related("new")}
        usual = census().network("marsh", now=LAST).usual(FOLLOWED, np.zeros(len(FOLLOWED) - 5, np.uint8))
        said = Entry.objects.filter(step="tie.found").values_list("object", "body")
        print(
            json.dumps(
                {
                    "gathered": {name: [len(heap.follows), heap.posts] for name, heap in heaps.items()},
                    "tied": sorted([tie.new.account_id, tie.band] for tie in ties.values()),
                    "said": sorted(
                        [ties[int(tie.partition(":")[2])].new.account_id, body["band"]] for tie, body in said
                    ),
                    "cases": sorted(Case.objects.values_list("subject_id", flat=True)),
                    "usual": usual.known[:-5].round(3).tolist(),
                    "waiting": News.objects.count() + ProfileRecord.objects.filter(due_at__lte=LAST).count(),
                }
            )
        )


main(*sys.argv[1:])
