"""What a case page reads: why the case is here, the content with the findings in it, who is behind it, what was done.

Everything is gathered from the archive and the case in few queries, and given as plain values that a template shows.
Strangers' words are cut into pieces here and never joined into markup.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from redshank.archive import services as archive
from redshank.archive.models import Blob, EventRecord
from redshank.cases import services as cases
from redshank.cases.models import Case, Decision, Item
from redshank.core import (
    Account,
    Event,
    EventError,
    Finding,
    Fired,
    Frames,
    Media,
    Part,
    Post,
    Report,
    Span,
    Subject,
    Whole,
    decode_event,
    event_key,
)
from redshank.enforcement.models import Action
from redshank.web import showing
from redshank.web.words import DETECTED, EVENTS, FIELDS, OUTCOMES, SOURCES, STEPS, SUBJECTS, VERBS, word

EVENTS_SHOWN = 12
"""Events whose content a case page shows; the rest are counted and listed on the account's page."""
PAST_SHOWN = 10


class Why(msgspec.Struct, frozen=True, kw_only=True):
    """One reason for which a case is here. `number` marks a finding in the content; 0 for a report or a rule."""

    kind: str
    number: int = 0
    title: str
    detail: str = ""
    said: str = ""
    distance: int | None = None
    limit: int | None = None
    share: float | None = None
    severity: int = 0
    bank: str = ""
    seen: str = ""
    anchor: str = ""
    source: str = ""
    at: datetime
    because: tuple[str, ...] = ()
    rule: str = ""
    version: str = ""
    withheld: str = ""
    confirmed: bool = True


class Seen(msgspec.Struct, frozen=True):
    """A finding with its number on the page, and the event in which it was seen."""

    number: int
    finding: Finding
    event: str


class Field(msgspec.Struct, frozen=True):
    """One text field of an event, cut into pieces."""

    path: str
    label: str
    pieces: tuple[showing.Piece, ...]
    hidden: str
    length: int


class Medium(msgspec.Struct, frozen=True):
    """One picture or video: its alt text comes first; its bytes are there where `kept` is true."""

    id: str
    sha256: str
    kept: bool
    alt: tuple[showing.Piece, ...]
    about: str
    numbers: tuple[int, ...]


class Piece(msgspec.Struct, frozen=True):
    """What one event shows: its texts, links and media."""

    key: str
    title: str
    at: datetime
    received_at: datetime
    words: tuple[Field, ...]
    links: tuple[tuple[str, tuple[int, ...]], ...]
    media: tuple[Medium, ...]
    waiting: bool
    error: str
    numbers: tuple[int, ...]


class Happened(msgspec.Struct, frozen=True):
    """One line of a history: when, who, what, and what was said about it."""

    at: datetime
    icon: str
    who: str
    what: str
    said: str = ""
    entry: int = 0


def findings_of(case: Case) -> list[Seen]:
    """The case's findings, the strongest first, numbered as the page marks them."""
    found = [
        (msgspec.convert(item.body, Finding), item.event) for item in case.items.all() if item.kind == Item.Kind.FINDING
    ]
    unique: dict[Any, tuple[Finding, str]] = {}
    for finding, event in found:
        unique.setdefault((finding, event), (finding, event))
    ordered = sorted(unique.values(), key=lambda one: -(one[0].match.severity if one[0].match else 0))
    return [Seen(number, finding, event) for number, (finding, event) in enumerate(ordered, 1)]


def whys(case: Case, seen: Sequence[Seen]) -> list[Why]:
    """Why the case is here: what people said, then what was found, then which rules asked for it."""
    out: list[Why] = []
    at = {(item.kind, item.event): item.at for item in case.items.all()}
    for item in case.items.all():
        if item.kind == Item.Kind.REPORT:
            report = msgspec.convert(item.body, Report)
            who = report.reporter.name or report.reporter.id or ""
            title = _("%(source)s: %(reason)s") % {
                "source": word(SOURCES, report.reporter.kind),
                "reason": report.reason,
            }
            out.append(
                Why(kind="report", title=title, detail=who, said=report.text, source=report.reporter.kind, at=item.at)
            )
    out += [_why_found(one, at.get(("finding", one.event), case.opened_at)) for one in seen]
    for item in case.items.all():
        if item.kind == Item.Kind.FIRED:
            fired = msgspec.convert(item.body, Fired)
            out.append(
                Why(
                    kind="fired",
                    title=fired.description,
                    rule=fired.rule,
                    version=fired.version,
                    at=item.at,
                    because=fired.because,
                )
            )
    return out


def whys_of(seen: Sequence[Seen], at: datetime) -> list[Why]:
    """What was found, each as a reason to look, seen at `at`."""
    return [_why_found(one, at) for one in seen]


