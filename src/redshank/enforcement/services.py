"""The door of enforcement: ask a platform to act, send what was asked for, settle what it answers, take it back.

An action and its place in the outbox are written in the caller's transaction, so there is never one without the other.
Workers lease rows of the outbox in one short transaction, send outside any, and save the answer in another; the action's
id is the idempotency key of every try, so a worker that dies half-way costs a repeat and nothing else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, cast
from urllib.parse import urlsplit

import msgspec
from django.conf import settings
from django.db import transaction
from django.db.models import Count, Exists, F, Max, Min, OuterRef, Q
from django.utils.translation import gettext as _

from redshank.archive import services as archive
from redshank.audit.services import Step, preserve, record
from redshank.core import VERBS, BadInput, Problem, Subject, event_key, stable_id
from redshank.core.actions import HARSHNESS, TARGETS
from redshank.enforcement import answers, letters, signing, states
from redshank.enforcement.letters import Ask
from redshank.enforcement.models import Action, Connector, Delivery
from redshank.enforcement.states import WrongState
from redshank.evasion import services as evasion
from redshank.policies.models import Policy

__all__ = [
    "Ask",
    "Letter",
    "Offer",
    "OutboxState",
    "WrongState",
    "claim_letters",
    "connect",
    "dead_letters",
    "deliver_due",
    "networks_due",
    "offers",
    "outbox_state",
    "pause",
    "preserve_events",
    "request_actions",
    "resend",
    "resume",
    "reverse",
    "rotate_secret",
    "save_outcome",
    "secret_of",
    "settle",
    "tell",
]

LEASE_MARGIN = timedelta(seconds=20)
"""What a worker may need beyond the platform's time to answer, before another one takes its letters."""
EVIDENCE_EVENTS = 50
"""Events that are preserved for an action that came with no evidence of its own: the newest about its subject."""
NETWORK = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}")

_json = msgspec.json.Encoder(order="deterministic")


# ── What a platform offers ──────────────────────────────────────────────────────────────────────────────────────────


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """One verb on one kind of subject: whether the platform does it, if not why, and what it would do."""

    verb: str
    possible: bool
    why_not: str
    sentence: str
    reversible: bool


def offers(network: str, subject_kind: str) -> list[Offer]:
    """Every verb that makes sense for `subject_kind`, mildest first, possible or not."""
    connector = Connector.objects.filter(network=network).first()
    verbs = sorted((verb for verb in VERBS if subject_kind in TARGETS[verb]), key=lambda verb: HARSHNESS[verb])
    return [_offer(connector, network, verb, subject_kind) for verb in verbs]


def _offer(connector: Connector | None, network: str, verb: str, kind: str) -> Offer:
    name = connector.name if connector else network
    why_not = _why_not(connector, network, verb)
    reversible = verb != "restore" and (connector is None or "restore" in connector.verbs)
    sentence = _SENTENCES[verb, kind]() % {"platform": name}
    if verb != "restore":
        back = _("Can be undone.") if reversible else _("%(platform)s cannot undo it.") % {"platform": name}
        sentence = f"{sentence} {back}"
    return Offer(verb=verb, possible=not why_not, why_not=why_not, sentence=sentence, reversible=reversible)


def _why_not(connector: Connector | None, network: str, verb: str) -> str:
    if connector is None:
        return _("%(network)s is not connected, so nothing can be asked of it.") % {"network": network}
    if verb not in connector.verbs:
        return _("%(platform)s does not offer this.") % {"platform": connector.name}
    return ""


