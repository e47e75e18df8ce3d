"""What pages show of ties: bits as a waterfall, two accounts side by side, the chain, the surroundings as a graph.

Everything here can be read aloud: each picture stands beside the list that it draws.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy

from redshank.archive import services as archive
from redshank.evasion import deciding
from redshank.evasion.gathering import Evidence, shared_by
from redshank.evasion.models import NeverTie, ProfileRecord, TieRecord

KINDS = {
    "follows": lazy("Whom they follow"),
    "contacts": lazy("Who follows, greets and is mentioned"),
    "links": lazy("Links and domains"),
    "declared": lazy("Accounts it calls its own"),
    "words": lazy("Words of the bio"),
    "name": lazy("Names"),
    "avatar": lazy("Profile picture"),
    "banner": lazy("Picture at the top"),
    "hours": lazy("Hours of activity"),
    "style": lazy("Ways of writing"),
    "time": lazy("Time since the suspension"),
    "language": lazy("Language"),
    "device": lazy("Device"),
    "address": lazy("Network address"),
    "mail": lazy("Mail address"),
    "phone": lazy("Phone number"),
    "likeness": lazy("Against the other look-alikes"),
    "networks": lazy("Between these two networks"),
    "before any evidence": lazy("Before any evidence"),
    "calibration": lazy("Correction, since evidence overlaps"),
}
TOKENS = {
    "device": lazy("device"),
    "address": lazy("network address"),
    "mail": lazy("mail address"),
    "phone": lazy("phone number"),
}


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the waterfall: bits from `start` to `end` of the running sum, drawn at `x` with `width`, of 100."""

    name: str
    kind: str
    bits: float
    detail: str
    sum: float
    x: float
    width: float
    zero: float
    tone: str


def lines(ties: Sequence[TieRecord]) -> list[dict[str, Any]]:
    """Each tie with both accounts' records and its strongest reasons in words; of those judged blind, none."""
    out = []
    for tie in ties:
        hidden = tie.blind and tie.state == TieRecord.State.OPEN
        reasons = [
            one
            for one in tie.reasons
            if one["kind"] in KINDS and one["kind"] not in ("before any evidence", "calibration")
        ]
        out.append(
            {
                "tie": tie,
                "hidden": hidden,
                "new": archive.account_of(tie.new.network, tie.new.account_id),
                "old": archive.account_of(tie.old.network, tie.old.account_id),
                "why": [] if hidden else [(KINDS[one["kind"]], one["bits"]) for one in reasons if one["bits"] > 0][:3],
                "against": []
                if hidden
                else [(KINDS[one["kind"]], one["bits"]) for one in reasons if one["bits"] < -0.5][:2],
                "percent": chance(tie.probability),
            }
        )
    return out


def of_account(network: str, account_id: str) -> dict[str, Any]:
    """What an account's page shows of it: ties, the surest one explained, exceptions, and whose it was found to be."""
    if not account_id:
        return {}
    about, ties, exceptions = deciding.asked_about(network, account_id)
    standing = [tie for tie in ties if tie.state in (TieRecord.State.OPEN, TieRecord.State.CONFIRMED)]
    best = standing[0] if standing and not (standing[0].blind and standing[0].state == TieRecord.State.OPEN) else None
    return {
        "tie_lines": lines(ties),
        "best_tie": best,
        "best_bars": waterfall(best) if best else [],
        "best_percent": chance(best.probability) if best else "",
        "exceptions": exceptions,
        "watched": about is not None,
        "is_target": about is not None and about.target,
        "chain": chain(about) if about is not None and about.owner is not None else [],
        "exception_kinds": NeverTie.What.choices,
    }


def explained(tie: TieRecord) -> dict[str, Any]:
    """Everything that the page of one tie shows."""
    hidden = tie.blind and tie.state == TieRecord.State.OPEN
    new, old = deciding.evidence_of(tie.new), deciding.evidence_of(tie.old)
    bits = {one["kind"]: one["bits"] for one in tie.reasons}
    others = tie.new.ties.exclude(pk=tie.pk).filter(state=TieRecord.State.OPEN).select_related("new", "old")
    nodes = surroundings(new, old, tie.new.network)
    return {
        "tie": tie,
        "hidden": hidden,
        "new_record": archive.account_of(tie.new.network, tie.new.account_id),
        "old_record": archive.account_of(tie.old.network, tie.old.account_id),
        "bars": [] if hidden else waterfall(tie),
        "percent": chance(tie.probability),
        "odds": round(math.log2(tie.probability / (1 - tie.probability)), 1) if 0 < tie.probability < 1 else 0,
        "sides": side_by_side(new, old, {} if hidden else bits, tie.new.network),
        "moments": []
        if hidden
        else [
            {**one, "at": datetime.fromisoformat(one["at"]), "percent": chance(one["probability"])}
            for one in tie.moments
        ],
        "chain": chain(tie.old),
        "others": lines(list(others.order_by("-probability")[:4])),
        "nodes": nodes,
        "graph": graph(_title(tie.new), _title(tie.old), nodes),
        "erased": not bytes(tie.new.evidence) or not bytes(tie.old.evidence),
    }


