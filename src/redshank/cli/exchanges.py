"""`redshank exchanges`: lists of other organizations in, reviewed entries of our own out."""

from __future__ import annotations

import csv
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from redshank.cli._django import with_store
from redshank.cli.banks import SOME_SET_ASIDE, _actor, _print, _table
from redshank.core import Problem

if TYPE_CHECKING:
    from redshank.exchanges.models import Run
    from redshank.exchanges.weighing import Diff

_BY = click.option("--by", metavar="NAME", help="Who you are in the console; the audit log names you. Else: system.")
HELD = 4
"""Exit code where a run waits for a person."""


@click.group()
def command() -> None:
    """Take in lists of other organizations, and share reviewed entries with them."""


@command.command()
def kinds() -> None:
    """List the kinds of sources, with their options and what their secret is."""
    from redshank.exchanges.sources import KINDS

    table = _table("Kind", "Is", "Options", "Secret")
    for kind in KINDS.values():
        options = [f"{one.name}{' (required)' if one.required else ''}: {one.about}" for one in kind.options]
        table.add_row(kind.name, kind.about, "; ".join(options), kind.secret)
    _print(table)


@command.command("list")
@with_store
def list_() -> None:
    """List all exchanges: how each stands, and how far it was read."""
    from django.utils import timezone

    from redshank.exchanges import services

    rows = services.standings(timezone.now())
    if not rows:
        click.echo("No exchanges yet. `redshank exchanges add NAME --kind … --bank …` makes one; `redshank exchanges kinds` lists the kinds.")  # fmt: skip
        return
    table = _table("Exchange", "Kind", "State", "Read up to", "Next", "Why")
    for one, standing in rows:
        due = f"{one.due_at:%Y-%m-%d %H:%M} UTC" if one.due_at and not one.paused_at and not standing.held else ""
        table.add_row(one.name, one.kind, standing.state, one.reached, due, standing.why)
    _print(table)


def _secret(given: str | None) -> str:
    """A secret from a file, from standard input (-), or asked for on a terminal. Never from the command line itself."""
    if given is None:
        return ""
    if given == "ask":
        return str(click.prompt("Secret", hide_input=True))
    try:
        text = sys.stdin.read() if given == "-" else Path(given).read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise Problem(f"cannot be read: {error}", where=given) from None
    return text.strip()


def _options(pairs: tuple[str, ...]) -> dict[str, str]:
    out = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise Problem("not NAME=VALUE", where=pair[:80])
        out[name] = value
    return out


_SECRET = click.option(
    "--secret",
    "secret_from",
    metavar="FILE",
    help="File with the secret; - reads standard input, ask asks on the terminal.",
)


@command.command()
@click.argument("name")
@click.option("--kind", required=True, help="What it is: `redshank exchanges kinds` lists them.")
@click.option(
    "--bank", "banks", multiple=True, required=True, help="A bank for what it sends; one for each kind of value."
)
@click.option("--address", default="", help="Where it is asked; file:NAME for a list in the folder lists of data_dir.")
@click.option("--option", "pairs", multiple=True, metavar="NAME=VALUE", help="An option of its kind.")
@_SECRET
@click.option("--every", "minutes", default=60, show_default=True, help="Minutes between two runs.")
@click.option("--full-days", type=int, help="All of it is fetched anew after so many days. Else: as its kind needs.")
@click.option("--license", default="", help="Under what we may hand on what it gives. Else: we may not.")
@click.option("--tell", is_flag=True, help="Tell it what we saw and what people here think of it.")
@_BY
@with_store
def add(
    name: str, kind: str, banks: tuple[str, ...], address: str, pairs: tuple[str, ...], secret_from: str | None, minutes: int,
    full_days: int | None, license: str, tell: bool, by: str | None,  # noqa: A002 - the option's name
) -> None:  # fmt: skip
    """Add the source NAME. A worker asks it from then on; what it sends matches at once, marked as not yet confirmed here."""
    from django.utils import timezone

    from redshank.exchanges import services

    services.add_exchange(
        name, kind=kind, banks=banks, address=address, options=_options(pairs), secret=_secret(secret_from),
        every_minutes=minutes, full_days=full_days, license=license, tells=tell, by=_actor(by), now=timezone.now(),
    )  # fmt: skip
    click.echo(f"Added {name}. `redshank exchanges run {name} --dry-run` shows what it would bring.")


