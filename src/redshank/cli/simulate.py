"""`redshank simulate`: what Redshank would change, on a made-up platform."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from redshank.evasion.simulation import Played

MINUTE, HOUR, DAY = 60.0, 3_600.0, 86_400.0
_SHARE = click.FloatRange(0, 1, min_open=True, max_open=True)


@click.group()
def command() -> None:
    """Ask a made-up platform what would be different."""


@command.command()
@click.option(
    "--owners", default=400, show_default=True, type=click.IntRange(1), help="Suspended owners who may return."
)
@click.option("--others", default=2_000, show_default=True, type=click.IntRange(0), help="Suspended accounts besides.")
@click.option(
    "--innocent", default=3_000, show_default=True, type=click.IntRange(0), help="Newcomers who were never here."
)
@click.option("--days", default=60, show_default=True, type=click.IntRange(1, 1000), help="Days that are played.")
@click.option(
    "--reviews", multiple=True, type=click.FloatRange(0, min_open=True), default=(5, 20, 100), show_default=True,
    help="Ties that reviewers can look at in a day; give it once for each number to compare.",
)  # fmt: skip
@click.option("--returns", type=_SHARE, help="Share of suspended owners who come back (default: a half).")
@click.option(
    "--model",
    "model_path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A model made by `redshank evasion fit` (default: the weights to start with).",
)
@click.option("--seed", default=1, show_default=True, help="Another seed is another platform.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="CSV of the table.")
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="SVG of how soon accounts are re-linked.")
def returns(
    owners: int, others: int, innocent: int, days: int, reviews: tuple[float, ...], returns: float | None,
    model_path: Path | None, seed: int, out: Path | None, plot: Path | None,
) -> None:  # fmt: skip
    """How soon are returning owners known again, and after how many posts: with Redshank, and without?"""
    import msgspec
    from rich.console import Console
    from rich.progress import Progress

    from redshank.evasion.fitting import default_model
    from redshank.evasion.model import load_model
    from redshank.evasion.simulation import Rates, draw, play

    rates = Rates() if returns is None else msgspec.structs.replace(Rates(), returns=returns)
    model = load_model(model_path) if model_path else default_model()
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("Scoring accounts at their first steps", total=None)
        world = draw(
            model, owners=owners, others=others, innocent=innocent, days=days, rates=rates, seed=seed,
            tell=lambda done, of: progress.update(bar, completed=done, total=of),
        )  # fmt: skip
    played = [play(world, None), *(play(world, capacity) for capacity in sorted(reviews))]
    _table(played, days)
    shown = len(world.innocent)
    click.echo(
        f"\n{len(world.chains):,} of {owners:,} suspended owners come back at least once; {world.newcomers:,} others arrive, and a tie "
        f"is shown for {shown:,} of them ({shown / max(world.newcomers, 1):.2%}).\n"
        "The platform is made up: its rates are planning figures (their sources stand in redshank/evasion/simulation.py)."
    )
    if out:
        _write(played, out)
        click.echo(f"The table: {out}")
    if plot:
        plot.write_text(_drawn(played, days), encoding="utf-8")
        click.echo(f"The picture: {plot}")


COLUMNS = (
    "reviews a day",
    "returned",
    "re-linked",
    "in 1 h",
    "in 1 day",
    "in 7 days",
    "half within",
    "posts each",
    "looked at",
    "wrong",
)


def _row(one: Played) -> tuple[str, ...]:
    posts = sum(one.posts) / max(one.accounts, 1)
    shares = (one.share_within(seconds) for seconds in (math.inf, HOUR, DAY, 7 * DAY))
    capacity = "without" if one.capacity is None else f"{one.capacity:g}"
    return (
        capacity, f"{one.accounts:,}", *(f"{share:.0%}" for share in shares), _said(one.median_wait), f"{posts:,.1f}",
        f"{one.reviews:,}", f"{one.wrong:,}",
    )  # fmt: skip


def _table(played: list[Played], days: int) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"Returning accounts within {days} days", title_justify="left", box=None, pad_edge=False)
    for name in COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    for one in played:
        table.add_row(*_row(one))
    Console(width=130).print(table)


def _write(played: list[Played], place: Path) -> None:
    with place.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            ["reviews_a_day", "returned", "relinked", "within_1h", "within_1d", "within_7d", "median_seconds", "posts_each",
             "reviews", "wrong"]
        )  # fmt: skip
        for one in played:
            shares = [f"{one.share_within(seconds):.4f}" for seconds in (math.inf, HOUR, DAY, 7 * DAY)]
            median = "" if math.isinf(one.median_wait) else f"{one.median_wait:.0f}"
            capacity = "" if one.capacity is None else f"{one.capacity:g}"
            posts = f"{sum(one.posts) / max(one.accounts, 1):.2f}"
            writer.writerow([capacity, one.accounts, *shares, median, posts, one.reviews, one.wrong])


def _said(seconds: float) -> str:
    if math.isinf(seconds):
        return "never"
    for size, name in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {name}"
    return "at once" if seconds < 1 else f"{seconds:.0f} s"


# The picture

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 720, 400, 56, 40, 150, 48
LINES = ("#6b6560", "#8a5a00", "#2f6f4f", "#1f5fa8", "#7a3f8f", "#c8432b")
MARKS = ("", "6 3", "2 3", "9 3 2 3", "1 2", "12 4")


def _drawn(played: list[Played], days: int) -> str:
    """The share of returned accounts that were re-linked, by the time since their first step (logarithmic), a line for each."""
    first, last = math.log(5 * MINUTE), math.log(days * DAY)
    across, down = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x(seconds: float) -> float:
        return LEFT + across * (min(max(math.log(max(seconds, 1)), first), last) - first) / (last - first)

    def y(share: float) -> float:
        return TOP + down * (1 - share)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="system-ui, sans-serif" font-size="13">',
        "<title>How soon returned accounts are re-linked</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fbfaf8"/>',
        f'<text x="{LEFT}" y="22" font-size="15" fill="#2b2622">Returned accounts that were re-linked, by the time since their first step</text>',
    ]
    for share in (0, 0.25, 0.5, 0.75, 1):
        parts.append(f'<path d="M{LEFT} {y(share):.1f}H{LEFT + across}" stroke="#ddd8d2"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y(share) + 4:.1f}" text-anchor="end" fill="#6b6560">{share:.0%}</text>')
    for seconds, name in (
        (5 * MINUTE, "5 min"),
        (HOUR, "1 h"),
        (6 * HOUR, "6 h"),
        (DAY, "1 day"),
        (7 * DAY, "1 week"),
        (30 * DAY, "30 days"),
    ):
        if seconds <= days * DAY:
            parts.append(f'<path d="M{x(seconds):.1f} {TOP + down}v5" stroke="#6b6560"/>')
            parts.append(
                f'<text x="{x(seconds):.1f}" y="{TOP + down + 20}" text-anchor="middle" fill="#6b6560">{name}</text>'
            )
    labels: list[tuple[float, int, str]] = []
    for at, one in enumerate(played):
        path = f"M{LEFT} {y(one.share_within(5 * MINUTE)):.1f}"
        for wait in sorted(one.waits):
            if wait > 5 * MINUTE:
                path += f"H{x(wait):.1f}V{y(one.share_within(wait)):.1f}"
        path += f"H{LEFT + across}"
        color, dash = LINES[at % len(LINES)], MARKS[at % len(MARKS)]
        parts.append(f'<path d="{path}" fill="none" stroke="{color}" stroke-width="2" stroke-dasharray="{dash}"/>')
        name = "without Redshank" if one.capacity is None else f"{one.capacity:g} reviews a day"
        labels.append((y(one.share_within(math.inf)), at, name))
    low = math.inf
    for place, at, name in sorted(labels, reverse=True):  # From below; each label clear of the one under it.
        low = min(place + 4, low - 17)
        parts.append(f'<text x="{LEFT + across + 8}" y="{low:.1f}" fill="{LINES[at % len(LINES)]}">{name}</text>')
    return "\n".join([*parts, "</svg>", ""])
