"""The door of the cases: gather what speaks about one subject, give people the next to look at, keep what they decide.

There is at most one open case a subject, whoever asks for it and however many at once. Whatever a person does checks
the case under a lock, changes it, asks for actions and writes the audit entry in one transaction.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, Literal, TypeVar, cast

import msgspec
from django.db import IntegrityError, connection, transaction
from django.db.models import Count, Min, Q
from django.utils.translation import gettext as _

from redshank.archive.models import EventRecord
from redshank.audit.models import Entry
from redshank.audit.services import Step, record
from redshank.banks import services as banks
from redshank.cases import priority, states
from redshank.cases.models import Case, Comment, Decision, Item
from redshank.cases.priority import CaseRequest, NewItem, Place
from redshank.cases.states import HOLD, Conflict, NotAllowed
from redshank.core import BadInput, Problem, Subject
from redshank.enforcement import services as enforcement
from redshank.enforcement.models import Action
from redshank.enforcement.services import Ask
from redshank.people.models import User
from redshank.policies.models import Policy
from redshank.rows import add, times

__all__ = [
    "HOLD",
    "CaseRequest",
    "Conflict",
    "Counts",
    "Moment",
    "NewItem",
    "NotAllowed",
    "QueueCount",
    "comment",
    "counts",
    "decide",
    "decided",
    "earlier_cases",
    "escalate",
    "gather",
    "hand_over",
    "history",
    "may_undo",
    "no_violation_sentence",
    "preview_message",
    "release",
    "rule_actions",
    "take",
    "take_next",
    "undo",
]

_CHUNK = 5_000
"""Values in one IN or VALUES list; SQLite takes 32,766 parameters a statement, PostgreSQL 65,535."""
_TRIES = 8
"""How often a batch that collides with another one's new cases is planned again. Each collision means that the other
one's cases are there now, so one more try is nearly always enough."""

Key = tuple[str, str, str]
T = TypeVar("T")


# ── Gathering ───────────────────────────────────────────────────────────────────────────────────────────────────────


def gather(requests: Iterable[CaseRequest], *, now: datetime) -> dict[Key, int]:
    """Open a case for each subject, or feed the open one; give the case's id by (network, kind, id) of its subject.

    In the caller's transaction, with a few statements for many requests. The same items again change nothing, even where
    their case was decided meanwhile. Something new on a decided subject opens a new case. A case whose place changed
    gets a new version, so that whoever is about to decide sees it first; more of the same does not disturb them.
    """
    wanted = priority.merge(requests, now)
    if not wanted:
        return {}
    known = set(Policy.objects.values_list("slug", flat=True))
    with transaction.atomic():
        for _try in range(_TRIES):
            plan = _plan(wanted)
            new = [_new_case(asked, known, now) for asked in plan.missing]
            try:
                with transaction.atomic():
                    Case.objects.bulk_create(new)
            except IntegrityError:  # Another one opened some of them meanwhile: they are found now, and fed.
                continue
            break
        else:
            raise Problem("these cases are being opened by others all the time", hint="Send the events again.")
        cases = {**plan.open, **{_key(case): case for case in new}}
        fresh = _add_items(wanted, cases, plan.seen)
        moved = [
            case
            for asked in wanted
            if (case := plan.open.get(_subject_key(asked.subject))) and _move(case, asked.place, known)
        ]
        Case.objects.bulk_update(
            moved, ["queue", "priority", "priority_reason", "deadline", "policy", "version"], batch_size=100
        )
        opened = {case.pk for case in new}
        raised = {case.pk for case in moved}
        steps = []
        for asked in wanted:
            case = cases.get(_subject_key(asked.subject))
            items = fresh.get(case.pk, []) if case else []
            if case and (case.pk in opened or case.pk in raised or items):
                step = "case.opened" if case.pk in opened else "case.fed"
                steps.append(_gathered_step(step, case, asked, items))
        record(steps, now=now)
    return {**{key: case.pk for key, case in cases.items()}, **plan.settled}


class _Plan(msgspec.Struct, frozen=True):
    """What is there: open cases, locked; cases that were decided on these very items; and for whom there is none.

    `seen` holds (case, item key) of what the open cases have already.
    """

    open: dict[Key, Case]
    settled: dict[Key, int]
    missing: list[priority.Gathered]
    seen: set[tuple[int, str]]


