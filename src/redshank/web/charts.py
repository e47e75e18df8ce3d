"""Numbers as pictures: bars over time and a small line, drawn here as SVG, without a script.

Every axis begins at zero and every picture comes with what it says in words: a title, one sentence, and for bars a table.
Looks are all in the sheet (`.chart`, `.spark`), so that both schemes hold and the strict policy needs no exception.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from django.utils.formats import number_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

HEIGHT = 100
STEP = 10
"""Width of one bar with its gap, in the picture's own units; it is stretched to the width it is given."""


def nice_top(most: float) -> int:
    """The least of 1, 2, 4, 5, 10, 20, 40, … that is not below `most`: where an axis from zero ends, so that its half is whole."""
    if most <= 1:
        return 1
    scale = 10 ** int(math.log10(most))
    return next(
        int(scale * factor)
        for factor in (1, 2, 4, 5, 10, 20)
        if scale * factor >= most and scale * factor == int(scale * factor)
    )


def bars(points: Sequence[tuple[str, int]], *, name: str, title: str, unit: str, label: str = "") -> SafeString:
    """Counts as bars in the order given, usually time's.

    `points` are (label, count), counts not below 0; `name` is unique on the page; `title` says what is counted, `unit`
    heads the counts in the table, `label` the labels. Nothing is drawn for no points.
    """
    if not points:
        return SafeString("")
    counts = [count for _label, count in points]
    most = max(counts)
    top = nice_top(most)
    peak = points[counts.index(most)][0]
    words = _("%(sum)s in all, from %(first)s to %(last)s; the most are %(most)s, at %(peak)s.") % {
        "sum": number_format(sum(counts), force_grouping=True),
        "first": points[0][0],
        "last": points[-1][0],
        "most": number_format(most, force_grouping=True),
        "peak": peak,
    }
    drawn = format_html_join(
        "",
        '<rect class="fill" x="{}" y="{}" width="{}" height="{}"><title>{}: {}</title></rect>',
        (
            (
                at * STEP + 1,
                round(HEIGHT - HEIGHT * count / top, 2),
                STEP - 2,
                round(HEIGHT * count / top, 2),
                label_,
                count,
            )
            for at, (label_, count) in enumerate(points)
            if count
        ),
    )
    ticks = (top, top // 2, 0) if top % 2 == 0 else (top, 0)
    lines = format_html_join(
        "",
        '<line class="{}" x1="0" x2="{}" y1="{}" y2="{}" vector-effect="non-scaling-stroke"/>',
        (
            ("base" if tick == 0 else "grid", STEP * len(points), y, y)
            for tick in ticks
            if (y := round(HEIGHT - HEIGHT * tick / top, 2)) >= 0
        ),
    )
    ends = list(dict.fromkeys((points[0][0], points[len(points) // 2][0], points[-1][0])))
    return format_html(
        '<figure class="chart"><div class="plot"><div class="ticks" aria-hidden="true">{ticks}</div>'
        '<svg viewBox="0 0 {width} {height}" preserveAspectRatio="none" role="img" focusable="false" '
        'aria-labelledby="{name}-title {name}-desc"><title id="{name}-title">{title}</title><desc id="{name}-desc">{words}</desc>'
        '{lines}{drawn}</svg><div class="ends" aria-hidden="true">{ends}</div></div>'
        '<details class="more"><summary>{as_table}</summary><table><thead><tr><th scope="col">{label}</th>'
        '<th scope="col" class="num">{unit}</th></tr></thead><tbody>{rows}</tbody></table></details></figure>',
        ticks=format_html_join("", "<span>{}</span>", ((number_format(tick, force_grouping=True),) for tick in ticks)),
        width=STEP * len(points),
        height=HEIGHT,
        name=name,
        title=title,
        words=words,
        lines=lines,
        drawn=drawn,
        ends=format_html_join("", "<span>{}</span>", ((end,) for end in ends)),
        as_table=_("As a table"),
        label=label or _("Time"),
        unit=unit,
        rows=format_html_join(
            "",
            '<tr><td>{}</td><td class="num">{}</td></tr>',
            ((label_, number_format(count, force_grouping=True)) for label_, count in points if count),
        ),
    )


def sparkline(values: Sequence[float], *, title: str) -> SafeString:
    """A small line of `values` over zero, in the order given; `title` says in words what it shows, numbers included."""
    if not values:
        return SafeString("")
    top = max(*values, 0) or 1
    across = max(1, len(values) - 1)
    places = " ".join(
        f"{100 * at / across:.1f},{22 - 20 * max(0.0, value) / top:.1f}" for at, value in enumerate(values)
    )
    if len(values) == 1:
        places += f" 100.0,{places.partition(',')[2]}"
    return format_html(
        '<svg class="spark" viewBox="0 0 100 24" preserveAspectRatio="none" role="img" focusable="false" aria-label="{0}">'
        '<title>{0}</title><line class="base" x1="0" x2="100" y1="23" y2="23" vector-effect="non-scaling-stroke"/>'
        '<polyline points="{1}" vector-effect="non-scaling-stroke"/></svg>',
        title, places,
    )  # fmt: skip
