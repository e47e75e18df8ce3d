"""Breakers: a rule does so much of one kind on one network in an hour; what is beyond waits for a person.

The one idea: a breaker that tripped stays open until a person has looked. Until then everything of its kind is held, kept
and shown, and nothing is lost: the person lets all of it go on, or discards it, and either closes the breaker. The rule's
other effects go on, evidence first.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec
import structlog
from django.db import transaction
from django.db.models import Count, Q, QuerySet

from redshank import counters as metrics
from redshank.audit.services import Step, record
from redshank.core import Effect, Fired, Problem
from redshank.core.settings import BreakerSettings
from redshank.rows import change, times
from redshank.rules.counting import HOUR, moment
from redshank.rules.models import Breaker, HeldEffect

log = structlog.get_logger(__name__)


class Wish(NamedTuple):
    """One effect of a live rule on an event of a network."""

    rule: str
    effect: str
    network: str


class Held(NamedTuple):
    """One effect that a breaker holds back, with what is needed to do it later."""

    breaker: Breaker
    network: str
    event_id: str
    fired: Fired
    effect: Effect
    evidence: str


def limit(settings: BreakerSettings, effect: str) -> int:
    """What the settings allow a rule of one kind in an hour, on one network; 0 for no limit."""
    return {"open_case": settings.cases, "label": settings.labels}.get(effect, settings.actions)


def admit(wishes: Sequence[Wish], limit_of: Callable[[Wish], int], *, now: datetime) -> list[Breaker | None]:
    """For each wish, in their order, None where it may go on, and the breaker that holds it where it may not.

    In the caller's transaction. Processes that meet on a breaker pass it one after the other.
    """
    limits = {wish: limit_of(wish) for wish in wishes}
    keys = sorted(wish for wish, most in limits.items() if most)
    if not keys:
        return [None] * len(wishes)
    Breaker.objects.bulk_create([Breaker(**key._asdict()) for key in keys], ignore_conflicts=True)
    among = Q(rule__in={key.rule for key in keys}, network__in={key.network for key in keys})
    rows = Breaker.objects.select_for_update().filter(among).order_by("rule", "effect", "network")
    found = {Wish(row.rule, row.effect, row.network): row for row in rows}
    at = moment(now)
    passed = {key: array("q", bytes(found[key].passed)) for key in keys}
    tripped, touched = [], set()
    out: list[Breaker | None] = []
    for wish in wishes:
        most = limits[wish]
        if not most:
            out.append(None)
            continue
        row, went = found[wish], passed[wish]
        if row.tripped_at is None:
            del went[: bisect_right(went, at - HOUR)]
            touched.add(wish)
            if len(went) < most:
                went.insert(bisect_right(went, at), at)
                out.append(None)
                continue
            row.tripped_at, row.most = now, most
            tripped.append(row)
        out.append(row)
    kept = times()
    counted = [
        (passed[wish].tobytes(), row.tripped_at and kept(row.tripped_at), row.most, row.pk)
        for wish, row in found.items()
        if wish in touched
    ]
    change(Breaker, counted, ("passed", "tripped_at", "most"))
    steps = []
    for row in tripped:
        reason = f"It asked for more than {row.most:,} in an hour; what is beyond is held until a person has looked."
        body = {"effect": row.effect, "network": row.network, "most": row.most}
        steps.append(Step(actor="system", step="breaker.tripped", object=f"rule:{row.rule}", reason=reason, body=body))
        log.error(
            "breaker.tripped", rule=row.rule, **body, todo="Look at the system page: release or discard what is held."
        )
    record(steps, now=now)
    return out


def hold(held: Sequence[Held], *, now: datetime) -> None:
    """Keep what breakers hold back. In the caller's transaction."""
    HeldEffect.objects.bulk_create(
        HeldEffect(
            breaker=one.breaker, network=one.network, event_id=one.event_id, held_at=now, evidence=one.evidence,
            fired=msgspec.json.encode(one.fired).decode(), effect=msgspec.json.encode(one.effect).decode(),
        )
        for one in held
    )  # fmt: skip
    for one in held:
        metrics.count_held(one.breaker.rule, one.breaker.effect)


def tripped(rule: str = "") -> QuerySet[Breaker]:
    """The breakers that wait for a person, longest first, each with how many effects it holds (`held`)."""
    waiting = Count("held_effects", filter=Q(held_effects__state=HeldEffect.State.HELD))
    found = Breaker.objects.filter(tripped_at__isnull=False).annotate(held=waiting).order_by("tripped_at", "pk")
    return found.filter(rule=rule) if rule else found


def settle(pk: int, *, release: bool, by: str, now: datetime) -> int:
    """Let all that a breaker holds go on, or discard it; the breaker closes. Gives how many effects it held.

    What goes on is done by `pipeline.do_released`, in the order in which it was held. Raises `Problem` where it holds nothing.
    """
    with transaction.atomic():
        row = Breaker.objects.select_for_update().filter(pk=pk, tripped_at__isnull=False).first()
        if row is None:
            raise Problem("this breaker is closed", hint="Somebody else may have been faster.")
        state = HeldEffect.State.RELEASED if release else HeldEffect.State.DISCARDED
        held = HeldEffect.objects.filter(breaker=row, state=HeldEffect.State.HELD)
        number = held.update(state=state, settled_by=by, settled_at=now)
        row.tripped_at, row.passed = None, b""
        row.save(update_fields=["tripped_at", "passed"])
        step = "breaker.released" if release else "breaker.discarded"
        body = {"effect": row.effect, "network": row.network, "held": number}
        record([Step(actor=by, step=step, object=f"rule:{row.rule}", body=body)], now=now)
    return number


def take_released(limit: int) -> list[HeldEffect]:
    """Up to `limit` effects that a person let go on, oldest first, now the caller's transaction's own."""
    rows = HeldEffect.objects.select_for_update().select_related(None).filter(state=HeldEffect.State.RELEASED)
    return list(rows.order_by("pk")[:limit])


def done(taken: Sequence[HeldEffect]) -> None:
    """These effects were done. In the transaction that took them."""
    HeldEffect.objects.filter(pk__in=[one.pk for one in taken]).update(state=HeldEffect.State.DONE)
