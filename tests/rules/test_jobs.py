"""Backtests as jobs: run by a worker, canceled, taken up again when their worker was killed."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from signal import SIGKILL
from subprocess import Popen
from sys import executable
from typing import Any

import msgspec
import pytest
from django.db import connection

from redshank.archive import past_writer
from redshank.audit.models import Entry
from redshank.core import BadInput
from redshank.jobs.services import TRIES, _take, cancel
from redshank.people.models import User
from redshank.rules import jobs, services
from redshank.rules.backtest import Sample
from redshank.rules.models import BacktestJob
from tests.rules.test_backtest import event
from tests.rules.test_console_rules import TEXT, folder  # noqa: F401 - a fixture

NOW = datetime(2026, 7, 10, 12, tzinfo=UTC)
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _past(folder: Path, settings: Any) -> None:  # noqa: F811
    settings.DATA_DIR = folder
    files = past_writer.past()
    with files.lock():
        for number in range(0, 60, 10):
            files.write(number, [event(one) for one in range(number, number + 10)])


@pytest.fixture
def lee() -> User:
    return User.objects.create_user("lee", role="lead")


def run(stop: threading.Event | None = None, now: datetime = NOW) -> int:
    decided = {("marsh", "post", "p1"): True, ("marsh", "post", "p2"): False}
    return jobs.run_next(
        decided=lambda: decided, texts_of=lambda _: {}, stop=stop or threading.Event(), clock=lambda: now
    )


def test_a_draft_and_a_rule_of_a_file_are_tried_together(lee: User) -> None:
    draft = services.save(TEXT.replace("marching and account.posts < 10", "marching").split("    fires_on")[0], by=lee, now=NOW)  # fmt: skip
    job = jobs.ask(["of-a-file"], [draft], by=lee, now=NOW, since=NOW - timedelta(days=30))
    assert run() == 1
    assert run() == 0
    job.refresh_from_db()
    found = jobs.result_of(job)
    assert (job.state, job.done, job.whole, job.error) == ("done", job.whole, job.whole, "")
    assert found is not None
    assert [(rule.rule, rule.mode, rule.events, rule.cases) for rule in found.rules] == [("of-a-file", "live", 30, 0), ("calls", "shadow", 30, 15)]  # fmt: skip
    assert [(rule.precision.agreed, rule.precision.cleared) for rule in found.rules] == [(1, 1), (1, 1)]
    assert Entry.objects.get(step="rules.backtested").body == {
        "rules": [{"id": "of-a-file", "version": None}, {"id": "calls", "version": 1}]
    }


def test_what_is_not_begun(lee: User) -> None:
    broken = services.save(TEXT.replace("marching", "marchin"), by=lee, now=NOW)
    for rules, versions, more, said in (
        ([], [], {}, "no rule was chosen"),
        (["nobody"], [], {}, "nobody: there is no such rule"),
        ([], [broken], {}, "the text has an error"),
        (["of-a-file"], [], {"since": NOW, "until": NOW}, "ends before it begins"),
    ):
        with pytest.raises(BadInput, match=said):
            jobs.ask(rules, versions, by=lee, now=NOW, **more)  # type: ignore[arg-type]
    for _ in range(jobs.MOST_WAITING):
        jobs.ask(["of-a-file"], [], by=lee, now=NOW)
    with pytest.raises(BadInput, match="20 backtests are waiting already"):
        jobs.ask(["of-a-file"], [], by=lee, now=NOW)


def test_a_job_is_canceled_while_it_runs(lee: User, monkeypatch: pytest.MonkeyPatch) -> None:
    job = jobs.ask(["of-a-file"], [], by=lee, now=NOW)

    def then_cancel(*args: Any, told: Any, **more: Any) -> None:
        told(0, 6)
        assert cancel(job, now=NOW)
        told(6, 6)

    monkeypatch.setattr(jobs, "backtest", then_cancel)
    assert run() == 1
    job.refresh_from_db()
    assert (job.state, job.result) == ("canceled", "")
    assert not cancel(job, now=NOW)
    assert run() == 0


def test_a_worker_that_ends_hands_its_job_back(lee: User) -> None:
    job = jobs.ask(["of-a-file"], [], by=lee, now=NOW)
    stop = threading.Event()
    stop.set()
    assert run(stop) == 1
    job.refresh_from_db()
    assert (job.state, job.attempts) == ("waiting", 0)


def test_what_broke_is_tried_again_and_given_up_in_the_end(lee: User, monkeypatch: pytest.MonkeyPatch) -> None:
    job = jobs.ask(["of-a-file"], [], by=lee, now=NOW)
    with monkeypatch.context() as patched:
        patched.setattr(jobs, "backtest", lambda *_args, **_more: 1 / 0)
        for state in ("waiting", "waiting", "waiting", "failed"):
            assert run() == 1
            job.refresh_from_db()
            assert job.state == state
    assert job.error == "ZeroDivisionError: division by zero"
    other = jobs.ask(["of-a-file"], [], by=lee, now=NOW)
    BacktestJob.objects.filter(pk=other.pk).update(state="running", attempts=TRIES, leased_until=NOW)
    assert run(now=NOW + timedelta(seconds=1)) == 0
    other.refresh_from_db()
    assert (other.state, other.error[:8]) == ("failed", "given up")


def test_samples_of_who_was_erased_go_and_so_does_what_is_old(lee: User) -> None:
    job = jobs.ask(["of-a-file"], [], by=lee, now=NOW)
    run()
    before = found(job)
    past_writer.erase("marsh", "a1", by="user:lee", reason="asked", now=NOW + timedelta(hours=1))
    gone = jobs.forget(now=NOW + timedelta(hours=2))
    after = found(job)
    assert gone == sum(one.account == "a1" for one in before) > 0
    assert [one for one in before if one.account != "a1"] == after
    assert jobs.forget(now=NOW + timedelta(hours=2)) == 0
    assert jobs.forget(now=NOW + timedelta(days=91)) == 1


def found(job: BacktestJob) -> list[Sample]:
    job.refresh_from_db()
    result = jobs.result_of(job)
    assert result is not None
    return list(result.rules[0].samples)


PROGRAM = """
import os, sys, threading, time
os.environ["DJANGO_SETTINGS_MODULE"] = "redshank.web.settings"
import django
django.setup()
from pathlib import Path
from django.conf import settings
from django.db import connection
from redshank.rules import backtest, jobs, services
if __name__ == "__main__":
    connection.settings_dict["NAME"] = sys.argv[1]
    settings.DATA_DIR = Path(sys.argv[2])
    services.rules_path = lambda: Path(sys.argv[2])
    if sys.argv[3] == "hang":
        jobs.backtest = lambda *args, told, **more: (told(0, 6), time.sleep(600))
    print(jobs.run_next(decided=dict, texts_of=lambda _: {}, stop=threading.Event()))
"""


@pytest.mark.django_db(transaction=True)
def test_a_killed_workers_job_is_taken_up_again(lee: User, folder: Path) -> None:  # noqa: F811
    import time

    job = jobs.ask(["of-a-file"], [], by=lee, now=datetime.now(UTC))
    (folder / "worker.py").write_text(PROGRAM)
    words = [executable, str(folder / "worker.py"), str(connection.settings_dict["NAME"]), str(folder)]
    with Popen([*words, "hang"]) as worker:
        for _ in range(600):
            job.refresh_from_db()
            if job.whole:
                break
            time.sleep(0.1)
        worker.send_signal(SIGKILL)
    assert (job.state, job.attempts, job.whole) == ("running", 1, 6)
    assert _take(BacktestJob, datetime.now(UTC)) is None  # Its lease has not ended.
    BacktestJob.objects.update(leased_until=datetime.now(UTC) - timedelta(seconds=1))
    with Popen([*words, "run"]) as worker:
        assert worker.wait(60) == 0
    job.refresh_from_db()
    found = msgspec.json.decode(job.result)
    assert (job.state, job.attempts, found["rules"][0]["events"]) == ("done", 2, 30)