def _plan(wanted: Sequence[priority.Gathered]) -> _Plan:
    by_kind: dict[tuple[str, str], list[str]] = {}
    for asked in wanted:
        by_kind.setdefault((asked.subject.network, asked.subject.kind), []).append(asked.subject.id)
    open_: dict[Key, Case] = {}
    decided: dict[Key, list[int]] = {}
    for (network, kind), ids in sorted(by_kind.items()):
        for chunk in _chunks(ids):
            about = Case.objects.filter(network=network, subject_kind=kind, subject_id__in=chunk)
            for case in about.filter(state=Case.State.OPEN).select_for_update().order_by("pk"):
                open_[_key(case)] = case
            rows = about.filter(state=Case.State.DECIDED).order_by("pk").values_list("subject_id", "pk")
            for subject_id, pk in rows:
                decided.setdefault((network, kind, subject_id), []).append(pk)
    pairs: list[tuple[int, str]] = []
    for asked in wanted:
        key = _subject_key(asked.subject)
        ids_ = [open_[key].pk] if key in open_ else decided.get(key, [])
        pairs += [(pk, item.key) for pk in ids_ for item in asked.items]
    seen = _seen(pairs)
    settled: dict[Key, int] = {}
    missing: list[priority.Gathered] = []
    for asked in wanted:
        key = _subject_key(asked.subject)
        if key in open_:
            continue
        had = [pk for pk in decided.get(key, []) if asked.items and any((pk, item.key) in seen for item in asked.items)]
        if had and all(any((pk, item.key) in seen for pk in had) for item in asked.items):
            settled[key] = had[-1]
        else:
            missing.append(asked)
    return _Plan(open_, settled, missing, seen)


def _seen(pairs: Sequence[tuple[int, str]]) -> set[tuple[int, str]]:
    """Those of `pairs`, (case, item key), that are stored."""
    found: set[tuple[int, str]] = set()
    table = Item._meta.db_table  # noqa: SLF001 - Django's documented way to a table's name
    with connection.cursor() as cursor:
        for chunk in _chunks(pairs):
            rows = ", ".join(["(%s, %s)"] * len(chunk))
            cursor.execute(
                f"WITH asked (case_id, key) AS (VALUES {rows}) "  # noqa: S608 - only places for values
                f"SELECT i.case_id, i.key FROM asked JOIN {table} i ON i.case_id = asked.case_id AND i.key = asked.key",
                [value for pair in chunk for value in pair],
            )
            found.update(cursor.fetchall())
    return found


def _new_case(asked: priority.Gathered, known: Collection[str], now: datetime) -> Case:
    return Case(
        network=asked.subject.network,
        subject_kind=asked.subject.kind,
        subject_id=asked.subject.id,
        account_id=asked.subject.account,
        policy_id=asked.place.policy if asked.place.policy in known else None,
        queue=asked.place.queue,
        priority=asked.place.priority,
        priority_reason=_storable(asked.place.priority_reason),
        source=asked.source[:16],
        opened_at=now,
        deadline=asked.place.deadline,
    )


def _add_items(
    wanted: Sequence[priority.Gathered], cases: dict[Key, Case], seen: Collection[tuple[int, str]]
) -> dict[int, list[NewItem]]:
    fresh: dict[int, list[NewItem]] = {}
    for asked in wanted:
        case = cases.get(_subject_key(asked.subject))
        items = [item for item in asked.items if case and (case.pk, item.key) not in seen]
        if case and items:
            fresh[case.pk] = items
    kept = times()
    rows = [
        (
            pk,
            item.key,
            item.kind,
            item.event,
            json.dumps(_storable(item.body)),
            (item.body.get("match") or {}).get("entry") if item.kind == "finding" else None,
            kept(item.at),
        )
        for pk, items in fresh.items()
        for item in items
    ]
    add(Item, rows, ("case_id", "key", "kind", "event", "body", "entry", "at"))
    return fresh


def _place(case: Case) -> Place:
    return Place(
        queue=case.queue,
        priority=case.priority,
        priority_reason=case.priority_reason,
        deadline=case.deadline,
        policy=case.policy_id,
    )


def _put(case: Case, place: Place) -> None:
    case.queue, case.priority, case.deadline = place.queue, place.priority, place.deadline
    case.priority_reason, case.policy_id = _storable(place.priority_reason), place.policy
    case.version += 1


