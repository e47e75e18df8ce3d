"""The templates' words for what `showing.py` works out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import msgspec
from django import template
from django.template.context import Context
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _

from redshank.core import Region, short_id
from redshank.web import charts, showing
from redshank.web.icons import ICONS, LOGO
from redshank.web.reading import actor_words
from redshank.web.words import ASKED, OBJECTS, RUNS, SOURCES, STATES, STEPS, VERBS, word

register = template.Library()


@register.simple_tag
def logo() -> SafeString:
    """The wader, in the colors of the scheme."""
    return mark_safe(LOGO)  # noqa: S308 - our own drawing


@register.simple_tag
def icon(name: str) -> SafeString:
    """A sign beside a word; it never stands alone, so it is hidden from those who listen."""
    return mark_safe(  # noqa: S308 - our own drawing
        f'<svg class="icon" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true" focusable="false">'
        f"{ICONS.get(name, ICONS['info'])}</svg>"
    )


@register.simple_tag
def key(combination: str) -> SafeString:
    """The key that does what the button does, on the button. `data-key` on the button itself makes it work."""
    return format_html(
        '<span class="keys" aria-hidden="true">{}</span>',
        format_html_join("", "<kbd>{}</kbd>", ((part,) for part in combination.split(" "))),
    )


@register.simple_tag
def when(at: datetime | str | None, empty: str = "–") -> SafeString:
    """A time as a distance, with the exact one in its title, and in its place where exact times are switched on."""
    if not isinstance(at, datetime):  # None, or the empty string of a template's missing value
        return format_html("{}", empty)
    now = timezone.now()
    return format_html(
        '<time datetime="{}" title="{}"><span class="rel">{}</span><span class="abs">{}</span></time>',
        at.isoformat(), showing.exact(at), showing.ago(at, now), showing.exact(at),
    )  # fmt: skip


@register.simple_tag
def age(at: datetime | str | None) -> SafeString:
    """How old something is: `3 h`."""
    if not isinstance(at, datetime):  # None, or the empty string of a template's missing value
        return format_html("{}", "–")
    return format_html(
        '<time datetime="{}" title="{}"><span class="rel">{}</span><span class="abs">{}</span></time>',
        at.isoformat(), showing.exact(at), showing.span_words(timezone.now() - at), showing.exact(at),
    )  # fmt: skip


@register.simple_tag
def deadline(case: Any) -> SafeString:
    """The clock of a case: a pie of the time that has passed, and the time that is left in words."""
    clock = showing.clock(case.deadline, case.opened_at, timezone.now())
    notes = {"late": _("overdue"), "now": _("urgent"), "soon": _("soon"), "calm": ""}
    note = notes[clock.level] if clock.level in ("now", "soon") else ""
    return format_html(
        '<time class="clock {}" datetime="{}" title="{}"><svg viewBox="0 0 16 16" width="16" height="16" '
        'aria-hidden="true" focusable="false"><circle cx="8" cy="8" r="6.6"/><path d="{}"/></svg>'
        '<span><span class="rel">{}{}</span><span class="abs">{}</span></span></time>',
        clock.level, case.deadline.isoformat(), showing.exact(case.deadline), showing.arc(clock.share, 6.6), clock.words,
        format_html(" · <em>{}</em>", note) if note else "", showing.exact(case.deadline),
    )  # fmt: skip


@register.filter
def inert(text: Any) -> SafeString:
    """A stranger's text on one line, set apart in its direction, what hides or reorders shown by name."""
    return _show(showing.pieces(str(text)), "bdi")


@register.simple_tag
def marked(cut: list[showing.Piece]) -> SafeString:
    """A stranger's text with its findings marked, line breaks kept."""
    return _show(cut, "span")


