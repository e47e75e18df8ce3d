"""Counts what entries match, and sets apart those that suddenly match too much.

The idea: one wrong entry, such as the hash of a plain picture or a word of everyday, must not fill the queues. It goes on to be
matched, counted and shown, but no rule sees it, until a person has looked: they release it, or they withdraw it. The limit
is a bank's own where it says so, for a real attack looks the same: who sets up a bank for one sets it high, or to 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import cache

import structlog
from django.db import connection, transaction
from django.db.models import Q, QuerySet

from redshank.audit.services import Step, record
from redshank.banks import services
from redshank.banks.models import Entry, MatchCount
from redshank.core import BadInput, Problem, Verdict

log = structlog.get_logger(__name__)

HOUR = timedelta(hours=1)
RELEASED_FOR = timedelta(hours=24)
"""So long an entry that a person released is not set apart again."""
KEPT = timedelta(days=400)
"""Counts are kept for so long, so that a year can be looked at."""
ROWS = 1000


def count_matches(verdicts: Iterable[Verdict], *, now: datetime) -> list[int]:
    """Count for each entry the verdicts that it is in; put in quarantine what matches too much, and give those entries' ids.

    In the caller's transaction, best as its last step: two statements for a batch, whatever its size up to a thousand
    entries. The last hour is the running clock hour and as much of the one before as is still within sixty minutes,
    taken as spread evenly over it.
    """
    tally: Counter[int] = Counter()
    for verdict in verdicts:
        if verdict.findings:
            tally.update({finding.match.entry for finding in verdict.findings if finding.match})
    if not tally:
        return []
    hour = now.replace(minute=0, second=0, microsecond=0)
    counts = _add(tally, hour)
    before = dict(MatchCount.objects.filter(entry__in=list(tally), hour=hour - HOUR).values_list("entry_id", "count"))
    rest = 1 - (now - hour) / HOUR
    known = services.known()
    over: dict[int, tuple[int, int]] = {}
    for pk, count in counts.items():
        entry = known.entry(pk)
        if entry is None or entry.quarantined or entry.bank.harmless or not entry.bank.surge:
            continue
        matches = count + int(before.get(pk, 0) * rest)
        if matches > entry.bank.surge:
            over[pk] = (matches, entry.bank.surge)
    return _set_apart(over, now=now) if over else []


def _add(tally: Counter[int], hour: datetime) -> dict[int, int]:
    """Each entry's count in that hour, with this batch. Rows are taken in order of their ids, so that nobody waits in a ring."""
    adapt = cache(connection.ops.adapt_datetimefield_value)
    table = MatchCount._meta.db_table  # noqa: SLF001
    counts: dict[int, int] = {}
    rows = sorted(tally.items())
    with connection.cursor() as cursor:
        for start in range(0, len(rows), ROWS):
            part = rows[start : start + ROWS]
            cursor.execute(
                f"INSERT INTO {table} (entry_id, hour, count) VALUES {', '.join(['(%s, %s, %s)'] * len(part))} "  # noqa: S608
                f"ON CONFLICT (entry_id, hour) DO UPDATE SET count = {table}.count + excluded.count "
                "RETURNING entry_id, count",
                [value for pk, count in part for value in (pk, adapt(hour), count)],
            )
            counts |= dict(cursor.fetchall())
    return counts


def _set_apart(over: dict[int, tuple[int, int]], *, now: datetime) -> list[int]:
    free = Q(released_at=None) | Q(released_at__lte=now - RELEASED_FOR)
    going = list(
        Entry.objects.filter(free, pk__in=list(over), quarantined_at=None, withdrawn_at=None)
        .order_by("pk").values_list("pk", "bank__name")
    )  # fmt: skip
    if not going:
        return []
    number = services.bump()
    ids = [pk for pk, _ in going]
    Entry.objects.filter(pk__in=ids).update(quarantined_at=now, changed=number)
    steps = []
    for pk, bank in going:
        matches, limit = over[pk]
        body = {"entry": pk, "matches": matches, "limit": limit}
        reason = f"It matched {matches:,} events in an hour; {limit:,} is the limit."
        steps.append(Step(actor="system", step="entry.quarantined", object=f"bank:{bank}", reason=reason, body=body))
        log.warning("entry.quarantined", bank=bank, **body)
    record(steps, now=now)
    return ids


def quarantined() -> QuerySet[Entry]:
    """The entries that wait for a person, longest first."""
    return (
        Entry.objects.filter(quarantined_at__isnull=False, withdrawn_at=None)
        .select_related("bank").defer("frames").order_by("quarantined_at", "pk")
    )  # fmt: skip


def release(entry_id: int, reason: str, *, by: str, now: datetime) -> None:
    """Let an entry out of quarantine: it is right that it matches so much. For a day it is not set apart again.

    Writes one audit step, `entry.released`. Raises `BadInput` where no reason is given, `Problem` where it is in no quarantine.
    """
    if not reason.strip():
        raise BadInput("no reason is given", hint="Say why its matches are right.")
    with transaction.atomic():
        number = services.bump()
        entry = Entry.objects.filter(pk=entry_id).select_related("bank").defer("frames").first()
        if entry is None or entry.quarantined_at is None or entry.withdrawn_at is not None:
            raise Problem(
                "this entry is in no quarantine", where=str(entry_id), hint="Somebody else may have been faster."
            )
        Entry.objects.filter(pk=entry_id).update(
            quarantined_at=None, released_at=now, looked_back_at=None, changed=number
        )
        since = entry.quarantined_at.isoformat()
        body = {"entry": entry_id, "since": since}
        step = Step(actor=by, step="entry.released", object=f"bank:{entry.bank.name}", reason=reason.strip(), body=body)
        record([step], now=now)


def forget_old(*, now: datetime) -> int:
    """Delete counts that are too old to be shown; give how many."""
    return MatchCount.objects.filter(hour__lt=now - KEPT).delete()[0]
