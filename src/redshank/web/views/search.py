"""The past, searched in the words of the rules: what was found, when, of whom; one event on a page; searches that are kept.

A search stands in its address, so it can be sent to a colleague, who sees it if their role may. Each is in the audit log.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any, get_args
from urllib.parse import urlencode
from zoneinfo import ZoneInfo, available_timezones

import msgspec
from django.contrib import messages
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.http import Http404, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from redshank.archive.models import AccountRecord, EventRecord, SavedSearch
from redshank.archive.past_writer import past
from redshank.banks import services as banks
from redshank.core import EventError, Problem, Verdict, decode_event
from redshank.rules import searches
from redshank.rules.search import By, Checked, Found, Place, Question, Row
from redshank.rules.search_csv import lines_of
from redshank.web import reading
from redshank.web.permissions import Asked, needs
from redshank.web.words import EVENTS, word

PAGE = 50
TOP = 15
YEAR = 365 * 24 * 3600
MOST_TEXT = 20_000
RANGES = {
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=30),
    "quarter": timedelta(days=90),
    "all": None,
}
"""How far back, by the name that stands in the address."""
_FIELDS = ("q", "range", "since", "until", "zone", "network", "rule", "account", "by")
EXAMPLES = (
    "account.age < days(2) and len(post.links) > 0",
    'contains(post.text, "join the march", "dm for invite")',
    'any(domain(link) in ["sho.example", "tiny.example"] for link in post.links)',
    'matched(severity=4) and event.type == "post.created"',
    'language(post.language, "de") and matches(post.text, "t\\\\.me/[a-z]+")',
)


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in the address, read: `problem` says what in it makes no sense."""

    text: str
    since: datetime | None
    until: datetime | None
    zone: ZoneInfo
    networks: tuple[str, ...]
    rule: str
    account: str
    by: By
    after: Place | None
    problem: str = ""


@require_GET
@needs("archive.search")
def search(request: Asked) -> HttpResponseBase:
    """The form, and below it what the search in the address finds."""
    wanted = _wanted(request)
    context: dict[str, Any] = {
        "wanted": wanted,
        "range": request.GET.get("range", "week"),
        "since": request.GET.get("since", "")[:40],
        "until": request.GET.get("until", "")[:40],
        "ranges": [("day", _("Last 24 hours")), ("week", _("Last 7 days")), ("month", _("Last 30 days")), ("quarter", _("Last 90 days")), ("all", _("All of the past"))],
        "bys": _bys(),
        "networks": _networks(),
        "zones": _zones(),
        "asked": "q" in request.GET and "stopped" not in request.GET,
        "stopped": "stopped" in request.GET,
        "address": _address(request),
        "most": MOST_TEXT,
        "examples": [(one, f"?{urlencode({'q': one, 'range': 'month'})}") for one in EXAMPLES],
        "saved": SavedSearch.objects.filter(Q(owner=request.user) | Q(shared=True)).select_related("owner"),
        "problem": wanted.problem,
    }  # fmt: skip
    if context["asked"] and not wanted.problem:
        context |= _answer(request, wanted)
    else:
        searches.get_ready()
    answer = render(request, "console/search.html", context)
    if request.GET.get("zone") == wanted.zone.key:
        answer.set_cookie(
            "zone", wanted.zone.key, max_age=YEAR, httponly=True, samesite="Lax", secure=request.is_secure()
        )
    return answer


def _answer(request: Asked, wanted: Wanted) -> dict[str, Any]:
    checked = _checked(wanted)
    said = {"checked": checked, "diagnostics": checked.diagnostics}
    if checked.question is None:
        return said
    question = _question(checked.question, wanted)
    searches.note(question, wanted.text, by=f"user:{request.user.username}", now=timezone.now())
    try:
        found, left_out = searches.answer(question, by=request.user.username)
    except Problem as problem:
        return {**said, "trouble": problem}
    return {
        **said,
        "found": found,
        "left_out": left_out,
        "rows": [_shown(row, wanted.zone) for row in found.rows],
        "bars": _bars(found, wanted) if question.times else (),
        "top": _values(request, wanted, found),
        "by_label": dict(_bys())[wanted.by],
        "narrower": _narrower(request, found),
        "newest": _address(request, after=""),
        "older": _older(request, found),
    }


def _checked(wanted: Wanted) -> Checked:
    return searches.check_search(wanted.text, banks=banks.kinds_of_banks(), texts_of=banks.texts_of)