def _show(cut: list[showing.Piece], tag: str) -> SafeString:
    parts: list[SafeString] = []
    for piece in cut:
        if piece.name:
            shown = format_html('<span class="named" title="{}">{}</span>', _("a hidden character"), piece.name)
        else:
            shown = format_html("{}", piece.text)
        if piece.marks:
            number = piece.marks[0]
            shown = format_html(
                '<mark{} data-finding="{}">{}{}</mark>',
                format_html(' id="mark-{}"', number) if piece.first else "",
                number,
                shown,
                format_html('<sup aria-hidden="true">{}</sup>', number) if piece.first else "",
            )
        parts.append(shown)
    return format_html("<{0} dir=auto>{1}</{0}>", mark_safe(tag), mark_safe("".join(parts)))  # noqa: S308 - escaped above


@register.filter
def short(value: Any) -> str:
    """The first letters of a long id."""
    return short_id(str(value))


@register.filter
def size(value: int) -> str:
    """A number of bytes as people read it."""
    return showing.bytes_words(value)


@register.filter
def exactly(at: datetime) -> str:
    """A time to the second, with its zone."""
    return showing.exact(at)


@register.simple_tag
def source(name: str) -> SafeString:
    """Who asked first, as a badge of sign and word."""
    return format_html('<span class="badge src-{}">{}{}</span>', name, icon(name), word(SOURCES, name))


@register.simple_tag
def regions(width: int, height: int, marks: Sequence[tuple[int, Region]]) -> SafeString:
    """Rectangles with their findings' numbers over a picture of that many pixels, which lies whole in the same box."""
    unit = max(width, height) / 100
    drawn = format_html_join(
        "",
        '<rect x="{}" y="{}" width="{}" height="{}"/><text x="{}" y="{}" font-size="{}">{}</text>',
        (
            (
                round(region.left * width), round(region.top * height), round((region.right - region.left) * width),
                round((region.bottom - region.top) * height), round(region.left * width + unit),
                round(region.top * height + 5.5 * unit), round(5 * unit), number,
            )
            for number, region in marks
        ),
    )  # fmt: skip
    return format_html(
        '<svg class="regions" viewBox="0 0 {} {}" aria-hidden="true" focusable="false">{}</svg>', width, height, drawn
    )


@register.simple_tag
def state(name: str) -> SafeString:
    """A state, as a badge of sign and word; its color says nothing that its word does not."""
    tone, sign = _TONES.get(name, ("plain", "dots"))
    return format_html('<span class="badge {}">{}{}</span>', tone, icon(sign), word(STATES, name))


_TONES = {
    "coordinated": ("amber", "warn"),
    "automation": ("plain", "info"),
    "feed": ("plain", "info"),
    "audience": ("plain", "info"),
    "new": ("blue", "eye"),
    "closed": ("plain", "check"),
    "merged": ("plain", "dots"),
    "refused": ("plain", "cross"),
    "undone": ("plain", "undo"),
    "requested": ("blue", "dots"),
    "sent": ("blue", "send"),
    "confirmed": ("green", "check"),
    "rejected": ("plain", "cross"),
    "failed": ("red", "warn"),
    "canceled": ("plain", "cross"),
    "pending": ("blue", "dots"),
    "delivered": ("green", "check"),
    "dead": ("red", "warn"),
    "waiting": ("blue", "dots"),
    "walked": ("green", "check"),
    "active": ("plain", "person"),
    "restricted": ("amber", "pause"),
    "suspended": ("amber", "ban"),
    "deleted": ("plain", "cross"),
    "live": ("green", "check"),
    "shadow": ("blue", "eye"),
    "off": ("plain", "pause"),
    "open": ("blue", "dots"),
    "decided": ("plain", "check"),
    "withdrawn": ("plain", "cross"),
    "paused": ("amber", "pause"),
    "receiving": ("green", "check"),
    "quarantined": ("red", "warn"),
    "harmless": ("green", "check"),
    "disputed": ("amber", "info"),
    "unconfirmed": ("amber", "info"),
    "expired": ("plain", "cross"),
    "weak": ("plain", "info"),
    "outdone": ("green", "check"),
    "held": ("red", "warn"),
    "failing": ("red", "warn"),
    "stale": ("red", "warn"),
    "odd": ("amber", "info"),
    "retrying": ("amber", "undo"),
    "current": ("green", "check"),
    "unasked": ("plain", "dots"),
    "fetching": ("blue", "dots"),
    "applying": ("blue", "dots"),
    "discarded": ("plain", "cross"),
    "agrees": ("green", "check"),
    "disagrees": ("amber", "cross"),
    "seen": ("plain", "eye"),
    "draft": ("plain", "text"),
    "review": ("amber", "dots"),
    "approved": ("green", "check"),
    "returned": ("amber", "undo"),
    "retired": ("plain", "cross"),
    "broken": ("red", "warn"),
    "running": ("blue", "play"),
    "done": ("green", "check"),
    "looked": ("amber", "eye"),
    "imported": ("green", "check"),
}


