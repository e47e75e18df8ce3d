"""The past's promises: nothing lost, nothing twice, whoever writes and whoever dies; what must go goes; counts are right."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from click.testing import CliRunner
from django.db import transaction
from hypothesis import given, settings
from hypothesis import strategies as st

from redshank.archive import past_writer, services
from redshank.archive.models import AccountRecord, EventRecord, PastBatch
from redshank.archive.past import SCHEMA, Past, PastEvent
from redshank.audit.models import Entry
from redshank.cli import main
from redshank.core import (
    Account,
    Event,
    FollowCreated,
    Post,
    PostCreated,
    Report,
    ReportReceived,
    encode_event,
)
from redshank.core.events import Reporter
from tests.processes import store

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
ROOT = Path(__file__).parents[2]


def post(number: int, *, account: str = "a", network: str = "marsh") -> PostCreated:
    return PostCreated(
        id=f"e{number}", network=network, at=NOW, account=Account(id=account), post=Post(id=f"p{number}", text="hi")
    )


def rows(past: Past, **filters: Any) -> list[dict[str, Any]]:
    batches = [batch for path in past.files(**filters) for batch in past.read(path, SCHEMA.names)]
    return pa.Table.from_batches(batches, SCHEMA).to_pylist()


def claim(*events: Event, now: datetime = NOW) -> None:
    services.claim([services.NewEvent(event=event) for event in events], now=now)
    services.see_accounts(events)


@pytest.fixture
def past(db: None, tmp_path: Path, settings: Any) -> Iterator[Past]:
    settings.DATA_DIR = tmp_path
    settings.REDSHANK = msgspec.structs.replace(
        settings.REDSHANK, archive=msgspec.structs.replace(settings.REDSHANK.archive, batch=10)
    )
    return past_writer.past()


class Killed(BaseException):
    pass


def test_a_batch_is_written_when_it_is_full_or_old(past: Past) -> None:
    claim(*(post(number) for number in range(14)))
    assert past_writer.write_due(now=NOW) == 10
    assert past_writer.write_due(now=NOW) == 0
    assert past_writer.write_due(now=NOW + timedelta(minutes=60)) == 4
    assert past_writer.write_due(now=NOW + timedelta(days=1), all_of_it=True) == 0
    assert sorted(row["id"] for row in rows(past)) == sorted(f"e{number}" for number in range(14))


def test_what_waits_comes_when_it_was_walked(past: Path) -> None:
    services.claim([services.NewEvent(event=post(1), waiting=True), services.NewEvent(event=post(2))], now=NOW)
    assert past_writer.write_due(now=NOW, all_of_it=True) == 1
    EventRecord.objects.filter(event_id="e1").update(state="walked")
    assert past_writer.write_due(now=NOW, all_of_it=True) == 1


@pytest.mark.parametrize("network", ["marsh", "heron"])
@pytest.mark.parametrize("step", ["mkstemp", "fsync", "replace", "mark"])
def test_a_writer_that_dies_at_any_step_leaves_a_batch_that_the_next_one_writes(
    past: Past, monkeypatch: pytest.MonkeyPatch, step: str, network: str
) -> None:
    claim(*(post(number, network=("marsh", "heron")[number % 2]) for number in range(10)))

    def die(*args: Any, **kwargs: Any) -> Any:
        # With the network's own file: the first of the batch, or the second, when the first is there already.
        if step == "mark" or network in str(args) or step == "fsync":
            raise Killed
        return honest(*args, **kwargs)

    target, name = {
        "mkstemp": (__import__("tempfile"), "mkstemp"),
        "fsync": (os, "fsync"),
        "replace": (Path, "replace"),
        "mark": (type(PastBatch.objects.all()), "update"),
    }[step]
    if step == "mkstemp":
        honest_mkstemp = target.mkstemp

        def honest(*args: Any, **kwargs: Any) -> Any:
            return honest_mkstemp(*args, **kwargs)

        def die_there(*args: Any, **kwargs: Any) -> Any:
            if network in str(kwargs["dir"]):
                raise Killed
            return honest_mkstemp(*args, **kwargs)

        monkeypatch.setattr(target, name, die_there)
    else:
        honest = getattr(target, name)
        update = honest

        def only_batches(self: Any, *args: Any, **kwargs: Any) -> Any:
            if "written_at" in kwargs:
                raise Killed
            return update(self, *args, **kwargs)

        monkeypatch.setattr(target, name, only_batches if step == "mark" else die)
    with pytest.raises(Killed):
        past_writer.write_due(now=NOW)
    monkeypatch.undo()
    claim(*(post(number) for number in range(10, 20)))
    while past_writer.write_due(now=NOW + timedelta(hours=2)):
        pass
    assert Counter(row["id"] for row in rows(past)) == Counter(f"e{number}" for number in range(20))


@pytest.mark.django_db
def test_kill_9_while_two_write(tmp_path: Path) -> None:
    with store(tmp_path) as environ:
        environ |= {"REDSHANK_ARCHIVE_BATCH": "7", "REDSHANK_ARCHIVE_AFTER_MINUTES": "0"}
        done = subprocess.run(
            [sys.executable, "-m", "redshank.cli", "migrate"], cwd=ROOT, env=environ, capture_output=True
        )
        assert done.returncode == 0, done.stderr
        fill = "import django; django.setup(); from tests.archive.test_past import fill; fill(400)"
        assert subprocess.run([sys.executable, "-c", fill], cwd=ROOT, env=environ).returncode == 0
        write = [sys.executable, "-m", "redshank.cli", "archive", "write"]
        folder = tmp_path / "data" / "past"
        for _ in range(2):
            before = len(list(folder.rglob("*.parquet")))
            pair = [subprocess.Popen(write, cwd=ROOT, env=environ, stdout=subprocess.DEVNULL) for _ in range(2)]
            until = time.monotonic() + 60
            while len(list(folder.rglob("*.parquet"))) < before + 12 and time.monotonic() < until:
                time.sleep(0.005)
            for process in pair:
                process.send_signal(signal.SIGKILL)
                process.wait()
            assert before < len(list(folder.rglob("*.parquet"))) < 58  # Both died at it.
        worker = [sys.executable, "-m", "redshank.cli", "worker", "--once"]
        assert subprocess.run(worker, cwd=ROOT, env=environ, stdout=subprocess.DEVNULL, timeout=120).returncode == 0
        assert Counter(row["id"] for row in rows(Past(folder))) == Counter(f"e{number}" for number in range(400))


def fill(number: int) -> None:
    """Claim so many events, as another process."""
    with transaction.atomic():
        claim(*(post(one) for one in range(number)))


def test_an_accounts_data_go_and_all_else_stays(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    claim(
        post(1, account="anna"),
        post(2, account="bert"),
        post(3, account="anna", network="heron"),
        FollowCreated(id="e4", network="marsh", at=NOW, account=Account(id="bert"), followed=Account(id="anna")),
        ReportReceived(
            id="e5", network="marsh", at=NOW,
            report=Report(
                id="r", subject_kind="account", subject_id="anna", reason="x", reporter=Reporter(kind="user")
            ),
        ),
        FollowCreated(id="e6", network="marsh", at=NOW, account=Account(id="bert"), followed=Account(id="carl")),
    )  # fmt: skip
    past_writer.write_due(now=NOW, all_of_it=True)
    claim(post(7, account="anna"))  # Not in the past yet.
    honest = Past.erase

    def die(*args: Any) -> int:
        honest(*args)
        raise Killed

    monkeypatch.setattr(Past, "erase", die)
    with pytest.raises(Killed):
        past_writer.erase("marsh", "anna", by="user:ida", reason="asked by herself", now=NOW)
    monkeypatch.undo()
    assert past_writer.finish_erasures(now=NOW) == 0  # They were gone; now it is written down.
    past_writer.write_due(now=NOW, all_of_it=True)
    assert sorted(row["id"] for row in rows(past)) == ["e2", "e3", "e6"]
    assert sorted(EventRecord.objects.values_list("event_id", flat=True)) == ["e2", "e3", "e6"]
    assert not AccountRecord.objects.filter(network="marsh", account_id="anna").exists()
    assert AccountRecord.objects.filter(network="heron", account_id="anna").exists()
    steps = Entry.objects.filter(object="account:marsh/anna").order_by("pk").values_list("step", "actor")
    assert list(steps) == [("account.erasure_asked", "user:ida"), ("account.erased", "system")]
    again = CliRunner().invoke(main, ["archive", "erase", "marsh", "anna", "--reason", "asked again"], input="y\n")
    assert "0 events erased from the store, 0 from the past." in again.output
    bert = CliRunner().invoke(main, ["archive", "erase", "marsh", "bert", "--reason", "asked", "--by", "ida", "--yes"])
    assert bert.output == "2 events erased from the store, 2 from the past.\n"


def test_each_kind_goes_after_its_time(past: Past, settings: Any) -> None:
    keep = msgspec.structs.replace(settings.REDSHANK.archive, keep_post_days=30, keep_follow_days=90)
    settings.REDSHANK = msgspec.structs.replace(settings.REDSHANK, archive=keep)
    follow = FollowCreated(id="f", network="marsh", at=NOW, account=Account(id="a"), followed=Account(id="b"))
    claim(post(1), follow)
    past_writer.write_due(now=NOW, all_of_it=True)
    assert past_writer.forget(now=NOW + timedelta(days=30)) == 0
    assert past_writer.forget(now=NOW + timedelta(days=31)) == 1
    assert [row["id"] for row in rows(past)] == ["f"]
    assert past_writer.forget(now=NOW + timedelta(days=91)) == 1
    assert not past.files()


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(0, 2)), max_size=12), st.sampled_from("abc"))
@settings(max_examples=20, deadline=None)
def test_erasing_takes_that_account_and_nothing_else(tmp_path_factory: Any, made: Any, gone: str) -> None:
    past = Past(tmp_path_factory.mktemp("past"))
    with past.lock():
        for number, (account, day) in enumerate(made):
            at = NOW + timedelta(days=day)
            body = encode_event(post(number)).decode()
            past.write(
                number % 3 + 10 * day,
                [PastEvent(network="m", id=str(number), type="post.created", at=at, received_at=at, account=account, body=body)],
            )  # fmt: skip
        before = rows(past)
        assert past.erase("m", gone) == sum(row["account"] == gone for row in before)
        assert rows(past) == [row for row in before if row["account"] != gone]