@command.command("set")
@click.argument("name")
@click.option("--bank", "banks", multiple=True, help="Its banks, all of them.")
@click.option("--address", help="Where it is asked.")
@click.option("--option", "pairs", multiple=True, metavar="NAME=VALUE", help="Its options, all of them.")
@_SECRET
@click.option("--every", "every_minutes", type=int, help="Minutes between two runs.")
@click.option("--license", help='Under what we may hand on what it gives; "": we may not.')
@click.option("--tell/--no-tell", "tells", default=None, help="Tell it what we saw and what people here think of it.")
@click.option("--pause", is_flag=True, help="Ask it no more. What it gave stays in force.")
@click.option("--resume", is_flag=True, help="Ask it again.")
@_BY
@with_store
def set_(
    name: str, banks: tuple[str, ...], pairs: tuple[str, ...], secret_from: str | None, pause: bool, resume: bool,
    by: str | None, **changes: str | int | bool | None,
) -> None:  # fmt: skip
    """Change the source NAME: what is given, and nothing else."""
    from django.utils import timezone

    from redshank.exchanges import services

    exchange, now = services.get_exchange(name), timezone.now()
    given: dict[str, object] = {key: value for key, value in changes.items() if value is not None}
    given |= {"banks": list(banks)} if banks else {}
    given |= {"options": _options(pairs)} if pairs else {}
    given |= {"secret": _secret(secret_from)} if secret_from else {}
    different = services.change_exchange(exchange, given, by=_actor(by), now=now) if given else []
    if pause:
        services.pause(exchange, by=_actor(by), now=now)
    if resume:
        services.resume(exchange, by=_actor(by), now=now)
    different += ["paused"] if pause else ["resumed"] if resume else []
    click.echo(f"{name}: {', '.join(different)} changed." if different else f"{name} is as it was.")


@command.command()
@click.argument("name")
@click.option("--dry-run", is_flag=True, help="Fetch, and show what would change; change nothing.")
@click.option("--full", is_flag=True, help="Fetch all of it anew, and withdraw what it no longer lists.")
@click.option(
    "--file", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A list that came another way, in place of what it would send.",
)  # fmt: skip
@with_store
def run(name: str, dry_run: bool, full: bool, file: Path | None) -> None:
    """Ask the source NAME now.

    Exit code 0 where all of it was taken, 3 where some was set aside, 4 where it waits for a person.
    """
    from rich.console import Console

    from redshank.exchanges import running, services
    from redshank.exchanges.models import Run as Row
    from redshank.exchanges.records import Unchanged

    exchange = services.get_exchange(name)
    console = Console(stderr=True)
    with console.status("Asking…") as status:

        def tell(phase: str, done: int) -> None:
            status.update(f"{phase.capitalize()}: {done:,}")

        if dry_run:
            with tempfile.TemporaryDirectory() as folder:
                try:
                    diff = running.rehearse(exchange, Path(folder), progress=tell, file=file, full=full)
                except Unchanged:
                    click.echo(f"{name}: the list is the same as before; nothing would change.")
                    return
        else:
            done = running.run(exchange, progress=tell, file=file, full=full)
    if dry_run:
        _show_diff(name, diff)
        return
    if done is None:
        raise Problem("a worker is asking it just now", where=name, hint="Try again in a while.")
    _report(name, done)
    if done.state == Row.State.HELD:
        raise SystemExit(HELD)
    if done.state in {Row.State.FAILED, Row.State.FETCHING}:
        raise SystemExit(1)
    if done.counts.get("set_aside"):
        raise SystemExit(SOME_SET_ASIDE)