def chance(probability: float) -> str:
    """A probability for people: whole percents, and never quite 0 or 100."""
    if probability > 0.99:
        return _("over 99 %")
    return _("under 1 %") if probability < 0.01 else f"{probability:.0%}".replace("%", "\u202f%")


def waterfall(tie: TieRecord) -> list[Bar]:
    """The reasons as steps of a running sum, those for it first, then those against, in the end what all come to."""
    order = {"before any evidence": -1, "calibration": 1}
    reasons = sorted(tie.reasons, key=lambda one: (order.get(one["kind"], 0), -one["bits"]))
    spans: list[tuple[float, float, dict[str, Any]]] = []
    total = 0.0
    for one in reasons:
        spans.append((total, total + one["bits"], one))
        total += one["bits"]
    low = min(0.0, total, *(min(a, b) for a, b, _one in spans)) if spans else 0.0
    high = max(1.0, total, *(max(a, b) for a, b, _one in spans)) if spans else 1.0

    def place(value: float) -> float:
        return 100 * (value - low) / (high - low)

    def bar(start: float, end: float, name: str, kind: str, detail: str, tone: str) -> Bar:
        a, b = sorted((place(start), place(end)))
        return Bar(
            name=name, kind=kind, bits=round(end - start, 1), detail=detail, sum=round(end, 1), x=round(a, 2),
            width=round(max(b - a, 0.6), 2), zero=round(place(0), 2), tone=tone,
        )  # fmt: skip

    bars = []
    for start, end, one in spans:
        tone = "for" if end >= start else "against"
        if one["kind"] in order:
            tone = "base"
        bars.append(bar(start, end, str(KINDS.get(one["kind"], one["kind"])), one["kind"], one.get("detail", ""), tone))
    bars.append(bar(0, total, _("Together"), "sum", "", "sum"))
    return bars


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the comparison; `verdict` is agrees, differs, or empty where one side does not tell."""

    name: str
    new: str
    old: str
    both: str = ""
    verdict: str = ""
    new_hours: tuple[int, ...] = ()
    old_hours: tuple[int, ...] = ()


def side_by_side(new: Evidence, old: Evidence, bits: dict[str, float], network: str) -> list[Row]:
    """Both accounts, field by field, with what agrees. `bits` say how a kind of evidence was weighed, where one may know;
    `network` is the new account's."""
    shared = shared_by(new, old)

    def verdict(kind: str, agrees: bool, differs: bool) -> str:
        weighed = bits.get(kind)
        if weighed is not None and abs(weighed) >= 0.1:
            return "agrees" if weighed > 0 else "differs"
        return "agrees" if agrees else "differs" if differs else ""

    def told(name: str, mine: str, theirs: str, kind: str) -> Row:
        same = bool(mine) and mine.casefold() == theirs.casefold()
        return Row(name=name, new=mine, old=theirs, verdict=verdict(kind, same, False) if mine and theirs else "")

    def counted(name: str, field: str, kind: str) -> Row:
        mine, theirs, both = len(getattr(new, field)), len(getattr(old, field)), shared.counts.get(field, 0)
        named = ", ".join(_short(getattr(shared, field)[:12], network))
        return Row(
            name=name, new=str(mine), old=str(theirs),
            both=_("%(n)s in common: %(named)s") % {"n": both, "named": named} if both else "",
            verdict=verdict(kind, both > 0, False) if mine and theirs else "",
        )  # fmt: skip

    rows = [
        told(_("Handle"), new.handle, old.handle, "name"),
        told(_("Display name"), new.display_name, old.display_name, "name"),
        told(_("Bio"), new.bio[:400], old.bio[:400], "words"),
        told(_("Language"), _language(new), _language(old), "language"),
        counted(_("Follows"), "follows", "follows"),
        counted(_("Followed or greeted by"), "followers", "contacts"),
        counted(_("Mentions"), "mentions", "contacts"),
        counted(_("Links and domains"), "links", "links"),
        Row(
            name=_("Accounts it calls its own"),
            new=", ".join(new.declared[:4]),
            old=", ".join(old.own[:4]),
            both=_("it names this one") if shared.declared else "",
            verdict=verdict("declared", bool(shared.declared), False) if new.declared and old.own else "",
        ),
    ]
    if new.avatar and old.avatar:
        apart = (int.from_bytes(new.avatar, "big") ^ int.from_bytes(old.avatar, "big")).bit_count()
        alike = _("%(n)s of 256 bits differ") % {"n": apart}
        rows.append(
            Row(
                name=_("Profile picture"),
                new=_("there"),
                old=_("there"),
                both=alike,
                verdict=verdict("avatar", apart <= 31, apart > 100),
            )
        )
    if sum(new.hours) and sum(old.hours):
        rows.append(
            Row(
                name=_("Hours of activity (UTC)"), new=_hours(new.hours), old=_hours(old.hours), verdict=verdict("hours", False, False),
                new_hours=tuple(new.hours), old_hours=tuple(old.hours),
            )
        )  # fmt: skip
    if new.tokens and old.tokens:
        named = ", ".join(str(TOKENS[one]) for one in shared.tokens)
        mine, theirs = (", ".join(sorted({str(TOKENS[seen.purpose]) for seen in one.tokens})) for one in (new, old))
        rows.append(
            Row(
                name=_("Keyed tokens"),
                new=mine,
                old=theirs,
                both=_("the same %(what)s") % {"what": named} if named else _("none the same"),
                verdict="agrees" if named else "differs",
            )
        )
    if shared.habits or (new.posts and old.posts):
        rows.append(
            Row(
                name=_("Ways of writing"),
                new=_("%(n)s posts") % {"n": new.posts},
                old=_("%(n)s posts") % {"n": old.posts},
                both=" ".join(shared.habits),
                verdict=verdict("style", False, False),
            )
        )
    return rows


