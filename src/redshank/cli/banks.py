"""`redshank banks`: known content, in lists of one kind each."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import click

from redshank.cli._django import with_store
from redshank.core import BadInput, Problem

if TYPE_CHECKING:
    from rich.table import Table

    from redshank.banks.services import Added, NewEntry, SetAside

SOME_SET_ASIDE = 3
"""Exit code where everything was done but for what was set aside, each named."""
SHOWN = 10
"""What was set aside is named on the terminal up to this number; beyond it, a file has it all."""

_BY = click.option("--by", metavar="NAME", help="Who you are in the console; the audit log names you. Else: system.")
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def command() -> None:
    """Make banks of known content, fill them, and look into them."""


@command.command("list")
@with_store
def list_() -> None:
    """List all banks: what each holds, under which policy, how many entries are in force."""
    from redshank.banks.models import Bank

    banks = list(Bank.objects.order_by("name"))
    if not banks:
        click.echo("No banks yet. `redshank banks make NAME --kind … --policy … --severity …` makes one.")
        return
    table = _table("Bank", "Kind", ">Entries", "Policy", ">Severity", "Source")
    for bank in banks:
        name = bank.name if bank.active else f"{bank.name} (paused)"
        table.add_row(name, bank.kind, f"{bank.in_force:,}", bank.policy_id, str(bank.severity), bank.source)
    _print(table)


@command.command()
@click.argument("name")
@click.option(
    "--limit", "most", type=click.IntRange(1), default=50, show_default=True, help="Entries shown, newest first."
)
@click.option("--search", default="", help="Show only entries with this in their value or label.")
@click.option("--withdrawn", is_flag=True, help="Show withdrawn entries, too.")
@with_store
def show(name: str, most: int, search: str, withdrawn: bool) -> None:
    """Show the bank NAME and its newest entries."""
    from django.conf import settings
    from django.db.models import Q

    from redshank.banks import services

    bank = services.get_bank(name)
    click.echo(f"{bank.name} · {bank.get_kind_display()} · severity {bank.severity} · {bank.policy.name}")
    if bank.kind in {"pdq", "video"}:
        limit = settings.REDSHANK.media.pdq_limit if bank.limit is None else bank.limit
        click.echo(f"Matches within {limit} of 256 bits.")
    if bank.partial:
        click.echo(_parts(bank))
    for line in (bank.description, f"Source: {bank.source}" if bank.source else ""):
        if line:
            click.echo(line)
    entries = bank.entries.all()
    if not withdrawn:
        entries = entries.filter(withdrawn_at=None)
    if search:
        entries = entries.filter(Q(value__icontains=search) | Q(label__icontains=search))
    count = entries.count()
    if not count:
        click.echo("\nNo entry." if not search else "\nNo entry with that.")
        return
    table = _table(">Entry", "Value", "Label", "Source", "Added", "By", "Note")
    for entry in entries.defer("frames")[:most]:
        said = [f"withdrawn {entry.withdrawn_at:%Y-%m-%d}"] if entry.withdrawn_at else []
        said += [f"weak: {entry.weak}"] if entry.weak else []
        table.add_row(
            str(entry.pk), entry.value, entry.label, entry.source, f"{entry.added_at:%Y-%m-%d}", entry.added_by,
            "; ".join([*said, *([entry.note] if entry.note else [])]),
        )  # fmt: skip
    click.echo()
    _print(table)
    if count > most:
        click.echo(f"The newest {most:,} of {count:,}. --limit shows more, --search fewer.")


def _parts(bank: Any) -> str:
    from redshank.banks.models import EntryPoints

    points = EntryPoints.objects.filter(entry__bank=bank, entry__withdrawn_at=None)
    count, poor = points.count(), points.exclude(poor="").count()
    said = f"Finds parts: {count - poor:,} of {bank.in_force:,} entries have the points for it."
    alone = bank.in_force - count
    return said + (f" {poor:,} show too little." if poor else "") + (f" {alone:,} are hashes alone." if alone else "")


@command.command()
@click.argument("name")
@click.option("--kind", required=True, help="pdq, video, md5, sha1, sha256, sha512, url, domain, term or name.")
@click.option("--policy", required=True, help="The policy that a match breaks, by its short name.")
@click.option("--severity", required=True, type=int, help="1 (context) to 5 (calls for instant attention).")
@click.option("--description", default="", help="What it holds, for people.")
@click.option("--source", default="", help="Where its entries come from.")
@click.option("--limit", type=int, help="Bits of 256 within which a PDQ hash matches, 0 to 31. Else: media.pdq_limit.")
@click.option(
    "--share", type=int, help="Of a hundred seconds of either video so many must match. Else: media.video_share."
)
@click.option(
    "--harmless", is_flag=True, help="What it holds is harmless: it never matches, nor does what is no nearer."
)
@click.option(
    "--partial",
    is_flag=True,
    help="Find parts of its pictures or videos, too. They must be added as files, not as hashes.",
)
@click.option("--sampled", type=int, default=100, help="Of a hundred events, so many are held against it. Else: all.")
@click.option(
    "--surge", type=int, help="Events in an hour beyond which a matching entry goes into quarantine; 0: never."
)
@click.option(
    "--languages", default="", help='Tags such as "de pt-BR": terms are not sought in posts said to be in others.'
)
@click.option("--license", default="", help="Under what its entries may be handed on. Else: they may not.")
@click.option("--expires-days", type=int, help="Days after which an entry matches no more. Else: never.")
@_BY
@with_store
def make(
    name: str, kind: str, policy: str, severity: int, description: str, source: str, limit: int | None, share: int | None,
    harmless: bool, partial: bool, sampled: int, surge: int | None,
    languages: str, license: str, expires_days: int | None, by: str | None,  # noqa: A002 - the option's name
) -> None:  # fmt: skip
    """Make an empty bank NAME."""
    from django.utils import timezone

    from redshank.banks import services

    services.make_bank(
        name, kind=kind, policy=policy, severity=severity, description=description, source=source, limit=limit, share=share,
        negative=harmless, partial=partial, sampled=sampled, surge=surge, languages=languages, license=license, expires_days=expires_days, by=_actor(by),
        now=timezone.now(),
    )  # fmt: skip
    click.echo(f"Made {name}. `redshank banks add {name} VALUE…` puts something into it.")


@command.command("set")
@click.argument("name")
@click.option("--policy", help="The policy that a match breaks, by its short name.")
@click.option("--severity", type=int, help="1 to 5.")
@click.option("--limit", type=int, help="Bits of 256 within which a PDQ hash matches, 0 to 31.")
@click.option("--share", type=int, help="Of a hundred seconds of either video so many must match.")
@click.option("--sampled", type=int, help="Of a hundred events, so many are held against it.")
@click.option(
    "--surge", type=int, help="Events in an hour beyond which a matching entry goes into quarantine; 0: never."
)
@click.option("--description", help="What it holds, for people.")
@click.option("--source", help="Where its entries come from.")
@click.option("--expires-days", type=int, help="Days after which an entry added from now on matches no more.")
@click.option("--partial/--whole", default=None, help="Whether parts of its pictures or videos are found, too.")
@click.option("--languages", help='Tags such as "de pt-BR"; "" for all.')
@click.option("--license", help='Under what its entries may be handed on; "": they may not.')
@click.option("--active/--paused", default=None, help="Whether its entries match.")
@click.option("--reason", default="", help="Why; the audit log keeps it.")
@_BY
@with_store
def set_(name: str, reason: str, by: str | None, **changes: str | int | bool | None) -> None:
    """Change the bank NAME: what is given, and nothing else."""
    from django.utils import timezone

    from redshank.banks import services

    given = {key: value for key, value in changes.items() if value is not None}
    different = services.change_bank(services.get_bank(name), given, by=_actor(by), now=timezone.now(), reason=reason)
    for key, (before, after) in different.items():
        click.echo(f"{name}: {key} was {before!r}, is {after!r}.")
    if not different:
        click.echo(f"{name} is as it was.")


@command.command()
@click.argument("name")
@click.argument("values", nargs=-1)
@click.option("--file", "files", multiple=True, type=click.Path(exists=True, path_type=Path),
              help="A picture or video to hash and add, or a folder of them. May be given several times.")  # fmt: skip
@click.option("--label", default="", help="What people should read where it matches.")
@click.option("--note", default="", help="Anything else worth knowing.")
@click.option("--source", default="", help="Where it comes from, if not from where its bank's entries do.")
@_BY
@with_store
def add(
    name: str, values: tuple[str, ...], files: tuple[Path, ...], label: str, note: str, source: str, by: str | None
) -> None:
    """Add VALUES, and the hashes of files, to the bank NAME.

    A value is what the bank's kind says: a hash in hex, a link (with /* at its end: and all below), a domain (and all
    in it), a term (as whole words). Exit code 0 where all of it was taken, 3 where some was set aside.
    """
    from django.utils import timezone

    from redshank.banks import services

    bank = services.get_bank(name)
    if not values and not files:
        raise Problem("nothing to add", where=name, hint="Give values, or files with --file.")
    new = [services.NewEntry(value=value, label=label, note=note, source=source) for value in values]
    hashed, aside = _hashed(bank, files, label, note, source)
    added = services.add_entries(bank, [*new, *hashed], by=_actor(by), now=timezone.now())
    _report(name, added, aside, None)


def _hashed(
    bank: Any, files: Sequence[Path], label: str, note: str, source: str
) -> tuple[list[NewEntry], list[SetAside]]:
    if not files:
        return [], []
    from redshank.banks import services
    from redshank.cli._media import Reading, files_in, jobs_here
    from redshank.web.config import read_settings

    reading = Reading(read_settings().media, jobs=jobs_here(), key_frames=False, points=bank.partial)
    new: list[NewEntry] = []
    aside: list[SetAside] = []
    found = files_in(files)
    for path, hashes in reading.hashes(found, "Hashing"):
        try:
            new.append(services.entry_from_media(hashes, bank.kind, label=label or path.name, note=note, source=source))
        except BadInput as problem:
            aside.append(services.SetAside(found.index(path) + 1, str(path), str(problem)))
    # The reader has named those that it could not read; here they only count.
    aside += [services.SetAside(0, "", "")] * reading.unreadable
    return new, aside


@command.command("import")
@click.argument("name")
@click.argument("file", type=_FILE)
@_BY
@with_store
def import_(name: str, file: Path, by: str | None) -> None:
    """Add the entries of FILE to the bank NAME: CSV with a header (value, label, note, source, quality), or JSON lines.

    What `redshank hash` prints is taken as well. Lines that cannot be taken are set aside in FILE.rejected.csv, each with
    its reason. What was taken stays taken if this is stopped: the same command again adds the rest. Exit code 0 where
    every line was taken, 3 where some were set aside.
    """
    from django.utils import timezone
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from redshank.banks import services

    bank = services.get_bank(name)
    console = Console(stderr=True)
    rejected = file.with_name(file.name + ".rejected.csv")
    with (
        _Rejected(rejected) as keep,
        file.open(encoding="utf-8", errors="surrogateescape", newline="") as lines,
        Progress(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[lines]:,} lines"),
            TimeRemainingColumn(), console=console, disable=not console.is_terminal,
        ) as progress,
    ):  # fmt: skip
        task = progress.add_task(file.name, total=file.stat().st_size, lines=0)

        def tell(read: int, _total: Added) -> None:
            progress.update(task, completed=lines.buffer.tell(), lines=read)  # type: ignore[attr-defined]  # It is a file.

        added = services.import_entries(bank, lines, by=_actor(by), now=timezone.now(), kept=tell, aside=keep)
    _report(name, added, [], rejected)


class _Rejected:
    """A file of what was set aside, made with the first of it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open = contextlib.ExitStack()
        self._writer: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def __call__(self, one: SetAside) -> None:
        if self._writer is None:
            out = self._open.enter_context(
                self._path.open("w", encoding="utf-8", errors="backslashreplace", newline="")
            )
            self._writer = csv.writer(out)
            self._writer.writerow(("line", "value", "reason"))
        self._writer.writerow((one.place, one.value, one.reason))