_SENTENCES: dict[tuple[str, str], Callable[[], str]] = {
    ("restore", "account"): lambda: _("%(platform)s lifts what holds this account, and tells its owner."),
    ("restore", "post"): lambda: _("%(platform)s shows the post again as it was, and tells its author."),
    ("restore", "media"): lambda: _("%(platform)s shows the file again as it was, and tells its owner."),
    ("label", "account"): lambda: _("%(platform)s puts a notice on the account; it stays usable."),
    ("label", "post"): lambda: _("%(platform)s puts a notice before the post; it stays readable."),
    ("label", "media"): lambda: _("%(platform)s puts a notice before the file; it can still be opened."),
    ("restrict", "account"): lambda: _("%(platform)s lets the account read, but neither post nor recommend it."),
    ("restrict", "post"): lambda: _("%(platform)s stops showing the post to those who do not look for it."),
    ("restrict", "media"): lambda: _("%(platform)s stops showing the file to those who do not look for it."),
    ("remove", "post"): lambda: _("%(platform)s takes the post down for everybody, and tells its author why."),
    ("remove", "media"): lambda: _("%(platform)s takes the file down for everybody, and tells its owner why."),
    ("suspend", "account"): lambda: _("%(platform)s locks the account, hides its posts, and tells its owner why."),
}


# ── Asking ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def request_actions(
    asks: Sequence[Ask],
    *,
    policy: str,
    reason: str,
    message: str,
    asked_by: str,
    key: str,
    case_id: int | None = None,
    decision_id: int | None = None,
    evidence: Sequence[str] = (),
    undoes: str | None = None,
    now: datetime,
) -> list[Action]:
    """Write down `asks` and put them into the outbox, in the caller's transaction; give their actions, as asked.

    An action's id depends on `key` and its ask alone, so the same again gives the same actions and changes nothing.
    `message` is what the person is told; empty: the policy's own. `evidence` holds the SHA-256 of what was preserved;
    where it is empty, the newest events about the subjects are preserved now, before anything changes. `undoes` is the
    id of the one action that a single ask takes back. What no connected platform can do is written down as failed, with
    the reason, and can be sent again once it can. Raises BadInput for a verb that does not fit the kind of subject.
    """
    if undoes and len(asks) != 1:
        raise BadInput("one action is undone by one other", where="undoes")
    wanted: dict[str, Ask] = {}
    for ask in sorted(asks, key=lambda ask: HARSHNESS[ask.verb]):
        if ask.subject.kind not in TARGETS[ask.verb]:
            raise BadInput(f"{ask.verb} cannot be asked for a {ask.subject.kind}", where="verb")
        wanted[_action_id(key, ask)] = ask
    there = Action.objects.in_bulk(list(wanted))
    new = {id_: ask for id_, ask in wanted.items() if id_ not in there}
    if new:
        if not evidence and not undoes:
            evidence = _preserve_subjects({ask.subject for ask in new.values()}, now=now)
        if not message:
            template = Policy.objects.filter(slug=policy).values_list("message", flat=True).first() or ""
        connectors = {row.network: row for row in Connector.objects.all()}
        positions = _last_positions({turn_of(ask.subject) for ask in new.values()})
        actions, deliveries, steps = [], [], []
        for id_, ask in new.items():
            subject = ask.subject
            turn = turn_of(subject)
            positions[turn] = positions.get(turn, 0) + 1
            why_not = _why_not(connectors.get(subject.network), subject.network, ask.verb)
            if not subject.id:
                why_not = _("The platform never said which account this belongs to.")
            told = message or letters.fill(template, ask, reason)
            action = Action(
                id=id_,
                network=subject.network,
                verb=ask.verb,
                subject_kind=subject.kind,
                subject_id=subject.id,
                account_id=subject.account or (subject.id if subject.kind == "account" else ""),
                label=ask.label or "",
                duration_hours=ask.duration_hours,
                policy=policy,
                reason=reason,
                message=told,
                asked_by=asked_by,
                case_id=case_id,
                decision_id=decision_id,
                evidence=list(evidence),
                undoes_id=undoes,
                requested_at=now,
            )
            body = letters.compose(
                id_,
                ask,
                policy=policy,
                reason=reason,
                message=told,
                automated=asked_by.startswith("rule:"),
                undoes=undoes,
                at=now,
            )
            delivery = Delivery(
                action=action,
                network=subject.network,
                subject=turn,
                position=positions[turn],
                body=body,
                due_at=now,
                give_up_at=now + _give_up(),
            )
            steps.append(_step("action.requested", action, asked_by, reason, undoes=undoes or "", verb=ask.verb))
            if why_not:
                action.state = states.after("requested", "fail")
                action.state_reason, action.settled_at = why_not, now
                delivery.state, delivery.last_error = Delivery.State.DEAD, why_not
                steps.append(_step("action.dead", action, "system", why_not))
            actions.append(action)
            deliveries.append(delivery)
        Action.objects.bulk_create(actions)
        Delivery.objects.bulk_create(deliveries)
        record(steps, now=now)
        there.update({action.id: action for action in actions})
    return [there[_action_id(key, ask)] for ask in asks]


