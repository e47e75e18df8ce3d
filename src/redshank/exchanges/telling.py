"""Tells sources what became of what they gave: that it was seen here, and whether people here agree.

The one idea: nothing in the walk waits for it. What happened since the last look is read off entries and their counts and put
into an outbox, once for each thing and word; from there it is sent until the source takes it or it is given up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import F, Q, QuerySet, Sum

from redshank.banks.models import MatchCount
from redshank.core import Problem
from redshank.exchanges import services
from redshank.exchanges.http import Http
from redshank.exchanges.models import Claim, Exchange, Telling
from redshank.exchanges.records import Ask, Said
from redshank.rows import batched

log = structlog.get_logger(__name__)

LOOKED_EVERY = timedelta(minutes=10)
SETTLED = timedelta(minutes=1)
"""What happened so lately may stand in a transaction that has not ended."""
LEASE = timedelta(minutes=5)
ROWS = 500
_AGAINST = {"agrees": "disagrees", "disagrees": "agrees"}


def queue(*, now: datetime) -> int:
    """Put into the outbox what happened since the last look; give how much that is."""
    due = Exchange.objects.filter(Q(told_until=None) | Q(told_until__lt=now - LOOKED_EVERY), tells=True, paused_at=None)
    return sum(_queue(exchange, now) for exchange in due)


class Heard(NamedTuple):
    """Of one source's claims: those with which people agree, those with which they do not, and, by claim, events that met one."""

    agreed: QuerySet[Claim]
    doubted: QuerySet[Claim]
    seen: QuerySet[Any]


def heard(exchange: Exchange, since: datetime, until: datetime) -> Heard:
    """What happened here, after `since` and until `until`, with what `exchange` gave."""
    claims = Claim.objects.filter(exchange=exchange)
    agreed = claims.filter(entry__confirmed_at__gt=since, entry__confirmed_at__lte=until, entry__withdrawn_at=None)
    doubted = claims.filter(
        Q(entry__disputed_at__gt=since, entry__disputed_at__lte=until, entry__disputed_by__startswith="user:")
        | Q(entry__withdrawn_at__gt=since, entry__withdrawn_at__lte=until, entry__withdrawn_by__startswith="user:")
    )
    hour = since.replace(minute=0, second=0, microsecond=0)
    counts = MatchCount.objects.filter(hour__gte=hour, entry__claims__exchange=exchange)
    return Heard(agreed, doubted, counts.values_list("entry__claims").annotate(events=Sum("count")))


def rows_of(exchange: Exchange, *, now: datetime) -> Iterator[tuple[str, str, str, str, int]]:
    """All that its people may want to know: the source's key of a thing, its kind, the thing, a word of `Says`, and how many
    events met it. For sources that cannot be told from here.
    """
    said = heard(exchange, exchange.created_at, now)
    names = ("key", "entry__bank__kind", "entry__value")
    for says, claims in (("agrees", said.agreed), ("disagrees", said.doubted)):
        for key, kind, value in claims.order_by("key").values_list(*names).iterator():
            yield key, kind, value, says, 0
    for part in batched(said.seen.order_by("entry__claims").iterator(), ROWS):
        events = {pk: count for pk, count in part if pk is not None}
        rows = Claim.objects.filter(pk__in=events, exchange=exchange).order_by("key").values_list("pk", *names)
        for pk, key, kind, value in rows:
            yield key, kind, value, "seen", events[pk]


def _queue(exchange: Exchange, now: datetime) -> int:
    since, until = exchange.told_until or exchange.created_at, now - SETTLED
    if until <= since:
        return 0
    agreed, doubted, seen = heard(exchange, since, until)
    takes = services.kind_of(exchange).takes
    made = 0
    with transaction.atomic():
        if not Exchange.objects.filter(pk=exchange.pk, told_until=exchange.told_until).update(told_until=until):
            return 0  # Another worker looked.
        for says, rows in (("agrees", agreed), ("disagrees", doubted)):
            made += _put(says, dict.fromkeys(rows.values_list("pk", flat=True), 0), now)
        if "seen" in takes:
            made += _put("seen", {pk: count for pk, count in seen if pk is not None}, now)
    return made


def _put(says: str, claims: dict[int, int], now: datetime) -> int:
    rows = [Telling(claim_id=pk, says=says, count=count, made_at=now, due_at=now) for pk, count in claims.items()]
    known = Telling.objects.filter(says=says).values_list("claim_id", flat=True)
    made = 0
    for start in range(0, len(rows), ROWS):
        part = rows[start : start + ROWS]
        pks = [row.claim_id for row in part]
        there = set(known.filter(claim__in=pks))
        Telling.objects.bulk_create([row for row in part if row.claim_id not in there], ignore_conflicts=True)
        made += len(part) - len(there)
        if other := _AGAINST.get(says):  # Whoever changed their mind says the new word, again if need be.
            Telling.objects.filter(claim__in=pks, says=other, state="pending").update(state="canceled")
            changed = Telling.objects.filter(claim__in=there, says=says).filter(
                Q(state="canceled") | Q(claim__tellings__says=other, claim__tellings__made_at__gt=F("made_at"))
            )
            made += Telling.objects.filter(pk__in=list(changed.values_list("pk", flat=True))).update(
                state="pending", made_at=now, due_at=now, attempts=0
            )
    return made


def send_due(*, clock: Callable[[], datetime] = lambda: datetime.now(UTC), limit: int = 50) -> int:
    """Send what is due, up to `limit`; give how many tries were made."""
    now = clock()
    free = Q(leased_until=None) | Q(leased_until__lt=now)
    due = Telling.objects.filter(free, state="pending", due_at__lte=now, claim__exchange__paused_at=None)
    tried = 0
    for one in due.select_related("claim__exchange", "claim__entry__bank").defer("claim__entry__frames").order_by("due_at")[:limit]:  # fmt: skip
        if Telling.objects.filter(free, pk=one.pk, state="pending").update(leased_until=clock() + LEASE):
            tried += 1
            _send(one, clock)
    return tried


def _send(one: Telling, clock: Callable[[], datetime]) -> None:
    exchange, entry = one.claim.exchange, one.claim.entry
    secret = ""
    http = Http(exchange.address, settings.REDSHANK.exchanges)
    try:
        kind = services.kind_of(exchange)
        secret = services.secret_of(exchange)
        ask = Ask(
            address=exchange.address, options=exchange.options, secret=secret, checkpoint=None, http=http, now=clock()
        )
        said = Said(
            key=one.claim.key, ref=one.claim.ref, kind=entry.bank.kind, value=entry.value, says=one.says,  # type: ignore[arg-type]
            count=one.count, at=one.made_at,
        )  # fmt: skip
        if kind.tell is not None:
            kind.tell(ask, said)
    except (Problem, OSError) as problem:
        _again(one, services.plain(problem, secret), clock())
    else:
        Telling.objects.filter(pk=one.pk).update(
            state="sent", leased_until=None, attempts=one.attempts + 1, last_error=""
        )
    finally:
        http.close()


def _again(one: Telling, why: str, now: datetime) -> None:
    attempts = one.attempts + 1
    over = now - one.made_at > timedelta(hours=settings.REDSHANK.exchanges.give_up_hours)
    Telling.objects.filter(pk=one.pk).update(
        state="dead" if over else "pending", attempts=attempts, last_error=why, leased_until=None,
        due_at=now + min(timedelta(minutes=2**attempts), timedelta(hours=6)),
    )  # fmt: skip
    log.warning("exchange.not_told", exchange=one.claim.exchange.name, says=one.says, problem=why, attempts=attempts)