def _why_found(one: Seen, at: datetime) -> Why:
    finding, match = one.finding, one.finding.match
    what = word(DETECTED, finding.kind)
    share = None
    if isinstance(finding.where, Span):
        detail = word(FIELDS, finding.where.field)
    elif isinstance(finding.where, Frames):
        share = finding.where.share
        detail = _("%(share)d %% of its seconds match; %(known)d %% of the known video") % {
            "share": round(100 * finding.where.share),
            "known": round(100 * finding.where.known_share),
        }
    elif isinstance(finding.where, Part):
        share = finding.where.likeness
        detail = _(
            "%(n)d points agree, and %(share)d %% of what both show looks the same; the marked region shows %(known)d %% of the known picture"
        ) % {
            "n": finding.where.inliers,
            "share": round(100 * finding.where.likeness),
            "known": round(100 * finding.where.known.area),
        }
        if finding.where.second is not None:
            detail = _("at %(s)d s of this video; %(detail)s") % {"s": finding.where.second, "detail": detail}
        if finding.where.known_second is not None:
            detail = _("%(detail)s, at %(s)d s of the known video") % {
                "s": finding.where.known_second,
                "detail": detail,
            }
    else:
        detail = ""
    if match is None:
        return Why(
            kind="finding", number=one.number, title=what, detail=detail, seen=finding.seen[:300], at=at,
            anchor=_anchor(one), source=finding.detector,
        )  # fmt: skip
    if match.how:
        what = _("%(what)s, %(how)s") % {"what": what, "how": match.how}
    return Why(
        kind="finding",
        number=one.number,
        title=_("%(what)s: %(known)s")
        % {"what": what[:1].upper() + what[1:], "known": match.label or match.value[:60]},
        detail=detail,
        distance=match.distance,
        limit=match.limit,
        share=share,
        severity=match.severity,
        bank=match.bank,
        withheld=match.withheld,
        confirmed=match.confirmed,
        seen=finding.seen[:300],
        anchor=_anchor(one),
        source=match.source,
        at=at,
    )


def _anchor(one: Seen) -> str:
    return f"mark-{one.number}" if isinstance(one.finding.where, Span) else f"found-{one.number}"


def subject_of(case: Case) -> Subject:
    """What the case is about."""
    return Subject(case.network, case.subject_kind, case.subject_id, case.account_id)


def content(case: Case, seen: Sequence[Seen]) -> tuple[list[Piece], int]:
    """What the case's events show, newest first, those with findings before the others; and how many more there are."""
    keys = [tuple(key.split("/", 1)) for key in dict.fromkeys(item.event for item in case.items.all()) if "/" in key]
    records = {record.pk: record for record in archive.records_of(keys[: EVENTS_SHOWN * 2])}  # type: ignore[arg-type]
    for record in archive.events_about(subject_of(case)):
        records.setdefault(record.pk, record)
    by_event: dict[str, list[Seen]] = {}
    for one in seen:
        by_event.setdefault(one.event, []).append(one)
    own = (case.subject_kind, case.subject_id)
    ordered = sorted(
        records.values(),
        key=lambda r: (event_key(r.network, r.event_id) in by_event, (r.subject_kind, r.subject_id) == own, r.at),
        reverse=True,
    )
    shown = ordered[:EVENTS_SHOWN]
    kept = kept_blobs(shown)
    out = [read_event(record, by_event.get(event_key(record.network, record.event_id), ()), kept) for record in shown]
    return out, len(ordered) - len(shown)


def kept_blobs(records: Iterable[EventRecord]) -> dict[str, Blob]:
    """The blobs of these events' media that are still there, by SHA-256."""
    wanted = {sha256 for record in records if record.blobs for sha256 in json.loads(record.blobs).values()}
    return Blob.objects.in_bulk(list(wanted)) if wanted else {}


def read_event(record: EventRecord, seen: Sequence[Seen], kept: Mapping[str, Blob]) -> Piece:
    """One event as a page shows it. What cannot be read is said instead of shown."""
    title = word(EVENTS, record.type)
    waiting, error = record.state == EventRecord.State.WAITING, record.error
    key = event_key(record.network, record.event_id)
    numbers = tuple(one.number for one in seen)
    try:
        event = decode_event(record.body, now=record.received_at)
    except EventError as trouble:
        return Piece(key, title, record.at, record.received_at, (), (), (), waiting, str(trouble), numbers)
    texts = tuple(_words(path, text, seen) for path, text in _texts(event) if text)
    links = tuple((link, _at(seen, path, link)) for path, link in _links(event, seen))
    blobs: dict[str, str] = json.loads(record.blobs) if record.blobs else {}
    media = tuple(_medium(path, role, one, blobs, kept, seen) for path, role, one in _media(event))
    return Piece(key, title, record.at, record.received_at, texts, links, media, waiting, error, numbers)


