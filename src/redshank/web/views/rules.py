"""The rules: those of files, as they were loaded, and those of the console, which are written, reviewed and set here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

import msgspec
from django.contrib import messages
from django.db.models import Prefetch
from django.http import Http404, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from redshank.banks.models import Bank
from redshank.banks.services import kinds_of_banks
from redshank.cases.services import decided
from redshank.core import Problem, RequestAction
from redshank.matching import ASKED
from redshank.rules import Rule, breakers, firings, services
from redshank.rules.handbook import Entry, entries
from redshank.rules.loader import LoadedRule
from redshank.rules.models import ConsoleRule, RuleVersion
from redshank.rules.services import Changed, Mode
from redshank.web import kept
from redshank.web.permissions import Asked, needs
from redshank.web.rule_words import TEMPLATE, difference, effect_words
from redshank.web.views.backtests import jobs_of, told
from redshank.web.words import DETECTED, EVENTS, word

DAYS = 30
"""Days that a rule's page looks back."""
_DESCRIPTION = re.compile(r"^\s*description:\s*(.+)$", re.MULTILINE)
_ORDER = {"live": 0, "shadow": 1, "off": 2, "draft": 3, "retired": 4}


# ── The list ────────────────────────────────────────────────────────────────────────────────────────────────────────


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One rule of the list. `states` are shown as badges, the first says how it stands."""

    id: str
    description: str
    states: tuple[str, ...]
    policy: str
    where: str
    version: str


@require_GET
@needs("rules.view")
def rules(request: Asked) -> HttpResponseBase:
    """All rules, live ones first; what waits for a second person's word stands above."""
    now = timezone.now()
    context: dict[str, Any] = {"path": services.rules_path(), "may_change": request.user.may("rules.change")}
    try:
        found = services.in_force()
    except Problem as problem:
        return render(request, "console/rules.html", {**context, "problem": problem})
    rows = [*_of_files(found.folder.loaded.examples, now), *_of_console(found, now)]
    context |= {
        "rows": sorted(rows, key=lambda row: (_ORDER.get(row.states[0], 3), row.id)),
        "trouble": found.trouble,
        "waiting": list(
            RuleVersion.objects.filter(state=RuleVersion.State.REVIEW)
            .select_related("rule", "author")
            .order_by("asked_at")
        ),
    }
    return render(request, "console/rules.html", context)


def _of_files(loaded: Sequence[LoadedRule], now: datetime) -> list[Row]:
    return [
        Row(
            id=one.rule.id,
            description=one.rule.description,
            states=(one.rule.mode, *_expired(one.rule, now)),
            policy=one.rule.policy,
            where=one.rule.file,
            version=one.rule.version,
        )
        for one in loaded
    ]


def _of_console(found: services.InForce, now: datetime) -> list[Row]:
    out = []
    judging = {(rule.id, rule.mode): rule for rule in found.rules.rules}
    versions = RuleVersion.objects.order_by("-number")
    for stored in ConsoleRule.objects.select_related("live", "shadow").prefetch_related(Prefetch("versions", versions)):
        latest = stored.versions.all()[0]
        shown = stored.live or stored.shadow or latest
        rule = judging.get((stored.rule_id, "live")) or judging.get((stored.rule_id, "shadow"))
        states = _states(stored)
        if stored.rule_id in found.broken:
            states.append("broken")
        if latest.state == RuleVersion.State.REVIEW:
            states.append("review")
        out.append(
            Row(
                id=stored.rule_id,
                description=rule.description if rule else _described(shown.text),
                states=(*states, *(_expired(rule, now) if rule else ())),
                policy=rule.policy if rule else "",
                where=_("console, version %(n)d") % {"n": shown.number},
                version=shown.fingerprint,
            )
        )
    return out


def _states(stored: ConsoleRule) -> list[str]:
    if stored.retired_at:
        return ["retired"]
    return [*(["live"] if stored.live else []), *(["shadow"] if stored.shadow else [])] or ["draft"]


def _expired(rule: Rule, now: datetime) -> tuple[str, ...]:
    return ("expired",) if rule.expires is not None and rule.expires <= now else ()


def _described(text: str) -> str:
    found = _DESCRIPTION.search(text)
    return found[1].strip() if found else ""


# ── One rule ────────────────────────────────────────────────────────────────────────────────────────────────────────


