"""Rules in force: changed files and lists are taken up, and what nobody could tell is counted, not kept."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.test import override_settings
from prometheus_client import CollectorRegistry

from redshank import counters, pipeline
from redshank.archive.models import EventRecord
from redshank.rules import services

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
RULES = """
rules:
  - id: young
    when: account.age < days(7) and contains(post.text, "march")
    effects: []
  - id: listed
    when: post.text in list("words")
    effects: []
"""


@pytest.fixture
def folder(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "rules.yaml").write_text(RULES)
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "words.txt").write_text("one\n")
    monkeypatch.setattr(services, "CHECKED_EVERY", 0.0)
    with override_settings(REDSHANK=msgspec.structs.replace(settings.REDSHANK, rules=str(tmp_path))):
        monkeypatch.setattr(services, "_kept", None)
        yield tmp_path
    services._kept = None


def post(number: int, text: str, **account: object) -> bytes:
    return json.dumps(
        {
            "id": f"e{number}", "network": "marsh", "type": "post.created", "at": NOW.isoformat(),
            "account": {"id": "a", **account}, "post": {"id": f"p{number}", "text": text},
        }
    ).encode()  # fmt: skip


@pytest.mark.django_db
def test_a_changed_list_is_taken_up_and_a_broken_one_leaves_the_old_in_force(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = folder / "lists" / "words.txt"

    def found() -> set[str]:
        (rule,) = (rule for rule in services.current_rules().rules if rule.id == "listed")
        return {word for word in ("one", "two", "three") if word in str(_constants(rule.tree))}

    assert found() == {"one"}
    words.write_text("one\ntwo\n")
    assert found() == {"one", "two"}
    words.write_text("one\ntwo\nthr")
    os.utime(words, (1, 1))
    assert found() == {"one", "two"}
    assert "middle of a line" in services.in_force().trouble
    with monkeypatch.context() as patched:
        patched.setattr(services, "Folder", lambda _path: 1 / 0)  # As a fault of ours would be.
        words.write_text("one\ntwo\nthree\n")
        assert found() == {"one", "two"}
        assert services.in_force().trouble == "ZeroDivisionError: division by zero"
    os.utime(words, (2, 2))
    assert found() == {"one", "two", "three"}
    assert services.in_force().trouble == ""


def _constants(node: Any) -> list[Any]:
    return [getattr(node, "value", None), *(value for child in node.children for value in _constants(child))]


@pytest.mark.django_db
def test_what_only_could_not_be_told_is_counted_and_not_kept(folder: Path) -> None:
    before = unsure()
    young = (NOW - timedelta(days=1)).isoformat()
    answers = pipeline.accept(
        [post(1, "to the march"), post(2, "to the march", created_at=young), post(3, "good morning"), post(4, "one")],
        now=NOW,
        actor="system",
    )
    assert {answer.status for answer in answers} == {"accepted"}
    kept = dict(EventRecord.objects.exclude(verdict="").values_list("event_id", "verdict"))
    assert set(kept) == {"e2", "e4"}
    assert unsure() - before == 1  # Of the third, the text settles it; of the fourth, too.


def unsure() -> float:
    assert isinstance(counters.REGISTRY, CollectorRegistry)
    return counters.REGISTRY.get_sample_value("redshank_rules_unsure_total", {"rule": "young"}) or 0.0
