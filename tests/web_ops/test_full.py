"""A store without room: SQLite's own word for it, as the sender hears it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from redshank.archive.models import EventRecord
from redshank.intake.services import make_key


@pytest.fixture
def no_room(transactional_db: None) -> Iterator[None]:
    if connection.vendor != "sqlite":
        pytest.skip("SQLite can be told how many pages it has; PostgreSQL cannot")
    with connection.cursor() as cursor:
        cursor.execute("VACUUM")  # What earlier tests left free is no room either.
        cursor.execute("PRAGMA max_page_count")
        usual = cursor.fetchone()[0]
        cursor.execute("PRAGMA page_count")
        used = cursor.fetchone()[0]
        yield cursor.execute(f"PRAGMA max_page_count = {used + 10}")
        cursor.execute(f"PRAGMA max_page_count = {usual}")


@pytest.mark.django_db(transaction=True)
def test_the_sender_hears_507_and_what_was_accepted_stays(client: Client, no_room: None) -> None:
    key = make_key("marsh", "marsh", by="system", now=timezone.now())

    def send(number: int) -> int:
        event = {
            "id": f"e-{number}", "type": "post.created", "network": "marsh", "at": "2026-01-31T12:00:00Z",
            "account": {"id": "a"}, "post": {"id": f"p-{number}", "text": "mud " * 5000},
        }  # fmt: skip
        headers = {"Authorization": f"Bearer {key}"}
        answer = client.post("/api/v1/events", event, content_type="application/json", headers=headers)
        if answer.status_code == 507:
            assert answer.json()["detail"] == (
                "The store's disk is full. Nothing of this request was taken; send it again later."
            )
            assert answer["Retry-After"] == "60"
        return answer.status_code

    told = [send(number) for number in range(30)]
    assert set(told) == {200, 507}
    assert set(EventRecord.objects.values_list("event_id", flat=True)) == {
        f"e-{number}" for number, status in enumerate(told) if status == 200
    }