def _question(question: Question, wanted: Wanted) -> Question:
    first = wanted.after is None
    return msgspec.structs.replace(
        question, since=wanted.since, until=wanted.until, networks=wanted.networks, rule=wanted.rule, account=wanted.account,
        times=first, by=wanted.by if first else "", top=TOP, rows=PAGE, after=wanted.after,
    )  # fmt: skip


@require_POST
@needs("archive.search")
def stop(request: Asked) -> HttpResponse:
    """End one's own search that runs. Its form stays as it was."""
    searches.stop(request.user.username)
    asked = request.POST.get("asked", "")[: MOST_TEXT + 2_000].lstrip("?")
    return redirect(_address(request, page="search", query=f"{asked}&stopped=1" if asked else "stopped=1"))


@require_GET
@needs("archive.search")
def download(request: Asked) -> HttpResponseBase:
    """Everything that the search in the address finds, as CSV."""
    wanted = _wanted(request)
    checked = _checked(wanted)
    if wanted.problem or checked.question is None:
        return redirect(_address(request, page="search"))  # which says what is wrong
    question = msgspec.structs.replace(_question(checked.question, wanted), times=False, by="", rows=0, after=None)
    actor = request.user.username
    searches.note(question, wanted.text, by=f"user:{actor}", now=timezone.now(), what="archive.downloaded")
    cut = {
        "rows": _(
            "Cut off here: a download has at most so many lines (archive.csv_rows). Narrow the search for the rest."
        ),
        "time": _("Cut off here: the search took too long. Narrow it for the rest."),
        "memory": _("Cut off here: the search took too much memory. Narrow it for the rest."),
    }
    answer = StreamingHttpResponse(_lines(question, actor, cut), content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="redshank-search-{timezone.now():%Y%m%d-%H%M%S}.csv"'
    answer["Cache-Control"] = "no-store"
    return answer


def _lines(question: Question, actor: str, cut: dict[str, str]) -> Iterator[str]:
    yield "\ufeff"  # By which spreadsheets know that it is UTF-8.
    try:
        yield from lines_of(searches.stream(question, by=actor), cut=cut)
    except Problem as problem:
        yield _("Cut off here: %(problem)s") % {"problem": problem} + "\r\n"


@require_GET
@needs("archive.search")
def event(request: Asked, network: str, event_id: str) -> HttpResponseBase:
    """One event: what it shows, what was seen in it, what the rules asked for. From the store, or else from the past."""
    record = EventRecord.objects.filter(network=network, event_id=event_id).first()
    if record is None:
        record = _from_past(request, network, event_id)
    if record is None:
        raise Http404(_("No event of this id is kept."))
    seen = _seen(record)
    verdict = msgspec.json.decode(record.verdict, type=Verdict) if record.verdict else Verdict()
    searches.note(Question(account=record.account_id), f"{network}/{event_id}", by=f"user:{request.user.username}", now=timezone.now(), what="archive.event_viewed")  # fmt: skip
    context = {
        "record": record,
        "kept": record.pk is not None,
        "title": word(EVENTS, record.type),
        "piece": reading.read_event(record, seen, reading.kept_blobs([record])),
        "whys": reading.whys_of(seen, record.at),
        "fired": verdict.fired,
        "errors": verdict.errors,
        "raw": _raw(record),
    }
    return render(request, "console/event.html", context)


def _from_past(request: Asked, network: str, event_id: str) -> EventRecord | None:
    row = searches.one_event(network, event_id, by=request.user.username, day=request.GET.get("day", "")[:10])
    if row is None:
        return None
    return EventRecord(
        network=row.network, event_id=row.id, type=row.type, at=row.at, received_at=row.received_at,
        account_id=row.account, body=row.body, verdict=row.verdict, state=EventRecord.State.WALKED,
    )  # fmt: skip


def _seen(record: EventRecord) -> list[reading.Seen]:
    verdict = msgspec.json.decode(record.verdict, type=Verdict) if record.verdict else Verdict()
    ordered = sorted(verdict.findings, key=lambda one: -(one.match.severity if one.match else 0))
    key = f"{record.network}/{record.event_id}"
    return [reading.Seen(number, finding, key) for number, finding in enumerate(ordered, 1)]


def _raw(record: EventRecord) -> Any:
    return msgspec.json.decode(record.body)


# ── Kept searches ───────────────────────────────────────────────────────────────────────────────────────────────────


@require_POST
@needs("archive.search")
def save(request: Asked) -> HttpResponse:
    """Keep the search of an address under a name, for oneself or for all who may search."""
    name = request.POST.get("name", "").strip()[:100]
    asked = request.POST.get("asked", "")[: MOST_TEXT + 2_000].lstrip("?")
    if not name or "\x00" in name + asked:
        messages.error(request, _("A search needs a name to be kept."))
        return redirect(_address(request, page="search", query=asked))
    try:
        with transaction.atomic():
            SavedSearch.objects.update_or_create(
                owner=request.user, name=name,
                defaults={"asked": asked, "shared": bool(request.POST.get("shared")), "made_at": timezone.now()},
            )  # fmt: skip
    except IntegrityError:
        pass  # The same name twice at once: one of them is kept.
    messages.success(request, _("The search “%(name)s” is kept.") % {"name": name})
    return redirect(_address(request, page="search", query=asked))


@require_POST
@needs("archive.search")
def drop(request: Asked, search_id: int) -> HttpResponse:
    """Let go of a search of one's own."""
    gone, _models = SavedSearch.objects.filter(pk=search_id, owner=request.user).delete()
    if not gone:
        raise Http404(_("You keep no such search."))
    messages.success(request, _("The search is no longer kept."))
    return redirect("search")


# ── The address ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _wanted(request: Asked) -> Wanted:
    sent = request.GET
    problems = []
    zone_name = sent.get("zone") or request.COOKIES.get("zone") or "UTC"
    if zone_name not in available_timezones():
        problems.append(_("There is no time zone %(zone)s.") % {"zone": zone_name[:60]})
        zone_name = "UTC"
    zone = ZoneInfo(zone_name)
    text = sent.get("q", "").replace("\r\n", "\n")
    if len(text) > MOST_TEXT or "\x00" in text:
        problems.append(_("The expression is too long, or has a character that no text has."))
        text = ""
    back = RANGES.get(sent.get("range", "week"), RANGES["week"])
    since = timezone.now() - back if back else None
    until = None
    for name in ("since", "until"):
        written = sent.get(name, "").strip()
        if not written:
            continue
        moment = _moment(written, zone)
        if moment is None:
            problems.append(
                _("%(written)s is no day or time: write 2026-07-31 or 2026-07-31 14:00.") % {"written": written[:40]}
            )
        elif name == "since":
            since = moment
        else:
            until = moment + (timedelta(days=1) if len(written) <= 10 else timedelta(0))
    by = sent.get("by", "account")
    return Wanted(
        text=text.strip(), since=since, until=until, zone=zone, networks=tuple(n[:63] for n in sent.getlist("network") if n)[:50],
        rule=sent.get("rule", "").strip()[:64], account=sent.get("account", "").strip()[:200],
        by=next((one for one in get_args(By) if one == by), "account"), after=_place(sent.get("after", "")), problem=" ".join(problems),
    )  # fmt: skip


def _moment(written: str, zone: ZoneInfo) -> datetime | None:
    try:
        found = datetime.fromisoformat(written)
        return (found if found.tzinfo else found.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _place(written: str) -> Place | None:
    at, _bar, rest = written.partition("|")
    network, _bar, id_ = rest.partition("|")
    return Place(int(at), network[:63], id_[:200]) if at.lstrip("-").isdecimal() and len(at) < 19 and id_ else None


def _address(request: Asked, *, page: str = "", query: str | None = None, **changes: str) -> str:
    """The address of this search, with some of its fields changed; an empty one is left out."""
    from django.urls import reverse

    if query is not None:
        return f"{reverse(page)}?{query}" if query else reverse(page)
    fields = [(name, value) for name in _FIELDS for value in request.GET.getlist(name) if value or name == "q"]
    fields = [(name, value) for name, value in fields if name not in changes]
    fields += [(name, value) for name, value in changes.items() if value]
    return (reverse(page) if page else "") + "?" + urlencode(fields)


def _older(request: Asked, found: Found) -> str:
    if not found.more:
        return ""
    last = found.rows[-1]
    micros = (last.at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    return _address(request, after=f"{micros}|{last.network}|{last.id}")


def _narrower(request: Asked, found: Found) -> str:
    """A search of what was looked at before the time was up."""
    if not found.stopped:
        return ""
    back = "day" if found.reached is None else ""
    return _address(request, range=back or "week", since=found.reached.isoformat() if found.reached else "", until="")


# ── What is shown ───────────────────────────────────────────────────────────────────────────────────────────────────


class Shown(msgspec.Struct, frozen=True):
    """A found event as a line of the table."""

    row: Row
    at: datetime
    zone: str
    title: str
    who: str
    text: str
    fired: tuple[str, ...]
    day: str


class Value(msgspec.Struct, frozen=True):
    """One value and how often it was found; `url` narrows the search to it, `page` is its own."""

    value: str
    events: int
    url: str
    network: str = ""
    account: str = ""
    name: str = ""


def _shown(row: Row, zone: ZoneInfo) -> Shown:
    text = who = ""
    try:
        found = decode_event(row.body, now=row.received_at)
        account, post = getattr(found, "account", None), getattr(found, "post", None)
        report = getattr(found, "report", None)
        who = (account and account.handle) or row.account
        text = post.text if post else report.reason if report else (account.bio or "") if account else ""
    except EventError:
        who = row.account
    at = row.at.astimezone(zone)
    return Shown(
        row,
        at,
        at.strftime("%Z"),
        word(EVENTS, row.type),
        who,
        text[:400],
        (*row.rules, *row.shadow),
        row.received_at.date().isoformat(),
    )


_CONDITIONS = {
    "type": "event.type == {}",
    "network": "event.network == {}",
    "domain": "{} in domains(post.links)",
    "link": "{} in post.links",
    "hashtag": "{} in post.hashtags",
    "mention": "{} in post.mentions",
    "language": "post.language == {}",
    "bank": "matched({})",
}


def _values(request: Asked, wanted: Wanted, found: Found) -> list[Value]:
    values = [_value(request, wanted, value, number) for value, number in found.top]
    known = AccountRecord.objects.filter(account_id__in=[one.account for one in values if one.account])
    names = {(one.network, one.account_id): one.handle for one in known}
    return [
        msgspec.structs.replace(one, name=names.get((one.network, one.account)) or one.account) if one.account else one
        for one in values
    ]


def _value(request: Asked, wanted: Wanted, value: str, number: int) -> Value:
    if wanted.by in ("rule", "shadow"):
        return Value(value, number, _address(request, rule=value))
    if wanted.by == "account":
        network, _slash, account = value.partition("/")
        return Value(value, number, _address(request, account=account, network=network, by="type"), network, account)
    literal = '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    condition = _CONDITIONS[wanted.by].format(literal)
    text = f"({wanted.text}) and {condition}" if wanted.text else condition
    return Value(value, number, _address(request, q=text))


def _bars(found: Found, wanted: Wanted) -> list[tuple[str, int]]:
    """Counts by hour, day, week or month of the person's zone, those without events among them."""
    if not found.times:
        return []
    first = datetime.fromtimestamp(found.times[0][0], wanted.zone)
    last = datetime.fromtimestamp(found.times[-1][0], wanted.zone)
    if wanted.since and wanted.since > datetime(1990, 1, 1, tzinfo=UTC) and not found.stopped:
        first = min(first, wanted.since.astimezone(wanted.zone))
    days = (last - first).days
    unit = "hour" if days < 3 else "day" if days <= 120 else "week" if days <= 730 else "month"
    counts: Counter[str] = Counter()
    for second, number in found.times:
        counts[_unit(datetime.fromtimestamp(second, wanted.zone), unit)] += number
    at, labels = first, list[str]()
    while at <= last or not labels:
        labels.append(_unit(at, unit))
        at = (at.astimezone(UTC) + timedelta(hours=1 if unit == "hour" else 24)).astimezone(wanted.zone)
    return [(label, counts[label]) for label in dict.fromkeys((*labels, _unit(last, unit)))]


def _unit(at: datetime, unit: str) -> str:
    if unit == "hour":
        return at.strftime("%Y-%m-%d %H:00")
    day: date = at.date()
    if unit == "week":
        day -= timedelta(days=day.weekday())
    return day.strftime("%Y-%m") if unit == "month" else day.isoformat()


def _bys() -> Sequence[tuple[str, str]]:
    return (
        ("account", _("Account")), ("domain", _("Domain of a link")), ("link", _("Link")), ("hashtag", _("Hashtag")), ("mention", _("Who is mentioned")),
        ("language", _("Language")), ("type", _("Type of event")), ("network", _("Network")), ("bank", _("Bank")), ("rule", _("Rule that fired live")), ("shadow", _("Rule that fired in the shadow")),
    )  # fmt: skip


def _networks() -> list[str]:
    names = {folder.name.removeprefix("network=") for folder in past().root.glob("network=*")}
    return sorted(
        names
        | set(EventRecord.objects.filter(past_batch=None).order_by().values_list("network", flat=True).distinct()[:100])
    )


@lru_cache(1)
def _zones() -> tuple[str, ...]:
    areas = ("Africa/", "America/", "Asia/", "Australia/", "Europe/", "Pacific/")
    return ("UTC", *sorted(zone for zone in available_timezones() if zone.startswith(areas) and zone.count("/") == 1))
