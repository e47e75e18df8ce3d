"""The API: each event its own answer, whole requests refused in words, and nothing that schemathesis could break."""

import gzip
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from django.test import Client
from hypothesis import HealthCheck, settings

from redshank.core import Problem
from redshank.intake.models import ApiKey
from redshank.intake.services import make_key, revoke_key
from redshank.people.models import User
from redshank.people.roles import Role
from redshank.web.api import openapi
from redshank.web.wsgi import application

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
EVENT = {
    "id": "e/1", "type": "post.created", "network": "marsh", "at": "2026-01-31T12:00:00Z",
    "account": {"id": "a"}, "post": {"id": "p"},
}  # fmt: skip


@pytest.fixture
def key(db: None) -> str:
    return make_key("marsh", "marsh", by="system", now=NOW)


def send(client: Client, key: str, body: bytes, content_type: str = "application/json", **headers: str) -> Any:
    return client.post(
        "/api/v1/events", body, content_type=content_type, headers={"Authorization": f"Bearer {key}", **headers}
    )


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("network", "may", "words"),
    [
        ("", ["events"], "none is named"),
        ("marsh", ["event"], "There are events, "),
        ("marsh", [], "opens nothing"),
    ],
)
def test_a_key_opens_what_there_is_and_says_for_whom(network: str, may: list[str], words: str) -> None:
    with pytest.raises(Problem, match=words):
        make_key("k", network, may=may, by="system", now=NOW)
    assert not ApiKey.objects.exists()


@pytest.mark.django_db
def test_one_an_array_lines_and_gzip_are_the_same_door(client: Client, key: str) -> None:
    one = json.dumps(EVENT).encode()
    answers = [
        send(client, key, one),
        send(client, key, b"[" + one + b"," + one + b"]"),
        send(client, key, one + b"\n\n" + one, "application/x-ndjson"),
        send(client, key, gzip.compress(one), **{"Content-Encoding": "gzip"}),
    ]
    assert [response.status_code for response in answers] == [200] * 4
    assert [(found["accepted"], found["duplicate"]) for found in (response.json() for response in answers)] == [
        (1, 0), (0, 2), (0, 2), (0, 1),
    ]  # fmt: skip
    shown = client.get("/api/v1/events/e%2F1", headers={"Authorization": f"Bearer {key}"})
    assert shown.json() == {
        "id": "e/1",
        "network": "marsh",
        "type": "post.created",
        "state": "walked",
        "verdict": {},
        "error": "",
    }


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("body", "content_type", "encoding", "status", "words"),
    [
        (b"", "application/json", "", 400, "no event"),
        (b"[]", "application/json", "", 400, "no event"),
        (b"[1,", "application/json", "", 400, "not valid JSON"),
        (b"[" * 10_000, "application/json", "", 400, "nested too deeply"),
        (b"plain", "application/json", "gzip", 400, "not valid gzip"),
        (gzip.compress(b"{}", mtime=0)[:-9], "application/json", "gzip", 400, "broke off"),
        (gzip.compress(b"\n" * 70_000_000, mtime=0), "application/x-ndjson", "gzip", 413, "larger than"),
        (b"{}", "application/json", "br", 400, "must be gzip"),
        (b"{}\n" * 10_001, "application/x-ndjson", "", 413, "More than 10,000"),
        (b'{"id":"x"}', "application/json", "", 422, "type"),
        (b'{"id": "' + b"x" * 13_000_000 + b'"}', "application/json", "", 422, "the most"),
    ],
)
def test_what_cannot_be_taken_is_refused_in_words(
    client: Client, key: str, body: bytes, content_type: str, encoding: str, status: int, words: str
) -> None:
    response = send(client, key, body, content_type, **({"Content-Encoding": encoding} if encoding else {}))
    assert response.status_code == status
    assert words in response.content.decode()


@pytest.mark.django_db
def test_only_a_key_in_use_opens_the_door(client: Client, key: str) -> None:
    assert client.post("/api/v1/events", b"{}", content_type="application/json").status_code == 401
    assert send(client, "rsk_wrong", b"{}").status_code == 401
    lookup = make_key("coop", may=["hma"], by="system", now=NOW)
    assert send(client, lookup, json.dumps(EVENT).encode()).status_code == 401
    revoke_key("marsh", by="system", now=NOW)
    assert send(client, key, json.dumps(EVENT).encode()).status_code == 401


@pytest.mark.django_db
@pytest.mark.parametrize("role", [None, *Role])
def test_no_role_of_the_console_opens_a_route_of_the_api(client: Client, key: str, role: Role | None) -> None:
    if role:
        client.force_login(User.objects.create_user("kim", role=role.value))
    routes = [(path, method) for path, methods in openapi()["paths"].items() for method in methods]
    assert len(routes) >= 2
    for path, method in routes:
        answer = getattr(client, method)(
            path.replace("{event_id}", "e1"), headers={"Authorization": "Bearer rsk_guess"}
        )
        assert answer.status_code == 401, (path, method, role)
    assert client.get("/api/v1/openapi.json").status_code == 200


@pytest.fixture
def kept_connection(db: None) -> Iterator[None]:
    """The test's transaction lives on one connection, which the end of a request must not close."""
    signals = (request_started, request_finished)
    for signal in signals:
        signal.disconnect(close_old_connections)
    yield
    for signal in signals:
        signal.connect(close_old_connections)


@schemathesis.serializer("application/x-ndjson")
def one_a_line(context: Any, value: Any) -> Any:
    return value.encode("utf-8", "replace") if isinstance(value, str) else json.dumps(value).encode()


schema = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", application)


@pytest.mark.django_db
@schema.parametrize()
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_schemathesis_finds_nothing(case: Any, key: str, kept_connection: None) -> None:
    # A schema cannot say that a key speaks for one network alone, nor what stands on a line: such may be refused.
    case.call_and_validate(
        headers={"Authorization": f"Bearer {key}"}, excluded_checks=[schemathesis.checks.positive_data_acceptance]
    )