def _move(case: Case, asked: Place, known: Collection[str]) -> bool:
    if asked.policy not in known:
        asked = msgspec.structs.replace(asked, policy=None)
    before = _place(case)
    place = priority.raised(before, asked)
    if place == before:
        return False
    _put(case, place)
    return True


def _gathered_step(step: str, case: Case, asked: priority.Gathered, items: Sequence[NewItem]) -> Step:
    actor = "system" if asked.source == "person" else f"platform:{case.network}"
    for item in items:
        if item.kind == "fired":
            actor = f"rule:{item.body.get('rule', '')}@{item.body.get('version', '')}"
            break
    return Step(
        actor=actor[:200],
        step=step,
        object=f"case:{case.pk}",
        reason=_storable(asked.place.priority_reason),
        evidence=tuple(dict.fromkeys(item.event for item in items)),
        body={
            "queue": case.queue,
            "priority": case.priority,
            "deadline": case.deadline.isoformat(),
            "items": len(items),
        },
    )


def _key(case: Case) -> Key:
    return case.network, case.subject_kind, case.subject_id


def _subject_key(subject: Subject) -> Key:
    return subject.network, subject.kind, subject.id


def _chunks(values: Sequence[T]) -> Iterable[Sequence[T]]:
    for start in range(0, len(values), _CHUNK):
        yield values[start : start + _CHUNK]


def _storable(value: Any) -> Any:
    """`value` without the one character that PostgreSQL can hold in no text and no JSON."""
    if isinstance(value, str):
        return value.replace("\x00", "\N{REPLACEMENT CHARACTER}")
    if isinstance(value, dict):
        return {_storable(key): _storable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(inner) for inner in value]
    return value


# ── Who looks at what ───────────────────────────────────────────────────────────────────────────────────────────────


def take_next(user: User, *, queue: str | None = None, skip: Collection[int] = (), now: datetime) -> Case | None:
    """Hold the next case for `user`: the one they hold already, else the first by deadline, then priority.

    What others hold is passed over, and so is what is in `skip` (case ids). None where nothing waits.
    Raises `NotAllowed`.
    """
    _check(user, "cases.decide")
    with transaction.atomic():
        waiting = Case.objects.filter(state=Case.State.OPEN).exclude(pk__in=list(skip))
        if queue:
            waiting = waiting.filter(queue=queue)
        mine = waiting.filter(held_by=user, held_until__gt=now).order_by("deadline", "-priority", "pk")
        case = mine.select_for_update(of=("self",)).first()
        if case is None:
            free = waiting.filter(Q(held_until=None) | Q(held_until__lte=now)).order_by("deadline", "-priority", "pk")
            case = free.select_for_update(skip_locked=True, of=("self",)).first()
        if case is not None:
            _hold(case, user, now)
    return case


def take(case_id: int, user: User, *, now: datetime) -> Case:
    """Hold this case for half an hour, or hold it for longer. Raises `Conflict` where another one holds it, or where it
    is decided; `NotAllowed`; BadInput where there is no such case."""
    _check(user, "cases.decide")
    with transaction.atomic():
        case = _locked(case_id)
        states.after(_state(case), "take")
        _check_turn(case, user, now)
        _hold(case, user, now)
    return case


def release(case_id: int, user: User, *, now: datetime) -> None:
    """Put a case back that `user` holds; nothing happens where they do not."""
    with transaction.atomic():
        case = _locked(case_id)
        if case.held_by_id != user.pk:
            return
        case.held_by = case.held_until = None
        case.save(update_fields=["held_by", "held_until"])
        record([_step("case.released", case, user)], now=now)


def hand_over(case_id: int, *, by: User, to: User, now: datetime) -> None:
    """Let `to` hold the case in place of `by`. Raises `Conflict` where a third one holds it; `NotAllowed` for either."""
    _check(by, "cases.decide")
    _check(to, "cases.decide")
    with transaction.atomic():
        case = _locked(case_id)
        states.after(_state(case), "take")
        _check_turn(case, by, now)
        case.held_by, case.held_until = to, now + HOLD
        case.save(update_fields=["held_by", "held_until"])
        record([_step("case.handed_over", case, by, to=to.username)], now=now)


def _hold(case: Case, user: User, now: datetime) -> None:
    renewed = states.holder(_holder_name(case), case.held_until, now) == user.username
    case.held_by, case.held_until = user, now + HOLD
    case.save(update_fields=["held_by", "held_until"])
    if not renewed:
        record([_step("case.taken", case, user)], now=now)