@command.command()
@click.argument("name")
@click.argument("entries", nargs=-1, required=True)
@click.option("--reason", default="", help="Why; the audit log keeps it.")
@_BY
@with_store
def withdraw(name: str, entries: tuple[str, ...], reason: str, by: str | None) -> None:
    """Withdraw ENTRIES of the bank NAME, each by its number or its value. They match no more, and are not forgotten."""
    from django.utils import timezone

    from redshank.banks import services

    bank = services.get_bank(name)
    ids = [services.entry_id(bank, entry) for entry in entries]
    count = services.withdraw_entries(bank, ids, by=_actor(by), now=timezone.now(), reason=reason)
    before = len(set(ids)) - count
    click.echo(f"Withdrew {_many(count)} of {name}." + (f" {before:,} had been before." if before else ""))


@command.command()
@click.argument("name")
@click.argument("entries", nargs=-1, required=True)
@click.option("--reason", default="", help="Why; the audit log keeps it.")
@_BY
@with_store
def restore(name: str, entries: tuple[str, ...], reason: str, by: str | None) -> None:
    """Bring withdrawn ENTRIES of the bank NAME, each by its number or its value, back in force, as they were."""
    from django.utils import timezone

    from redshank.banks import services

    bank = services.get_bank(name)
    ids = [services.entry_id(bank, entry) for entry in entries]
    count = services.restore_entries(bank, ids, by=_actor(by), now=timezone.now(), reason=reason)
    before = len(set(ids)) - count
    click.echo(f"Brought back {_many(count)} of {name}." + (f" {before:,} were in force." if before else ""))


