"""`redshank rules`: check, test and try rule files, on the past as well; print what they can say."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from redshank.cli._django import with_store
from redshank.core import EventError, Problem

if TYPE_CHECKING:
    from redshank.rules import Installation
    from redshank.rules.precision import Precision

_DAY = click.DateTime(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"])
_PATH = click.Path(exists=True, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def command() -> None:
    """Check, test and try the rules that decide. PATH is a rule file or a folder of them."""


@command.command()
@click.argument("path", type=_PATH, required=False)
@click.option("--lists", type=_FILE, help='Lists beside the files\' own: a JSON object of {"name": ["item", …]}.')
def check(path: Path | None, lists: Path | None) -> None:
    """Say all that is wrong with PATH (default: the rules in force), each with its place.

    Banks and policies that this installation does not have are warned about, where its store is at hand.
    Exit code 0 where there are no errors, 1 where there are.
    """
    from datetime import UTC, datetime

    from redshank.rules import load

    loaded = load(_path(path), _named(lists), now=datetime.now(UTC), installation=_installation())
    for found in loaded.diagnostics:
        click.echo(found.render() + "\n", err=True)
    errors = sum(found.severity == "error" for found in loaded.diagnostics)
    warnings = len(loaded.diagnostics) - errors
    if loaded.rules is None:
        raise click.ClickException(f"{_count(errors, 'error')}, {_count(warnings, 'warning')}.")
    modes = [rule.mode for rule in loaded.rules.rules]
    click.echo(
        f"{_count(len(modes), 'rule')} ({modes.count('live')} live, {modes.count('shadow')} shadow, "
        f"{modes.count('off')} off), {_count(warnings, 'warning')}."
    )


@command.command()
@click.argument("path", type=_PATH, required=False)
@click.option("--lists", type=_FILE, help="As for check.")
def test(path: Path | None, lists: Path | None) -> None:
    """Run the examples that stand beside the rules of PATH: `fires_on` and `silent_on`.

    Exit code 1 where one comes out otherwise; it is shown with the values that made it so.
    """
    from redshank.rules import RuleErrors, load, run_examples

    loaded = load(_path(path), _named(lists))
    if loaded.rules is None:
        raise RuleErrors(loaded.diagnostics)
    right, wrong = run_examples(loaded.examples)
    for outcome in wrong:
        click.echo(outcome.render() + "\n", err=True)
    bare = [found.rule.id for found in loaded.examples if not (found.fires_on and found.silent_on)]
    if bare:
        click.echo(f"Without examples of both kinds: {', '.join(bare)}.", err=True)
    if wrong:
        raise click.ClickException(f"{len(wrong)} of {_count(right + len(wrong), 'example')} came out wrong.")
    click.echo(f"{_count(right, 'example')} came out right.")


@command.command()
@click.argument("rules", type=_PATH)
@click.option("--events", type=_FILE, required=True, help="One JSON object a line.")
@click.option("--lists", type=_FILE, help="As for check.")
@click.option(
    "--labels",
    type=_FILE,
    help='A JSON object of {"label": ["id", …]}: accounts that bear the label. Each is also a list of that name.',
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="Where to write.")
def run(rules: Path, events: Path, lists: Path | None, labels: Path | None, out: Path) -> None:
    """Judge events from a file by RULES, whatever their mode but off, and do nothing about them.

    Writes {"id", "rules", "effects"} a line, effects by name, the harshest first. Events may lack `network`, and have
    the fields that RULES declare in their natural place. An event that cannot be read gets {"error"} on its line.
    """
    from redshank.rules import Trial, effect_names, load_rules

    labeled = _named(labels)
    trial = Trial(load_rules(rules, {**labeled, **_named(lists)}), labeled)
    good = bad = unsure = 0
    with events.open("rb") as lines, out.open("w", encoding="utf-8") as written:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                event = trial.decode(line)
            except EventError as error:
                bad += 1
                written.write(json.dumps({"line": number, "error": str(error)}) + "\n")
                continue
            fired, errors = trial.judge(event)
            good += 1
            unsure += bool(errors)
            names = sorted({found.rule for found in fired})
            written.write(json.dumps({"id": event.id, "rules": names, "effects": effect_names(fired)}) + "\n")
    click.echo(
        f"{_count(good, 'event')} judged, {unsure} of them with rules that could not be evaluated; {bad} unread."
    )
    if bad:
        raise SystemExit(3)


@command.command()
@click.argument("path", metavar="RULES", type=_PATH)
@click.option("--since", type=_DAY, help="Events that happened from this day or time on, in UTC.")
@click.option("--until", type=_DAY, help="Events that happened before this day or time, in UTC.")
@click.option("--network", help="Of one network.")
@click.option("--lists", type=_FILE, help="As for check.")
@click.option(
    "--samples", type=click.IntRange(0, 20), default=3, show_default=True, help="Events to show of each rule."
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write all of it there, as JSON.")
@with_store
def backtest(
    path: Path,
    since: datetime | None,
    until: datetime | None,
    network: str | None,
    lists: Path | None,
    samples: int,
    out: Path | None,
) -> None:
    """Judge the past by RULES, whatever their mode but off, and do nothing about it.

    Says for each rule on how many events it would have fired, a day, of how many accounts, for how many cases; with
    which rules in force it overlaps; on how many of what it found people acted who decided on it; and shows events to
    look at.
    """
    from datetime import UTC

    import msgspec

    from redshank.archive.past_writer import past
    from redshank.banks.services import texts_of
    from redshank.cases.services import decided
    from redshank.rules.backtest import Ruled, with_banks
    from redshank.rules.backtest import backtest as try_all

    tried = try_all(
        past(),
        with_banks(Ruled(path=path, lists=_named(lists)), texts_of),
        decided={"/".join(subject): acted for subject, acted in decided().items()},
        since=since and since.replace(tzinfo=UTC),
        until=until and until.replace(tzinfo=UTC),
        network=network,
    )
    if out is not None:
        out.write_bytes(msgspec.json.format(msgspec.json.encode(tried)) + b"\n")
    if tried.first is None or tried.last is None:
        raise click.ClickException("the past has no events then. `redshank archive write` writes what came lately.")
    days = (tried.last.date() - tried.first.date()).days + 1
    unread = f"; {tried.unread:,} could not be read" if tried.unread else ""
    click.echo(f"{_count(tried.events, 'event')} of {tried.first:%Y-%m-%d} to {tried.last:%Y-%m-%d}{unread}.\n")
    for rule in tried.rules:
        a_day = sum(day.cases for day in rule.days) / days
        click.echo(f"{rule.rule} ({rule.mode})")
        click.echo(
            f"  {_count(rule.events, 'event')}, {rule.events / days:,.1f} a day; {_count(rule.accounts, 'account')}; "
            f"{_count(rule.cases, 'case')}, {a_day:,.1f} a day"
        )
        if rule.events:
            beside = ", ".join(f"{other} {number:,}" for other, number in list(rule.beside.items())[:5])
            click.echo(
                f"  no other rule in force fired on {rule.alone:,} of them{'; beside ' + beside if beside else ''}"
            )
            click.echo(f"  {_agreement(rule.precision)}")
        if rule.unsure:
            click.echo(f"  could not be evaluated on {_count(rule.unsure, 'event')}")
        for lack in rule.lacks:
            click.echo(f"  the past does not have what it asks for: {lack}")
        for sample in rule.samples[:samples]:
            click.echo(f"    {sample.event}  {'; '.join(sample.because)}")


@command.command()
def library() -> None:
    """Print all names, operators and functions that a rule can use."""
    from redshank.rules import manual

    click.echo(manual(), nl=False)


def _agreement(precision: Precision) -> str:
    if not precision.decided:
        return "people have decided on none of what it found"
    low, high = precision.interval
    return (
        f"people decided on {precision.decided:,} of what it found and acted on {precision.agreed:,}: "
        f"precision {precision.share:.0%}, {low:.0%} to {high:.0%} at 95 % (Wilson)"
    )


def _path(path: Path | None) -> Path:
    if path is not None:
        return path
    from django.conf import settings

    from redshank.rules import DEFAULT_RULES

    return Path(settings.REDSHANK.rules) if settings.REDSHANK.rules else DEFAULT_RULES


def _installation() -> Installation:
    """What the store has that rules can name; nothing where there is no store here, or it does not answer."""
    import django
    from django.db import DatabaseError, connection

    from redshank.rules import Installation
    from redshank.web.config import read_settings

    try:
        ours = read_settings()
        if not (ours.database or Path(ours.data_dir).exists()):
            return Installation()  # Whoever checks files in a repository has no store, and is to get none by that.
        django.setup()
        if connection.vendor == "sqlite" and not Path(connection.settings_dict["NAME"]).exists():
            return Installation()
        from redshank.banks.services import kinds_of_banks
        from redshank.policies.services import active

        return Installation(banks=kinds_of_banks(), policies={policy.slug for policy in active()})
    except (Problem, DatabaseError):
        return Installation()


def _named(path: Path | None) -> dict[str, frozenset[str]]:
    """The object of a JSON file, each value a list of texts. Raises `Problem`."""
    if path is None:
        return {}
    try:
        value: Any = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise Problem(f"not valid JSON: {error}", where=str(path)) from None
    if not isinstance(value, dict):
        raise Problem("expected an object of lists", where=str(path), hint='Such as {"name": ["item"]}.')
    for name, items in value.items():
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            raise Problem("expected a list of texts", where=f"{path}: {name}")
    return {name: frozenset(items) for name, items in value.items()}


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