def _language(evidence: Evidence) -> str:
    return max(evidence.languages, key=lambda name: evidence.languages[name], default=evidence.language)


def _hours(hours: Sequence[int]) -> str:
    top = sorted(range(24), key=lambda hour: -hours[hour])[:3]
    return _("mostly at %(hours)s h") % {"hours": ", ".join(f"{hour:02d}" for hour in sorted(top) if hours[hour])}


def chain(about: ProfileRecord) -> list[dict[str, Any]]:
    """The accounts that people found to be one owner's, in the order of time."""
    out = []
    for one in deciding.chain_of(about):
        known = archive.account_of(one.network, one.account_id)
        evidence = deciding.evidence_of(one)
        created = datetime.fromtimestamp(evidence.created_at, UTC) if evidence.created_at else one.seen_at
        out.append({"about": one, "record": known, "created": created, "ended": one.ended_at})
    return out


def _short(names: Sequence[str], network: str) -> list[str]:
    """Accounts as one calls them who is on `network`."""
    return [name.removeprefix(f"{network}/") for name in names]


def surroundings(new: Evidence, old: Evidence, network: str) -> list[tuple[str, str]]:
    """What both are connected with, as (how, what), a dozen at most; `network` is the new account's."""
    shared = shared_by(new, old)
    found: list[tuple[str, str]] = []
    for how, values in (
        (_("it says was its own"), shared.declared),
        (_("both follow"), shared.follows),
        (_("follows or greets both"), shared.followers),
        (_("both mention"), shared.mentions),
        (_("both link to"), shared.links),
    ):
        found += [(how, value) for value in _short(values[:6], network)]
    return found[:12]


def graph(new: str, old: str, nodes: Sequence[tuple[str, str]]) -> SafeString:
    """Two accounts and what lies between them, as SVG; the same stands beside it as a list."""
    step, top = 26, 42
    height = top + step * max(len(nodes), 1)
    middle = top + step * (max(len(nodes), 1) - 1) / 2
    edges = format_html_join(
        "",
        '<path class="edge" d="M27 {0} C70 {0} 55 {1} 85 {1} M275 {1} C305 {1} 290 {0} 333 {0}"/>',
        ((middle, top + step * at) for at in range(len(nodes))),
    )
    texts = format_html_join(
        "",
        '<rect class="node" x="85" y="{}" width="190" height="20" rx="10"/><text x="180" y="{}" text-anchor="middle">{}</text>',
        ((top + step * at - 10, top + step * at + 4, _plain(what, 27)) for at, (_how, what) in enumerate(nodes)),
    )
    ends = format_html(
        '<circle class="new" cx="18" cy="{0}" r="8"/><circle class="old" cx="342" cy="{0}" r="8"/>'
        '<text x="4" y="14">{1}</text><text x="356" y="14" text-anchor="end">{2}</text>',
        middle, _plain(new, 22), _plain(old, 22),
    )  # fmt: skip
    return format_html(
        '<svg class="graph" viewBox="0 0 360 {}" aria-hidden="true" focusable="false">{}{}{}</svg>',
        height, edges, texts, ends,
    )  # fmt: skip


def _title(about: ProfileRecord) -> str:
    known = archive.account_of(about.network, about.account_id)
    return (known.handle if known and known.handle else about.account_id) or about.account_id


def _plain(text: str, most: int) -> str:
    """A stranger's text for a picture: one line, nothing in it that hides or reorders."""
    shown = "".join(char if char.isprintable() else "·" for char in text)
    return shown if len(shown) <= most else shown[: most - 1] + "…"
