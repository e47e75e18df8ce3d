"""The walk: event in, verdict out, and all that a verdict asks for, done once.

`accept` takes raw events from any of the three ways in. What needs no decoding is walked at once, in the transaction
that claims it; what carries media is claimed as waiting, its bytes on disk, and `walk_waiting` walks it when a worker
has hashed them. Either way the claim, the verdict, the cases, the actions with their outbox rows, and the audit entries
are committed together or not at all.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter as Tally
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec
import structlog
from django.conf import settings
from django.db import transaction

from redshank import counters
from redshank.archive import services as archive
from redshank.archive.models import EventRecord
from redshank.audit.services import Step, preserve, record
from redshank.banks import lookback
from redshank.banks import services as banks
from redshank.banks.detect import Known
from redshank.banks.quarantine import count_matches
from redshank.campaigns import runs as campaigns
from redshank.cases import services as cases
from redshank.core import (
    REASON_KINDS,
    ActionUpdated,
    AddLabel,
    Effect,
    Event,
    EventError,
    Finding,
    Fired,
    Media,
    OpenCase,
    Part,
    Preserve,
    Problem,
    ReportReceived,
    RequestAction,
    Subject,
    Tie,
    Verdict,
    decode_event,
    event_key,
    stable_id,
    subject_of,
)
from redshank.enforcement import services as enforcement
from redshank.evasion import services as evasion
from redshank.evasion.gathering import Pictures
from redshank.evasion.models import ProfileRecord, TieRecord
from redshank.intake import services as intake
from redshank.media import FetchError, Hasher, ImageHashes, MediaError, MediaHashes, VideoHashes, fetch
from redshank.peers import services as peers
from redshank.rules import Facts, RuleSet, breakers, counter_store, harshness, says_missing
from redshank.rules.counter_store import Book
from redshank.rules.counting import Ask
from redshank.rules.effects import kind_of
from redshank.rules.services import current_rules

log = structlog.get_logger(__name__)

MEDIA_TRIES = 6
"""Tries to fetch an event's media before it is walked without them; with the waits below, over about an hour."""
MEDIA_WAITS = tuple(timedelta(minutes=minutes) for minutes in (0.5, 2, 5, 15, 40))
WALK_TRIES = 10
"""Tries after which an event whose walk itself breaks is set aside as failed; a person can let it try again."""


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What became of one raw event; `field` and `reason` say why it was rejected."""

    status: Literal["accepted", "duplicate", "rejected"]
    id: str | None = None
    network: str | None = None
    field: str | None = None
    reason: str | None = None


class StoreFullError(Problem):
    """The bytes could not be kept. Nothing of the batch was taken; the sender should send it again later."""


class _IdOnly(msgspec.Struct):
    id: str | None = None
    network: str | None = None


_id_decoder = msgspec.json.Decoder(_IdOnly)
_json = msgspec.json.Encoder(order="deterministic")


def accept(
    raws: Iterable[bytes],
    *,
    now: datetime,
    actor: str,
    network: str | None = None,
) -> list[Answer]:
    """Take raw events, each one JSON object in UTF-8; give one answer each, in their order.

    `actor` is who sends, for the audit log; `network`, where given, is the only one it may speak for. All
    that is answered `accepted` is committed when this returns. Raises `StoreFullError` where the disk took no more: then nothing of the batch is taken.
    """
    began = time.monotonic()
    answers: list[Answer] = []
    types: list[tuple[str, str]] = []
    fresh: dict[tuple[str, str], tuple[int, Event]] = {}
    limit = settings.REDSHANK.ingest.max_event_bytes
    for raw in raws:
        try:
            event = _checked(raw, now=now, network=network, limit=limit)
        except EventError as error:
            who = _who(raw) if len(raw) <= limit else _IdOnly()
            reason = f"{error.what}. {error.hint}" if error.hint else error.what
            answers.append(
                Answer(status="rejected", id=who.id, network=who.network, field=error.where or None, reason=reason)
            )
            types.append((network or "", ""))  # What a stranger made up names no counter.
            continue
        types.append((event.network, str(event.__struct_config__.tag)))
        key = (event.network, event.id)
        if key in fresh:
            answers.append(Answer(status="duplicate", id=event.id, network=event.network))
            continue
        fresh[key] = (len(answers), event)
        answers.append(Answer(status="accepted", id=event.id, network=event.network))
    for key in _take(fresh, now=now, actor=actor):
        position, event = fresh[key]
        answers[position] = Answer(status="duplicate", id=event.id, network=event.network)
    counters.count_answers(
        ((*type_, answer.status) for type_, answer in zip(types, answers, strict=True)),
        seconds=time.monotonic() - began,
        actor=actor,
    )
    return answers


def _checked(raw: bytes, *, now: datetime, network: str | None, limit: int) -> Event:
    if len(raw) > limit:
        raise EventError(f"an event of {len(raw):,} bytes; {limit:,} are the most")
    event = decode_event(raw, now=now)
    if network is not None and event.network != network:
        raise EventError(f"this key speaks for {network} alone", where="network")
    return event


def _who(raw: bytes) -> _IdOnly:
    try:
        return _id_decoder.decode(raw)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return _IdOnly()


def _take(
    fresh: Mapping[tuple[str, str], tuple[int, Event]],
    *,
    now: datetime,
    actor: str,
) -> set[tuple[str, str]]:
    """Claim and walk; give the keys that were there before."""
    with_bytes = {key for key, (_, event) in fresh.items() if any(media.data is not None for media in media_of(event))}
    known = archive.known_ids(with_bytes)
    new: list[archive.NewEvent] = []
    sizes: dict[str, int] = {}
    for key, (_, event) in fresh.items():
        if key not in with_bytes:
            new.append(archive.NewEvent(event=event, waiting=any(media.url is not None for media in media_of(event))))
        elif key not in known:
            stripped, blobs, stored = _keep_bytes(event)
            sizes.update(stored)
            new.append(archive.NewEvent(event=stripped, blobs=blobs, waiting=True))
    walked: list[_Walked] = []
    unsure: Mapping[str, int] = {}
    with transaction.atomic():
        claimed = archive.claim(new, now=now)
        taken = [item for item in new if (item.event.network, item.event.id) in claimed]
        if taken:
            if sizes:
                archive.note_blobs(sizes, now=now)
            labels = archive.see_accounts(item.event for item in taken)
            peers.note_tokens((item.event for item in taken), now=now)
            ready = [item.event for item in taken if not item.waiting]
            walker = Walker(now, ties=_ties_of(ready))
            verdicts = walker.walk([Seen(event) for event in ready], labels)
            walked = [_Walked(event, verdict, {}) for event, verdict in zip(ready, verdicts, strict=True)]
            unsure = walker.unsure
            _apply(walked, now=now)
            lookback.keep(((event, {}) for event in ready), now=now)
            campaigns.keep(((event, {}) for event in ready), now=now)
            evasion.note((claimed[event.network, event.id], event) for event in ready)
            evasion.see_states(ready, now=now)
            digest = hashlib.sha256("\n".join(sorted(event_key(*key) for key in claimed)).encode()).hexdigest()
            body = {"events": len(taken), "waiting": len(taken) - len(ready), "ids_sha256": digest}
            first = taken[0].event
            step = Step(actor=actor, step="events.accepted", object=f"event:{first.network}/{first.id}", body=body)
            record([step], now=now)
    counters.count_verdicts((w.verdict for w in walked), way="direct")
    counters.count_unsure(unsure)
    return set(fresh) - claimed.keys()


def media_of(event: Event) -> list[Media]:
    """Each media item that an event speaks of: its own, its post's, its account's pictures."""
    media = getattr(event, "media", None)
    post = getattr(event, "post", None)
    account = getattr(event, "account", None)
    found = [] if media is None else [media]
    if post is not None:
        found += post.media
    if account is not None:
        found += [picture for picture in (account.avatar, account.banner) if picture is not None]
    return found


def _keep_bytes(event: Event) -> tuple[Event, dict[str, str], dict[str, int]]:
    """The event without its media's bytes; where they lie, by media id; and their sizes."""
    blobs: dict[str, str] = {}
    sizes: dict[str, int] = {}
    store = archive.blob_store()

    def strip(media: Media | None) -> Media | None:
        if media is None or media.data is None:
            return media
        try:
            blobs[media.id] = store.put(media.data)
        except OSError as error:
            raise StoreFullError(
                f"the bytes could not be kept: {error.strerror}", where=str(store.root), hint="Nothing was taken."
            ) from error
        sizes[blobs[media.id]] = len(media.data)
        return msgspec.structs.replace(media, data=None)

    changes: dict[str, Any] = {}
    if media := getattr(event, "media", None):
        changes["media"] = strip(media)
    if (post := getattr(event, "post", None)) and post.media:
        changes["post"] = msgspec.structs.replace(post, media=tuple(strip(media) for media in post.media))
    account = getattr(event, "account", None)
    if account and (account.avatar or account.banner):
        changes["account"] = msgspec.structs.replace(
            account, avatar=strip(account.avatar), banner=strip(account.banner)
        )
    return msgspec.structs.replace(event, **changes), blobs, sizes


