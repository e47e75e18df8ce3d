"""What people decide about ties, and what follows from it: chains, exceptions, lessons, and how far the model may be trusted.

The one idea: a tie is a claim until a person says otherwise, and what they say can be taken back. The model learns only
from decisions of people who knew it from elsewhere; what they merely believed because the score said so teaches nothing.
"""

from __future__ import annotations

import math
from datetime import date, datetime
from typing import Any, Literal

import msgspec
from django.db import transaction
from django.db.models import Q

from redshank.archive.models import EventRecord
from redshank.audit.services import Step, record
from redshank.core import BadInput, Problem
from redshank.evasion.census import census
from redshank.evasion.evidence import encode
from redshank.evasion.fitting import fit
from redshank.evasion.gathering import Evidence, profile_of, unpack
from redshank.evasion.index import SuspensionIndex
from redshank.evasion.model import Model
from redshank.evasion.models import DayCount, NeverTie, News, ProfileRecord, TieRecord
from redshank.evasion.names import script_of
from redshank.evasion.services import count, current_model, settle_chain, take_labels_back, withdraw
from redshank.evasion.targets import encoded_targets, live_keys, targets
from redshank.people.models import User

LEAST_LESSONS = {"additive": 50, "gbt": 500}
"""Decisions of either kind from which on a scorer can be fitted to them; trees have more to learn. Judgment."""


# ── Deciding ────────────────────────────────────────────────────────────────────────────────────────────────────────


def decide(
    tie_id: int, *, by: User, says: Literal["confirmed", "rejected"], reason: str, independent: bool, now: datetime
) -> TieRecord:
    """A person confirms or rejects a tie. `independent`: they know it from elsewhere than from what is shown here.

    Confirming puts both accounts into one chain, which makes the suspended one's evidence richer; it suspends nobody.
    Raises BadInput where there is no such tie or no reason, Problem where it was decided or withdrawn meanwhile.
    """
    reason = _said(reason)
    with transaction.atomic():
        tie = _locked(tie_id)
        if tie.state != TieRecord.State.OPEN:
            raise Problem(f"this tie is {tie.get_state_display()} already", hint="Load the page again.")
        tie.state, tie.reason, tie.independent = says, reason, independent
        tie.decided_by, tie.decided_at, tie.changed_at = by, now, now
        tie.save()
        right = says == "confirmed"
        if right:
            _chain(tie.old, tie.new, now=now)
        else:
            take_labels_back(tie)
        _step(f"tie.{says}", tie, by, reason, now=now, independent=independent, blind=tie.blind)
        word = "confirmed" if right else "rejected"
        blind = {f"blind_{word}": 1} if tie.blind else {}
        count(now, tie.model, **{word: 1, "expected": tie.probability, **blind})
    return tie


def undo(tie_id: int, *, by: User, reason: str, now: datetime) -> TieRecord:
    """Take a decision on a tie back: it waits again. Raises BadInput, Problem where there is none to take back."""
    reason = _said(reason)
    with transaction.atomic():
        tie = _locked(tie_id)
        if tie.state not in (TieRecord.State.CONFIRMED, TieRecord.State.REJECTED):
            raise Problem("no decision stands on this tie", hint="Load the page again.")
        word = tie.state
        tie.state = TieRecord.State.OPEN if tie.old.target and tie.band else TieRecord.State.WITHDRAWN
        if word == TieRecord.State.CONFIRMED:
            _unchain(tie, now=now)
        decided = tie.decided_at or now
        blind = {f"blind_{word}": -1} if tie.blind else {}
        count(decided, tie.model, **{word: -1, "expected": -tie.probability, **blind})
        tie.decided_by = tie.decided_at = None
        tie.reason, tie.independent, tie.changed_at = "", False, now
        tie.save()
        _step("tie.reopened", tie, by, reason, now=now, was=word)
    return tie


def _chain(old: ProfileRecord, new: ProfileRecord, *, now: datetime) -> None:
    owner = old.owner or old.pk
    joined = Q(pk__in=(old.pk, new.pk))
    if new.owner is not None and new.owner != owner:
        joined |= Q(owner=new.owner)
    ProfileRecord.objects.filter(joined).update(owner=owner)
    settle_chain(owner, now=now)


