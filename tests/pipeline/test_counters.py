"""Counters in the walk, on the store: once and exactly, whoever counts at the same time and whatever is killed."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.db import connection, connections
from django.test import override_settings
from prometheus_client import CollectorRegistry

from redshank import counters, pipeline
from redshank.archive.models import EventRecord
from redshank.archive.past_writer import erase
from redshank.rules import counter_store, services
from redshank.rules.counting import MOST, WINDOWS
from redshank.rules.models import CounterSeries
from redshank.web import health

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
RULES = """
rules:
  - id: posts
    when: count(per=account.id, over="hour", where=event.type == "post.created") >= 1
    effects: []
  - id: sharers
    when: distinct(account.id, per=post.links, over="day") >= 1
    effects: []
  - id: plain
    when: contains(post.text, "good")
    effects: []
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "rules.yaml").write_text(RULES)
    with override_settings(REDSHANK=msgspec.structs.replace(settings.REDSHANK, rules=str(tmp_path))):
        monkeypatch.setattr(services, "_kept", None)
        monkeypatch.setattr(counter_store, "_named", set())
        yield tmp_path
    services._kept = None


def post(number: int, account: str = "a", at: datetime = NOW, links: tuple[str, ...] = ()) -> bytes:
    return json.dumps(
        {
            "id": f"e{number}", "network": "marsh", "type": "post.created", "at": at.isoformat(),
            "account": {"id": account}, "post": {"id": f"p{number}", "text": "good", "links": links},
        }
    ).encode()  # fmt: skip


def accept(*raws: bytes) -> None:
    answers = pipeline.accept(raws, now=NOW, actor="key:marsh")
    assert {answer.status for answer in answers} <= {"accepted", "duplicate"}


def said(rule: str) -> dict[str, int]:
    """What the rule's counter said, by event."""
    out = {}
    for event_id, verdict in EventRecord.objects.exclude(verdict="").values_list("event_id", "verdict"):
        for fired in json.loads(verdict).get("fired", ()):
            if fired["rule"] == rule:
                out[event_id] = int(fired["because"][0].rpartition(" = ")[2])
    return out


@pytest.mark.django_db(transaction=True)
def test_an_event_counts_once_where_it_belongs_and_counts_are_kept() -> None:
    hour = timedelta(hours=1)
    accept(post(1), post(2), post(2), post(3, "b"))
    accept(post(1), post(4))
    assert said("posts") == {"e1": 1, "e2": 2, "e3": 1, "e4": 3}
    # One that comes late, one of a clock that is an hour off either way, and then one in its time: exactly an hour after.
    accept(post(5, at=NOW - timedelta(minutes=1)), post(6, at=NOW - hour), post(7, at=NOW + hour))
    accept(post(8, at=NOW + timedelta(minutes=1)))
    assert {key: value for key, value in said("posts").items() if key > "e4"} == {"e5": 1, "e6": 1, "e7": 1, "e8": 5}
    accept(post(9, "b", links=("https://x.example", "https://y.example")), post(10, "c", links=("https://y.example",)))
    assert said("sharers") == {"e9": 1, "e10": 2}


@pytest.mark.django_db(transaction=True)
def test_processes_that_meet_on_a_key_count_one_after_the_other() -> None:
    each, batch = 30, 3

    def send(who: int) -> None:
        try:
            for start in range(0, each, batch):
                numbers = range(1000 * who + start, 1000 * who + start + batch)
                # In each batch the keys come in another order.
                accept(*(post(number, account="hot" if (number + who) % batch else f"{who}") for number in numbers))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=send, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    hot = [
        count for event_id, count in said("posts").items() if (int(event_id[1:]) + int(event_id[1:]) // 1000) % batch
    ]
    assert sorted(hot) == list(range(1, len(hot) + 1))


@pytest.mark.django_db(transaction=True)
def test_kill_9_before_the_end_counts_nothing_and_after_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    accept(post(1))
    connections.close_all()
    child = os.fork()
    if not child:  # It dies with everything counted and written, and nothing committed.
        pipeline.record = lambda *_a, **_k: os.kill(os.getpid(), signal.SIGKILL)
        pipeline.accept([post(2), post(3)], now=NOW, actor="key:marsh")
        os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    accept(post(2), post(3))
    accept(post(2), post(3))
    assert said("posts") == {"e1": 1, "e2": 2, "e3": 3}


@pytest.mark.django_db(transaction=True)
def test_without_the_counters_rules_are_unsure_and_all_else_goes_on() -> None:
    def failed() -> float:
        assert isinstance(counters.REGISTRY, CollectorRegistry)
        return counters.REGISTRY.get_sample_value("redshank_counters_failed_total", {"what": "read"}) or 0.0

    before = failed()
    accept(post(1))
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE rules_counterseries RENAME TO gone")
        try:
            accept(post(2), post(3))
            (check,) = health.run([health.counters])
        finally:
            cursor.execute("ALTER TABLE gone RENAME TO rules_counterseries")
    assert check.state == "fail"
    assert "counters" in check.says
    assert failed() == before + 1
    record = EventRecord.objects.get(event_id="e2")
    verdict = json.loads(record.verdict)
    assert [fired["rule"] for fired in verdict["fired"]] == ["plain"]
    assert (
        'posts: count(per=account.id, over="hour", where=event.type == "post.created") is missing' in verdict["errors"]
    )
    accept(post(4))
    assert said("posts") == {"e1": 1, "e4": 2}
    (check,) = health.run([health.counters])
    assert check.state == "ok"


@pytest.mark.django_db(transaction=True)
def test_one_account_cannot_grow_a_key_without_bound_and_what_is_over_goes() -> None:
    for start in range(0, 3 * MOST, 500):
        accept(*(post(number, links=("https://x.example",)) for number in range(start, start + 500)))
    assert max(len(row.entries) for row in CounterSeries.objects.all()) <= 16 * (MOST + MOST // 4)
    assert max(said("posts").values()) == MOST
    before = CounterSeries.objects.count()
    assert before == 2
    assert counter_store.sweep(now=NOW + timedelta(hours=20)) == 0
    assert counter_store.sweep(now=NOW + timedelta(microseconds=WINDOWS["hour"]) + timedelta(hours=25)) == 1
    assert counter_store.sweep(now=NOW + timedelta(days=9)) == 1


@pytest.mark.django_db(transaction=True)
def test_an_erased_account_goes_from_the_counters() -> None:
    link = ("https://x.example",)
    accept(post(1, "a", links=link), post(2, "b", links=link), post(3, "a"))
    rows = CounterSeries.objects.count()
    erase("marsh", "a", by="system", reason="asked", now=NOW)
    assert counter_store.erase_asked() == 1
    assert counter_store.erase_asked() == 0
    assert CounterSeries.objects.count() == rows - 1
    accept(post(4, "a"), post(5, "c", links=link))
    assert said("posts")["e4"] == 1
    assert said("sharers") == {"e2": 2, "e5": 2}