class Seen(msgspec.Struct, frozen=True, gc=False):
    """An event on its walk, the hashes of its media by media id, and what went wrong before."""

    event: Event
    media: Mapping[str, MediaHashes] = {}
    errors: Sequence[str] = ()


def asked_by(rules: RuleSet, facts: Facts) -> Sequence[Ask]:
    """What counters ask of one event. One that fails, which nothing should, makes them missing there and stops no other event."""
    try:
        return rules.asks(facts)
    except Exception:
        log.exception("counters.not_asked", event_key=event_key(facts.event.network, facts.event.id))
        return ()


class Walker:
    """Detectors and rules, as they stand at `now`; the same for every event of one batch.

    `unsure` counts, by rule, the events on which it could not be evaluated because something was missing.
    """

    def __init__(self, now: datetime, *, ties: Mapping[tuple[str, str], tuple[Tie, ...]] = {}) -> None:
        self.now = now
        self.ties = ties
        self.known = banks.known()
        self.rules = current_rules()
        self.unsure: Tally[str] = Tally()

    def walk(self, seen: Sequence[Seen], labels: Mapping[tuple[str, str], frozenset[str]]) -> list[Verdict]:
        """What is found on each event and asked for, in their order, counters counted. In the caller's transaction."""
        found = [self.known.find(one.event, one.media) for one in seen]
        facts = [self._facts(one, findings, labels) for one, findings in zip(seen, found, strict=True)]
        if not self.rules.counters:
            return [self._judge(*each) for each in zip(seen, found, facts, strict=True)]
        asks = [asked_by(self.rules, each) for each in facts]
        book = Book(asks)
        verdicts = []
        for one, findings, each, asked in zip(seen, found, facts, asks, strict=True):
            each.counts = book.count(asked, one.event.at)
            verdicts.append(self._judge(one, findings, each))
        book.save()
        return verdicts

    def _facts(
        self, seen: Seen, findings: Sequence[Finding], labels: Mapping[tuple[str, str], frozenset[str]]
    ) -> Facts:
        account = getattr(seen.event, "account", None)
        return Facts(
            event=seen.event,
            findings=tuple(finding for finding in findings if not (finding.match and finding.match.withheld)),
            now=self.now,
            account_labels=labels.get((seen.event.network, account.id), frozenset()) if account else frozenset(),
            media=seen.media,
            ties=self.ties.get((seen.event.network, account.id), ()) if account else None,
            holds=self.known.holds,
        )

    def _judge(self, seen: Seen, findings: tuple[Finding, ...], facts: Facts) -> Verdict:
        errors = seen.errors
        fired, failed = self.rules.evaluate(facts)
        missing = [error for error in failed if says_missing(error)]
        for error in missing:
            self.unsure[error.partition(":")[0]] += 1
        if not (findings or fired or errors) and len(missing) == len(failed):
            return Verdict()  # Nothing was seen and nothing went wrong: counted, and not kept for every such event.
        return Verdict(findings=findings, fired=fired, errors=(*errors, *failed))


