"""Files that somebody imports, as jobs: shown first, taken in when somebody says so, gone on with after whatever broke off."""

from __future__ import annotations

import threading
from contextlib import suppress
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from redshank import rows
from redshank.audit.models import Entry as Logged
from redshank.banks import imports, services
from redshank.banks.models import Bank, ImportJob
from redshank.core import BadInput
from redshank.jobs.services import LEASE, cancel
from redshank.people.models import User
from tests.banks.conftest import NOW

LINES = (
    "value,label\n" + "".join(f"wolf {n},l{n}\n" if n % 7 else "x\n" for n in range(100)) + "wolf 5\nwolf 6\nwolf 1\n"
)
COUNTS = {"added": 84, "revived": 1, "known": 0, "repeated": 3, "aside": 15}


@pytest.fixture
def bank(make: Any, tmp_path: Any, settings: Any, monkeypatch: Any) -> Bank:
    settings.DATA_DIR = tmp_path
    monkeypatch.setattr(services, "IMPORTED", 10)
    monkeypatch.setattr(rows, "GAP", 0.0)
    made, _ = make("term", "wolf 3")
    services.withdraw_entries(made, [services.entry_id(made, "wolf 3")], by="user:lee", now=NOW)
    return Bank.objects.get(pk=made.pk)


@pytest.fixture
def lee(db: None) -> User:
    return User.objects.create_user("lee", role="lead")


def ask(bank: Bank, lee: User, text: str = LINES) -> ImportJob:
    return imports.ask(bank, "list.csv", [text[:50].encode(), text[50:].encode()], by=lee, now=NOW)


def run(now: Any = NOW, stop: bool = False) -> int:
    event = threading.Event()
    if stop:
        event.set()
    return imports.run_next(stop=event, clock=lambda: now)


def counts(added: services.Added) -> dict[str, int]:
    return {name: getattr(added, name) for name in COUNTS}


def fresh(job: ImportJob) -> ImportJob:
    return ImportJob.objects.get(pk=job.pk)


def test_a_file_is_looked_at_and_taken_in_when_somebody_says_so(bank: Bank, lee: User) -> None:
    job = ask(bank, lee)
    assert not imports.release(job, by=lee, now=NOW)
    assert run() == 1
    job = fresh(job)
    looked = imports.looked(job)
    assert looked is not None
    assert counts(looked.would) == COUNTS
    assert [one.value for one in looked.first] == ["wolf 1", "wolf 2", "wolf 4", "wolf 5", "wolf 6", "wolf 8", "wolf 9", "wolf 10"]  # fmt: skip
    assert (job.state, bank.entries.count(), run()) == ("done", 1, 0)
    assert imports.release(job, by=lee, now=NOW)
    assert not imports.release(job, by=lee, now=NOW)
    assert run() == 1
    job = fresh(job)
    said = counts(imports.added(job))
    # What an earlier part took in is known by the time that a later part names it again.
    assert said == {**COUNTS, "known": 3, "repeated": 0}
    assert (job.state, job.done, job.line, job.file) == ("done", job.whole, 104, "")
    assert (bank.entries.filter(withdrawn_at=None).count(), {one.added_by for one in bank.entries.all()}) == (
        85,
        {"user:lee"},
    )
    assert not list((imports._folder()).iterdir())
    assert not imports.release(job, by=lee, now=NOW)
    assert not imports.discard(job, now=NOW)
    assert [one.body["file"] for one in Logged.objects.filter(step="bank.imported")] == ["list.csv"]


class Killed(BaseException):
    """Stands for kill -9: nothing of ours handles it."""


def test_killed_stopped_canceled_or_broken_anywhere_nothing_is_lost_and_nothing_twice(bank: Bank, lee: User, monkeypatch: Any) -> None:  # fmt: skip
    job = ask(bank, lee)
    run()
    imports.release(fresh(job), by=lee, now=NOW)
    steps = last = 0
    trouble: type[BaseException] = Killed

    def step() -> None:
        nonlocal steps
        steps += 1
        if steps == last:
            raise trouble

    def troubled(target: Any, name: str) -> None:
        real = getattr(target, name)

        def do(*args: Any, **more: Any) -> Any:
            step()
            out = real(*args, **more)
            step()
            return out

        monkeypatch.setattr(target, name, do)

    troubled(services, "add_fitted")
    troubled(imports.Hold, "keep")
    now = NOW
    for at in range(16):
        steps, last, trouble = 0, 1 + at * 3 % 7, (Killed, OSError, BadInput)[at % 3]
        now += LEASE + timedelta(seconds=1)
        with suppress(Killed):
            run(now)
        if at % 5 == 4:
            cancel(fresh(job), now=now)
            assert run(now) == 0
        if fresh(job).state in {"failed", "canceled"}:
            assert imports.release(fresh(job), by=lee, now=now)
        assert bank.entries.count() - 1 == imports.added(fresh(job)).added
    assert 0 < fresh(job).line < 104
    last = 0
    assert run(now + 2 * LEASE) == 1
    assert fresh(job).state == "done"
    assert counts(imports.added(fresh(job))) == {**COUNTS, "known": 3, "repeated": 0}
    assert (bank.entries.filter(withdrawn_at=None).count(), Logged.objects.filter(step="bank.imported").count()) == (
        85,
        1,
    )


def test_a_worker_that_ends_hands_it_back(bank: Bank, lee: User) -> None:
    job = ask(bank, lee)
    assert run(stop=True) == 1
    assert (fresh(job).state, fresh(job).attempts) == ("waiting", 0)
    run()
    imports.release(fresh(job), by=lee, now=NOW)
    assert run(stop=True) == 1
    assert (fresh(job).state, bank.entries.count()) == ("waiting", 1)


def test_what_is_not_taken(bank: Bank, lee: User, settings: Any) -> None:
    settings.REDSHANK = msgspec.structs.replace(
        settings.REDSHANK, banks=msgspec.structs.replace(settings.REDSHANK.banks, max_import_bytes=2000)
    )
    for text, why in (("value\n" * 400, "too large"), ("", "empty")):
        with pytest.raises(BadInput, match=why):
            ask(bank, lee, text)
    assert not list(imports._folder().iterdir())
    html = ask(bank, lee, "<html>sign in</html>")
    run()
    assert (fresh(html).state, fresh(html).file) == ("failed", "")
    assert "neither CSV nor lines of JSON" in fresh(html).error
    assert not imports.release(fresh(html), by=lee, now=NOW)
    for _ in range(imports.MOST_FILES):
        job = ask(bank, lee)
    with pytest.raises(BadInput, match="10 files wait already"):
        ask(bank, lee)
    assert cancel(job, now=NOW)
    assert imports.discard(fresh(job), now=NOW)
    ask(bank, lee)
    while run():
        pass
    assert imports.forget(now=NOW + imports.WAITS * 2) == imports.MOST_FILES
    assert not list(imports._folder().iterdir())
    assert (
        imports.forget(now=NOW + imports.KEEP * 2) == ImportJob.objects.count() == 0 or not ImportJob.objects.exists()
    )
    assert bank.entries.count() == 1
