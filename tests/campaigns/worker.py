"""What the test of workers side by side does in a process of its own: fill a store, let two workers at a time do what is due, and say
what came of it.

Each worker is killed, as kill -9 does, before one of its statements to the store, and others take their places, until two come to
the end.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from datetime import timedelta
from typing import Any

import django

django.setup()

import numpy as np  # noqa: E402 - Django must be set up first
from django.db import connection, connections  # noqa: E402

from redshank.archive.models import Erasure  # noqa: E402
from redshank.audit.models import Entry  # noqa: E402
from redshank.campaigns import runs  # noqa: E402
from redshank.campaigns.models import Campaign, HotObject, Member, Run, ShareBlock, ShareDay  # noqa: E402
from tests.campaigns.conftest import DAY, NOW, START, events_of, keep  # noqa: E402
from tests.campaigns.test_finding import crowd, group  # noqa: E402

MANY = 12
"""Statements after which the first ones are killed, at most; each round they get further."""
HOURS = (0, 2, 4)
"""Something is hot; then files are due, then a search of their days."""


def fill() -> None:
    random = np.random.default_rng(7)
    rows = [*crowd(random, posts=6_000), *group(random, "tern"), *group(random, "plover", spread=1_200)]
    rows = [row for row in rows if row[3] < 7 * DAY]
    events = events_of(rows)
    for at in range(0, len(events), 500):
        keep(events[at : at + 500])
    hot = [("red", f"h{at}", "https://song.example/1", 7 * DAY + 3_000.0 + at) for at in range(20)]
    keep(events_of(hot, first=10**6))
    Erasure.objects.create(network="red", account_id="tern1", asked_at=NOW)


def work(hours: int, last: int = 10**9) -> None:
    """What is due so many hours after `NOW`, in no more than `last` statements."""
    left = iter(range(last))

    def before(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        return execute(sql, params, many, context)

    now, watch = NOW + timedelta(hours=hours), runs.HotWatch()
    with connection.execute_wrapper(before):
        while True:
            done = runs.erase(now=now) + runs.seal(now=now) + watch.look(now=now)
            after = runs.last_run()
            if wanted := runs.due(now=now):
                runs.run(wanted, now=now, after=after)
                time.sleep(0.02)  # Where the other one searches.
            elif not done:
                return


def two_of(hours: int, draw: random.Random) -> int:
    """Two workers at a time until both come to the end; give how many were killed."""
    connections.close_all()
    deaths, most = 0, MANY
    while True:
        started = []
        for last in (draw.randint(1, most), draw.randint(1, most)):
            pid = os.fork()
            if not pid:
                try:
                    work(hours, last)
                except BaseException as error:  # noqa: BLE001 - a process of its own, which must end here
                    print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
                    os._exit(1)
                os._exit(0)
            started.append(pid)
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in started]
        assert set(codes) <= {0, -signal.SIGKILL}, codes
        if not any(codes):
            return deaths
        deaths += sum(code != 0 for code in codes)
        most += MANY


def report() -> dict[str, Any]:
    rows = runs.table(START - timedelta(days=9), NOW + timedelta(days=9)).to_pylist()
    return {
        "posts": sorted(row["post"] for row in rows),
        "waiting": ShareBlock.objects.count(),
        "days": [[str(day), rows, seen] for day, rows, seen in ShareDay.objects.order_by("day").values_list("day", "rows", "seen")],
        "runs": [[why, str(until), shares, found] for why, until, shares, found in Run.objects.order_by("pk").values_list("why", "until", "shares", "campaigns")],
        "campaigns": sorted(
            [
                sorted(one.members.values_list("account_id", flat=True)), one.size, one.label, one.object_count, str(one.begins),
                sorted(one.shared_objects.values_list("key", flat=True)), list(one.days.values_list("shares", flat=True)),
            ]
            for one in Campaign.objects.all()
        ),
        "members": Member.objects.count(),
        "hot": [[one.value, one.accounts] for one in HotObject.objects.all()],
        "said": sorted(Entry.objects.filter(object__startswith="campaign:").values_list("step", flat=True)),
    }  # fmt: skip


if __name__ == "__main__":
    fill()
    drawn = random.Random(int(sys.argv[1]))
    killed = sum(two_of(hours, drawn) for hours in HOURS)
    print(json.dumps({"killed": killed, **report()}))