def _ties_of(events: Iterable[Event]) -> dict[tuple[str, str], tuple[Tie, ...]]:
    """The standing ties of the events' accounts, as rules read them."""
    accounts = {(event.network, account.id) for event in events if (account := getattr(event, "account", None))}
    return {key: _as_facts(ties) for key, ties in evasion.standing_ties(accounts).items()}


def _as_facts(ties: Iterable[TieRecord]) -> tuple[Tie, ...]:
    return tuple(
        Tie(
            account=tie.old.account_id if tie.old.network == tie.new.network else str(tie.old),
            band=tie.band,  # type: ignore[arg-type]  # standing ties have one
            probability=tie.probability,
            kinds=tuple(
                reason["kind"] for reason in tie.reasons if reason["kind"] in REASON_KINDS and reason["bits"] > 0
            ),
            state=tie.state,  # type: ignore[arg-type]  # open or confirmed
        )
        for tie in ties
        if tie.band
    )


class _Walked(msgspec.Struct, frozen=True, gc=False):
    event: Event
    verdict: Verdict
    blobs: Mapping[str, str]


def _apply(walked: Sequence[_Walked], *, now: datetime) -> dict[tuple[str, str], set[str]]:
    """Do what the verdicts ask for; give the labels that are new, by account. Runs in the caller's transaction; the same
    verdict again would change nothing."""
    archive.save_verdicts({(w.event.network, w.event.id): w.verdict for w in walked if not w.verdict.is_empty})
    intake.save_reports([w.event for w in walked if isinstance(w.event, ReportReceived)], now=now)
    steps: list[Step] = []
    wanted: list[_Wanted] = []
    for w in walked:
        if isinstance(w.event, ActionUpdated):
            _settle(w.event, now=now)
        live = [fired for fired in w.verdict.fired if fired.live]
        if not live:
            continue
        key = event_key(w.event.network, w.event.id)
        evidence = _preserve_if_asked(w, live, now=now)
        for fired in live:
            steps.append(
                Step(
                    actor=f"rule:{fired.rule}@{fired.version}",
                    step="verdict",
                    object=f"event:{key}",
                    reason=fired.description,
                    evidence=(key, evidence) if evidence else (key,),
                    body={"because": list(fired.because), "effects": msgspec.to_builtins(fired.effects)},
                )
            )
            wanted += [_Wanted(w, fired, effect, evidence) for effect in fired.effects]
    fresh = _do(_admitted(wanted, now=now), steps, now=now)
    count_matches((w.verdict for w in walked), now=now)
    return fresh