def _show_diff(name: str, diff: Diff) -> None:
    click.echo(f"{name} would bring, and nothing was changed:")
    for label, count in (
        ("new", diff.new), ("changed", diff.changed), ("withdrawn", diff.leaving), ("the same", diff.same),
        ("of kinds without a bank", diff.skipped), ("opinions alone", diff.words), ("set aside", diff.aside),
    ):  # fmt: skip
        if count:
            click.echo(f"  {count:>12,} {label}")
    for label, rows in (("New", diff.first_new), ("Withdrawn", diff.first_gone), ("Set aside", diff.first_aside)):
        for one, other in rows[:5]:
            click.echo(f"  {label}: {one} {other}")
    if diff.skipped_kinds:
        click.echo(
            "  Without a bank: " + ", ".join(f"{kind} ({count:,})" for kind, count in diff.skipped_kinds.items())
        )


def _report(name: str, done: Run) -> None:
    counts = done.counts
    parts = [
        f"{counts[key]:,} {label}"
        for key, label in (
            ("added", "added"), ("revived", "in force again"), ("known", "known already"), ("withdrawn", "withdrawn"),
            ("kept_out", "kept out, as people here withdrew them"), ("opinions", "opinions"), ("set_aside", "set aside"),
        )
        if counts.get(key)
    ]  # fmt: skip
    if done.state == "held":
        click.echo(f"{name}: held for a person. {done.reason}")
        click.echo(f"`redshank exchanges status {name}` shows it; `release` or `discard` ends it.")
        return
    if done.state in {"failed", "fetching"}:
        raise Problem(done.reason, where=name)
    click.echo(f"{name}: {', '.join(parts) or 'nothing new'}.")
    for line in (f"It broke off: {done.reason} The next run goes on there." if done.cut else "", done.noticed):
        if line:
            click.echo(line, err=True)


@command.command()
@click.argument("name")
@with_store
def status(name: str) -> None:
    """Show how the source NAME stands, and its last runs."""
    from django.utils import timezone

    from redshank.exchanges import services
    from redshank.exchanges.models import Claim, Run, Telling
    from redshank.exchanges.sources import KINDS

    one = services.get_exchange(name)
    runs = list(Run.objects.filter(exchange=one)[:10])
    active = next((run for run in runs if run.state in services.ACTIVE), None)
    standing = services.standing(one, active, timezone.now())
    click.echo(f"{one.name} · {KINDS[one.kind].about if one.kind in KINDS else one.kind} · {standing.state}")
    for label, text in (
        ("Why", standing.why),
        ("Asked at", one.address),
        ("Secret", "kept, encrypted" if one.secret else ""),
        ("Into", ", ".join(bank.name for bank in one.banks.all())),
        ("Lists", f"{Claim.objects.filter(exchange=one, gone_at=None).count():,} things"),
        ("Read up to", one.reached),
        ("Odd", one.noticed),
        (
            "To be told",
            f"{Telling.objects.filter(claim__exchange=one, state='pending').count():,}" if one.tells else "",
        ),
    ):
        if text:
            click.echo(f"{label}: {text}")
    if active is not None and active.state == "held":
        import msgspec

        from redshank.exchanges.weighing import Diff

        click.echo("")
        _show_diff(name, msgspec.convert(active.diff, Diff))
    if runs:
        table = _table("Run", "State", "Began", ">Added", ">Withdrawn", ">Set aside", "Why")
        for run in runs:
            counts = [str(run.counts.get(key, 0)) for key in ("added", "withdrawn", "set_aside")]
            table.add_row(
                str(run.pk), run.state, f"{run.started_at:%Y-%m-%d %H:%M}", *counts, run.reason or run.noticed
            )
        click.echo("")
        _print(table)


@command.command()
@click.argument("name")
@_BY
@with_store
def release(name: str, by: str | None) -> None:
    """Let the held run of the source NAME be taken over, with the worker's next round."""
    _answer(name, by, "release")
    click.echo(f"{name}: released. A worker takes it over; `redshank exchanges run {name}` does it now.")


@command.command()
@click.argument("name")
@_BY
@with_store
def discard(name: str, by: str | None) -> None:
    """Throw the held run of the source NAME away. The next run asks again from the same place."""
    _answer(name, by, "discard")
    click.echo(f"{name}: discarded; nothing of it was taken over.")


def _answer(name: str, by: str | None, what: str) -> None:
    from django.utils import timezone

    from redshank.exchanges import running, services
    from redshank.exchanges.models import Run

    found = (
        Run.objects.filter(exchange=services.get_exchange(name), state=Run.State.HELD)
        .select_related("exchange")
        .first()
    )
    if found is None:
        raise Problem("no run of it is held", where=name)
    (running.release if what == "release" else running.discard)(found, by=_actor(by), now=timezone.now())