def _unchain(tie: TieRecord, *, now: datetime) -> None:
    """Without this tie: who still hangs together by confirmed ones stays together."""
    owner = tie.new.owner
    if owner is None:
        return
    members = {one.pk for one in ProfileRecord.objects.select_for_update().filter(owner=owner)}
    links = TieRecord.objects.filter(state=TieRecord.State.CONFIRMED, new__in=members, old__in=members).exclude(
        pk=tie.pk
    )
    group = {pk: pk for pk in members}

    def root(pk: int) -> int:
        while group[pk] != pk:
            pk = group[pk]
        return pk

    for new, old in links.values_list("new_id", "old_id"):
        one, other = sorted((root(new), root(old)))
        group[other] = one
    for pk in members:
        ProfileRecord.objects.filter(pk=pk).update(owner=root(pk))
    for first in {root(pk) for pk in members}:
        settle_chain(first, now=now)


# ── Never tie ───────────────────────────────────────────────────────────────────────────────────────────────────────


def never_tie(
    network: str,
    account_id: str,
    *,
    other: tuple[str, str] | None = None,
    what: str,
    reason: str,
    by: User,
    now: datetime,
) -> NeverTie:
    """From now on the account is tied to nobody, or not to `other`, as (network, account id). Its standing ties go.

    `what` says what its owner is: journalist, researcher, relative, fan, other. Raises BadInput for another word, or where
    no reason is given.
    """
    reason = _said(reason)
    if what not in NeverTie.What.values:
        raise BadInput("say what they are", where="what", hint=f"One of {', '.join(NeverTie.What.values)}.")
    with transaction.atomic():
        there = NeverTie.objects.filter(
            network=network, account_id=account_id, other_network=other[0] if other else "", other_id=other[1] if other else "",
            ended_at=None,
        ).first()  # fmt: skip
        if there:
            return there
        listed = NeverTie.objects.create(
            network=network, account_id=account_id, other_network=other[0] if other else "",
            other_id=other[1] if other else "", what=what, reason=reason, by=by, at=now,
        )  # fmt: skip
        standing = (TieRecord.State.OPEN, TieRecord.State.CONFIRMED)
        ties = TieRecord.objects.filter(new__network=network, new__account_id=account_id, state__in=standing)
        if other:
            ties = ties.filter(old__network=other[0], old__account_id=other[1])
        for tie in list(ties):
            if tie.state == TieRecord.State.CONFIRMED:
                _unchain(tie, now=now)
            withdraw([tie], why=reason, by=f"user:{by.username}", now=now)
        body = {"what": what, "towards": "/".join(other) if other else "everybody"}
        about = f"account:{network}/{account_id}"
        record(
            [Step(actor=f"user:{by.username}", step="evasion.never_tie", object=about, reason=reason, body=body)],
            now=now,
        )
    return listed


def end_never_tie(pk: int, *, by: User, reason: str, now: datetime) -> None:
    """Take an exception back; the account is asked about again. Raises BadInput where none such stands."""
    reason = _said(reason)
    with transaction.atomic():
        listed = NeverTie.objects.select_for_update().filter(pk=pk, ended_at=None).first()
        if listed is None:
            raise BadInput("no such exception stands", where=str(pk))
        listed.ended_at, listed.ended_by = now, by
        listed.save(update_fields=["ended_at", "ended_by"])
        asked = ProfileRecord.objects.filter(network=listed.network, account_id=listed.account_id, target=False)
        asked.update(due_at=now, why="exception ended")
        about = f"account:{listed.network}/{listed.account_id}"
        record([Step(actor=f"user:{by.username}", step="evasion.may_tie", object=about, reason=reason)], now=now)


# ── Erased by law ───────────────────────────────────────────────────────────────────────────────────────────────────