@require_GET
@needs("rules.view")
def rule(request: Asked, rule_id: str) -> HttpResponseBase:
    """One rule: what it is in words, its versions, and what may be done with it; `?version=` as verdicts name it."""
    stored = _stored(rule_id)
    asked = request.GET.get("version", "")[:12]
    if stored is not None:
        then = stored.versions.filter(fingerprint=asked).first() if asked else None
        if then is not None:
            return redirect("rule_version", rule_id, then.number)
        return _console_rule(request, stored)
    try:
        loaded = services.in_force().folder.loaded.examples
    except Problem:
        return redirect("rules")  # which says what is wrong with them
    one = next((one for one in loaded if one.rule.id == rule_id), None)
    if one is None:
        raise Http404(_("There is no rule of this name."))
    context = {
        **_in_words(one.rule),
        "id": rule_id,
        "tripped": list(breakers.tripped(rule_id)),
        "states": (one.rule.mode, *_expired(one.rule, timezone.now())),
        "text": one.text,
        "asked": asked if asked != one.rule.version else "",
        "examples": (len(one.fires_on), len(one.silent_on)),
        "may_change": request.user.may("rules.change"),
        "jobs": jobs_of(rule_id),
        "days": DAYS,
    }
    return render(request, "console/rule.html", context)


def _console_rule(request: Asked, stored: ConsoleRule) -> HttpResponse:
    now = timezone.now()
    versions = list(stored.versions.select_related("author", "reviewer").order_by("-number"))
    latest = versions[0]
    shown = stored.live or stored.shadow or latest
    checked = services.check_text(shown.text, rule_id=stored.rule_id, now=now)
    try:
        broken = services.in_force().broken.get(stored.rule_id, "")
    except Problem as problem:
        broken = str(problem)
    newest = checked if shown == latest else services.check_text(latest.text, rule_id=stored.rule_id, now=now)
    context: dict[str, Any] = {
        **(_in_words(checked.rule) if checked.rule else {"rule": None}),
        "id": stored.rule_id,
        "tripped": list(breakers.tripped(stored.rule_id)),
        "states": (*_states(stored), *(_expired(checked.rule, now) if checked.rule else ())),
        "description": checked.rule.description if checked.rule else _described(shown.text),
        "stored": stored,
        "stands": services.stands(stored),
        "shown": next(one for one in versions if one.pk == shown.pk),
        "moved": stored.live is not None
        and checked.rule is not None
        and checked.rule.version != stored.live.fingerprint,
        "latest": latest,
        "latest_is_good": newest.is_good,
        "broken": broken,
        "text": shown.text,
        "examples": (checked.right, len(checked.wrong)),
        "versions": versions,
        "may_change": request.user.may("rules.change"),
        "may_review": request.user.may("rules.review"),
        "may_audit": request.user.may("audit.view"),
        "jobs": jobs_of(stored.rule_id),
        "days": DAYS,
    }
    return render(request, "console/rule.html", context)


def _in_words(found: Rule) -> dict[str, Any]:
    return {
        "rule": found,
        "description": found.description,
        "effects": [effect_words(effect) for effect in found.effects],
        "unsure": [effect_words(effect) for effect in found.unsure],
        "looks_at": [word(EVENTS, tag) for tag in found.tags],
        "acts": any(isinstance(effect, RequestAction) for effect in found.effects),
    }


@require_GET
@needs("rules.view")
def did(request: Asked, rule_id: str) -> HttpResponseBase:
    """What a rule did lately, live and in the shadow, beside what people decided; a page of its own or part of the rule's."""
    now = timezone.now()
    stored = _stored(rule_id)
    since = firings.since_days(now, DAYS)
    try:
        judging = {one.mode: one for one in services.in_force().rules.rules if one.id == rule_id}
    except Problem:
        judging = {}
    if stored is None and not judging:
        raise Http404(_("There is no rule of this name."))
    records = dict(zip(("live", "shadow"), firings.recent(rule_id, since=since), strict=True))
    shown = []
    for mode, record in records.items():
        if not record.firings and mode not in judging:
            continue
        version = judging[mode].version if mode in judging else ""
        tried = firings.tell(rule_id, version, mode, record, decided)
        shown.append(
            {
                **told(tried, since=since, until=now),
                "is_cut": record.is_cut,
                "versions": _numbers(stored, record),
            }
        )
    both = _both(records["live"], records["shadow"]) if len(shown) == 2 else None
    may_search = request.user.may("archive.search")
    context = {"id": rule_id, "shown": shown, "both": both, "days": DAYS, "may_search": may_search}
    page = "console/parts/did.html" if request.htmx else "console/did.html"
    return render(request, page, context)