# ── Deciding ────────────────────────────────────────────────────────────────────────────────────────────────────────


def decide(
    case_id: int,
    *,
    by: User,
    version: int,
    outcome: Literal["act", "no_violation"],
    policy: str,
    reason: str,
    asks: Sequence[Ask] = (),
    now: datetime,
) -> Decision:
    """Decide a case as it stood at `version`: `act` asks the platform for all of `asks`, `no_violation` for none.

    To act confirms what other organizations gave us and led to this case.

    Evidence is preserved before anything is asked for. No violation also takes back what rules did on this case, as
    `no_violation_sentence` says beforehand. `policy` is a slug. Raises `Conflict` where the case moved on or another
    one holds it, `NotAllowed`, and BadInput naming what is missing or what the platform does not offer. In each of these
    nothing was changed.
    """
    _check(by, "cases.decide")
    reason = _storable(reason.strip())
    with transaction.atomic():
        case = _locked(case_id)
        _check_open(case, version)
        _check_turn(case, by, now)
        chosen = Policy.objects.filter(slug=policy, retired_at=None).first()
        if chosen is None:
            raise BadInput("choose a policy that is in force", where="policy")
        _check_asks(case, outcome, reason, asks)
        decision = Decision.objects.create(case=case, by=by, outcome=outcome, policy=chosen, reason=reason, at=now)
        evidence = enforcement.preserve_events(_events(case), now=now)
        _close(case, now)
        step = _step(
            "decision.made", case, by, reason, evidence=evidence, outcome=outcome, policy=policy, decision=decision.pk
        )
        record([step], now=now)
        actor = f"user:{by.username}"
        if asks:
            enforcement.request_actions(
                asks,
                policy=policy,
                reason=reason,
                message="",
                asked_by=actor,
                key=f"decision/{decision.pk}/{case.pk}/{now.isoformat()}",
                case_id=case.pk,
                decision_id=decision.pk,
                evidence=evidence,
                now=now,
            )
        if outcome == "act":
            banks.confirm_entries(_matched(case), by=actor, now=now)
        if outcome == "no_violation":
            why = reason or _("Reviewed by a person: no violation.")
            for action in rule_actions(case):
                enforcement.reverse(
                    action.pk, reason=why, asked_by=actor, case_id=case.pk, decision_id=decision.pk, now=now
                )
    return decision


def _matched(case: Case) -> list[int]:
    """The entries of banks that its findings matched, but for those that no rule saw."""
    items = Item.objects.filter(case=case, entry__isnull=False).values_list("entry", "body")
    return [pk for pk, body in items if pk is not None and not (body.get("match") or {}).get("withheld")]


def _check_asks(case: Case, outcome: str, reason: str, asks: Sequence[Ask]) -> None:
    if outcome == Decision.Outcome.NO_VIOLATION:
        if asks:
            raise BadInput("no violation asks for no action", where="asks")
        return
    if outcome != Decision.Outcome.ACT:
        raise BadInput("neither act nor no_violation", where="outcome")
    if not asks:
        raise BadInput("choose at least one action", where="asks")
    if not reason:
        raise BadInput("say why, in a sentence that the person can be told", where="reason")
    offered: dict[tuple[str, str], dict[str, enforcement.Offer]] = {}
    for ask in asks:
        subject = ask.subject
        key = (subject.network, subject.kind)
        if subject.network != case.network or subject.id not in (case.subject_id, case.account_id) or not subject.id:
            raise BadInput("an action on this case is about its subject or that one's account", where="asks")
        if key not in offered:
            offered[key] = {offer.verb: offer for offer in enforcement.offers(*key)}
        offer = offered[key].get(ask.verb)
        if offer is None or not offer.possible:
            why = offer.why_not if offer else f"{ask.verb} cannot be asked for a {subject.kind}."
            raise BadInput(why.rstrip("."), where="asks")
        if ask.verb == "label" and not ask.label:
            raise BadInput("say which label", where="asks")


def rule_actions(case: Case) -> list[Action]:
    """What rules did, or asked for, on this case and its subject, and nobody took back yet."""
    here = Q(case_id=case.pk) | Q(
        case_id=None, network=case.network, subject_kind=case.subject_kind, subject_id=case.subject_id
    )
    live = Action.objects.filter(here, asked_by__startswith="rule:", undone_by=None).exclude(verb="restore")
    return list(live.exclude(state=Action.State.CANCELED).order_by("-requested_at", "-delivery__position", "verb"))


