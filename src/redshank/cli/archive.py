"""`redshank archive`: the past of all events, in files: write it, count in it, erase from it."""

from __future__ import annotations

from datetime import datetime

import click

from redshank.cli._django import with_store

_DAY = click.DateTime(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"])
_BY = ("hour", "day", "type", "network", "account", "rule", "shadow", "bank")


@click.group()
def command() -> None:
    """Keep every event with its verdict in files, search them, erase from them."""


@command.command()
@with_store
def write() -> None:
    """Write all walked events to the past now, without waiting for a batch to be full or old."""
    from django.utils import timezone

    from redshank.archive.past_writer import finish_erasures, write_due

    written = 0
    finish_erasures(now=timezone.now())
    while done := write_due(now=timezone.now(), all_of_it=True):
        written += done
    click.echo(f"{written:,} events written to the past.")


@command.command()
@click.option("--by", type=click.Choice(_BY), default="day", show_default=True, help="What to count by.")
@click.option("--since", type=_DAY, help="Events that happened from this day or time on, in UTC.")
@click.option("--until", type=_DAY, help="Events that happened before this day or time, in UTC.")
@click.option("--network", help="Of one network.")
@click.option("--type", "type_", help="Of one type, such as post.created.")
@click.option("--account", help="Of one account.")
@click.option("--rule", help="On which this rule fired, live or in the shadow.")
@click.option("--bank", help="That matched something of this bank.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="Lines, at most.")
@with_store
def search(
    by: str,
    since: datetime | None,
    until: datetime | None,
    network: str | None,
    type_: str | None,
    account: str | None,
    rule: str | None,
    bank: str | None,
    limit: int,
) -> None:
    """Count the events of the past that meet all of what is given."""
    from datetime import UTC
    from typing import cast

    from redshank.archive.past import By
    from redshank.archive.past_writer import past

    found = past().count(
        cast("By", by),
        since=since and since.replace(tzinfo=UTC),
        until=until and until.replace(tzinfo=UTC),
        network=network,
        type_=type_,
        account=account,
        rule=rule,
        bank=bank,
        limit=limit,
    )
    for line in found:
        click.echo(f"{line.events:>12,}  {line.value}")
    if not found:
        click.echo("Nothing in the past meets this. What came in the last hour may not be there yet: `archive write`.")


@command.command()
@click.argument("network")
@click.argument("account")
@click.option("--reason", required=True, help="Why; it stands in the audit log.")
@click.option("--by", metavar="NAME", help="Who you are in the console; the audit log names you. Else: system.")
@click.option("--yes", is_flag=True, help="Do not ask again.")
@with_store
def erase(network: str, account: str, reason: str, by: str | None, yes: bool) -> None:
    """Erase the data of one ACCOUNT of NETWORK: its events, reports of it, who followed it, its profile.

    Cases, evidence and the audit log keep what they hold. This cannot be undone.
    """
    from django.utils import timezone

    from redshank.archive.past_writer import erase as erase_account
    from redshank.rules.counter_store import erase_asked

    if not yes:
        click.confirm(f"Erase everything of {network}/{account}? This cannot be undone.", abort=True)
    actor = f"user:{by}" if by else "system"
    events, past_events = erase_account(network, account, by=actor, reason=reason, now=timezone.now())
    erase_asked()
    click.echo(f"{events:,} events erased from the store, {past_events:,} from the past.")