@register.filter
def verb(name: str) -> str:
    """What is asked of a platform, in words."""
    return word(VERBS, name)


@register.filter
def asked_kind(name: str) -> str:
    """What a rule asks for, by its kind, in words."""
    return word(ASKED, name)


@register.filter
def shared_kind(name: str) -> str:
    """What kind of thing accounts shared, in words."""
    return word(OBJECTS, name)


@register.filter
def run_why(name: str) -> str:
    """Why a search was made, in words."""
    return word(RUNS, name)


@register.filter
def step_words(name: str) -> str:
    """A step of the audit log, in words."""
    return word(STEPS, name)


@register.simple_tag
def grid(rows: Sequence[tuple[Any, Sequence[bool]]]) -> SafeString:
    """Who shared what: a row a member, a column an object; the template says it as a list, too."""
    wide = max((len(had) for _member, had in rows), default=0)
    dots = format_html_join(
        "",
        '<rect class="{}" x="{}" y="{}" width="9" height="9" rx="2"/>',
        (
            ("fill" if on else "track", 10 * x, 10 * y)
            for y, (_member, had) in enumerate(rows)
            for x, on in enumerate(had)
        ),
    )
    return format_html(
        '<svg class="matrix" viewBox="0 0 {} {}" aria-hidden="true" focusable="false">{}</svg>',
        10 * wide,
        10 * len(rows),
        dots,
    )


@register.simple_tag(takes_context=True)
def page_url(context: Context, number: int) -> str:
    """This page's address with another page number."""
    query = context["request"].GET.copy()
    query["page"] = str(number)
    return "?" + urlencode(list(query.lists()), doseq=True)


@register.filter
def absolute(value: float) -> str:
    """A number without its sign, to one place: the sign stands before it as a word of its own."""
    return f"{abs(value):.1f}"


@register.simple_tag
def hours(counts: Sequence[int]) -> SafeString:
    """Posts by hour of the day as 24 small columns; the template says the busiest in words."""
    top = max(*counts, 1)
    rects = format_html_join(
        "",
        '<rect class="fill" x="{}" y="{}" width="3" height="{}"/>',
        ((4 * at, round(16 - 16 * count / top, 1), round(16 * count / top, 1)) for at, count in enumerate(counts)),
    )
    return format_html(
        '<svg class="hours" viewBox="0 0 96 17" aria-hidden="true" focusable="false"><rect class="track" y="16" width="96" height="1"/>{}</svg>',
        rects,
    )


@register.simple_tag
def pie(value: float, whole: float) -> SafeString:
    """A share as a bar whose length says it; the number stands beside it in the template."""
    width = round(100 * min(1.0, max(0.0, value / whole if whole else 0.0)), 1)
    return format_html(
        '<svg class="bar" viewBox="0 0 100 6" width="100" height="6" preserveAspectRatio="none" aria-hidden="true" '
        'focusable="false"><rect class="track" width="100" height="6" rx="3"/><rect class="fill" width="{}" height="6" '
        'rx="3"/></svg>',
        width,
    )