def tell(policy: str, ask: Ask, reason: str) -> str:
    """What the person would be told: the message of `policy` (a slug) for `ask`; empty where there is no such policy."""
    template = Policy.objects.filter(slug=policy).values_list("message", flat=True).first() or ""
    return letters.fill(template, ask, reason)


def _action_id(key: str, ask: Ask) -> str:
    subject = ask.subject
    parts = (ask.verb, subject.network, subject.kind, subject.id, ask.label or "", str(ask.duration_hours or ""))
    return stable_id("act", key, *parts)


def turn_of(subject: Subject) -> str:
    """What letters about one subject have in common: they leave one after another."""
    return stable_id("sub", subject.network, subject.kind, subject.id)


def _last_positions(turns: Collection[str]) -> dict[str, int]:
    last = Delivery.objects.filter(subject__in=list(turns)).values("subject").annotate(last=Max("position"))
    return {row["subject"]: row["last"] for row in last}


def _give_up() -> timedelta:
    return timedelta(hours=settings.REDSHANK.outbox.give_up_hours)


def _step(step: str, action: Action, actor: str, reason: str = "", **body: Any) -> Step:
    if action.case_id:
        body["case"] = action.case_id
    return Step(
        actor=actor,
        step=step,
        object=f"action:{action.pk}",
        reason=reason,
        evidence=tuple(action.evidence),
        body={name: value for name, value in body.items() if value not in ("", None)},
    )


# ── Evidence ────────────────────────────────────────────────────────────────────────────────────────────────────────


def preserve_events(keys: Iterable[tuple[str, str]], *, now: datetime) -> tuple[str, ...]:
    """Keep these archived events (network, event id), their verdicts and their media as evidence; give the SHA-256s.

    In the caller's transaction. Events that were never archived are passed over; the same again changes nothing.
    """
    return _preserve(archive.records_of(keys), now=now)


def _preserve_subjects(subjects: Iterable[Subject], *, now: datetime) -> tuple[str, ...]:
    records: list[Any] = []
    for subject in sorted(subjects):
        records += archive.events_about(subject, limit=EVIDENCE_EVENTS)
    return _preserve(records, now=now)


def _preserve(records: Iterable[Any], *, now: datetime) -> tuple[str, ...]:
    digests: list[str] = []
    kept: set[str] = set()
    for one in records:
        blobs: dict[str, str] = json.loads(one.blobs) if one.blobs else {}
        verdict = msgspec.Raw(one.verdict.encode()) if one.verdict else {}
        body = _json.encode({"event": msgspec.Raw(one.body.encode()), "verdict": verdict, "blobs": blobs}).decode()
        kept.update(blobs.values())
        digests.append(preserve(event_key(one.network, one.event_id), body, sorted(blobs.values()), now=now))
    if kept:
        archive.keep_blobs(kept, "evidence")
    return tuple(dict.fromkeys(digests))


# ── Settling ────────────────────────────────────────────────────────────────────────────────────────────────────────


def settle(
    action_id: str,
    state: Literal["confirmed", "failed"],
    reason: str,
    *,
    now: datetime,
    by: str,
    network: str | None = None,
) -> bool:
    """The platform says what became of an action; give whether that was news. In the caller's transaction.

    `network`, where given, is the only one whose actions may be settled so. Its confirmation also brings the account's
    record up to date. What contradicts a confirmation changes nothing, and is shown and written down.
    Raises BadInput where there is no such action, WrongState where an action that was taken back is said to have failed.
    """
    action = Action.objects.select_for_update().filter(pk=action_id).first()
    if action is None or (network is not None and action.network != network):
        raise BadInput("no such action of this network", where="action")
    if action.state == state:
        return False
    reason = answers.clean(reason)
    if action.state == Action.State.CONFIRMED:
        said = _("The platform later said: %(state)s. %(reason)s") % {"state": state, "reason": reason}
        if action.state_reason != said.strip():
            action.state_reason = said.strip()
            action.save(update_fields=["state_reason"])
            record([_step("action.contradicted", action, by, reason)], now=now)
        return False
    _move(action, "confirm" if state == "confirmed" else "fail", reason, now=now)
    Delivery.objects.filter(pk=action.pk, state__in=(Delivery.State.PENDING, Delivery.State.DEAD)).update(
        state=Delivery.State.DELIVERED
    )
    record([_step(f"action.{state}", action, by, reason)], now=now)
    if state == "confirmed":
        _update_account(action, now=now)
    return True


