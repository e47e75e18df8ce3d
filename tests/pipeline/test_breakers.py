"""Breakers: a rule that would suspend everybody is held, exactly and visibly, and nothing that it asked for is lost."""

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
from django.db import connections
from django.test import Client, override_settings

from redshank import pipeline
from redshank.archive.models import AccountRecord, EventRecord
from redshank.audit.models import Entry
from redshank.cases.models import Case
from redshank.core import Problem
from redshank.enforcement import services as enforcement
from redshank.enforcement.models import Action
from redshank.people.models import User
from redshank.rules import breakers, services
from redshank.rules.models import Breaker, HeldEffect
from redshank.web import health

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
RULES = """
rules:
  - id: everybody
    policy: terrorist-content
    description: Whoever says good morning goes.
    mode: live
    when: contains(post.text, "good")
    at_most: {suspend: 3}
    effects:
      - label: greeter
      - open_case: {priority: 40}
      - action: {suspend: account}
  - id: also
    policy: terrorist-content
    description: The same once more.
    mode: live
    when: contains(post.text, "good morning")
    effects:
      - action: {suspend: account}
      - action: {remove: post}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "rules.yaml").write_text(RULES)
    with override_settings(REDSHANK=msgspec.structs.replace(settings.REDSHANK, rules=str(tmp_path))):
        monkeypatch.setattr(services, "_kept", None)
        yield tmp_path
    services._kept = None


@pytest.fixture(autouse=True)
def marsh(transactional_db: None) -> None:
    verbs = ["remove", "suspend", "restore"]
    enforcement.connect("marsh", "Marsh", "http://127.0.0.1:9/", verbs, by="system", now=NOW)


def post(number: int, text: str = "good evening") -> bytes:
    return json.dumps(
        {
            "id": f"e{number}", "network": "marsh", "type": "post.created", "at": NOW.isoformat(),
            "account": {"id": f"a{number}"}, "post": {"id": f"p{number}", "text": text},
        }
    ).encode()  # fmt: skip


def accept(*raws: bytes, now: datetime = NOW) -> None:
    pipeline.accept(raws, now=now, actor="key:marsh")


def suspended() -> list[str]:
    return sorted(Action.objects.filter(verb="suspend").values_list("subject_id", flat=True))


def held(state: str = "held") -> int:
    return HeldEffect.objects.filter(state=state).count()


def test_a_rule_that_would_suspend_everybody_is_held_and_a_person_is_told() -> None:
    accept(*map(post, range(10)))
    assert suspended() == ["a0", "a1", "a2"]
    assert held() == 7
    # Only that is held: all the rest it asked for is done, with the evidence kept first.
    assert (Case.objects.count(), AccountRecord.objects.filter(labels=["greeter"]).count()) == (10, 10)
    assert all(HeldEffect.objects.values_list("evidence", flat=True))
    assert "more than 3 in an hour" in Entry.objects.get(step="breaker.tripped").reason
    (check,) = health.run([health.breakers])
    assert (check.state, "everybody asked for suspend on marsh" in check.says, "7 are held" in check.says) == (
        "warn",
        True,
        True,
    )
    # It stays open, whatever the hour, until somebody has looked.
    accept(post(10), now=NOW + timedelta(hours=5))
    assert (len(suspended()), held()) == (3, 8)
    (row,) = breakers.tripped("everybody")
    assert row.held == 8
    later = NOW + timedelta(hours=6)
    assert breakers.settle(row.pk, release=True, by="user:lead", now=later) == 8
    with pytest.raises(Problem, match="closed"):
        breakers.settle(row.pk, release=False, by="user:lead", now=later)
    while pipeline.do_released(now=later, limit=3):
        pass
    assert (len(suspended()), held("done"), held("released")) == (11, 8, 0)
    action = Action.objects.get(subject_id="a10")
    assert (action.asked_by.startswith("rule:everybody@"), action.policy, len(action.evidence)) == (
        True, "terrorist-content", 1,
    )  # fmt: skip
    # And counts anew.
    accept(*map(post, range(20, 25)), now=later)
    assert (len(suspended()), held()) == (14, 2)
    (row,) = breakers.tripped()
    assert breakers.settle(row.pk, release=False, by="user:lead", now=later) == 2
    assert pipeline.do_released(now=later) == 0
    assert (len(suspended()), held("discarded")) == (14, 2)
    (check,) = health.run([health.breakers])
    assert check.state == "ok"
    steps = list(Entry.objects.filter(step__startswith="breaker.").order_by("id").values_list("step", flat=True))
    assert steps == ["breaker.tripped", "breaker.released", "breaker.tripped", "breaker.discarded"]


def test_the_hour_slides_and_the_settings_limit_what_the_rule_does_not(settings: Any) -> None:
    accept(post(1), post(2))
    accept(post(3), now=NOW + timedelta(minutes=50))
    accept(post(4), now=NOW + timedelta(minutes=61))
    assert (len(suspended()), held()) == (4, 0)
    limits = msgspec.structs.replace(settings.REDSHANK.breakers, labels=2, cases=0)
    with override_settings(REDSHANK=msgspec.structs.replace(settings.REDSHANK, breakers=limits)):
        accept(*map(post, range(10, 13)), now=NOW + timedelta(hours=9))
    assert {row.effect: row.held for row in breakers.tripped()} == {"label": 1}


def test_what_two_rules_ask_for_is_done_once_the_mildest_first() -> None:
    accept(post(1, "good morning"))
    actions = Action.objects.order_by("requested_at", "delivery__position").values_list("verb", "subject_id")
    assert sorted(actions) == [("remove", "p1"), ("suspend", "a1")]


def test_what_another_rule_asks_for_as_well_is_done_whatever_becomes_of_the_one_that_tripped() -> None:
    accept(*(post(number, "good morning") for number in range(5)))
    assert (suspended(), held()) == (["a0", "a1", "a2", "a3", "a4"], 0)
    (row,) = breakers.tripped()
    assert (row.rule, row.held) == ("everybody", 0)
    accept(post(5), post(6, "good morning"))
    assert (suspended()[-1], held()) == ("a6", 1)
    breakers.settle(row.pk, release=False, by="user:lead", now=NOW)
    assert (len(suspended()), held("discarded")) == (6, 1)


def test_a_draft_in_the_shadow_does_not_change_what_the_live_version_may(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text('names:\n  greets: contains(post.text, "good")\n')
    lee, ada = (User.objects.create_user(name, role="lead") for name in ("lee", "ada"))
    text = (
        "rules:\n  - id: greeter\n    policy: terrorist-content\n    description: It greets.\n    when: greets\n"
        "    at_most: {suspend: 2}\n    effects: [action: {suspend: account}]\n"
    )
    live = services.save(text, by=lee, now=NOW)
    services.ask_review(live, by=lee, now=NOW)
    services.approve(live, by=ada, now=NOW)
    services.put_in_force(live, "live", by=lee, now=NOW)
    draft = services.save(text.replace("{suspend: 2}", "{suspend: 2000}"), by=lee, now=NOW, rule_id="greeter", base=1)
    services.put_in_force(draft, "shadow", by=lee, now=NOW)
    accept(*map(post, range(5)))
    assert (suspended(), held()) == (["a0", "a1"], 3)


def test_several_processes_pass_a_breaker_exactly() -> None:
    def send(who: int) -> None:
        try:
            for number in range(5):
                accept(post(100 * who + number))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=send, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(suspended()), held()) == (3, 17)
    assert Entry.objects.filter(step="breaker.tripped").count() == 1


def die(*_args: object, **_kwargs: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def in_a_child_that_dies(do: Any) -> None:
    connections.close_all()
    child = os.fork()
    if not child:
        do()
        os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL


@pytest.mark.parametrize("where", ["save_verdicts", "gather", "request_actions", "hold"])
def test_kill_9_between_verdict_and_effects_loses_nothing_and_does_nothing_twice(where: str) -> None:
    room = {"save_verdicts": pipeline.archive, "gather": pipeline.cases, "hold": breakers}.get(where, enforcement)
    raws = [post(number) for number in range(5)]

    def die_there() -> None:
        setattr(room, where, die)
        accept(*raws)

    in_a_child_that_dies(die_there)
    assert (EventRecord.objects.count(), suspended(), held(), Case.objects.count()) == (0, [], 0, 0)
    accept(*raws)
    accept(*raws)
    assert (EventRecord.objects.count(), suspended(), held(), Case.objects.count()) == (5, ["a0", "a1", "a2"], 2, 5)


def test_kill_9_while_released_effects_are_done_does_each_once() -> None:
    accept(*map(post, range(5)))
    breakers.settle(Breaker.objects.get(tripped_at__isnull=False).pk, release=True, by="user:lead", now=NOW)

    def die_there() -> None:
        breakers.done = die
        pipeline.do_released(now=NOW)

    in_a_child_that_dies(die_there)
    assert (len(suspended()), held("released")) == (3, 2)
    assert pipeline.do_released(now=NOW) == 2
    assert pipeline.do_released(now=NOW) == 0
    assert (len(suspended()), held("done")) == (5, 2)


def test_what_was_held_about_an_erased_event_goes_with_it() -> None:
    accept(*map(post, range(4)))
    EventRecord.objects.filter(event_id="e3").delete()
    breakers.settle(Breaker.objects.get(tripped_at__isnull=False).pk, release=True, by="user:lead", now=NOW)
    assert pipeline.do_released(now=NOW) == 1
    assert len(suspended()) == 3


def test_a_lead_lets_go_on_with_one_button_and_a_moderator_only_looks() -> None:
    accept(*map(post, range(6)))
    (row,) = breakers.tripped()
    client = Client()
    client.force_login(User.objects.create_user("mod", role="moderator"))
    page = client.get(f"/held/{row.pk}").content.decode()
    assert "/release" not in page
    assert "a3" in page
    assert client.post(f"/held/{row.pk}/release").status_code == 403
    assert f"/held/{row.pk}" in client.get("/rules/everybody").content.decode()
    client.force_login(User.objects.create_user("lead", role="lead"))
    assert f"/held/{row.pk}" in client.get("/system").content.decode()
    assert f'action="/held/{row.pk}/release"' in client.get(f"/held/{row.pk}").content.decode()
    answer = client.post(f"/held/{row.pk}/release", follow=True)
    assert "3 effects go on now." in answer.content.decode()
    assert len(suspended()) == 6
    assert client.get(f"/held/{row.pk}").status_code == 404
    again = client.post(f"/held/{row.pk}/discard", follow=True)
    assert "Nothing was changed" in again.content.decode()