class _Wanted(msgspec.Struct, frozen=True):
    """One effect that a live rule asks for on one event, and the evidence that was kept of it."""

    of: _Walked
    fired: Fired
    effect: Effect
    evidence: str


def _admitted(wanted: Sequence[_Wanted], *, now: datetime) -> list[_Wanted]:
    """What is to be done now, each action on an event once, the mildest first.

    What breakers hold back is kept, but for an action that another rule, whose breaker is closed, asks for as well.
    """
    found = sorted((one for one in wanted if kind_of(one.effect)), key=lambda one: harshness(one.effect))
    if not found:
        return []
    own = {rule.id: rule.at_most for rule in current_rules().rules if rule.at_most and rule.mode == "live"}

    def limit_of(wish: breakers.Wish) -> int:
        return own.get(wish.rule, {}).get(wish.effect) or breakers.limit(settings.REDSHANK.breakers, wish.effect)

    wishes = [breakers.Wish(one.fired.rule, kind_of(one.effect), one.of.event.network) for one in found]
    by = breakers.admit(wishes, limit_of, now=now)
    admitted: dict[Any, _Wanted] = {}
    held: dict[Any, breakers.Held] = {}
    for one, breaker in zip(found, by, strict=True):
        event = one.of.event
        whose = "" if isinstance(one.effect, RequestAction) else one.fired.rule
        what = (event.network, event.id, one.effect, whose)
        if breaker is None:
            admitted.setdefault(what, one)
        else:
            kept = breakers.Held(breaker, event.network, event.id, one.fired, one.effect, one.evidence)
            held.setdefault((what, breaker.pk), kept)
    breakers.hold([kept for (what, _), kept in held.items() if what not in admitted], now=now)
    return list(admitted.values())