def _move(action: Action, step: states.Step, reason: str, *, now: datetime) -> None:
    state = states.after(_state(action), step)
    action.state, action.state_reason = state, reason
    if state == "requested":
        action.sent_at = action.settled_at = None
    elif state in ("sent", "confirmed") and action.sent_at is None:
        action.sent_at = now
    if state in ("confirmed", "failed", "canceled"):
        action.settled_at = now
    action.save(update_fields=["state", "state_reason", "sent_at", "settled_at"])


def _state(action: Action) -> states.State:
    return cast("states.State", action.state)


def _update_account(action: Action, *, now: datetime) -> None:
    if action.subject_kind != "account" or action.verb not in ("suspend", "restrict", "restore"):
        return
    done = Action.objects.filter(
        network=action.network,
        subject_kind="account",
        subject_id=action.subject_id,
        state=Action.State.CONFIRMED,
        verb__in=("suspend", "restrict", "restore"),
    ).order_by("delivery__position", "pk")
    state = states.standing(states.Done(one.pk, one.verb, one.undoes_id or "") for one in done)
    archive.set_account_state(action.network, action.subject_id, state, now=now)
    evasion.set_state(action.network, action.subject_id, state, at=now, now=now)


def reverse(
    action_id: str,
    *,
    reason: str,
    asked_by: str,
    case_id: int | None = None,
    decision_id: int | None = None,
    now: datetime,
) -> Action | None:
    """Take an action back, in the caller's transaction; give the action that does so, None where none is needed.

    What never left is canceled. What may have reached the platform is stopped and restored; what was a restore is asked
    for again as it was. What the platform said it did not do needs nothing. Twice is the same as once.
    """
    action = Action.objects.select_for_update().get(pk=action_id)
    delivery = Delivery.objects.select_for_update().get(pk=action_id)
    undone = Action.objects.filter(undoes=action).first()
    if undone or action.state == Action.State.CANCELED:
        return undone
    never_left = delivery.attempts == 0
    refused = action.state == Action.State.FAILED and delivery.state == Delivery.State.DELIVERED
    if states.may(_state(action), "cancel"):
        said = _("Taken back before it was sent.") if never_left else _("Taken back; it will not be tried again.")
        if refused:
            said = _("Taken back; the platform had not done it: %(reason)s") % {"reason": action.state_reason}
        _move(action, "cancel", said, now=now)
        Delivery.objects.filter(pk=action_id, state__in=(Delivery.State.PENDING, Delivery.State.DEAD)).update(
            state=Delivery.State.CANCELED
        )
        record([_step("action.canceled", action, asked_by, reason)], now=now)
        if never_left or refused:
            return None
    subject = Subject(action.network, action.subject_kind, action.subject_id, action.account_id)
    first = action.undoes
    if action.verb != "restore":
        ask = Ask(verb="restore", subject=subject)
    elif first is not None:
        verb: Any = first.verb
        ask = Ask(verb=verb, subject=subject, label=first.label or None, duration_hours=first.duration_hours)
    else:
        raise WrongState("a restore that names no action cannot be taken back")
    (back,) = request_actions(
        [ask],
        policy=action.policy,
        reason=reason,
        message="",
        asked_by=asked_by,
        key=f"undo/{action_id}",
        case_id=case_id if case_id is not None else action.case_id,
        decision_id=decision_id,
        evidence=action.evidence,
        undoes=action_id,
        now=now,
    )
    return back


