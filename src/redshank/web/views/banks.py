"""The banks of known content: what each holds, where it comes from, what its matches led to; and for leads, changing them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec
from django.conf import settings
from django.contrib import messages
from django.core.files.uploadedfile import UploadedFile
from django.db.models import Q
from django.http import Http404, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from redshank.archive import services as archive
from redshank.banks import quarantine, services
from redshank.banks.lookback import KINDS as LOOKED_BACK
from redshank.banks.models import Bank, Entry, EntryPoints, MatchCount, Opinion
from redshank.banks.parted import count_points
from redshank.banks.services import NewEntry
from redshank.cases.models import Case, Item
from redshank.core import Account, BadInput, Finding, Frames, Media, Part, Post, PostCreated, Problem
from redshank.matching import FILES
from redshank.media import MediaError, MediaHashes, VideoHashes
from redshank.media.plugins import INSTALLED
from redshank.policies import services as policies
from redshank.web import previews, reading
from redshank.web.permissions import Asked, needs
from redshank.web.words import DETECTED, word

PAGE = 50
LARGE = 100_000
"""Entries of a bank beyond which its page looks for values by their beginning alone: looking into each takes too long."""
DAYS = 30
OF_BANK = ("paused", "harmless")
"""States that all entries of a bank share, and its page shows once."""
STOPS = ("withdrawn", "quarantined", "expired", "paused", "weak")
"""States in which an entry matches nothing by itself, or no rule sees it."""


def _actor(request: Asked) -> str:
    return f"user:{request.user.username}"


def _bank(name: str) -> Bank:
    found = Bank.objects.select_related("policy").filter(name=name).first()
    if found is None:
        raise Http404(_("There is no bank of this name."))
    return found


def _states(found: Entry, now: datetime) -> list[str]:
    """What is to be known of an entry at a glance; first what keeps it from counting."""
    return [
        state
        for state, holds in (
            ("withdrawn", found.withdrawn_at), ("quarantined", found.quarantined_at and not found.withdrawn_at),
            ("expired", found.expires_at and found.expires_at <= now), ("paused", not found.bank.active),
            ("harmless", found.bank.negative), ("weak", found.weak),
            ("unconfirmed", found.foreign and not found.confirmed_at and not found.withdrawn_at),
            ("disputed", found.dispute),
        )
        if holds
    ]  # fmt: skip


# Banks


@require_GET
@needs("banks.view")
def banks(request: Asked) -> HttpResponseBase:
    """All banks, with how many entries are in force, and what is in quarantine."""
    context = {
        "banks": list(Bank.objects.select_related("policy").order_by("name")),
        "quarantined": list(quarantine.quarantined()[:20]),
        "may_change": request.user.may("banks.change"),
    }
    return render(request, "console/banks.html", context)


@require_GET
@needs("banks.view")
def bank(request: Asked, name: str) -> HttpResponseBase:
    """One bank and its entries, newest first; `?q=` looks for values by their beginning, and, unless there are too many, in labels."""
    found = _bank(name)
    entries = Entry.objects.filter(bank=found).defer("frames")
    asked = request.GET.get("q", "").strip()[:200]
    is_large = found.in_force + found.withdrawn > LARGE
    if asked:
        entries = entries.filter(
            _beginning(found, asked) if is_large else Q(label__icontains=asked) | Q(value__icontains=asked)
        )
    before = request.GET.get("before", "")
    if before.isascii() and before.isdigit() and len(before) < 19:
        entries = entries.filter(pk__lt=int(before))
    shown = list(entries.order_by("-id")[: PAGE + 1])
    now = timezone.now()
    for one in shown:
        one.bank = found
    context: dict[str, Any] = {
        "bank": found,
        "asked": asked,
        "is_large": is_large,
        "defaults": {"limit": settings.REDSHANK.media.pdq_limit, "surge": settings.REDSHANK.banks.quarantine_matches},
        "shown": [(one, [state for state in _states(one, now) if state not in OF_BANK]) for one in shown[:PAGE]],
        "older": shown[PAGE - 1].pk if len(shown) > PAGE else None,
        "newest": bool(before),
        "may_change": request.user.may("banks.change"),
        "takes_files": found.kind in ("pdq", "video", *FILES) or _is_of_media(found.kind),
    }
    return render(request, "console/bank.html", context)


def _beginning(bank: Bank, asked: str) -> Q:
    """Entries whose value begins so, or is so once it is in form; by the index of values."""
    text = re.sub(r"\s", "", asked).lower()
    if bank.kind in ("pdq", "video", *FILES) and re.fullmatch(r"[0-9a-f]{1,128}", text):
        return Q(value__gte=text, value__lt=text + "g")  # After the last hex digit, however the store sorts.
    return Q(value__in={asked, *services.canonical_forms(asked)}) | Q(value__startswith=asked)


_NUMBERS = {"severity": False, "sampled": False, "limit": True, "share": True, "surge": True, "expires_days": True}
"""Fields of the form that are numbers, and whether they may stay empty."""
_TEXTS = ("description", "policy", "source", "languages", "license")


def _said(data: Mapping[str, str]) -> dict[str, Any]:
    """What the form says. Raises `BadInput` for what is no number."""
    out: dict[str, Any] = {name: data.get(name, "").strip() for name in _TEXTS}
    out |= {name: data.get(name) == "on" for name in ("active", "negative", "partial")}
    for name, may_be_empty in _NUMBERS.items():
        text = data.get(name, "").strip()
        if not text and may_be_empty:
            out[name] = None
        elif text.isascii() and text.isdigit() and len(text) < 10:
            out[name] = int(text)
        else:
            raise BadInput(_("not a number"), where=f"{name}: {text[:20]}")
    return out


def _form(request: Asked, said: Mapping[str, Any], **more: Any) -> HttpResponse:
    context = {
        "said": said,
        "kinds": [
            *Bank.Kind.choices,
            *((kind, f"{kind} ({', '.join(sorted(one.of))})") for kind, one in INSTALLED.items()),
        ],
        "policies": policies.active(),
        **more,
    }
    return render(request, "console/bank_form.html", context, status=422 if "problem" in more else 200)


@require_http_methods(["GET", "POST"])
@needs("banks.change")
def make(request: Asked) -> HttpResponseBase:
    """Make a bank."""
    if request.method == "GET":
        return _form(request, {"severity": 3, "sampled": 100, "active": True, "kind": "pdq"})
    try:
        said = _said(request.POST)
        del said["active"]  # A bank begins in force.
        made = services.make_bank(
            request.POST.get("name", ""),
            kind=request.POST.get("kind", ""),
            by=_actor(request),
            now=timezone.now(),
            **said,
        )
    except Problem as problem:
        return _form(request, request.POST, problem=problem)
    messages.success(request, _("The bank %(name)s is made.") % {"name": made.name})
    return redirect("bank", made.name)


@require_http_methods(["GET", "POST"])
@needs("banks.change")
def change(request: Asked, name: str) -> HttpResponseBase:
    """Change what a bank says of itself, or switch it off."""
    found = _bank(name)
    if request.method == "GET":
        said = {field: getattr(found, field) for field in services.CHANGEABLE} | {"policy": found.policy_id}
        return _form(request, said, bank=found)
    try:
        different = services.change_bank(found, _said(request.POST), by=_actor(request), now=timezone.now())
    except Problem as problem:
        return _form(request, request.POST, bank=found, problem=problem)
    if different:
        messages.success(request, _("Changed: %(what)s.") % {"what": ", ".join(different)})
    else:
        messages.info(request, _("Nothing was changed: all was so already."))
    return redirect("bank", name)


# Adding


@require_POST
@needs("banks.change")
def add(request: Asked, name: str) -> HttpResponse:
    """Add values, one a line, or the hash of a file."""
    found = _bank(name)
    label = request.POST.get("label", "").strip()
    new = [NewEntry(value=line, label=label) for line in request.POST.get("values", "").splitlines() if line.strip()]
    try:
        if upload := request.FILES.get("file"):
            hashes = _hash(upload)
            new.append(services.entry_from_media(hashes, found.kind, label=label or upload.name or ""))
        if not new:
            raise BadInput(_("nothing was given"), hint=_("Give values, one a line, or a file."))
        added = services.add_entries(found, new, by=_actor(request), now=timezone.now())
    except Problem as problem:
        messages.error(request, _("Nothing was added: %(why)s") % {"why": problem})
    else:
        _tell(request, added)
    return redirect("bank", name)


def _tell(request: Asked, added: services.Added) -> None:
    count = added.added + added.revived
    said = ngettext("%(n)d entry added.", "%(n)d entries added.", count) % {"n": count}
    if added.known:
        said += " " + _("%(n)d known already.") % {"n": added.known}
    (messages.success if count else messages.info)(request, said)
    for one in added.set_aside[:5]:
        messages.error(request, _("Set aside: %(value)s: %(why)s") % {"value": one.value[:60], "why": one.reason})


@contextmanager
def _on_disk(upload: UploadedFile[Any]) -> Iterator[Path]:
    place = archive.blob_store().new_file()
    try:
        with place.open("wb") as out:
            for chunk in upload.chunks():
                out.write(chunk)
        yield place
    finally:
        place.unlink(missing_ok=True)


def _is_of_media(kind: str) -> bool:
    return kind in INSTALLED and not INSTALLED[kind].of.isdisjoint(("photo", "video", "file"))


def _hash(upload: UploadedFile[Any]) -> MediaHashes:
    """The hashes of an uploaded file, which is deleted. Raises MediaError, and `BadInput` where it is too large."""
    if upload.size is None or upload.size > settings.REDSHANK.media.max_bytes:
        raise BadInput(_("the file is too large"), hint=_("The setting media.max_bytes says how large it may be."))
    with _on_disk(upload) as place:
        try:
            return previews.hashes(place)
        except MediaError as error:  # It names the file by our place for it, which tells nobody anything.
            raise BadInput(error.what, where=upload.name or "", hint=error.hint) from None


# Searching


class Hit(msgspec.Struct, frozen=True):
    """An entry that was found, and how near it is. `state` says why it would not count, where it would not."""

    entry: int
    bank: str
    kind: str
    value: str
    label: str
    severity: int
    near: str
    distance: int | None = None
    limit: int | None = None
    state: str = ""


@require_http_methods(["GET", "POST"])
@needs("banks.view")
def search(request: Asked) -> HttpResponseBase:
    """Look through all banks by a hash, a link, a text, a name, or a file."""
    if request.method == "GET":
        return render(request, "console/bank_search.html", {"q": ""})
    asked = request.POST.get("q", "").strip()[:20_000]
    upload = request.FILES.get("file")
    context: dict[str, Any] = {"q": asked, "searched": asked}
    try:
        if upload:
            hashes = _hash(upload)
            context |= {"searched": upload.name, "hashes": _named(hashes), "rows": _by_hashes(hashes)}
        elif asked:
            context["rows"] = _by_text(asked)
        else:
            raise BadInput(_("nothing was asked"), hint=_("Give a hash, a link, a text, or a file."))
    except Problem as problem:
        return render(request, "console/bank_search.html", {**context, "problem": problem}, status=422)
    return render(request, "console/bank_search.html", context)


def _named(hashes: MediaHashes) -> list[tuple[str, str]]:
    named = [] if isinstance(hashes, VideoHashes) else [("PDQ", f"{hashes.pdq} · {hashes.quality} %")]
    return [*named, ("SHA-256", hashes.sha256), ("SHA-1", hashes.sha1), ("MD5", hashes.md5)]


_NOW = datetime(2000, 1, 1, tzinfo=UTC)
_LENGTHS: dict[int, tuple[str, ...]] = {32: ("md5",), 40: ("sha1",), 64: ("pdq", "sha256"), 128: ("sha512",)}


def _event(text: str = "", media: Media | None = None) -> PostCreated:
    """The event that would show just this."""
    account = Account(id="asked", handle=text[:200] or None)
    post = Post(id="asked", text=text, media=(media,) if media else ())
    return PostCreated(id="asked", network="asked", at=_NOW, account=account, post=post)


def _by_hashes(hashes: MediaHashes) -> list[Hit]:
    found = services.known(fresh=True).find(_event(media=Media(id="asked")), {"asked": hashes}, sampled=False)
    return _hits(found, [getattr(hashes, kind) for kind in FILES])


def _by_text(asked: str) -> list[Hit]:
    plain = re.sub(r"\s", "", asked).lower()
    media = None
    values = [asked]
    if re.fullmatch(r"[0-9a-f]+", plain) and len(plain) in _LENGTHS:
        media = msgspec.structs.replace(Media(id="asked"), **dict.fromkeys(_LENGTHS[len(plain)], plain))
        values = [plain]
    found = services.known(fresh=True).find(_event(asked, media), sampled=False)
    return _hits(found, [*values, *services.canonical_forms(asked)])


def _hits(found: Iterable[Finding], values: Sequence[str]) -> list[Hit]:
    """What would match, the most severe first; then what has just this value, and would not."""
    hits: dict[int, Hit] = {}
    for finding in found:
        if (match := finding.match) and match.entry not in hits:
            near = _("exactly")
            if match.distance is not None:
                near = _("distance %(d)d of 256") % {"d": match.distance}
            elif isinstance(finding.where, Part):
                near = _("a part of it, %(n)d points") % {"n": finding.where.inliers}
            elif isinstance(finding.where, Frames):
                near = _("%(share)d %% of its seconds") % {"share": round(100 * finding.where.share)}
            hits[match.entry] = Hit(
                match.entry, match.bank, word(DETECTED, finding.kind), match.value, match.label, match.severity, near,
                match.distance, match.limit, match.withheld,
            )  # fmt: skip
    all_banks = list(Bank.objects.values_list("pk", flat=True))  # The index of values is by bank.
    others = Entry.objects.filter(bank__in=all_banks, value__in={value for value in values if value}).select_related(
        "bank"
    )
    now = timezone.now()
    for entry in others.defer("frames")[:PAGE]:
        if entry.pk not in hits:
            state = next((one for one in _states(entry, now) if one in STOPS), "outdone")
            hits[entry.pk] = Hit(
                entry.pk, entry.bank.name, entry.bank.get_kind_display(), entry.value, entry.label, entry.bank.severity,
                _("exactly"), state=state,
            )  # fmt: skip
    return sorted(hits.values(), key=lambda hit: (bool(hit.state), -hit.severity, hit.distance or 0))[:200]


# Entries


def _parts_of(found: Entry) -> str:
    """Whether the entry is found by a part of it, in words; empty where its bank does not ask for it."""
    if not found.bank.partial:
        return ""
    points = EntryPoints.objects.filter(entry=found.pk).values_list("packed", "poor").first()
    if points is None:
        return _("no: a hash alone has no points; add the file itself")
    packed, poor = points
    if poor:
        return _("no: %(why)s") % {"why": poor}
    pictures, count = count_points(bytes(packed))
    if found.bank.kind == "video":
        return _("yes, by %(n)d points of %(frames)d frames") % {"n": count, "frames": pictures}
    return _("yes, by %(n)d points") % {"n": count}


@require_GET
@needs("banks.view")
def entry(request: Asked, name: str, entry_id: int) -> HttpResponseBase:
    """One entry: where it comes from, what it matched when, in which cases, and what is said of it."""
    found = _entry(name, entry_id)
    days = _days(found.pk, timezone.now())
    ids = Item.objects.filter(entry=entry_id).values("case")
    states = _states(found, timezone.now())
    context = {
        "bank": found.bank,
        "entry": found,
        "states": states,
        "parts": _parts_of(found),
        "unconfirmed": "unconfirmed" in states,
        "unreviewed": bool(
            found.bank.license
            and not (found.foreign or found.confirmed_at or found.withdrawn_at or found.bank.negative)
            and not found.added_by.startswith("user:")
        ),
        "days": days,
        "total": sum(count for _day, count in days),
        "matched": urlencode(
            {"q": f'matched("{name}") and any(f.entry == {entry_id} for f in findings)', "range": "month"}
        ),
        "may_search": request.user.may("archive.search"),
        "is_sought": found.bank.kind in LOOKED_BACK,
        "cases": list(Case.objects.filter(pk__in=ids).order_by("-opened_at")[:10]),
        "opinions": list(found.opinions.all()),
        "says": Opinion.Says.choices,
        "may_change": request.user.may("banks.change"),
    }
    return render(request, "console/entry.html", context)


def _entry(name: str, entry_id: int) -> Entry:
    found = Entry.objects.select_related("bank__policy").defer("frames").filter(pk=entry_id, bank__name=name).first()
    if found is None:
        raise Http404(_("There is no such entry in this bank."))
    return found


def _days(entry_id: int, now: datetime) -> list[tuple[date, int]]:
    """How many events it matched on each of the last days, UTC, the oldest first."""
    first = now.astimezone(UTC).date() - timedelta(days=DAYS - 1)
    days = {first + timedelta(days=number): 0 for number in range(DAYS)}
    since = datetime.combine(first, datetime.min.time(), UTC)
    for hour, count in MatchCount.objects.filter(entry=entry_id, hour__gte=since).values_list("hour", "count"):
        day = hour.astimezone(UTC).date()
        days[day] = days.get(day, 0) + count
    return list(days.items())


@require_POST
@needs("banks.change")
def entry_step(request: Asked, name: str, entry_id: str, what: str) -> HttpResponse:
    """Withdraw, restore, release, dispute, settle, note, confirm, or keep a source's opinion."""
    found = _entry(name, int(entry_id))
    text, by, now = request.POST.get("text", ""), _actor(request), timezone.now()
    try:
        if what == "withdraw":
            if not text.strip():
                raise BadInput(_("no reason is given"), hint=_("Say why it is withdrawn."))
            services.withdraw_entries(found.bank, [found.pk], by=by, now=now, reason=text.strip()[:1000])
            said = _("It is withdrawn and matches nothing any more.")
        elif what == "restore":
            if not text.strip():
                raise BadInput(_("no reason is given"), hint=_("Say why it belongs here after all."))
            services.restore_entries(found.bank, [found.pk], by=by, now=now, reason=text.strip()[:1000])
            said = _("It is in force again.")
        elif what == "release":
            quarantine.release(found.pk, text[:1000], by=by, now=now)
            said = _("It is released: rules see its matches again.")
        elif what == "dispute":
            services.dispute_entry(found.pk, text, by=by, now=now)
            said = _("It is disputed. It goes on to match until somebody withdraws it.")
        elif what == "settle":
            services.settle_dispute(found.pk, text, by=by, now=now)
            said = _("The dispute is settled; the entry stays.")
        elif what == "note":
            services.note_entry(found.pk, text, by=by, now=now)
            said = _("The note is kept.")
        elif what == "confirm":
            services.confirm_entries([found.pk], by=by, now=now, own=True)
            said = (
                _("It is confirmed: rules may act by it.")
                if found.foreign
                else _("It is confirmed, and may be shared.")
            )
        else:
            services.give_opinion(
                found.pk, request.POST.get("source", ""), request.POST.get("says", ""), note=text, by=by, now=now
            )
            said = _("The opinion is kept.")
    except Problem as problem:
        messages.error(request, _("Nothing was changed: %(why)s") % {"why": problem})
    else:
        messages.success(request, said)
    return redirect("entry", name, entry_id)