def _do(wanted: Sequence[_Wanted], steps: list[Step], *, now: datetime) -> dict[tuple[str, str], set[str]]:
    """Do what is asked for, and write `steps` before; give the labels that are new, by account."""
    requests: list[cases.CaseRequest] = []
    labels: dict[tuple[str, str], set[str]] = {}
    actions: list[tuple[_Wanted, RequestAction, Subject]] = []
    for one in wanted:
        subject = subject_of(one.of.event)
        account = getattr(one.of.event, "account", None)
        match one.effect:
            case AddLabel(label=label) if account:
                labels.setdefault((one.of.event.network, account.id), set()).add(label)
            case OpenCase() if subject:
                requests.append(_case_request(one.of, one.fired, one.effect, subject, now=now))
            case RequestAction() if subject:
                actions.append((one, one.effect, subject))
    opened = cases.gather(requests, now=now) if requests else {}
    if opened:
        archive.keep_media_of(request.subject for request in requests)
        archive.keep_blobs(
            (sha256 for one in wanted for sha256 in one.of.blobs.values() if _has_case(one.of, opened)), "case"
        )
    fresh = archive.add_labels(labels)
    for (network, account_id), new in fresh.items():
        steps.append(
            Step(
                actor="system",
                step="account.labeled",
                object=f"account:{network}/{account_id}",
                body={"labels": sorted(new)},
            )
        )
    record(steps, now=now)
    for one, action, subject in actions:
        enforcement.request_actions(
            [_ask(action, subject)],
            policy=one.fired.policy,
            reason=one.fired.description,
            message="",
            asked_by=f"rule:{one.fired.rule}@{one.fired.version}",
            # Whichever rule asks: the same action on the same event is one.
            key=f"{event_key(one.of.event.network, one.of.event.id)}/rules",
            case_id=opened.get((subject.network, subject.kind, subject.id)),
            evidence=(one.evidence,) if one.evidence else (),
            now=now,
        )
    return fresh


def do_released(*, now: datetime, limit: int = 100) -> int:
    """Do up to `limit` effects that breakers held and a person let go on; give how many were taken up.

    In one transaction: killed at any point, they are done once. What is about an event that was erased meanwhile goes with it.
    """
    with transaction.atomic():
        taken = breakers.take_released(limit)
        records = {
            (found.network, found.event_id): found
            for found in archive.records_of((one.network, one.event_id) for one in taken)
        }
        wanted = []
        for one in taken:
            found = records.get((one.network, one.event_id))
            if found is not None:
                blobs = msgspec.json.decode(found.blobs) if found.blobs else {}
                event = decode_event(found.body, now=found.received_at)
                fired = msgspec.json.decode(one.fired, type=Fired)
                effect = msgspec.json.decode(one.effect, type=Effect)
                wanted.append(_Wanted(_Walked(event, archive.verdict_of(found), blobs), fired, effect, one.evidence))
        _do(wanted, [], now=now)
        breakers.done(taken)
    return len(taken)


def _preserve_if_asked(w: _Walked, live: Sequence[Fired], *, now: datetime) -> str:
    """Evidence first: whatever asks for an action or says `preserve` leaves the event and verdict as evidence."""
    if not any(isinstance(effect, Preserve | RequestAction) for fired in live for effect in fired.effects):
        return ""
    body = _json.encode({"event": w.event, "verdict": w.verdict, "blobs": dict(w.blobs)}).decode()
    archive.keep_blobs(w.blobs.values(), "evidence")
    return preserve(event_key(w.event.network, w.event.id), body, sorted(w.blobs.values()), now=now)


def _settle(event: ActionUpdated, *, now: datetime) -> None:
    try:
        enforcement.settle(
            event.action,
            event.state,
            event.reason or "",
            now=now,
            by=f"platform:{event.network}",
            network=event.network,
        )
    except Problem as problem:  # An action that we do not know, or that is settled: the news stays in the archive.
        log.warning("action.update_ignored", event_key=event_key(event.network, event.id), problem=str(problem))


def _has_case(w: _Walked, opened: Mapping[tuple[str, str, str], int]) -> bool:
    subject = subject_of(w.event)
    return subject is not None and (subject.network, subject.kind, subject.id) in opened