def resend(action_id: str, *, by: str, now: datetime) -> Action:
    """Send an action again that failed or is dead, or one that waits, at once. `by` is the actor, `user:NAME`.

    Raises BadInput where there is no such action; WrongState where it was taken back, undone or confirmed, or where it
    is sent and only its confirmation is awaited.
    """
    with transaction.atomic():
        action = Action.objects.select_for_update().filter(pk=action_id).first()
        if action is None:
            raise BadInput("no such action", where=action_id[:60])
        if Action.objects.filter(undoes=action).exists():
            raise WrongState("this action was undone since", hint="Decide the case again to act again.")
        if action.state == Action.State.REQUESTED:
            Delivery.objects.filter(pk=action_id, state=Delivery.State.PENDING).update(due_at=now)
        else:
            _move(action, "resend", "", now=now)
            Delivery.objects.filter(pk=action_id).update(
                state=Delivery.State.PENDING, due_at=now, give_up_at=now + _give_up(), last_error=""
            )
        record([_step("action.resent", action, by)], now=now)
    return action


# ── The outbox ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the outbox, leased to one worker until `leased_until`: where it goes, signed under which secrets."""

    action: str
    network: str
    url: str
    body: bytes
    secrets: tuple[str, ...]
    attempt: int
    distrusted: bool
    leased_until: datetime


def networks_due(now: datetime) -> list[str]:
    """The networks for which something could be sent at `now`, those that wait longest first."""
    due = Delivery.objects.filter(_free(now), state=Delivery.State.PENDING, due_at__lte=now)
    rows = due.values("network").annotate(first=Min("due_at")).order_by("first", "network")
    open_ = set(Connector.objects.filter(paused_at=None).values_list("network", flat=True))
    return [row["network"] for row in rows if row["network"] in open_]


def _free(now: datetime) -> Q:
    return Q(leased_until=None) | Q(leased_until__lte=now)


def claim_letters(network: str, *, now: datetime, limit: int) -> list[Letter]:
    """Lease up to `limit` letters to `network` that are due at `now`, oldest first. Its own short transaction.

    A letter waits while an earlier one about the same subject is neither delivered nor dead, or is still on its way: a
    restore never overtakes what it restores. The try is counted before it is made, so a crash cannot hide it.
    """
    with transaction.atomic():
        connector = Connector.objects.filter(network=network, paused_at=None).first()
        if connector is None:
            return []
        earlier = Delivery.objects.filter(
            Q(position__lt=OuterRef("position")) | Q(position=OuterRef("position"), pk__lt=OuterRef("pk")),
            Q(state=Delivery.State.PENDING) | Q(leased_until__gt=now),
            subject=OuterRef("subject"),
        )
        due = (
            Delivery.objects.select_for_update(skip_locked=True)
            .filter(_free(now), ~Exists(earlier), network=network, state=Delivery.State.PENDING, due_at__lte=now)
            .order_by("due_at", "position", "pk")
        )
        rows = list(due[:limit])
        until = now + timedelta(seconds=settings.REDSHANK.outbox.timeout_seconds) + LEASE_MARGIN
        Delivery.objects.filter(pk__in=[row.pk for row in rows]).update(leased_until=until, attempts=F("attempts") + 1)
    secrets = _secrets(connector)
    return [
        Letter(
            action=row.pk,
            network=network,
            url=connector.url,
            body=row.body.encode(),
            secrets=secrets,
            attempt=row.attempts + 1,
            distrusted=row.distrusted,
            leased_until=until,
        )
        for row in rows
    ]