def _numbers(stored: ConsoleRule | None, record: firings.Record) -> list[str]:
    """The console's versions that fired, the newest first, as people call them."""
    if stored is None:
        return []
    known = dict(stored.versions.exclude(fingerprint="").order_by("number").values_list("fingerprint", "number"))
    return [
        _("version %(n)s") % {"n": known.get(version, version)}
        for version in dict.fromkeys(one.version for one in record.firings)
    ]


def _both(live: firings.Record, shadow: firings.Record) -> dict[str, int]:
    """How a draft in the shadow differs from the version that is live, since both judge."""
    first = max(min((one.at for one in record.firings), default=record.since) for record in (live, shadow))
    of_live, of_shadow = (
        {(one.network, one.event) for one in record.firings if one.at >= first} for record in (live, shadow)
    )
    return {
        "both": len(of_live & of_shadow),
        "only_live": len(of_live - of_shadow),
        "only_shadow": len(of_shadow - of_live),
    }


# ── The editor ──────────────────────────────────────────────────────────────────────────────────────────────────────


@require_http_methods(["GET", "POST"])
@needs("rules.change", keeps=True)
def make(request: Asked) -> HttpResponseBase:
    """Write a new rule; `?from=` begins with one of a file, under an id that is free."""
    if request.method == "POST":
        return _save(request, None)
    text = TEMPLATE
    if (model := request.GET.get("from", "")) and (copy := _copy_of(model)):
        text = copy
    return _editor(request, None, text=text)


@require_http_methods(["GET", "POST"])
@needs("rules.change", keeps=True)
def edit(request: Asked, rule_id: str) -> HttpResponseBase:
    """Write the next version; `?from=` begins with an earlier one."""
    stored = _must(rule_id)
    if request.method == "POST":
        return _save(request, stored)
    latest = _latest(stored)
    model = request.GET.get("from", "")
    start = stored.versions.filter(number=int(model)).first() if model.isdecimal() and len(model) < 9 else None
    return _editor(request, stored, text=(start or latest).text, base=latest.number, start=start)


@require_POST
@needs("rules.change", keeps=True)
def check(request: Asked) -> HttpResponseBase:
    """What is to be said of a text, while it is written."""
    stored = _stored(request.POST.get("rule", ""))
    text = _typed(request)["text"]
    context = {**_said(stored, text), **_since(stored, _typed(request)["base"])}
    return render(request, "console/parts/said.html", context)


def _typed(request: Asked) -> dict[str, str]:
    return {name: request.POST.get(name, "")[: most * 2] for name, most in kept.FIELDS.items()}


def _save(request: Asked, stored: ConsoleRule | None) -> HttpResponse:
    typed = _typed(request)
    text, note, base = typed["text"], typed["note"], _number(typed["base"])
    if request.POST.get("do") == "check":
        return _editor(request, stored, text=text, note=note, base=base)
    try:
        version = services.save(
            text,
            note=note,
            base=base,
            rule_id=stored.rule_id if stored else "",
            by=request.user,
            now=timezone.now(),
        )
    except Changed as problem:
        return _editor(request, stored, text=text, note=note, base=base, problem=problem, status=409)
    except Problem as problem:
        return _editor(request, stored, text=text, note=note, base=base, problem=problem, status=422)
    messages.success(request, _("Version %(n)d is kept. Nothing is in force by that.") % {"n": version.number})
    if request.POST.get("do") == "backtest" and version.fingerprint:
        return redirect(f"{reverse('backtests')}?version={version.pk}")
    return redirect("rule_version", version.rule.rule_id, version.number)


def _editor(
    request: Asked,
    stored: ConsoleRule | None,
    *,
    text: str,
    note: str = "",
    base: int = 0,
    start: RuleVersion | None = None,
    problem: Problem | None = None,
    status: int = 200,
) -> HttpResponse:
    back = kept.take(request) if request.method == "GET" else None
    if back is not None:
        text, note, base = back["text"], back["note"], _number(back["base"])
    latest = _latest(stored) if stored else None
    context: dict[str, Any] = {
        "stored": stored,
        "text": text,
        "note": note,
        "base": base,
        "start": start,
        "problem": problem,
        "is_back": back is not None,
        "whose": kept.token(request.user),
        "most": services.MAX_TEXT,
        "groups": _handbook(""),
        **_said(stored, text),
    }
    if latest is not None and latest.number != base:
        began = stored.versions.filter(number=base).first() if stored else None
        context |= {
            "newer": latest,
            "theirs": difference(began.text if began else "", latest.text),
            "mine": difference(latest.text, services.tidy(text)),
            "base": latest.number,
        }
    return render(request, "console/rule_edit.html", context, status=status)


