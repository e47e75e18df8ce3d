"""Searches of this installation's past: who asks what is written down, and each runs in a bounded process of its own.

One person has one search at a time: a new one ends the one before, and one button ends it without another. Which search
is theirs stands in a small file, so that this holds for all processes of a server. What came just now is found, too. To
start a process takes about as long as to count ten million events, so where one search is, a process stands ready for the
next.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import selectors
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from django.conf import settings

from redshank.archive.past import PastEvent
from redshank.archive.past_writer import everything
from redshank.audit.services import Step, record
from redshank.core import Problem
from redshank.rules import services
from redshank.rules.checker import Scope
from redshank.rules.ruleset import TextsOf
from redshank.rules.search import Checked, Found, Limits, Question, Row, check, every_row, refuse, search
from redshank.rules.search_child import IDLE, LENGTH, Answer, End, Failed, Job, Rows

GRACE = 8.0
"""Seconds beyond its limit after which a search that has not ended is ended."""
WAIT = 10.0
"""Seconds that a search waits for its turn."""
LOOK = 0.1
"""Seconds after which a search notices that it is wanted no more."""
CSV_SECONDS = 300.0
LEFT = 3600.0
"""Seconds after which what a search wrote to the disk is nobody's: none takes so long."""
_answers = msgspec.msgpack.Decoder(Answer)
_turns: dict[int, threading.BoundedSemaphore] = {}
_ready: list[tuple[subprocess.Popen[bytes], float]] = []
"""The process that has no job yet, and since when; at most one. It ends when this process does, as its stdin ends then."""
_lock = threading.Lock()


class Superseded(Problem):
    """The same person began another search meanwhile, or stopped this one."""


def check_search(text: str, *, banks: Mapping[str, str], texts_of: TextsOf) -> Checked:
    """Check a condition with the names, lists and fields that the rules of this installation have.

    `banks` has the kind of each bank that is switched on, by its name; `texts_of` gives what they hold. Raises `Problem`.
    """
    return check(text, services.folder().scope(refuse, banks), texts_of=texts_of)


def note(question: Question, text: str, *, by: str, now: datetime, what: str = "archive.searched") -> None:
    """Write into the audit log who searches what: it is about people."""
    bounds = {name: found.isoformat() for name in ("since", "until") if (found := getattr(question, name))}
    others = {
        "networks": list(question.networks),
        "rule": question.rule,
        "account": question.account,
        "by": question.by,
    }
    body: dict[str, Any] = {"when": text[:4_000], **bounds, **{name: value for name, value in others.items() if value}}
    record([Step(actor=by, step=what, object="archive", body=body)], now=now)


def limits() -> Limits:
    """What one search may take here."""
    chosen = settings.REDSHANK.archive
    return Limits(seconds=chosen.search_seconds, memory=chosen.search_memory)


def answer(question: Question, *, by: str, days: tuple[str, ...] = ()) -> tuple[Found, int]:
    """Answer a question in a process of its own; give how many fresh events were too many to be read, too.

    `days` are the only days of receipt to look at, such as `2026-07-01`; empty for all. Raises `Problem` where the search
    cannot be made, `Superseded` where `by` asked something else meanwhile.
    """
    job, left_out = _job(question, limits(), days=days)
    for found in _asked(job, by):
        if isinstance(found, End) and found.found is not None:
            return found.found, left_out
    raise Problem("the search ended without an answer")


def stream(question: Question, *, by: str) -> Iterator[Row | str]:
    """Every event that is found, as many as may be downloaded, then why there are no more: empty, `rows`, `time`, `memory`."""
    most = settings.REDSHANK.archive.csv_rows
    job, _ = _job(question, msgspec.structs.replace(limits(), seconds=CSV_SECONDS), every=most)
    for found in _asked(job, f"{by} csv"):
        if isinstance(found, Rows):
            yield from found.rows
        elif isinstance(found, End):
            yield found.stopped


def stop(by: str) -> None:
    """End the search of a person that runs, in whichever process of this server; where none does, nothing changes."""
    _Claim(by).take()


class _Claim:
    """A person's right to search: whoever took it last has it."""

    def __init__(self, by: str) -> None:
        self._place = _spill() / f"asked-{hashlib.sha256(by.encode()).hexdigest()[:32]}"
        self._token = secrets.token_hex(16)

    def take(self) -> None:
        """Have it from now on."""
        fresh = self._place.with_name(f".{self._token}")
        fresh.write_text(self._token)
        fresh.replace(self._place)

    def holds(self) -> bool:
        """Whether nobody took it since."""
        try:
            return self._place.read_text() == self._token
        except FileNotFoundError:
            return False


def answer_here(question: Question, seconds: float) -> Found:
    """Answer in this process, as a command does."""
    now = everything(since=question.since)
    return search(now.files, now.fresh, question, msgspec.structs.replace(limits(), seconds=seconds))


def rows_here(question: Question) -> Iterator[Row]:
    """Every event that is found, in this process and without bounds of time."""
    now = everything(since=question.since)
    yield from every_row(
        now.files, now.fresh, question, msgspec.structs.replace(limits(), seconds=threading.TIMEOUT_MAX)
    )