def save_outcome(letter: Letter, outcome: answers.Outcome, *, now: datetime, chance: float) -> None:
    """Write down what came of one try, in its own transaction. `chance` (0 to 1) spreads the next one.

    Whatever the platform said counts, even where the lease ran out meanwhile; where nothing came of the try, only the
    holder of the lease may say so.
    """
    with transaction.atomic():
        action = Action.objects.select_for_update().get(pk=letter.action)
        delivery = Delivery.objects.select_for_update().get(pk=letter.action)
        ours = delivery.leased_until == letter.leased_until
        if ours:
            delivery.leased_until = None
        delivery.last_status = outcome.status
        delivery.distrusted = delivery.distrusted or outcome.lied
        pending = delivery.state == Delivery.State.PENDING
        if outcome.what in ("confirmed", "failed", "taken"):
            delivery.last_error = ""
            if pending:
                delivery.state = Delivery.State.DELIVERED
        else:
            delivery.last_error = outcome.reason
            if pending and ours:
                _plan(delivery, outcome, now=now, chance=chance)
        delivery.save()
        by = f"platform:{letter.network}"
        if outcome.what == "confirmed" or (outcome.what == "failed" and action.state != Action.State.CANCELED):
            word: Literal["confirmed", "failed"] = "confirmed" if outcome.what == "confirmed" else "failed"
            if action.state == Action.State.REQUESTED:
                _note_sent(action, outcome, now=now)
            settle(action.pk, word, outcome.reason, now=now, by=by)
        elif outcome.what == "taken" and action.state == Action.State.REQUESTED:
            _note_sent(action, outcome, now=now)
        elif pending and delivery.state == Delivery.State.DEAD:
            _move(action, "fail", outcome.reason, now=now)
            record([_step("action.dead", action, "system", outcome.reason, attempts=delivery.attempts)], now=now)


def _note_sent(action: Action, outcome: answers.Outcome, *, now: datetime) -> None:
    _move(action, "take", outcome.reason, now=now)
    record([_step("action.sent", action, "system", status=outcome.status)], now=now)


def _plan(delivery: Delivery, outcome: answers.Outcome, *, now: datetime, chance: float) -> None:
    if outcome.what == "dead" or now >= delivery.give_up_at:
        delivery.state = Delivery.State.DEAD
        return
    wait = max(answers.delay(delivery.attempts, chance), outcome.wait)
    left = (delivery.give_up_at - now).total_seconds()
    delivery.due_at = now + timedelta(seconds=min(wait, left))  # The last try is made as the time runs out.


_COUNT = Count("pk")


class OutboxState(msgspec.Struct, frozen=True, kw_only=True):
    """How the outbox to one network stands: counts of letters, and since when the oldest of them waits."""

    network: str
    name: str
    paused: bool
    waiting: int
    dead: int
    unconfirmed: int
    oldest: datetime | None
    last_error: str


def outbox_state(now: datetime) -> list[OutboxState]:
    """The outbox, network by network. `unconfirmed` were taken longer ago than outbox.confirm_hours, and not settled."""
    overdue = now - timedelta(hours=settings.REDSHANK.outbox.confirm_hours)
    pending = Delivery.objects.filter(state=Delivery.State.PENDING).values_list("network")
    waiting = {
        network: (number, oldest) for network, number, oldest in pending.annotate(_COUNT, Min("action__requested_at"))
    }
    dead = dict(Delivery.objects.filter(state=Delivery.State.DEAD).values_list("network").annotate(_COUNT))
    sent = Action.objects.filter(state=Action.State.SENT, sent_at__lt=overdue).values_list("network").annotate(_COUNT)
    unconfirmed = dict(sent)
    connectors = {row.network: row for row in Connector.objects.all()}
    out = []
    for network in sorted({*waiting, *dead, *unconfirmed, *connectors}):
        connector = connectors.get(network)
        number, oldest = waiting.get(network, (0, None))
        bad = Delivery.objects.filter(network=network, state=Delivery.State.PENDING).exclude(last_error="")
        out.append(
            OutboxState(
                network=network,
                name=connector.name if connector else network,
                paused=bool(connector and connector.paused_at),
                waiting=number,
                dead=dead.get(network, 0),
                unconfirmed=unconfirmed.get(network, 0),
                oldest=oldest,
                last_error=bad.order_by("-due_at").values_list("last_error", flat=True).first() or "",
            )
        )
    return out


def dead_letters(*, limit: int = 200) -> list[Delivery]:
    """What could not be delivered, newest first, each with its action."""
    dead = Delivery.objects.filter(state=Delivery.State.DEAD).select_related("action")
    return list(dead.order_by("-action__requested_at", "pk")[:limit])