def _case_request(w: _Walked, fired: Fired, effect: OpenCase, subject: Subject, *, now: datetime) -> cases.CaseRequest:
    key = event_key(w.event.network, w.event.id)
    source = w.event.report.reporter.kind if isinstance(w.event, ReportReceived) else "rule"
    items = [_item("fired", key, fired, now), *(_item("finding", key, finding, now) for finding in w.verdict.findings)]
    if isinstance(w.event, ReportReceived):
        items.append(_item("report", key, w.event.report, now))
    minutes = effect.deadline_minutes
    return cases.CaseRequest(
        subject=subject,
        policy=fired.policy or None,
        queue=effect.queue,
        priority=effect.priority,
        priority_reason=fired.description,
        source=source,
        deadline=now + timedelta(minutes=minutes) if minutes is not None else None,
        items=tuple(items),
    )


def _item(kind: Literal["finding", "fired", "report"], event: str, thing: Any, now: datetime) -> cases.NewItem:
    body = msgspec.to_builtins(thing)
    return cases.NewItem(
        key=stable_id("itm", kind, event, _json.encode(body).decode()), kind=kind, event=event, body=body, at=now
    )


def _ask(action: RequestAction, subject: Subject) -> enforcement.Ask:
    if action.target == "account" and subject.kind != "account":
        subject = Subject(subject.network, "account", subject.account, subject.account)
    return enforcement.Ask(verb=action.verb, subject=subject, label=action.label, duration_hours=action.duration_hours)


def walk_waiting(*, now: datetime, limit: int, hasher: Hasher) -> int:
    """Hash the media of up to `limit` waiting events that are due, and walk them; give how many were taken up.

    `hasher` decodes in its bounded child process. One event's trouble never stops the next.
    """
    records = archive.claim_waiting(now=now, limit=limit)
    for waiting in records:
        # Not `event`: that is the name structlog gives the message itself.
        with structlog.contextvars.bound_contextvars(event_key=event_key(waiting.network, waiting.event_id)):
            began, outcome = time.monotonic(), "failed"
            try:
                outcome = _walk_one(waiting, now=now, hasher=hasher)
            except Exception as error:
                log.exception("event.walk_failed", attempts=waiting.attempts)
                reason = f"{type(error).__name__}: {error}"
                if waiting.attempts < WALK_TRIES:
                    archive.put_back(waiting, due_at=now + MEDIA_WAITS[-1], error=reason)
                else:
                    archive.give_up(waiting, error=reason)
            counters.count_walk(time.monotonic() - began, outcome=outcome)
    return len(records)


def _walk_one(waiting: EventRecord, *, now: datetime, hasher: Hasher) -> str:
    event = decode_event(waiting.body, now=waiting.received_at)
    blobs: dict[str, str] = msgspec.json.decode(waiting.blobs) if waiting.blobs else {}
    hashes: dict[str, MediaHashes] = {}
    errors: list[str] = []
    sizes: dict[str, int] = {}
    points = banks.known().wants_points or settings.REDSHANK.banks.keep_points_days > 0
    for media in media_of(event):
        if media.id not in blobs and media.url is None:
            continue
        try:
            if media.id not in blobs:
                blobs[media.id], size = _fetch(media)
                sizes[blobs[media.id]] = size
            hashes[media.id] = hasher.hash(archive.blob_store().path(blobs[media.id]), points=points)
        except FetchError as error:
            if error.temporary and waiting.attempts < MEDIA_TRIES:
                archive.put_back(waiting, due_at=now + MEDIA_WAITS[waiting.attempts - 1], error=str(error))
                return "put_back"
            errors.append(f"media {media.id}: {error.what}")
        except MediaError as error:
            errors.append(f"media {media.id}: {error.what}")
    with transaction.atomic():
        if not archive.settle_waiting(waiting, blobs, error="; ".join(errors)):
            return "lost_race"
        if sizes:
            archive.note_blobs(sizes, now=now)
        for media_id, found in hashes.items():
            seconds = found.seconds if isinstance(found, VideoHashes) else None
            archive.note_media(
                blobs[media_id],
                kind="image" if seconds is None else "video",
                width=found.width,
                height=found.height,
                seconds=seconds,
            )
        account = getattr(event, "account", None)
        labels = archive.labels_of([(event.network, account.id)]) if account else {}
        walker = Walker(now, ties=_ties_of([event]))
        (verdict,) = walker.walk([Seen(event, hashes, errors)], labels)
        _apply([_Walked(event, verdict, blobs)], now=now)
        lookback.keep([(event, hashes)], now=now)
        campaigns.keep([(event, hashes)], now=now)
        evasion.note([(waiting.pk, event)], pictures={waiting.pk: _pictures(event, hashes)})
        evasion.see_states([event], now=now)
    counters.count_verdicts([verdict], way="media")
    counters.count_unsure(walker.unsure)
    log.info(
        "event.walked", findings=len(verdict.findings), rules=[fired.rule for fired in verdict.fired], errors=errors
    )
    return "walked"