def _said(stored: ConsoleRule | None, text: str) -> dict[str, Any]:
    if len(text) > services.MAX_TEXT:
        return {"too_long": len(text), "most": services.MAX_TEXT}
    checked = services.check_text(
        text, rule_id=stored.rule_id if stored else "", now=timezone.now(), banks=kinds_of_banks()
    )
    found: dict[str, Any] = {"checked": checked}
    if checked.rule is not None:
        found |= _in_words(checked.rule)
    return found


def _since(stored: ConsoleRule | None, base: str) -> dict[str, Any]:
    """Whoever saved another version meanwhile is named while one still writes."""
    latest = _latest(stored) if stored else None
    return {"newer": latest} if latest is not None and latest.number != _number(base) else {}


def _copy_of(rule_id: str) -> str:
    one = next((one for one in services.folder().loaded.examples if one.rule.id == rule_id), None)
    if one is None:
        return ""
    taken = services.ids_of_files() | set(ConsoleRule.objects.values_list("rule_id", flat=True))
    names = (f"{rule_id[:58]}-{number}" for number in range(2, 1000))
    free = next((name for name in names if name not in taken), "")
    text = re.sub(r"^(\s*-?\s*)id:.*$", lambda found: f"{found[1]}id: {free}", one.text, count=1, flags=re.MULTILINE)
    return re.sub(r"^\s*mode:.*\n", "", text, count=1, flags=re.MULTILINE)


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 9 else 0


# ── The handbook ────────────────────────────────────────────────────────────────────────────────────────────────────


@require_GET
@needs("rules.view")
def library(request: Asked) -> HttpResponseBase:
    """Every name and function there is; `?q=` looks in them."""
    asked = request.GET.get("q", "").strip()[:100]
    context = {"groups": _handbook(asked), "asked": asked}
    page = "console/parts/library.html" if request.htmx else "console/rule_library.html"
    return render(request, page, context)


def _handbook(asked: str) -> list[tuple[str, list[Entry]]]:
    words = asked.lower().split()

    def fits(entry: Entry) -> bool:
        said = " ".join((entry.group, entry.name, entry.says, entry.example)).lower()
        return all(one in said for one in words)

    found = sorted(filter(fits, [*_own(), *entries()]), key=lambda entry: _GROUPS.index(entry.group) if entry.group in _GROUPS else 99)  # fmt: skip
    return [(group, list(some)) for group, some in groupby(found, key=lambda entry: entry.group)]


def _own() -> list[Entry]:
    """What this installation has, and its rules can name."""
    banks = Bank.objects.filter(active=True).order_by("name").values_list("name", "kind", "description")
    declared = services.folder().declared()
    return [
        *(Entry(group=f"your {kind}", name=name, says=says) for kind, name, says in declared),
        *(
            Entry(
                group="your banks",
                name=f'matched("{name}")' + (f', … in bank("{name}")' if kind in ASKED else ""),
                says=f"{word(DETECTED, kind)}. {says}",
            )
            for name, kind, says in banks
        ),
    ]


_GROUPS = (
    "your names", "your lists", "your fields", "your banks", "conditions", "text", "time", "lists", "findings", "counters", "missing values", "effects", "names", "event", "account", "post",
)  # fmt: skip


# ── Versions, and what is done with them ────────────────────────────────────────────────────────────────────────────


@require_GET
@needs("rules.view")
def version(request: Asked, rule_id: str, number: int) -> HttpResponseBase:
    """One version: its text, what differs from another, what a second person said."""
    stored, found = _version(rule_id, number)
    against = _number(request.GET.get("against", ""))
    others = list(stored.versions.exclude(number=number).order_by("-number").values_list("number", flat=True))
    if against not in others:
        live = stored.live.number if stored.live and stored.live != found else 0
        against = live or next((other for other in others if other < number), 0)
    other = stored.versions.filter(number=against).first()
    checked = services.check_text(found.text, rule_id=rule_id, now=timezone.now(), banks=kinds_of_banks())
    own = found.author_id == request.user.pk
    context = {
        "stored": stored,
        "stands": services.stands(stored),
        "version": found,
        "others": others,
        "other": other,
        "lines": difference(other.text, found.text) if other else [],
        "checked": checked,
        "own": own,
        "is_live": stored.live_id == found.pk,
        "is_shadow": stored.shadow_id == found.pk,
        "may_go_live": bool(found.reviewed_sha256),
        "may_change": request.user.may("rules.change"),
        "may_review": request.user.may("rules.review") and not own,
        "jobs": jobs_of(rule_id, number),
        **(_in_words(checked.rule) if checked.rule else {}),
    }
    return render(request, "console/rule_version.html", context)