_PROFILE = ("handle", "display_name", "bio")


def _texts(event: Event) -> Iterator[tuple[str, str]]:
    """Each text field by its path; one that begins with `?` is shown only where something was found in it."""
    report: Report | None = getattr(event, "report", None)
    post: Post | None = getattr(event, "post", None)
    if report:
        yield "report.reason", report.reason
        yield "report.text", report.text
    if post:
        yield "post.text", post.text
    for name in ("account", "followed"):
        account: Account | None = getattr(event, name, None)
        quiet = "?" if post or report else ""  # The profile is on the page once already.
        for field in _PROFILE if account else ():
            yield f"{quiet}{name}.{field}", getattr(account, field) or ""


def _words(path: str, text: str, seen: Sequence[Seen]) -> Field:
    found_only = path.startswith("?")
    path = path.removeprefix("?")
    cut = _cut(path, text, seen)
    hidden = showing.named(sum(1 for piece in cut if piece.name))
    shown = not found_only or any(piece.marks for piece in cut)
    return Field(path, word(FIELDS, path), cut, hidden, len(text) if shown else 0)


def _cut(path: str, text: str, seen: Sequence[Seen]) -> tuple[showing.Piece, ...]:
    spans = [
        (one.finding.where.start, one.finding.where.end, one.number)
        for one in seen
        if isinstance(one.finding.where, Span) and one.finding.where.field == path
    ]
    return tuple(showing.pieces(text, spans))


def _links(event: Event, seen: Sequence[Seen]) -> Iterator[tuple[str, str]]:
    """Each link and hashtag by its path; the profile's own only where the event is about it, or something was found."""
    post: Post | None = getattr(event, "post", None)
    if post:
        if post.url:
            yield "post.url", post.url
        for link in post.links:
            yield "post.links", link
        for tag in post.hashtags:
            yield "post.hashtags", tag
    for name in ("account", "followed"):
        account: Account | None = getattr(event, name, None)
        for path, links in ((f"{name}.links", account.links), (f"{name}.url", (account.url or "",))) if account else ():
            for link in links:
                if link and (not post or _at(seen, path, link)):
                    yield path, link


def _at(seen: Sequence[Seen], path: str, text: str) -> tuple[int, ...]:
    return tuple(
        one.number
        for one in seen
        if isinstance(one.finding.where, Whole) and one.finding.where.field == path and one.finding.seen in ("", text)
    )


def _media(event: Event) -> Iterator[tuple[str, str, Media]]:
    post: Post | None = getattr(event, "post", None)
    own: Media | None = getattr(event, "media", None)
    if own:
        yield "media", _("Upload"), own
    for number, media in enumerate(post.media if post else ()):
        yield f"post.media.{number}", _("Attachment"), media
    for name in ("account", "followed"):
        account: Account | None = getattr(event, name, None)
        if account and not post:
            for field, role in (("avatar", _("Avatar")), ("banner", _("Banner"))):
                picture: Media | None = getattr(account, field)
                if picture:
                    yield f"{name}.{field}", role, picture


def _medium(
    path: str, role: str, media: Media, blobs: Mapping[str, str], kept: Mapping[str, Blob], seen: Sequence[Seen]
) -> Medium:
    sha256 = blobs.get(media.id, "")
    numbers = tuple(one.number for one in seen if media_of(one.finding) == media.id)
    alt = _cut(f"{path}.alt", media.alt or "", seen)
    return Medium(media.id, sha256, sha256 in kept, alt, role, numbers)


def media_of(finding: Finding) -> str:
    """The id of the media item in which something was found; empty where it was found elsewhere."""
    where = finding.where
    if isinstance(where, Frames | Part):
        return where.media
    return where.field.removeprefix("media:") if isinstance(where, Whole) and where.field.startswith("media:") else ""


def frames_in(case: Case, sha256: str) -> list[Seen]:
    """The case's findings in the media item with these bytes."""
    seen = findings_of(case)
    keys = [tuple(key.split("/", 1)) for key in dict.fromkeys(one.event for one in seen) if "/" in key]
    ids: set[tuple[str, str]] = set()
    for record in archive.records_of(keys):  # type: ignore[arg-type]
        for media_id, digest in (json.loads(record.blobs) if record.blobs else {}).items():
            if digest == sha256:
                ids.add((event_key(record.network, record.event_id), media_id))
    return [one for one in seen if (one.event, media_of(one.finding)) in ids]