def erase(network: str, account_id: str, *, now: datetime) -> bool:
    """What was gathered of an account goes, with what ties show of it; counts stay. Whether there was anything.

    Its ties keep their band, date and decision, so that the figures of the past stay right, and name nobody. The file of
    the index is made again without it. In the caller's transaction.
    """
    # First: whoever gathers them holds them, and what comes of it is there when they are through.
    told = EventRecord.objects.filter(network=network, account_id=account_id)
    News.objects.filter(event_id__in=told.values("pk")).delete()
    about = ProfileRecord.objects.select_for_update().filter(network=network, account_id=account_id).first()
    NeverTie.objects.filter(
        Q(network=network, account_id=account_id) | Q(other_network=network, other_id=account_id)
    ).delete()
    if about is None:
        return False
    owner, was_target = about.owner, about.target
    about.account_id, about.evidence, about.event, about.why = f"erased {about.pk}", b"", "", ""
    about.target, about.ended_at, about.due_at, about.owner = False, None, None, None
    if was_target:
        about.target_changed_at = now
    about.save()
    if owner is not None:
        settle_chain(owner, now=now)
    for tie in TieRecord.objects.filter(Q(new=about) | Q(old=about)).select_related("new", "old"):
        if tie.state == TieRecord.State.OPEN:
            tie.state = TieRecord.State.WITHDRAWN
        take_labels_back(tie)
        tie.reasons = [{"kind": one["kind"], "bits": one["bits"], "detail": ""} for one in tie.reasons]
        tie.shared, tie.reason = {}, ""
        tie.save()
    count(now, current_model()[1], erased=1)
    transaction.on_commit(targets().drop)
    return True


# ── Looking ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def chain_of(about: ProfileRecord) -> list[ProfileRecord]:
    """The accounts that people found to be one owner's, this one among them, the oldest first."""
    if about.owner is None:
        return [about]
    return list(ProfileRecord.objects.filter(owner=about.owner).order_by("ended_at", "seen_at", "pk"))


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """How the model did over some time, against what it promised.

    Shares are None where nothing was decided; `low` and `high` bound the share that was confirmed (Wilson, 95 %).
    `expected` is the share that its probabilities promised of what was decided. `blind` counts are the audit's.
    """

    model: str
    asked: int
    likely: int
    possible: int
    confirmed: int
    rejected: int
    share: float | None
    low: float | None
    high: float | None
    expected: float | None
    blind_confirmed: int
    blind_rejected: int

    @property
    def off(self) -> bool:
        """Whether what was promised lies outside of what was seen."""
        return (
            self.low is not None and self.high is not None and self.expected is not None
            and not self.low <= self.expected <= self.high
        )  # fmt: skip


def drift(*, since: date) -> list[Drift]:
    """Each model's counts since that day, the newest model first."""
    names = ("asked", "likely", "possible", "confirmed", "rejected", "expected", "blind_confirmed", "blind_rejected")
    sums: dict[str, dict[str, float]] = {}
    for day in DayCount.objects.filter(day__gte=since).order_by("-day"):
        n = sums.setdefault(day.model, dict.fromkeys(names, 0))
        for name in names:
            n[name] += getattr(day, name)
    out = []
    for model, n in sums.items():
        decided = n["confirmed"] + n["rejected"]
        low, high = wilson(int(n["confirmed"]), int(decided))
        out.append(
            Drift(
                model=model,
                share=n["confirmed"] / decided if decided else None,
                low=low,
                high=high,
                expected=n.pop("expected") / decided if decided else None,
                **{name: int(value) for name, value in n.items() if name != "expected"},
            )
        )
    return out


def wilson(hits: int, of: int) -> tuple[float | None, float | None]:
    """The 95 % interval of a share (Wilson, Probable inference, JASA 22, 1927); None of nothing."""
    if not of:
        return None, None
    z, p = 1.96, hits / of
    middle = p + z * z / (2 * of)
    spread = z * math.sqrt(p * (1 - p) / of + z * z / (4 * of * of))
    return max(0.0, (middle - spread) / (1 + z * z / of)), min(1.0, (middle + spread) / (1 + z * z / of))


