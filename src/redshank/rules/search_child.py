"""A process that answers one search and ends: `python -m redshank.rules.search_child`, its job on stdin, answers on stdout.

It reads files of the past and nothing else. Whatever a search costs, the server that asked for it goes on; to cancel the
search, that one ends this process. It may be started before there is a job: what it loads is then there when the job comes.
"""

from __future__ import annotations

import os
import select
import struct
import sys
from pathlib import Path
from typing import BinaryIO

import msgspec

from redshank.archive.past import PastEvent
from redshank.rules.search import Found, Limits, Question, Row, every_row, search

LENGTH = struct.Struct("!Q")
ROWS = 500
"""Rows that are handed over together."""
IDLE = 900.0
"""Seconds after which a process that got no job ends."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What to look for and where. `every` asks for up to so many rows, all that there are, instead of an answer."""

    files: tuple[str, ...]
    fresh: tuple[PastEvent, ...]
    question: Question
    limits: Limits
    every: int = 0


class Rows(msgspec.Struct, frozen=True, tag="rows"):
    """Some of all rows."""

    rows: tuple[Row, ...]


class End(msgspec.Struct, frozen=True, tag="end"):
    """The last word: an answer, or why the rows end (`rows`, `time` or `memory`; empty: there are no more)."""

    found: Found | None = None
    stopped: str = ""


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """It could not be done."""

    what: str


Answer = Rows | End | Failed


def main() -> None:
    """Do the job that comes on stdin; none, where whoever started this ended without one."""
    os.nice(5)  # What comes in goes before what is asked.
    search((), (), Question(by="type"), Limits())  # Loads all that a search needs.
    if not select.select([sys.stdin], [], [], IDLE)[0]:
        return
    body = sys.stdin.buffer.read()
    if not body:
        return
    job = msgspec.msgpack.decode(body, type=Job)
    try:
        _do(job, sys.stdout.buffer)
    except Exception as error:  # noqa: BLE001 - whatever it is, whoever asked is told
        send(Failed(f"{type(error).__name__}: {error}"), sys.stdout.buffer)


def _do(job: Job, out: BinaryIO) -> None:
    files = [Path(file) for file in job.files]
    if not job.every:
        send(End(search(files, job.fresh, job.question, job.limits)), out)
        return
    rows, sent = every_row(files, job.fresh, job.question, job.limits), 0
    waiting: list[Row] = []
    while True:
        try:
            row = next(rows)
        except StopIteration as end:
            send(Rows(tuple(waiting)), out)
            send(End(stopped=end.value or ""), out)
            return
        if sent == job.every:
            send(Rows(tuple(waiting)), out)
            send(End(stopped="rows"), out)
            return
        waiting.append(row)
        sent += 1
        if len(waiting) == ROWS:
            send(Rows(tuple(waiting)), out)
            waiting = []


def send(answer: Answer, out: BinaryIO) -> None:
    """Write an answer with its length before it."""
    body = msgspec.msgpack.encode(answer)
    out.write(LENGTH.pack(len(body)) + body)
    out.flush()


if __name__ == "__main__":
    main()