@register.simple_tag
def distance(value: int, limit: int | None) -> SafeString:
    """A Hamming distance on a line from 0 to the limit, beyond which it would be no match."""
    share = min(1.0, value / limit) if limit else 0.0
    return format_html(
        '<svg class="scale" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true" focusable="false">'
        '<line class="track" x1="0" y1="4" x2="100" y2="4" vector-effect="non-scaling-stroke"/>'
        '<line class="dot" x1="{0}" y1="0" x2="{0}" y2="8" vector-effect="non-scaling-stroke"/></svg>',
        round(1 + 98 * share, 1),
    )


@register.simple_tag
def timeline(seconds: float, ranges: Sequence[tuple[float, float]]) -> SafeString:
    """The length of a video as a bar, with the matched stretches in it; the template says them in words too."""
    whole = max(seconds, 1.0)
    hits = format_html_join(
        "",
        '<rect class="hit" x="{}" y="0" width="{}" height="8"/>',
        ((round(100 * start / whole, 2), round(max(0.6, 100 * (end - start) / whole), 2)) for start, end in ranges),
    )
    return format_html(
        '<svg class="ranges" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true" focusable="false">'
        '<rect class="track" x="0" y="3" width="100" height="2"/>{}</svg>',
        hits,
    )


@register.simple_tag
def bars(points: Sequence[tuple[Any, int]], name: str, title: str, unit: str, label: str = "") -> SafeString:
    """Counts as bars from zero, with a table of them; see `charts.bars`. Days may stand as dates."""
    said = [(point.isoformat() if isinstance(point, date) else str(point), count) for point, count in points]
    return charts.bars(said, name=name, title=title, unit=unit, label=label)


@register.simple_tag
def sparkline(values: Sequence[float], title: str) -> SafeString:
    """A small line over zero; `title` says in words what it shows."""
    return charts.sparkline(values, title=title)


@register.simple_tag
def interval(precision: Any) -> SafeString:
    """A share within its interval, on a line from 0 to 100 %; the template says it in words, too."""
    low, high = (round(100 * end, 1) for end in precision.interval)
    return format_html(
        '<svg class="scale" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true" focusable="false">'
        '<line class="track" x1="0" y1="4" x2="100" y2="4" vector-effect="non-scaling-stroke"/>'
        '<line class="reach" x1="{}" y1="4" x2="{}" y2="4" vector-effect="non-scaling-stroke"/>'
        '<line class="dot" x1="{}" y1="0" x2="{}" y2="8" vector-effect="non-scaling-stroke"/></svg>',
        low, high, *[round(1 + 98 * precision.share, 1)] * 2,
    )  # fmt: skip


@register.filter
def percent(share: float) -> str:
    """A share from 0 to 1 as whole percents."""
    return f"{round(100 * share)}\u202f%"


@register.filter
def day_before(at: datetime) -> str:
    """The last day of a stretch that ends where `at` begins."""
    return (at - timedelta(microseconds=1)).date().isoformat()


@register.filter
def ticked(text: str) -> SafeString:
    """A message with what stands between backticks as code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return format_html("{}", text)
    shown = (format_html("<code>{}</code>" if at % 2 else "{}", part) for at, part in enumerate(parts))
    return mark_safe("".join(shown))  # noqa: S308 - escaped above


@register.filter
def inert_lines(text: str) -> SafeString:
    """A text of several lines, what hides or reorders shown by name."""
    return _show(showing.pieces(text), "span")


@register.filter
def undo_id(tags: str) -> str:
    """The decision that a note offers to undo, from its tags; empty for none."""
    return tags.removeprefix("undo-") if tags.startswith("undo-") else ""


@register.filter
def json(value: Any) -> str:
    """A value as indented JSON, for those who want the whole of it."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode() if value else ""


@register.filter
def actor(name: str) -> str:
    """Who did it, in words."""
    return actor_words(name)
