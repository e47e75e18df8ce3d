"""`redshank campaigns`: find accounts that act together, in a file of posts or in what the walk keeps."""

from __future__ import annotations

import csv
from datetime import datetime
from pathlib import Path

import click

from redshank.cli._django import with_store
from redshank.core import BadInput

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_OUT = click.Path(dir_okay=False, path_type=Path)
SHOWN = 12


@click.group()
def command() -> None:
    """Campaigns: which accounts act together, within one network or across several?"""


@command.command()
@click.argument("posts", type=_FILE)
@click.option("--out", required=True, type=_OUT, help="CSV with one row for each member of each campaign.")
@click.option("--details", type=_OUT, help="Also all that is known of each campaign, one JSON object a line.")
@click.option("--window", default=30.0, show_default=True, help="Minutes between two shares of an object, at most.")
@click.option("--least", default=3, show_default=True, help="Objects over which two accounts meet, at least.")
@click.option("--alpha", default=0.01, show_default=True, help="Chance that any pair at all is tied without reason.")
@click.option("--affinity", default=16.0, show_default=True, help="How many times likelier than chance people of like interests meet; 1 makes no allowance for that.")  # fmt: skip
@click.option("--smallest", default=3, show_default=True, help="Members of a campaign, at least.")
@click.option("--lag", default=6.0, show_default=True, help="Hours within which an object moves to another network.")
@click.option("--column", "columns", multiple=True, metavar="ROLE=NAME", help="Which column is what, such as link=address.")  # fmt: skip
@click.option(
    "--seed", default=0, show_default=True, help="Of the shuffles that moves and the control are tested with."
)
@click.option("--control", is_flag=True, help="Also search with all times shuffled, where nothing should be found.")
def find(
    posts: Path, out: Path, details: Path | None, window: float, least: int, alpha: float, affinity: float,
    smallest: int, lag: float, columns: tuple[str, ...], seed: int, control: bool,
) -> None:  # fmt: skip
    """Find accounts in POSTS, a Parquet file, that share the same things at about the same time beyond chance.

    Columns: account, time (seconds since 1970, or timestamps), and at least one of link (or url), media, text, hashtags,
    follow, object; if there are, also network, post, source (the outlet), automated (true where an account discloses it).
    Rows that lack what is needed are set aside and counted.
    """
    import msgspec

    from redshank.campaigns import Search, find_campaigns, read_shares, shuffled

    search = Search(window=60 * window, least=least, alpha=alpha, affinity=affinity, smallest=smallest, lag=3600 * lag)
    roles = dict(_role(given) for given in columns)
    _say("reading")
    shares = read_shares(posts, columns=roles)
    found = find_campaigns(shares, search, seed=seed, progress=_say)
    with out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["group", "network", "account", "ties", "joined", "label"])
        for campaign in found.campaigns:
            for member in campaign.members:
                row = [
                    campaign.number,
                    member.network,
                    member.account,
                    member.ties,
                    _time(member.joined),
                    campaign.label,
                ]
                writer.writerow(row)
    if details:
        with details.open("wb") as file_of_details:
            for campaign in found.campaigns:
                file_of_details.write(msgspec.json.encode(campaign) + b"\n")

    members = sum(len(campaign.members) for campaign in found.campaigns)
    click.echo(f"{len(found.campaigns):,} campaigns of {members:,} accounts, of {shares.rows:,} rows: {out}")
    for some in found.aside:
        click.echo(f"  set aside: {some.rows:,} rows {some.reason}")
    if found.ties.narrowed:
        click.echo(f"  {found.ties.narrowed:,} objects were shared by so many that a narrower window was used for them")
    if found.campaigns:
        click.echo("  group  members  objects  median bits  from        to          label        networks")
    for campaign in found.campaigns[:SHOWN]:
        networks = ", ".join(campaign.networks[:4]) + (" …" if len(campaign.networks) > 4 else "")
        moves = "".join(f"; {move.source} to {move.target}: {move.objects} objects" for move in campaign.moves[:3])
        click.echo(
            f"  {campaign.number:>5}  {len(campaign.members):>7,}  {campaign.object_count:>7,}  {campaign.bits:>11.0f}  "
            f"{campaign.begins:%Y-%m-%d}  {campaign.ends:%Y-%m-%d}  {campaign.label:<11}  {networks}{moves}"
        )
    if len(found.campaigns) > SHOWN:
        click.echo(f"  … and {len(found.campaigns) - SHOWN:,} smaller ones")
    innocent = sum(campaign.label != "coordinated" for campaign in found.campaigns)
    if innocent:
        click.echo(f"  {innocent:,} look like innocent synchrony: disclosed automation, feeds, an outlet's audience")
    if control:
        by_chance = find_campaigns(shuffled(shares, seed), search, seed=seed)
        click.echo(
            f"  control, times shuffled: {len(by_chance.ties.first):,} ties, {len(by_chance.campaigns):,} campaigns"
        )


@command.command()
@click.option(
    "--day", type=click.DateTime(formats=["%Y-%m-%d"]), help="The last day that is looked at, in UTC; default: today."
)
@click.option("--why", type=click.Choice(["day", "hot", "due", "asked"]), default="asked", hidden=True)
@click.option("--after", type=int, hidden=True)
@with_store
def run(day: datetime | None, why: str, after: int | None) -> None:
    """Search now what accounts shared in the last days, and keep what is found for the console.

    Workers do this by themselves: when a day is over or came late, when something is hot, and every few hours.
    """
    import os
    from typing import cast

    from django.utils import timezone

    from redshank.campaigns import runs

    os.nice(5)  # Whoever waits for an answer comes first.
    now = timezone.now()
    made = runs.run(runs.Due(cast("runs.Why", why), day.date() if day else now.date()), now=now, after=after)
    if made is None:
        click.echo("Another worker searches just now, or has just done so.")
        return
    click.echo(
        f"{made.campaigns:,} groups among {made.accounts:,} accounts and {made.shares:,} shares "
        f"from {made.since:%Y-%m-%d} to {made.until:%Y-%m-%d}, in {made.seconds:.1f} s."
    )
    if made.narrowed:
        click.echo(f"  {made.narrowed:,} objects were shared by so many that a narrower window was used for them")


def _role(given: str) -> tuple[str, str]:
    role, equals, name = given.partition("=")
    if not equals:
        raise BadInput(f"{given} is not ROLE=NAME", where="--column", hint="Write it as link=address.")
    return role, name


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _say(words: str) -> None:
    click.echo(f"{words} …", err=True)