def no_violation_sentence(case: Case) -> str:
    """What "no violation" would do, for the person who is about to say so."""
    done = rule_actions(case)
    if not done:
        return _("Closes the case. Nothing is asked of the platform.")
    what = ", ".join(f"{action.verb} {action.subject_kind}" for action in done)
    return _("Closes the case, and takes back what rules did on it: %(what)s.") % {"what": what}


def preview_message(policy: str, ask: Ask, reason: str) -> str:
    """What the person would be told, were this asked under `policy` (a slug) for `reason`."""
    return enforcement.tell(policy, ask, reason)


def may_undo(decision: Decision) -> str:
    """Why this decision cannot be undone; empty where it can."""
    if decision.outcome not in (Decision.Outcome.ACT, Decision.Outcome.NO_VIOLATION):
        return _("Only a decision to act, or that there is no violation, can be undone.")
    if Decision.objects.filter(undoes=decision).exists():
        return _("This decision was undone already.")
    later = Decision.objects.filter(case_id=decision.case_id, pk__gt=decision.pk)
    if later.exclude(outcome=Decision.Outcome.ESCALATE).exists():
        return _("A later decision stands on this case; undo that one.")
    return ""


def undo(decision_id: int, *, by: User, reason: str, now: datetime) -> Decision:
    """Undo a decision, by a decision of its own: its actions are taken back and its case is open again.

    Where another case on the same subject was opened meanwhile, that one stays the open one. Raises `Conflict` where it
    was undone or overtaken, `NotAllowed`, BadInput where there is no such decision or no reason is given.
    """
    _check(by, "cases.decide")
    reason = _storable(reason.strip())
    if not reason:
        raise BadInput("say why", where="reason")
    with transaction.atomic():
        found = Decision.objects.filter(pk=decision_id).values_list("case_id", flat=True).first()
        if found is None:
            raise BadInput("no such decision", where=str(decision_id))
        case = _locked(found)
        decision = Decision.objects.get(pk=decision_id)
        if why_not := may_undo(decision):
            raise Conflict(why_not.rstrip("."))
        state = states.after(_state(case), "undo")
        actor = f"user:{by.username}"
        banks.take_back_confirmation(
            _matched(case), confirmed_at=decision.at, confirmed_by=f"user:{decision.by.username}", by=actor, now=now
        )
        undone = Decision.objects.create(
            case=case,
            by=by,
            outcome=Decision.Outcome.UNDO,
            policy_id=decision.policy_id,
            reason=reason,
            undoes=decision,
            at=now,
        )
        for action in Action.objects.filter(decision_id=decision.pk).order_by("-delivery__position", "-pk"):
            enforcement.reverse(
                action.pk,
                reason=reason,
                asked_by=actor,
                case_id=case.pk,
                decision_id=undone.pk,
                now=now,
            )
        body: dict[str, Any] = {"decision": undone.pk, "undoes": decision.pk}
        newer = Case.objects.filter(
            network=case.network, subject_kind=case.subject_kind, subject_id=case.subject_id, state=Case.State.OPEN
        ).first()
        if newer:
            body["open_case"] = newer.pk
        else:
            case.state, case.decided_at = state, None
            if case.deadline <= now:
                case.deadline = priority.deadline_of(case.source, case.priority, now)
        case.version += 1
        case.save(update_fields=["state", "decided_at", "deadline", "version"])
        record([_step("decision.undone", case, by, reason, **body)], now=now)
    return undone


def escalate(case_id: int, *, by: User, version: int, reason: str, now: datetime) -> Decision:
    """Hand a case to those who are there for the hardest: queue escalations, priority up, deadline within hours.

    Raises `Conflict`, `NotAllowed`, BadInput where no reason is given.
    """
    _check(by, "cases.decide")
    reason = _storable(reason.strip())
    if not reason:
        raise BadInput("say why", where="reason")
    with transaction.atomic():
        case = _locked(case_id)
        _check_open(case, version)
        _check_turn(case, by, now)
        before = case.queue
        _put(case, priority.escalated(_place(case), _("Escalated: %(reason)s") % {"reason": reason}, now))
        case.held_by = case.held_until = None
        case.save()
        decision = Decision.objects.create(
            case=case, by=by, outcome=Decision.Outcome.ESCALATE, policy_id=case.policy_id, reason=reason, at=now
        )
        record([_step("case.escalated", case, by, reason, decision=decision.pk, before=before)], now=now)
    return decision