def _pictures(event: Event, hashes: Mapping[str, MediaHashes]) -> Pictures:
    """The hashes of an event's account's pictures, where they were made and are good enough to compare."""
    account = getattr(event, "account", None)
    found: dict[str, bytes] = {}
    for name in ("avatar", "banner"):
        media = getattr(account, name, None)
        made = hashes.get(media.id) if media is not None else None
        if isinstance(made, ImageHashes) and made.quality >= settings.REDSHANK.media.pdq_quality:
            found[name] = bytes.fromhex(made.pdq)
    return Pictures(**found)


def ask_due(*, now: datetime, limit: int) -> int:
    """Ask about up to `limit` new accounts that are due; give how many there were.

    Where a tie is new or surer than it was, the account's newest profile event is walked again with it, and what the rules
    ask for because of it is done, in the transaction that keeps the tie.
    """
    due = evasion.claim_due(now=now, limit=limit)
    for about in due:
        try:
            found = evasion.ask(about, now=now)
            with transaction.atomic():
                answered = evasion.keep_ties(about, found, now=now)
                if answered.grew:
                    _walk_tied(about, answered.ties, now=now)
        except Exception:
            log.exception("evasion.ask_failed", account=str(about))
    return len(due)


def _walk_tied(about: ProfileRecord, standing: Sequence[TieRecord], *, now: datetime) -> None:
    rows = EventRecord.objects.select_for_update().filter(network=about.network, account_id=about.account_id)
    told = rows.filter(type__in=("account.created", "account.updated"), state=EventRecord.State.WALKED)
    walked = told.order_by("-at", "-pk").first() or rows.filter(event_id=about.event.partition("/")[2]).first()
    if walked is None:
        return
    event = decode_event(walked.body, now=walked.received_at)
    before = archive.verdict_of(walked)
    key = (about.network, about.account_id)
    labels = archive.labels_of([key]).get(key, frozenset())
    findings = tuple(finding for finding in before.findings if not _is_withheld(finding))
    hashes = lookback.hashes_of(walked.network, walked.event_id)
    ties = _as_facts(standing)
    rules = current_rules()
    facts = Facts(event, findings, now, labels, hashes, ties=(), holds=banks.known().holds)
    facts.counts = _counts_again(rules, facts)
    # The occasion is the tie: what the rules asked for without it was done when the event was walked.
    had = {fired.rule for fired in rules.evaluate(facts)[0]}
    facts.ties = ties
    fired = tuple(one for one in rules.evaluate(facts)[0] if one.rule not in had)
    if not fired:
        return
    blobs = msgspec.json.decode(walked.blobs) if walked.blobs else {}
    fresh = _apply([_Walked(event, Verdict(fired=fired), blobs)], now=now)
    evasion.note_labels(standing, fresh.get(key, set()))
    whole = Verdict(findings=before.findings, fired=(*before.fired, *fired), errors=before.errors)
    archive.save_verdicts({(walked.network, walked.event_id): whole})


def look_back(*, now: datetime, settled: timedelta = lookback.SETTLED) -> int:
    """Seek entries that are new in the media that were walked before; give how many entries were sought.

    An event in which one is found is walked again, in a transaction of its own. What that finds beside what was found
    before is judged by the rules, and what they ask for because of it is done. Doing it again changes nothing.
    """
    entries = lookback.due(now=now, settled=settled)
    if not entries:
        return 0
    found = _walk_all_again(lookback.find(entries, now=now), now=now)
    lookback.done(entries, now=now)
    log.info("lookback.done", entries=len(entries), events=found)
    return len(entries)


