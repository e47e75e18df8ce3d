"""`redshank archive`: the past of all events, in files: write it, search it, erase from it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

import click

from redshank.cli._django import with_store

if TYPE_CHECKING:
    from redshank.rules.search import Found

_DAY = click.DateTime(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"])
_BY = (
    "hour", "day", "type", "network", "account", "domain", "link", "hashtag", "mention", "language", "rule", "shadow", "bank",
)  # fmt: skip


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
@click.argument("expression", required=False, default="")
@click.option("--by", type=click.Choice(_BY), help="Count by this, the most first; by hour and day in order, in UTC.")
@click.option("--since", type=_DAY, help="Events that happened from this day or time on, in UTC.")
@click.option("--until", type=_DAY, help="Events that happened before this day or time, in UTC.")
@click.option("--network", "networks", multiple=True, help="Of this network; can be given again.")
@click.option("--rule", default="", help="On which this rule fired, live or in the shadow.")
@click.option("--limit", type=click.IntRange(1, 1_000_000), help="Lines, at most.  [default: 50; with --csv all]")
@click.option("--seconds", type=click.FloatRange(min=0.1), default=600.0, show_default=True, help="Time it may take.")
@click.option("--csv", "as_csv", is_flag=True, help="The events themselves as CSV.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line: events, or counts with --by.")
@click.option("--actor", metavar="NAME", help="Who you are in the console; the audit log names you. Else: system.")
@with_store
def search(
    expression: str,
    by: str | None,
    since: datetime | None,
    until: datetime | None,
    networks: tuple[str, ...],
    rule: str,
    limit: int | None,
    seconds: float,
    as_csv: bool,
    as_json: bool,
    actor: str | None,
) -> None:
    """Find events of the past by an EXPRESSION of the rules' language; without one, every event.

    \b
    redshank archive search 'account.age < days(2) and contains(post.text, "dm me")' --by domain
    redshank archive search --by shadow --since 2026-07-01
    """
    from datetime import UTC
    from itertools import islice

    import msgspec
    from django.utils import timezone

    from redshank.banks import services as banks
    from redshank.core import Problem
    from redshank.rules import searches
    from redshank.rules.search_csv import lines_of

    if as_csv and (as_json or by):
        raise click.UsageError("--csv gives events: neither --by nor --json go with it.")
    checked = searches.check_search(expression, banks=banks.kinds_of_banks(), texts_of=banks.texts_of)
    for found in checked.diagnostics:
        click.echo(found.render(), err=True)
    if checked.question is None:
        raise click.exceptions.Exit(1)
    question = msgspec.structs.replace(
        checked.question,
        since=since and since.replace(tzinfo=UTC),
        until=until and until.replace(tzinfo=UTC),
        networks=networks,
        rule=rule,
        times=by in ("hour", "day"),
        by=by if by and by not in ("hour", "day") else "",
        top=limit or 50,
        rows=0 if by or as_csv else limit or 50,
    )
    searches.note(question, expression, by=f"user:{actor}" if actor else "system", now=timezone.now())
    for lack in checked.lacks:
        click.echo(f"The past does not hold {lack}.", err=True)
    if as_csv:
        for line in lines_of(islice(searches.rows_here(question), limit)):
            click.echo(line, nl=False)
        return
    answer = searches.answer_here(question, seconds)
    for line in _lines(answer, by, limit or 50, as_json=as_json):
        click.echo(line)
    if not as_json and not (answer.rows or answer.times or answer.top):
        click.echo("Nothing in the past meets this.")
    if answer.stopped:
        since_day = f"all that was received since {answer.reached}" if answer.reached else "nothing yet"
        raise Problem(
            f"the search ran out of {answer.stopped}; looked at {since_day}",
            hint="Narrow it, or give it more --seconds.",
        )


def _lines(answer: Found, by: str | None, limit: int, *, as_json: bool) -> Iterator[str]:
    import json
    from datetime import UTC

    import msgspec

    if by is None:
        for row in answer.rows:
            if as_json:
                yield msgspec.json.encode(row).decode()
            else:
                who = f"{row.network}/{row.account}" if row.account else row.network
                fired = ", ".join((*row.rules, *row.shadow))
                yield f"{row.at:%Y-%m-%d %H:%M:%S}  {row.type:<16}  {who}  {row.id}{'  ' + fired if fired else ''}"
        if answer.more and not as_json:
            yield f"The newest {len(answer.rows)}; --limit gives more, --by counts."
        return
    counts: dict[str, int] = dict(answer.top)
    if by in ("hour", "day"):
        counts = {}
        for second, number in answer.times:
            at = datetime.fromtimestamp(second, UTC)
            value = f"{at:%Y-%m-%d %H:00}" if by == "hour" else f"{at:%Y-%m-%d}"
            counts[value] = counts.get(value, 0) + number
    for value, number in list(counts.items())[:limit]:
        yield json.dumps({by: value, "events": number}) if as_json else f"{number:>12,}  {value}"


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
    from django.db import transaction
    from django.utils import timezone

    from redshank.archive.past_writer import erase as erase_account
    from redshank.evasion import deciding as evasion
    from redshank.rules.counter_store import erase_asked

    if not yes:
        click.confirm(f"Erase everything of {network}/{account}? This cannot be undone.", abort=True)
    actor = f"user:{by}" if by else "system"
    with transaction.atomic():
        evasion.erase(network, account, now=timezone.now())
    events, past_events = erase_account(network, account, by=actor, reason=reason, now=timezone.now())
    erase_asked()
    click.echo(f"{events:,} events erased from the store, {past_events:,} from the past.")