def deliver_due(
    *,
    now: datetime,
    limit: int,
    clock: Callable[[], datetime] | None = None,
    chance: Callable[[], float] | None = None,
) -> int:
    """Try every letter that is due at `now`, up to `limit`; give how many were tried, when all are answered or not.

    `clock` tells the time as answers come (default: the real one), `chance` gives numbers from 0 to 1 that spread the
    next tries. A worker that must never wait for one slow platform keeps a `redshank.enforcement.courier.Courier`.
    """
    from redshank.enforcement.courier import Courier

    courier = Courier(clock=clock, chance=chance)
    courier.run(now=now, limit=limit)
    return courier.tried


# ── Connectors ──────────────────────────────────────────────────────────────────────────────────────────────────────


def connect(network: str, name: str, url: str, verbs: Sequence[str], *, by: str, now: datetime) -> Connector:
    """Connect `network`, or change where its webhook is and what it offers. `by` is the actor, `user:NAME` or system.

    An admin sets the address, and many platforms live in the same private network as Redshank: so private addresses are
    allowed here, as they never are for an address that an event names. Raises BadInput naming what is wrong.
    """
    if not NETWORK.fullmatch(network):
        raise BadInput("not a network", where=network[:80], hint="Use lower-case letters, digits, dots and hyphens.")
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        whole = False
    if not whole or len(url) > 2000 or not url.isprintable() or " " in url:
        raise BadInput("not an address of http or https", where=url[:80], hint="For example https://HOST/redshank.")
    unknown = sorted(set(verbs) - set(VERBS))
    if unknown or not verbs:
        what = f"no such verb as {unknown[0][:40]}" if unknown else "no verb given"
        raise BadInput(what, where="verbs", hint=f"A platform offers some of {', '.join(VERBS)}.")
    with transaction.atomic():
        values = {"name": name.strip()[:100] or network, "url": url, "verbs": [v for v in VERBS if v in verbs]}
        connector, made = Connector.objects.update_or_create(
            network=network, defaults=values, create_defaults={**values, "created_at": now}
        )
        _note_connector("connector.made" if made else "connector.changed", network, by, now=now, body=values)
    return connector


def secret_of(connector: Connector) -> str:
    """The secret under which this platform's webhooks are signed, as `whsec_…`."""
    return signing.derive_secret(settings.SECRET_KEY, connector.network, connector.secret_version)


def _secrets(connector: Connector) -> tuple[str, ...]:
    """The present secret and the one before: a platform that has yet to learn the new one still understands."""
    versions = range(connector.secret_version, max(0, connector.secret_version - 2), -1)
    return tuple(signing.derive_secret(settings.SECRET_KEY, connector.network, version) for version in versions)


def rotate_secret(network: str, *, by: str, now: datetime) -> str:
    """A new webhook secret for `network`. Webhooks are signed under the old one too until it is changed once more.

    Raises Problem where the network is not connected.
    """
    with transaction.atomic():
        connector = _connector(network)
        connector.secret_version += 1
        connector.save(update_fields=["secret_version"])
        _note_connector("connector.secret_rotated", network, by, now=now, body={"version": connector.secret_version})
    return secret_of(connector)


def pause(network: str, *, by: str, now: datetime) -> None:
    """Send nothing to `network` until `resume`; what is asked for waits. Raises Problem where it is not connected."""
    with transaction.atomic():
        connector = _connector(network)
        connector.paused_at = connector.paused_at or now
        connector.save(update_fields=["paused_at"])
        _note_connector("connector.paused", network, by, now=now)


def resume(network: str, *, by: str, now: datetime) -> None:
    """Send to `network` again. Raises Problem where it is not connected."""
    with transaction.atomic():
        connector = _connector(network)
        connector.paused_at = None
        connector.save(update_fields=["paused_at"])
        _note_connector("connector.resumed", network, by, now=now)


def _connector(network: str) -> Connector:
    connector = Connector.objects.select_for_update().filter(network=network).first()
    if connector is None:
        raise Problem("not connected", where=network[:80], hint="Connect it first: redshank connect.")
    return connector


def _note_connector(step: str, network: str, by: str, *, now: datetime, body: dict[str, Any] | None = None) -> None:
    record([Step(actor=by, step=step, object=f"connector:{network}", body=body or {})], now=now)