def comment(case_id: int, *, by: User, text: str, now: datetime) -> Comment:
    """Say something about a case to one's colleagues. Raises BadInput where there is nothing said, or no such case."""
    _check(by, "cases.view")
    text = _storable(text.strip())
    if not text:
        raise BadInput("nothing written", where="text")
    with transaction.atomic():
        case = _locked(case_id)
        said = Comment.objects.create(case=case, by=by, text=text, at=now)
        record([_step("case.commented", case, by, comment=said.pk)], now=now)
    return said


def _check(user: User, permission: str) -> None:
    if not user.may(permission):
        raise NotAllowed(f"{user.username} may not do this", where=permission, hint="Ask an admin for the role.")


def _locked(case_id: int) -> Case:
    case = Case.objects.select_for_update().filter(pk=case_id).first()
    if case is None:
        raise BadInput("no such case", where=f"C-{case_id}")
    return case


def _state(case: Case) -> states.State:
    return cast("states.State", case.state)


def _holder_name(case: Case) -> str | None:
    return case.held_by.username if case.held_by else None


def _check_turn(case: Case, user: User, now: datetime) -> None:
    states.check_turn(_holder_name(case), case.held_until, user.username, now)


def _check_open(case: Case, version: int) -> None:
    if case.state != Case.State.OPEN or case.version != version:
        states.check_version(version, case.version, _last(case))
        states.after(_state(case), "decide")


def _last(case: Case) -> str:
    """Who last changed what stands on the case, and to what."""
    entry = (
        Entry.objects.filter(object=f"case:{case.pk}")
        .exclude(step__in=("case.taken", "case.released", "case.commented", "case.handed_over"))
        .order_by("-pk")
        .first()
    )
    if entry is None:
        return ""
    kind, _colon, name = entry.actor.partition(":")
    who = name if kind == "user" else entry.actor
    did = {
        "decision.made": _("decided this case (%(what)s)") % {"what": entry.body.get("outcome", "")},
        "decision.undone": _("undid the decision on this case"),
        "case.escalated": _("escalated this case"),
        "case.fed": _("brought something new that moved this case"),
        "case.opened": _("opened this case"),
    }.get(entry.step, entry.step)
    return f"{who} {did}" + (f": {entry.reason}" if entry.reason else "")


def _close(case: Case, now: datetime) -> None:
    case.state = states.after(_state(case), "decide")
    case.decided_at = now
    case.held_by = case.held_until = None
    case.version += 1
    case.save(update_fields=["state", "decided_at", "held_by", "held_until", "version"])


def _events(case: Case) -> list[tuple[str, str]]:
    keys = Item.objects.filter(case=case).values_list("event", flat=True).distinct()
    return [(network, event_id) for network, _slash, event_id in (key.partition("/") for key in keys)]


def _step(step: str, case: Case, by: User, reason: str = "", *, evidence: Sequence[str] = (), **body: Any) -> Step:
    return Step(
        actor=f"user:{by.username}",
        step=step,
        object=f"case:{case.pk}",
        reason=reason,
        evidence=tuple(evidence),
        body=body,
    )