@require_POST
@needs("rules.change")
def version_step(request: Asked, rule_id: str, number: str, what: str) -> HttpResponse:
    """Send a version to review or take it back, let it judge in the shadow, or live where it was approved."""
    _rule, found = _version(rule_id, int(number))
    note, seen, now = _note(request), request.POST.get("seen", "")[:40], timezone.now()
    try:
        if what == "review":
            services.ask_review(found, by=request.user, now=now, note=note)
            said = _("Version %(n)d waits for a second person.")
        elif what == "withdraw":
            services.withdraw(found, by=request.user, now=now, note=note)
            said = _("Version %(n)d is a draft again.")
        else:
            mode: Mode = "live" if what == "live" else "shadow"
            done = services.put_in_force(found, mode, by=request.user, now=now, seen=seen, note=note)
            said = {
                "shadow": _("Version %(n)d judges in the shadow from now on; nothing is done about it."),
                "live": _("Version %(n)d is live."),
                "back": _("Version %(n)d is live again. It was reviewed before."),
            }[done]
    except Problem as problem:
        messages.error(request, _("Nothing was changed: %(why)s") % {"why": problem})
    else:
        messages.success(request, said % {"n": found.number})
    if request.POST.get("back") == "rule":
        return redirect("rule", rule_id)
    return redirect("rule_version", rule_id, number)


@require_POST
@needs("rules.review")
def version_review(request: Asked, rule_id: str, number: str, what: str) -> HttpResponse:
    """A second person's word."""
    _rule, found = _version(rule_id, int(number))
    try:
        if what == "approve":
            services.approve(found, by=request.user, now=timezone.now(), note=_note(request))
            messages.success(request, _("Version %(n)d is approved. It is not live yet.") % {"n": found.number})
        else:
            services.give_back(found, by=request.user, now=timezone.now(), note=_note(request))
            messages.success(request, _("Version %(n)d goes back to its author.") % {"n": found.number})
    except Problem as problem:
        messages.error(request, _("Nothing was changed: %(why)s") % {"why": problem})
    return redirect("rule_version", rule_id, number)


@require_POST
@needs("rules.change")
def step(request: Asked, rule_id: str, what: str) -> HttpResponse:
    """Take a rule out of force, retire it, or bring it back."""
    _must(rule_id)
    note, seen, now = _note(request), request.POST.get("seen", "")[:40], timezone.now()
    try:
        if what == "stop-live":
            services.stop(rule_id, "live", by=request.user, now=now, seen=seen, note=note)
            said = _("It is live no more.")
        elif what == "stop-shadow":
            services.stop(rule_id, "shadow", by=request.user, now=now, seen=seen, note=note)
            said = _("It judges in the shadow no more.")
        elif what == "retire":
            services.retire(rule_id, by=request.user, now=now, note=note)
            said = _("The rule is retired. All its versions stay.")
        else:
            services.revive(rule_id, by=request.user, now=now)
            said = _("The rule is back. Nothing of it is in force yet.")
    except Problem as problem:
        messages.error(request, _("Nothing was changed: %(why)s") % {"why": problem})
    else:
        messages.success(request, said)
    return redirect("rule", rule_id)


def _note(request: Asked) -> str:
    return request.POST.get("note", "")[: services.MAX_NOTE].replace("\x00", "")


def _stored(rule_id: str) -> ConsoleRule | None:
    return ConsoleRule.objects.select_related("live", "shadow").filter(rule_id=rule_id[:64]).first()


def _must(rule_id: str) -> ConsoleRule:
    stored = _stored(rule_id)
    if stored is None:
        raise Http404(_("There is no rule of this name in the console."))
    return stored


def _version(rule_id: str, number: int) -> tuple[ConsoleRule, RuleVersion]:
    stored = _must(rule_id)
    found = stored.versions.select_related("author", "reviewer").filter(number=min(number, 2**31 - 1)).first()
    if found is None:
        raise Http404(_("This rule has no version %(n)d.") % {"n": number})
    found.rule = stored
    return stored, found


def _latest(stored: ConsoleRule) -> RuleVersion:
    return stored.versions.select_related("author").order_by("-number")[0]