@command.command()
@click.argument("name")
@with_store
def lookback(name: str) -> None:
    """Seek the entries of the bank NAME in the media that were walked before, now.

    A worker does that with every new entry by itself; this does it again, as after its limit was changed.
    """
    from datetime import timedelta

    from django.utils import timezone

    from redshank import pipeline
    from redshank.banks import lookback as past
    from redshank.banks import services

    count = past.ask_again(services.get_bank(name))
    while pipeline.look_back(now=timezone.now(), settled=timedelta(0)) or pipeline.look_back_for_parts(
        now=timezone.now()
    ):
        pass
    click.echo(f"{name}: {_many(count)} sought in the past. What was found stands in the queue, as the rules say.")


def _actor(by: str | None) -> str:
    return f"user:{by}" if by else "system"


def _report(name: str, added: Added, further: Sequence[SetAside], file: Path | None) -> None:
    parts = [f"added {_many(added.added)}"]
    parts += [f"{added.revived:,} in force again"] if added.revived else []
    parts += [f"{added.known:,} known already"] if added.known else []
    parts += [f"{added.repeated:,} repeated"] if added.repeated else []
    click.echo(f"{name}: {', '.join(parts)}.")
    if added.weak:
        click.echo(f"{added.weak:,} of them weak (all-zero, of low quality): kept, but never matched alone.")
    count = added.aside + len(further)
    if not count:
        return
    click.echo(f"Set aside {count:,}:", err=True)
    named = [one for one in (*added.set_aside, *further) if one.reason]
    for one in named[:SHOWN]:
        where = f"line {one.place}" if file else one.value[:80]
        click.echo(f"  {where}: {one.reason}", err=True)
    more = added.aside + sum(bool(one.reason) for one in further) - len(named[:SHOWN])
    if more:
        click.echo(f"  … and {more:,} more.", err=True)
    if file:
        click.echo(f"  All of them stand in {file}.", err=True)
    raise SystemExit(SOME_SET_ASIDE)


def _many(count: int) -> str:
    return "1 entry" if count == 1 else f"{count:,} entries"


def _table(*columns: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.removeprefix(">"), justify="right" if column[0] == ">" else "left", overflow="fold")
    return table


def _print(table: Table) -> None:
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    if not console.is_terminal:  # A file or a pipe gets whole lines.
        console = Console(highlight=False, markup=False, width=1000)
    console.print(table)