# From a case


class Thing(msgspec.Struct, frozen=True):
    """Something that a case shows and a bank could take: `media:SHA256` or `link:URL`."""

    value: str
    label: str


def bankable(pieces: Iterable[reading.Piece]) -> dict[str, Any] | None:
    """What of a case's content a bank could take, and the banks; None where there is nothing."""
    things: dict[str, Thing] = {}
    for piece in pieces:
        for medium in piece.media:
            if medium.kept:
                value = f"media:{medium.sha256}"
                things.setdefault(value, Thing(value, f"{medium.about} · {medium.sha256[:10]}"))
        for link, _numbers in piece.links:
            if "." in link:
                things.setdefault(f"link:{link}", Thing(f"link:{link}", link))
    if not things:
        return None
    kinds = {
        kind
        for value in things
        for kind in (("pdq", "video", *FILES) if value.startswith("media:") else ("url", "domain"))
    }
    return {"things": list(things.values())[:PAGE], "banks": list(Bank.objects.filter(kind__in=kinds, active=True))}


@require_POST
@needs("banks.change")
def from_case(request: Asked, case_id: int) -> HttpResponse:
    """Add what a case shows to a bank; the entry says from which case it came."""
    found = Case.objects.prefetch_related("items").filter(pk=case_id).first()
    if found is None:
        raise Http404(_("There is no case C-%(id)s.") % {"id": case_id})
    pieces, _rest = reading.content(found, reading.findings_of(found))
    shown = bankable(pieces)
    what, label = request.POST.get("what", ""), request.POST.get("label", "").strip()
    try:
        into = services.get_bank(request.POST.get("bank", ""))
        if shown is None or what not in {thing.value for thing in shown["things"]}:
            raise BadInput(_("this case does not show that"), hint=_("Load the page again."))
        kind, _colon, value = what.partition(":")
        if kind == "media":
            hashes = previews.hashes(archive.blob_store().path(value))
            new = services.entry_from_media(hashes, into.kind, label=label)
        elif into.kind in ("url", "domain"):
            new = NewEntry(value=value, label=label)
        else:
            raise BadInput(_("a link, which this bank does not take"))
        new = msgspec.structs.replace(new, from_case=case_id)
        added = services.add_entries(into, [new], by=_actor(request), now=timezone.now())
    except Problem as problem:
        messages.error(request, _("Nothing was added: %(why)s") % {"why": problem})
    else:
        _tell(request, added)
    return redirect("case", case_id)