def one_event(network: str, event_id: str, *, by: str, day: str = "") -> Row | None:
    """An event of the past by its id; `day` is that of its receipt (UTC), where it is known."""
    literal = event_id.replace("\\", "\\\\").replace('"', '\\"')
    checked = check(f'known(event.type) and event.id == "{literal}"', Scope(lambda _: None, {}, {}, {}))
    if checked.question is None:
        return None
    question = msgspec.structs.replace(checked.question, networks=(network,), rows=1)
    found, _ = answer(question, by=f"{by} event", days=(day,) if day else ())
    return found.rows[0] if found.rows else None


def get_ready() -> None:
    """See to it that a process stands ready for the next search, so that nobody waits for it to start."""
    with _lock:
        if not _is_ready():
            _ready.append((_start(), time.monotonic()))


def _take() -> subprocess.Popen[bytes]:
    """A process without a job. The lock is held."""
    return _ready.pop()[0] if _is_ready() else _start()


def _is_ready() -> bool:
    """Whether one stands ready, and is not about to end by itself. The lock is held."""
    if _ready:
        process, since = _ready[0]
        if process.poll() is None and time.monotonic() < since + IDLE / 2:
            return True
        _ready.clear()
        _close(process)
    return False


def _start() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "redshank.rules.search_child"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG") if name in os.environ},
    )  # fmt: skip


def _close(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe:
            with suppress(OSError):  # It did not take all that was written.
                pipe.close()


def _job(question: Question, limits: Limits, *, every: int = 0, days: tuple[str, ...] = ()) -> tuple[Job, int]:
    now = everything(since=question.since)
    files = tuple(str(file) for file in now.files if not days or file.parent.name.removeprefix("day=") in days)
    fresh: tuple[PastEvent, ...] = now.fresh
    return Job(files=files, fresh=fresh, question=question, limits=limits, every=every), now.left_out


def _asked(job: Job, by: str) -> Iterator[Answer]:
    """What the process answers. It ends when nobody asks any more, when its time is up, or when `by` stops it or asks
    something else."""
    claim = _Claim(by)
    claim.take()
    with _turn(claim), tempfile.TemporaryDirectory(prefix="search-", dir=_spill()) as spill:
        limits = msgspec.structs.replace(job.limits, spill=spill)
        until = time.monotonic() + limits.seconds + GRACE
        with _lock:
            process = _take()
        try:
            assert process.stdin
            try:
                process.stdin.write(msgspec.msgpack.encode(msgspec.structs.replace(job, limits=limits)))
                process.stdin.close()
            except OSError:
                raise _ended(claim) from None
            while True:
                body = _frame(process, until, claim)
                if body is None:
                    raise _ended(claim)
                found = _answers.decode(body)
                if isinstance(found, Failed):
                    raise Problem("the search failed", hint=found.what[:500])
                yield found
                if isinstance(found, End):
                    return
        finally:
            _close(process)
            get_ready()


def _ended(claim: _Claim) -> Problem:
    if not claim.holds():
        return Superseded("this search was stopped, or ended because you began another one")
    return Problem(
        "the search ended before it had an answer", hint="It took more than it may: narrow it, and try again."
    )


def _frame(process: subprocess.Popen[bytes], until: float, claim: _Claim) -> bytes | None:
    head = _exactly(process, LENGTH.size, until, claim)
    return head and _exactly(process, LENGTH.unpack(head)[0], until, claim)


def _exactly(process: subprocess.Popen[bytes], size: int, until: float, claim: _Claim) -> bytes | None:
    """So many bytes; None where the process ended, the time is up, or nobody wants them any more."""
    assert process.stdout
    handle, got = process.stdout.fileno(), bytearray()
    with selectors.DefaultSelector() as ready:
        ready.register(handle, selectors.EVENT_READ)
        while len(got) < size:
            if not ready.select(LOOK):
                if time.monotonic() > until or not claim.holds():
                    return None
                continue
            more = os.read(handle, min(1 << 20, size - len(got)))
            if not more:
                return None
            got += more
    return bytes(got)


@contextmanager
def _turn(claim: _Claim) -> Iterator[None]:
    most = settings.REDSHANK.archive.searches
    with _lock:
        turns = _turns.setdefault(most, threading.BoundedSemaphore(most))
    until = time.monotonic() + WAIT
    while not turns.acquire(timeout=LOOK):
        if not claim.holds():
            raise _ended(claim)
        if time.monotonic() > until:
            raise Problem("too many searches run at this moment", hint="Try again in a few seconds.")
    try:
        yield
    finally:
        turns.release()


def _spill() -> Path:
    folder = Path(settings.DATA_DIR) / "spill"
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob("search-*"):  # Of a server that was killed.
        with suppress(FileNotFoundError):
            if left.stat().st_mtime < time.time() - LEFT:
                shutil.rmtree(left, ignore_errors=True)
    return folder