def look_back_for_parts(*, now: datetime) -> int:
    """Seek parts of entries that were sought as a whole in some of what was seen; give how many entries were sought.

    Each call goes on where the last one ended, or was killed.
    """
    parts = lookback.parts_due()
    if parts is None:
        return 0
    events, below = lookback.find_parts(parts)
    found = _walk_all_again(events, now=now)
    lookback.parts_done(parts, below)
    log.info("lookback.parts_done", entries=len(parts.entries), events=found, below=below)
    return len(parts.entries)


def _walk_all_again(events: Iterable[tuple[str, str]], *, now: datetime) -> int:
    """Look at walked events with what is known by now; give in how many there was something new."""
    known = banks.known(fresh=True)
    found = 0
    for network, event_id in events:
        try:
            found += _walk_again(network, event_id, known, now=now)
        except Exception:
            log.exception("lookback.failed", event_key=event_key(network, event_id))
    return found


def _walk_again(network: str, event_id: str, known: Known, *, now: datetime) -> bool:
    """Look at a walked event with what is known by now; whether there was something new."""
    with transaction.atomic():
        rows = EventRecord.objects.select_for_update().filter(network=network, event_id=event_id)
        walked = rows.filter(state=EventRecord.State.WALKED).first()
        if walked is None:
            return False
        event = decode_event(walked.body, now=walked.received_at)
        hashes = lookback.hashes_of(network, event_id)
        before = archive.verdict_of(walked)
        had = {_place(finding) for finding in before.findings if not _is_withheld(finding)}
        new = tuple(
            finding for finding in known.find(event, hashes)
            if not _is_withheld(finding) and _place(finding) not in had
        )  # fmt: skip
        if not new:
            return False
        fresh = {_place(finding) for finding in new}
        kept = tuple(finding for finding in before.findings if _place(finding) not in fresh)
        account = getattr(event, "account", None)
        labels = archive.labels_of([(network, account.id)]).get((network, account.id)) if account else None
        rules = current_rules()
        ties = _ties_of([event]).get((network, account.id), ()) if account else None
        facts = Facts(event, before.findings, now, labels or frozenset(), hashes, ties, holds=known.holds)
        facts.counts = _counts_again(rules, facts)

        def fires(findings: Sequence[Finding]) -> tuple[Fired, ...]:
            facts.findings = tuple(finding for finding in findings if not _is_withheld(finding))
            return rules.evaluate(facts)[0]

        was = fires(kept)
        fired = tuple(one for one in fires((*kept, *new)) if one not in was)
        blobs = msgspec.json.decode(walked.blobs) if walked.blobs else {}
        entries = sorted({finding.match.entry for finding in new if finding.match})
        step = Step(
            actor="system", step="event.looked_back", object=f"event:{event_key(network, event_id)}", body={"entries": entries}
        )  # fmt: skip
        record([step], now=now)
        _apply([_Walked(event, Verdict(findings=new, fired=fired), blobs)], now=now)
        whole = Verdict(findings=(*kept, *new), fired=(*before.fired, *fired), errors=before.errors)
        archive.save_verdicts({(network, event_id): whole})
        return True


def _counts_again(rules: RuleSet, facts: Facts) -> Mapping[int, int] | None:
    """What counters say of an event that was counted when it came."""
    if not rules.counters:
        return None
    asks = asked_by(rules, facts)
    return Book([asks], again=True).count(asks, facts.event.at)


def _place(finding: Finding) -> tuple[object, ...]:
    where = finding.where.media if isinstance(finding.where, Part) else finding.where
    return (finding.match.entry if finding.match else finding.seen, finding.detector, where)


def _is_withheld(finding: Finding) -> bool:
    return finding.match is not None and finding.match.withheld != ""


def _fetch(media: Media) -> tuple[str, int]:
    store = archive.blob_store()
    place = store.new_file()
    try:
        fetch(str(media.url), place, settings.REDSHANK.media)
        return store.put_file(place)
    finally:
        place.unlink(missing_ok=True)


def sweep(*, now: datetime) -> int:
    """Delete media bytes that no case and no evidence needs, after their time, and counts that are over; give how many files went."""
    counter_store.sweep(now=now)
    return archive.sweep_blobs(older_than=now - timedelta(hours=settings.REDSHANK.ingest.keep_media_hours))
