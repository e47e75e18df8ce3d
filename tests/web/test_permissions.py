"""Every route names whom it opens to, and keeps to it: walked as each role and as nobody."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from redshank.people.models import User
from redshank.people.roles import PERMISSIONS, Role

OTHER_DOORS = ("api/v1/", "^hma/", "^taxii2/", "healthz", "readyz", "metrics")
"""Routes with a door of their own, walked by their own tests: API keys, and what a monitor asks."""
ARGUMENTS: dict[str, Any] = {
    "case_id": 1, "decision_id": 1, "event": 1, "what": "take", "sha256": "0" * 64, "network": "marsh.example",
    "account_id": "a-1", "name": "bank", "rule_id": "rule", "entry_id": 1, "action_id": "act_1", "username": "mara", "number": 1,
    "job_id": 1, "breaker": 1, "search_id": 1, "event_id": "e-1", "campaign_id": 1, "change_id": 1, "proposal_id": 1,
    "tie_id": 1, "exception_id": 1,
}  # fmt: skip
WHAT = {
    "exchange_step": "pause",
    "import_step": "cancel",
    "tie_step": "confirm",
    "rule_step": "retire",
    "held_settle": "release",
    "rule_version_step": "live",
    "rule_version_review": "approve",
    "campaign_step": "note",
    "campaign_proposal": "agree",
    "case_step": "take",
    "entry_step": "note",
    "connector_step": "pause",
    "person": "on",
}


def routes() -> Iterator[tuple[str, str, Any]]:
    def walk(patterns: list[Any], prefix: str) -> Iterator[tuple[str, str, Any]]:
        for pattern in patterns:
            where = prefix + str(pattern.pattern)
            if isinstance(pattern, URLResolver):
                if not where.startswith(OTHER_DOORS):
                    yield from walk(pattern.url_patterns, where)
            elif isinstance(pattern, URLPattern) and not where.startswith(OTHER_DOORS):
                yield where, pattern.name or "", pattern.callback

    yield from walk(get_resolver().url_patterns, "")


def address(name: str, callback: Any) -> str:
    pattern = next(p for _w, n, p in ((w, n, get_resolver()) for w, n, _c in routes()) if n == name)
    wanted = {key: WHAT.get(name, value) if key == "what" else value for key, value in ARGUMENTS.items()}
    for keys in pattern.reverse_dict.getlist(name):
        for _template, needed in keys[0]:
            return reverse(name, kwargs={key: wanted[key] for key in needed})
    raise AssertionError(name)


def test_every_route_names_a_permission_or_says_whom_it_opens_to() -> None:
    nameless = [
        where for where, _name, view in routes() if not (hasattr(view, "permission") or hasattr(view, "open_to"))
    ]
    assert nameless == []
    assert len({name for _where, name, _view in routes()}) == len(list(routes())) > 30


@pytest.mark.django_db
@pytest.mark.parametrize("role", [None, *Role])
def test_each_route_opens_to_those_it_names_and_to_nobody_else(role: Role | None) -> None:
    client = Client(raise_request_exception=False)
    if role:
        client.force_login(User.objects.create_user("kim", role=role.value))
    for _where, name, view in routes():
        if name == "account_logout":
            continue  # it would end the walk
        url = address(name, view)
        for method in ("get", "post"):
            answer = getattr(client, method)(url)
            permission = getattr(view, "permission", None)
            label = f"{method} {url} as {role}: {answer.status_code}"
            if permission is None and view.open_to == "anyone":
                assert answer.status_code in (200, 302, 405), label
            elif role is None:
                # 405 comes before the door where a route takes only the other method: it shows nothing.
                assert answer.status_code == 405 or (
                    answer.status_code == 302 and answer["Location"].startswith("/session/sign-in")
                ), label
            elif permission and role.value not in PERMISSIONS[permission]:
                assert answer.status_code in (403, 405), label
                if answer.status_code == 403:
                    assert b"Your role does not open this page" in answer.content, label
            else:
                assert answer.status_code in (200, 204, 302, 404, 405, 409, 422), label


@pytest.mark.django_db
def test_who_is_switched_off_is_out_with_the_next_request() -> None:
    user = User.objects.create_user("kim", role="admin")
    client = Client()
    client.force_login(user)
    assert client.get("/").status_code == 200
    User.objects.update(is_active=False)
    assert client.get("/")["Location"].startswith("/session/sign-in")


@pytest.mark.django_db
def test_a_page_lets_nothing_run_but_the_console_itself() -> None:
    client = Client()
    client.force_login(User.objects.create_user("kim", role="moderator"))
    page = client.get("/")
    policy = page["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert page["Cache-Control"] == "no-store"
    assert b" style=" not in page.content
    assert b"<style" not in page.content
    assert b" on" + b"click=" not in page.content


@pytest.mark.django_db
def test_a_stale_form_changes_nothing_and_says_so() -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_user("kim", role="moderator"))
    answer = client.post("/start")
    assert answer.status_code == 403
    assert b"This form is no longer valid" in answer.content


@pytest.mark.django_db
def test_no_page_sends_anybody_to_another_site() -> None:
    client = Client()
    client.force_login(User.objects.create_user("kim", role="moderator"))
    for back in ("https://elsewhere.example/", "//elsewhere.example", "javascript:alert(1)", "\\\\elsewhere.example"):
        assert client.post("/appearance", {"scheme": "dark", "next": back})["Location"] == "/"
    answer = client.post("/appearance", {"scheme": "dark", "next": "/banks"})
    assert answer["Location"] == "/banks"
    assert client.get("/").content.count(b'data-scheme="dark"') == 1
