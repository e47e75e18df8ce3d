"""/healthz, /readyz and /metrics: who is told what, and that it is true."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from django.conf import settings
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from redshank.archive.models import EventRecord
from redshank.banks import services as banks
from redshank.banks.models import Entry
from redshank.cases.models import Case
from redshank.core import Subject
from redshank.enforcement import services as enforcement
from redshank.web import health, metrics


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    health._kept = metrics._kept = None
    yield
    health._kept = metrics._kept = None


def with_token(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    monkeypatch.setattr(settings, "REDSHANK", msgspec.structs.replace(settings.REDSHANK, metrics_token=token))


def test_alive_asks_nothing_of_the_store_and_takes_any_host(client: Client) -> None:
    answer = client.get("/healthz", headers={"Host": "10.11.12.13:8090"})  # pytest refuses the store here
    assert (answer.status_code, answer.content) == (200, b"ok\n")
    assert client.post("/healthz").status_code == 405


@pytest.mark.django_db
def test_ready_and_not_ready(client: Client) -> None:
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["ready"]) == (200, True)
    assert set(answer.json()["checks"]) == {"store", "migrations", "disk", "rules"}
    MigrationRecorder.Migration.objects.filter(app="audit").delete()
    health._kept = None
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["ready"]) == (503, False)
    assert answer.json()["checks"]["migrations"]["todo"] == "Run `redshank migrate`."
    from_afar = client.get("/readyz", headers={"X-Forwarded-For": "203.0.113.9"})
    assert from_afar.status_code == 503
    assert from_afar.json()["checks"]["migrations"] == {"state": "fail"}


@pytest.mark.django_db
def test_metrics_are_for_this_machine_or_for_the_bearer_of_the_token(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.get("/metrics").status_code == 200
    for header in ("X-Forwarded-For", "Forwarded", "X-Real-Ip", "Via"):
        assert client.get("/metrics", headers={header: "203.0.113.9"}).status_code == 401
    assert client.get("/metrics", REMOTE_ADDR="203.0.113.9").status_code == 401
    with_token(monkeypatch, "a-long-enough-token")
    assert client.get("/metrics").status_code == 401
    assert client.get("/metrics", headers={"Authorization": "Bearer a-long-enough-toke"}).status_code == 401
    answer = client.get("/metrics", headers={"Authorization": "Bearer a-long-enough-token"}, REMOTE_ADDR="203.0.113.9")
    assert answer.status_code == 200


@pytest.mark.django_db
def test_metrics_say_how_things_stand(client: Client) -> None:
    now = timezone.now()
    for number, late in enumerate((True, False, False)):
        Case.objects.create(
            network="marsh", subject_kind="post", subject_id=str(number), priority_reason="-", source="rule", opened_at=now,
            deadline=now - timedelta(hours=1) if late else now + timedelta(hours=1),
        )  # fmt: skip
    enforcement.connect("marsh", "Marsh", "http://127.0.0.1:9/", ["remove"], by="system", now=now)
    enforcement.request_actions(
        [enforcement.Ask(verb="remove", subject=Subject("marsh", "post", "1", "a"))],
        policy="recruitment", reason="-", message="-", asked_by="user:mo", key="k", evidence=("0" * 64,),
        now=now - timedelta(minutes=10),
    )  # fmt: skip
    EventRecord.objects.create(
        network="marsh", event_id="e", type="post.created", at=now, received_at=now, body="{}", state="waiting",
        due_at=now - timedelta(seconds=90),
    )  # fmt: skip
    bank = banks.make_bank("terms", kind="term", policy="recruitment", severity=3, by="system", now=now)
    banks.add_entries(bank, [banks.NewEntry(value=value) for value in ("heron", "wolf")], by="system", now=now)
    Entry.objects.filter(value="heron").update(quarantined_at=now)
    shown = client.get("/metrics").content.decode()
    found: dict[tuple[Any, ...], float] = {}
    for family in text_string_to_metric_families(shown):
        for sample in family.samples:
            found[sample.name, *sorted(sample.labels.values())] = sample.value
    assert found["redshank_store_up",] == 1
    assert found["redshank_cases_waiting", "review"] == 3
    assert found["redshank_cases_overdue", "review"] == 1
    assert found["redshank_actions", "remove", "requested"] == 1
    assert (found["redshank_outbox", "pending"], found["redshank_outbox", "dead"]) == (1, 0)
    assert 600 <= found["redshank_outbox_oldest_seconds",] < 660
    assert found["redshank_events_waiting",] == 1
    assert found["redshank_entries_quarantined",] == 1
    assert 90 <= found["redshank_events_waiting_late_seconds",] < 150