# ── Who ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def past(network: str, account_id: str, *, but: int = 0) -> dict[str, Any]:
    """What is known of an account's past here: cases, actions that held, events. Nothing where the owner is unknown."""
    if not account_id:
        return {}
    own = Case.objects.filter(network=network, account_id=account_id).exclude(pk=but).select_related("policy")
    actions = Action.objects.filter(network=network, account_id=account_id).order_by("-requested_at")
    return {
        "account": archive.account_of(network, account_id),
        "cases": list(own.order_by("-opened_at")[:PAST_SHOWN]),
        "case_count": own.count(),
        "past_actions": list(actions[:PAST_SHOWN]),
        "action_count": actions.count(),
        "confirmed": actions.filter(state=Action.State.CONFIRMED).exclude(verb="restore").count(),
    }


def elsewhere(case: Case, *, limit: int = 10) -> dict[str, Any]:
    """Other cases in which the same known things were found, and how decided cases with them ended."""
    seen = findings_of(case)
    entries = {one.finding.match.entry for one in seen if one.finding.match}
    if not entries:
        return {"cases": [], "count": 0, "acted": 0, "cleared": 0, "entries": 0}
    ids = Item.objects.filter(entry__in=sorted(entries)[:20]).exclude(case=case).values("case").distinct()
    same_cases = Case.objects.filter(pk__in=ids)
    last = Decision.objects.filter(case__in=same_cases, undone_by=None).exclude(
        outcome__in=(Decision.Outcome.UNDO, Decision.Outcome.ESCALATE)
    )
    ends = {outcome: last.filter(outcome=outcome).count() for outcome in ("act", "no_violation")}
    return {
        "cases": list(same_cases.select_related("policy").order_by("-opened_at")[:limit]),
        "count": same_cases.count(),
        "acted": ends["act"],
        "cleared": ends["no_violation"],
        "entries": len(entries),
    }


# ── History ─────────────────────────────────────────────────────────────────────────────────────────────────────────

_SIGNS = {
    "case": "info",
    "decision": "check",
    "action": "send",
    "verdict": "rule",
    "fired": "rule",
    "finding": "search",
    "report": "user",
    "comment": "text",
    "evidence": "lock",
    "events": "platform",
    "action.confirmed": "check",
    "action.failed": "warn",
    "action.dead": "warn",
    "action.contradicted": "warn",
    "action.canceled": "undo",
    "decision.undone": "undo",
    "case.escalated": "warn",
}


def history(case: Case) -> list[Happened]:
    """What happened to a case and its actions, newest first, in words. Findings and rules stand elsewhere on the page."""
    names = {f"action:{action.pk}": _asked(action) for action in Action.objects.filter(case_id=case.pk)}
    out = []
    for moment in cases.history(case):
        if moment.kind in (Item.Kind.FINDING, Item.Kind.FIRED):
            continue
        what = word(STEPS, moment.kind)
        if moment.object in names:
            what = _("%(what)s: %(action)s") % {"what": what, "action": names[moment.object]}
        elif moment.kind == "decision.made":
            what = _("%(what)s: %(outcome)s") % {
                "what": what,
                "outcome": word(OUTCOMES, moment.body.get("outcome", "")),
            }
        out.append(Happened(moment.at, sign(moment.kind), actor_words(moment.who), what, moment.text))
    return out[::-1]


def sign(step: str) -> str:
    """The icon that stands before a step."""
    return _SIGNS.get(step) or _SIGNS.get(step.partition(".")[0], "info")


def _asked(action: Action) -> str:
    return f"{word(VERBS, action.verb)} · {word(SUBJECTS, action.subject_kind)}"


def actor_words(actor: str) -> str:
    """`user:ana` as `ana`, `rule:x@3` as `rule x, version 3`, and so on."""
    kind, _colon, name = actor.partition(":")
    if kind == "user":
        return name
    if kind == "rule":
        rule, _at_sign, version = name.partition("@")
        return _("rule %(rule)s, version %(version)s") % {"rule": rule, "version": version}
    if kind == "key":
        return _("API key %(name)s") % {"name": name}
    if kind in ("platform", "detector"):
        return name
    if kind in SOURCES:
        return f"{word(SOURCES, kind)} {name}".strip()
    return _("Redshank")


def queue_phrase(case: Case, findings: Sequence[Mapping[str, Any]]) -> str:
    """Why a case is in the queue, in a phrase: the strongest thing found, and how many more there are."""
    if not findings:
        return ""
    best = max(findings, key=lambda body: ((body.get("match") or {}).get("severity", 0), body.get("score", 0)))
    match = best.get("match") or {}
    what = str(word(DETECTED, best.get("kind", "")))
    phrase = f"{what}: {match.get('label') or match.get('value', best.get('seen', ''))[:60]}"
    more = len(findings) - 1
    if more:
        phrase += " " + ngettext("and %(n)d more", "and %(n)d more", more) % {"n": more}
    return phrase
