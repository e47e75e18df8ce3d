"""`redshank ingest`: events from files, by the same path as from the API."""

from __future__ import annotations

import gzip
import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click
import msgspec

from redshank.cli._django import with_store
from redshank.core import Problem

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from redshank.intake.models import IngestFile


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--network", help="Take only events of this network.")
@click.option("--again", is_flag=True, help="Read from the start, also what was read before (harmless).")
@click.option("--leave-media", is_flag=True, help="Leave events with media to a running `redshank worker`.")
@with_store
def command(files: tuple[Path, ...], network: str | None, again: bool, leave_media: bool) -> None:
    """Read events from FILES: one JSON object a line, plain or gzip.

    A run that was cut off goes on where it stopped. Lines that cannot be taken are set aside, each with its reason, in
    FILE.rejected.jsonl. Exit code 0 where every line was taken, 3 where some were set aside.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from redshank.intake.services import open_file

    console = Console(stderr=True)
    began = time.monotonic()
    accepted = duplicates = rejected = 0
    with Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"),
        MofNCompleteColumn(), TimeRemainingColumn(), console=console, disable=not console.is_terminal,
    ) as progress:  # fmt: skip
        for path in files:
            mark = open_file(path)
            if again:
                mark.line = mark.accepted = mark.duplicates = mark.rejected = mark.rejects_size = 0
            before = (mark.accepted, mark.duplicates, mark.rejected)
            if mark.line:
                console.print(f"{path}: going on after line {mark.line:,}.")
            task = progress.add_task(path.name, total=path.stat().st_size)
            _read(path, mark, network, progress, task)
            accepted += mark.accepted - before[0]
            duplicates += mark.duplicates - before[1]
            rejected += mark.rejected - before[2]
            if mark.rejected:
                console.print(f"{path}: {mark.rejected:,} lines set aside, with reasons, in {rejects_of(path)}")
        if not leave_media:
            _walk_media(progress)
    seconds = time.monotonic() - began
    click.echo(
        f"{accepted:,} accepted, {duplicates:,} duplicates, {rejected:,} rejected "
        f"in {seconds:.1f} s ({(accepted + duplicates + rejected) / seconds:,.0f} a second)."
    )
    if rejected:
        raise SystemExit(3)


def rejects_of(path: Path) -> Path:
    """Where the lines of `path` that cannot be taken are set aside."""
    return path.with_name(path.name + ".rejected.jsonl")


def _read(path: Path, mark: IngestFile, network: str | None, progress: Progress, task: TaskID) -> None:
    from django.conf import settings
    from django.utils import timezone

    from redshank.pipeline import accept

    encode = msgspec.json.Encoder().encode
    batch_size = settings.REDSHANK.ingest.batch
    limit = settings.REDSHANK.ingest.max_event_bytes
    with path.open("rb") as raw, rejects_of(path).open("ab") as rejects:
        rejects.truncate(mark.rejects_size)  # What a cut-off run wrote beyond its last commit is written again.
        lines = _lines(_plain(raw, path), limit)
        for _ in range(mark.line):
            next(lines, None)
        try:
            for batch in _batches(lines, batch_size):
                now = timezone.now()
                numbered = [(mark.line + offset, line) for offset, line in enumerate(batch, start=1) if line.strip()]
                mark.line += len(batch)
                mark.finished_at = None
                # The mark follows the commit: a kill between the two makes the next run hear `duplicate`, no more.
                answers = accept((line for _, line in numbered), now=now, actor="system", network=network)
                for (number, line), answer in zip(numbered, answers, strict=True):
                    if answer.status == "accepted":
                        mark.accepted += 1
                    elif answer.status == "duplicate":
                        mark.duplicates += 1
                    else:
                        mark.rejected += 1
                        aside = {"line": number, "field": answer.field, "reason": answer.reason}
                        rejects.write(encode({**aside, "raw": line[:limit].decode("utf-8", "replace")}) + b"\n")
                rejects.flush()
                mark.rejects_size = rejects.tell()
                mark.save()
                progress.update(task, completed=raw.tell())
        except (OSError, EOFError, gzip.BadGzipFile) as error:
            if isinstance(error, OSError) and not isinstance(error, gzip.BadGzipFile):
                raise
            raise Problem(
                f"broken after line {mark.line:,}: {error}", where=str(path), hint="All lines before it are taken."
            ) from None
        mark.finished_at = timezone.now()
        mark.save()
    if not mark.rejected:
        rejects_of(path).unlink(missing_ok=True)


def _plain(raw: IO[bytes], path: Path) -> IO[bytes]:
    head = raw.read(2)
    raw.seek(0)
    return io.BufferedReader(gzip.GzipFile(fileobj=raw)) if head == b"\x1f\x8b" else raw


def _lines(file: IO[bytes], limit: int) -> Iterator[bytes]:
    """Lines without their ends; one that is longer than `limit` is cut just past it, its rest never held."""
    while line := file.readline(limit + 2):
        if not line.endswith(b"\n") and len(line) > limit:
            while (rest := file.readline(1 << 20)) and not rest.endswith(b"\n"):
                pass
        yield line.rstrip(b"\r\n")


def _batches(lines: Iterator[bytes], size: int) -> Iterator[list[bytes]]:
    """At most `size` lines and 32 MiB a batch, unless one line alone is larger."""
    batch: list[bytes] = []
    held = 0
    for line in lines:
        batch.append(line)
        held += len(line)
        if len(batch) >= size or held > 32 * 1024 * 1024:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


def _walk_media(progress: Progress) -> None:
    from django.conf import settings
    from django.utils import timezone

    from redshank.archive.models import EventRecord
    from redshank.media import Hasher
    from redshank.pipeline import walk_waiting

    due = EventRecord.objects.filter(state=EventRecord.State.WAITING)
    count = due.filter(due_at__lte=timezone.now()).count()
    if not count:
        return
    task = progress.add_task("media", total=count)
    with Hasher(settings.REDSHANK.media) as hasher:
        while done := walk_waiting(now=timezone.now(), limit=20, hasher=hasher):
            progress.advance(task, done)
    if left := due.count():
        click.echo(f"{left:,} events wait for media that could not be fetched yet; `redshank worker` will try again.")