# ── Looking back ────────────────────────────────────────────────────────────────────────────────────────────────────


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened to a case. `kind` is finding, fired, report, comment, or the audit log's step.

    `who` is an actor (`user:NAME`, `rule:ID@VERSION`, …); `text` what they said; `object` what it was done to.
    """

    at: datetime
    kind: str
    who: str
    text: str
    object: str
    body: dict[str, Any] = {}


_TOLD_BY_ITSELF = ("case.commented",)


def history(case: Case, *, limit: int = 500) -> list[Moment]:
    """What the case gathered, what people said and decided, and what became of each action, oldest first.

    At most the `limit` newest of each.
    """
    moments: list[Moment] = []
    for item in case.items.order_by("-pk")[:limit]:
        body = item.body
        who = f"rule:{body.get('rule')}@{body.get('version')}" if item.kind == Item.Kind.FIRED else ""
        if item.kind == Item.Kind.REPORT:
            reporter = body.get("reporter", {})
            who = f"{reporter.get('kind', '')}:{reporter.get('name') or reporter.get('id') or ''}".rstrip(":")
        elif item.kind == Item.Kind.FINDING:
            who = f"detector:{body.get('detector', '')}"
        text = body.get("description") or body.get("reason") or body.get("seen") or ""
        moments.append(Moment(at=item.at, kind=item.kind, who=who, text=text, object=f"event:{item.event}", body=body))
    moments.reverse()
    moments += [
        Moment(at=said.at, kind="comment", who=f"user:{said.by.username}", text=said.text, object=f"case:{case.pk}")
        for said in case.comments.select_related("by").order_by("-pk")[:limit]
    ]
    ids = Action.objects.filter(case_id=case.pk).order_by("-requested_at").values_list("pk", flat=True)[:limit]
    objects = [f"case:{case.pk}", *(f"action:{pk}" for pk in ids)]
    entries = Entry.objects.filter(object__in=objects).exclude(step__in=_TOLD_BY_ITSELF).order_by("-pk")[:limit]
    moments += [
        Moment(at=entry.at, kind=entry.step, who=entry.actor, text=entry.reason, object=entry.object, body=entry.body)
        for entry in reversed(entries)
    ]
    return sorted(moments, key=lambda moment: moment.at)


def decided(subjects: Collection[Key] | None = None) -> dict[Key, bool]:
    """What people decided on subjects, by (network, kind, id): True where they acted, False where they saw no violation.

    The last decision that stands counts; an escalation is none. Of all subjects, or of those that are given.
    """
    standing = Decision.objects.filter(outcome__in=("act", "no_violation"), undone_by=None).order_by("pk")
    rows = standing.values_list("case__network", "case__subject_kind", "case__subject_id", "outcome")
    if subjects is None:
        found: Iterable[tuple[str, str, str, str]] = rows.iterator(chunk_size=_CHUNK)
        return {(network, kind, id_): outcome == "act" for network, kind, id_, outcome in found}
    wanted = set(subjects)
    out: dict[Key, bool] = {}
    for chunk in _chunks(sorted({id_ for _network, _kind, id_ in wanted})):
        for network, kind, id_, outcome in rows.filter(case__subject_id__in=chunk):
            if (network, kind, id_) in wanted:
                out[network, kind, id_] = outcome == "act"
    return out


def earlier_cases(case: Case, *, limit: int = 20) -> list[Case]:
    """The cases on the same subject before this one, newest first."""
    before = Case.objects.filter(
        network=case.network, subject_kind=case.subject_kind, subject_id=case.subject_id, pk__lt=case.pk
    )
    return list(before.order_by("-pk")[:limit])


class QueueCount(msgspec.Struct, frozen=True, kw_only=True):
    """How one queue stands."""

    queue: str
    waiting: int
    overdue: int
    oldest: datetime | None


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How the queues stand: all together, and one by one in the order of their names."""

    waiting: int
    overdue: int
    oldest: datetime | None
    by_queue: tuple[QueueCount, ...]


def counts(now: datetime) -> Counts:
    """How many cases wait at `now`, how many of them are overdue, and since when the oldest waits."""
    rows = (
        Case.objects.filter(state=Case.State.OPEN)
        .values("queue")
        .annotate(waiting=Count("pk"), overdue=Count("pk", filter=Q(deadline__lt=now)), oldest=Min("opened_at"))
        .order_by("queue")
    )
    queues = tuple(QueueCount(**row) for row in rows)
    return Counts(
        waiting=sum(queue.waiting for queue in queues),
        overdue=sum(queue.overdue for queue in queues),
        oldest=min((queue.oldest for queue in queues if queue.oldest), default=None),
        by_queue=queues,
    )


def needed_events(records: Sequence[EventRecord]) -> set[int]:
    """Of these events, the keys of those that a case shows: a case about what they are about, or an open one about their account."""
    needed: set[int] = set()
    for network in {one.network for one in records}:
        own = [one for one in records if one.network == network]
        subjects = {one.subject_id for one in own if one.subject_id}
        accounts = {one.account_id for one in own if one.account_id}
        about = Case.objects.filter(network=network, subject_id__in=subjects).values_list("subject_kind", "subject_id")
        cases = set(about)
        watched = Case.objects.filter(network=network, state=Case.State.OPEN, account_id__in=accounts)
        held = set(watched.values_list("account_id", flat=True))
        needed.update(
            record.pk
            for record in own
            if (record.subject_kind, record.subject_id) in cases or (record.account_id and record.account_id in held)
        )
    return needed