def asked_about(network: str, account_id: str) -> tuple[ProfileRecord | None, list[TieRecord], list[NeverTie]]:
    """What is known of one account: as it was gathered, its ties to suspended ones, the surest first, and its exceptions."""
    about = ProfileRecord.objects.filter(network=network, account_id=account_id).first()
    exceptions = NeverTie.objects.filter(network=network, account_id=account_id, ended_at=None).select_related("by")
    ties = []
    if about is not None:
        ties = list(about.ties.select_related("new", "old", "decided_by").order_by("-probability"))
    return about, ties, list(exceptions.order_by("pk"))


def evidence_of(about: ProfileRecord) -> Evidence:
    """What was gathered of an account."""
    return unpack(bytes(about.evidence))


# ── Learning ────────────────────────────────────────────────────────────────────────────────────────────────────────


def learn(*, data: str, now: datetime, rate: float, scorer: str = "additive") -> Model:
    """A model fitted on what people decided, where they knew it from elsewhere. Raises Problem where there is too little.

    Returned accounts are those whose tie was confirmed; innocent ones those all of whose ties were rejected, grouped by
    what an exception says they are. False ties are told by that group, and by the script of the name.
    """
    least = LEAST_LESSONS[scorer]
    known = TieRecord.objects.filter(independent=True, decided_at__isnull=False).exclude(new__evidence=b"")
    ties = list(known.select_related("new", "old").order_by("pk"))
    confirmed = {tie.new_id: tie.old_id for tie in ties if tie.state == TieRecord.State.CONFIRMED and tie.old.target}
    rejected = {tie.new_id for tie in ties if tie.state == TieRecord.State.REJECTED} - confirmed.keys()
    if min(len(confirmed), len(rejected)) < least:
        raise Problem(
            f"{len(confirmed)} confirmed and {len(rejected)} rejected by people who knew it from elsewhere",
            hint=f"This scorer needs {least} of each; until then the weights to start with are the better ones.",
        )
    whats = dict(NeverTie.objects.filter(ended_at=None).values_list("account_id", "what"))
    networks = dict(ProfileRecord.objects.filter(target=True).values_list("pk", "network"))
    owners = {pk: pk for pk in networks}
    chained = ProfileRecord.objects.filter(target=True, owner__isnull=False).values_list("pk", "owner")
    owners |= {pk: int(owner) for pk, owner in chained if owner is not None}
    truth: dict[int, tuple[str, int]] = {}
    scripts: dict[int, str] = {}
    profiles = []
    for about in {tie.new_id: tie.new for tie in ties}.values():
        evidence = unpack(bytes(about.evidence))
        if about.pk in confirmed:
            truth[about.pk] = "returned", int(owners[confirmed[about.pk]])
        elif about.pk in rejected:
            truth[about.pk] = whats.get(about.account_id, "other"), -1
        else:
            continue
        networks[about.pk] = about.network
        scripts[about.pk] = script_of(evidence.display_name or evidence.handle)
        profiles.append(profile_of(evidence, about.pk))
    index = SuspensionIndex.build(_all_targets())
    return fit(
        index, encode(profiles, live_keys=live_keys()), owners, truth, data=data, date=now.date().isoformat(), scorer=scorer,
        scripts=scripts, stated_rate=rate, networks=networks,
        usual={pk: census().network(networks[pk], now=now) for pk in truth},
    )  # fmt: skip


def _all_targets() -> Any:
    from redshank.evasion.evidence import join

    pks = list(ProfileRecord.objects.filter(target=True).order_by("pk").values_list("pk", flat=True))
    return join(list(encoded_targets(pks)))


def _said(reason: str) -> str:
    reason = reason.replace("\x00", "").strip()[:4_000]
    if not reason:
        raise BadInput("say why", where="reason")
    return reason


def _locked(tie_id: int) -> TieRecord:
    tie = TieRecord.objects.select_for_update(of=("self",)).filter(pk=tie_id).select_related("new", "old").first()
    if tie is None:
        raise BadInput("no such tie", where=str(tie_id))
    return tie


def _step(step: str, tie: TieRecord, by: User, reason: str, *, now: datetime, **body: Any) -> None:
    shown = {"account": str(tie.new), "suspended": str(tie.old), "band": tie.band, "model": tie.model, **body}
    record([Step(actor=f"user:{by.username}", step=step, object=f"tie:{tie.pk}", reason=reason, body=shown)], now=now)