@command.command("set-aside")
@click.argument("name")
@with_store
def set_aside(name: str) -> None:
    """Print what was set aside of the source NAME, with reasons, as CSV."""
    from redshank.exchanges import services
    from redshank.exchanges.models import SetAside

    rows = SetAside.objects.filter(run__exchange=services.get_exchange(name)).order_by("-run", "id")
    writer = csv.writer(sys.stdout)
    writer.writerow(("run", "place", "value", "reason"))
    writer.writerows(rows.values_list("run", "place", "value", "reason").iterator())


@command.command("share")
@click.argument("name")
@click.option("--bank", "banks", multiple=True, help="A bank that is in it. It needs a license to share.")
@click.option("--reader", "readers", multiple=True, help="Name of an API key (part taxii) that may read it over TAXII.")
@click.option("--description", help="What it is, for people.")
@click.option("--close/--open", "closed", default=None, help="Give all of it as withdrawn, or as it is again.")
@click.option("--format", "format_", type=click.Choice(["csv", "json", "stix", "misp"]), help="Write the whole of it.")
@click.option("--to", help="For whom it is written; the log keeps it.")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="File to write into. Else: the terminal."
)
@_BY
@with_store
def share(
    name: str, banks: tuple[str, ...], readers: tuple[str, ...], description: str | None, closed: bool | None,
    format_: str | None, to: str | None, output: Path | None, by: str | None,
) -> None:  # fmt: skip
    """Make or change the share NAME; with --format, write all of it for somebody.

    Only what a person here added or confirmed leaves, of banks with a license to share; never what is disputed or in quarantine.
    """
    from django.utils import timezone

    from redshank.exchanges import sharing
    from redshank.exchanges.models import Share

    now = timezone.now()
    found = Share.objects.filter(name=name).first()
    if found is None:
        found = sharing.make_share(
            name, banks=banks, readers=readers, description=description or "", by=_actor(by), now=now
        )
        click.echo(f"Made {name}, collection {found.collection}.", err=True)
    else:
        changes = {
            "banks": list(banks) or None,
            "readers": list(readers) or None,
            "description": description,
            "closed": closed,
        }
        given = {key: value for key, value in changes.items() if value is not None}
        if given and (different := sharing.change_share(found, given, by=_actor(by), now=now)):
            click.echo(f"{name}: {', '.join(different)} changed.", err=True)
    if format_:
        text = sharing.give(found, format_, to=to or "", by=_actor(by), now=now)
        if output is None:
            for part in text:
                click.echo(part, nl=False)
        else:
            with output.open("w", encoding="utf-8", newline="") as file:
                file.writelines(text)
            click.echo(f"Wrote {output}.", err=True)
        return
    counts = sharing.publish(found, now=now)
    held = sharing.rows_of(found)
    living = held.filter(withdrawn=False).count()
    click.echo(f"{name}: {living:,} entries, {held.count() - living:,} withdrawn; {counts['shared']:,} new, {counts['withdrawn']:,} withdrawn just now.")  # fmt: skip


@command.command()
@with_store
def shares() -> None:
    """List all shares: what is in each, who may read it, when it was last handed out."""
    from redshank.audit.models import Entry
    from redshank.exchanges import sharing
    from redshank.exchanges.models import Share

    table = _table("Share", "Banks", ">Entries", "Readers", "Last handed out", "Collection")
    for one in Share.objects.prefetch_related("banks"):
        last = Entry.objects.filter(object=f"share:{one.name}", step="share.handed_out").order_by("-id").first()
        said = f"{last.at:%Y-%m-%d %H:%M} to {last.body.get('to', '')}" if last else "never"
        living = sharing.rows_of(one).filter(withdrawn=False).count()
        name = f"{one.name} (closed)" if one.closed_at else one.name
        table.add_row(name, ", ".join(bank.name for bank in one.banks.all()), f"{living:,}", ", ".join(one.readers), said, str(one.collection))  # fmt: skip
    _print(table)
