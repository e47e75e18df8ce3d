"""Rules look texts up in banks: as these stand when an event comes, and as they stand now when the past is asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.test import override_settings

from redshank import pipeline
from redshank.archive.models import EventRecord
from redshank.archive.past_writer import past, write_due
from redshank.banks import services as banks
from redshank.banks.models import Entry
from redshank.core import Problem
from redshank.matching import holder
from redshank.rules import services
from redshank.rules.backtest import Ruled, backtest, with_banks
from redshank.rules.searches import answer, check_search

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
WHEN = 'any(domain(link) in bank("hosts") for link in post.links)'
RULES = f"""
rules:
  - id: known-host
    when: {WHEN}
    effects: []
  - id: unknown-host
    when: len(post.links) > 0 and all(domain(link) not in bank("hosts") for link in post.links)
    effects: []
  - id: of-a-picture
    when: account.handle in bank("pictures")
    effects: []
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "rules.yaml").write_text(RULES)
    settings.DATA_DIR = tmp_path
    with override_settings(REDSHANK=msgspec.structs.replace(settings.REDSHANK, rules=str(tmp_path / "rules.yaml"))):
        monkeypatch.setattr(services, "_kept", None)
        yield tmp_path
    services._kept = None


def make(name: str, kind: str, *values: str) -> None:
    bank = banks.make_bank(name, kind=kind, policy="recruitment", severity=3, by="system", now=NOW)
    banks.add_entries(bank, [banks.NewEntry(value=value) for value in values], by="system", now=NOW)


def accept(number: int, link: str) -> set[str]:
    """What fires on a post with a link."""
    raw = {
        "id": f"e{number}", "network": "marsh", "type": "post.created", "at": NOW.isoformat(),
        "account": {"id": "a", "handle": "wolf"}, "post": {"id": f"p{number}", "links": [link]},
    }  # fmt: skip
    (said,) = pipeline.accept([json.dumps(raw).encode()], now=NOW, actor="key:marsh")
    assert said.status == "accepted"
    verdict = json.loads(EventRecord.objects.get(event_id=f"e{number}").verdict or "{}")
    return {fired["rule"] for fired in verdict.get("fired", ())}


@pytest.mark.django_db
def test_a_rule_sees_a_bank_as_it_stands_and_the_past_is_asked_by_what_it_holds_now() -> None:
    assert accept(1, "https://www.clip.example/1") == set()  # There is no such bank: nobody knows.
    make("hosts", "domain", "clip.example")
    make("pictures", "pdq")
    assert accept(2, "https://www.clip.example/2") == {"known-host"}
    assert accept(3, "https://a.clip.example/3") == {"known-host"}
    assert accept(4, "https://other.example/4") == {"unknown-host"}
    because = json.loads(EventRecord.objects.get(event_id="e3").verdict)["fired"][0]["because"]
    assert 'domain(x) is in bank("hosts")' in because
    banks.add_entries(
        banks.get_bank("hosts"), [banks.NewEntry(value="other.example")], by="system", now=NOW + timedelta(days=1)
    )
    assert accept(5, "https://other.example/5") == {"known-host"}
    while write_due(now=NOW, all_of_it=True):
        pass
    accept(6, "https://clip.example/6")

    checked = check_search(WHEN, banks=banks.kinds_of_banks(), texts_of=banks.texts_of)
    assert checked.question is not None
    found, _ = answer(msgspec.structs.replace(checked.question, times=True, rows=10), by="lee")
    assert sorted(row.id for row in found.rows) == ["e1", "e2", "e3", "e4", "e5", "e6"]
    ruled = with_banks(Ruled(path=services.rules_path()), banks.texts_of)
    for processes in (1, 2):
        known, unknown, of_a_picture = backtest(past(), ruled, processes=processes).rules
        assert (known.events, unknown.events, of_a_picture.events) == (5, 0, 0)
        assert (known.unsure, of_a_picture.unsure) == (0, 5)


@pytest.mark.django_db
def test_the_walk_and_the_past_look_a_text_up_alike(settings: Any) -> None:
    make("hosts", "domain", "clip.example", "deep.site.example", "192.0.2.7")
    make("links", "url", "https://clip.example/a?b=1", "https://site.example/x/*")
    make("terms", "term", "join the march", "Straße")
    make("names", "name", "Iron Wolf 77")
    make("files", "sha256", "ab" * 32, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    make("pictures", "pdq", "0f" * 32)
    Entry.objects.filter(value="deep.site.example").update(quarantined_at=NOW)
    Entry.objects.filter(value="clip.example").update(expires_at=NOW)
    banks.bump()
    texts = (
        "clip.example", "www.clip.example", "deep.site.example", "192.0.2.7", "http://192.0.2.7/x", "example", "", "no link",
        "HTTP://CLIP.example/a?b=1&utm_source=x", "https://clip.example/a", "https://site.example/x/y", "https://site.example/",
        "Join the MARCH", "we join the march", "STRASSE", "@iron_wolf.77", "iron", "AB" * 32, "0f" * 32,
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "x" * 50_000, "\ud800", "a\x00b",
    )  # fmt: skip
    names = ("hosts", "links", "terms", "names", "files", "pictures", "gone")
    then, live = holder(banks.texts_of(names)), banks.known(fresh=True).holds
    said = {(name, text): live(name, text) for name in names for text in texts}
    assert said == {(name, text): then(name, text) for name in names for text in texts}
    assert {pair[1][:40] for pair, held in said.items() if held} == {
        "192.0.2.7", "http://192.0.2.7/x", "HTTP://CLIP.example/a?b=1&utm_source=x", "https://site.example/x/y", "Join the MARCH",
        "STRASSE", "@iron_wolf.77", ("AB" * 32)[:40],
    }  # fmt: skip
    assert {name for (name, _), held in said.items() if held is None} == {"pictures", "gone"}


@pytest.mark.django_db
def test_a_bank_too_large_to_be_handed_on_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    make("hosts", "domain", "a.example", "b.example")
    monkeypatch.setattr(banks, "LOOKED_UP", 1)
    with pytest.raises(Problem, match="up to 1 entries"):
        check_search(WHEN, banks=banks.kinds_of_banks(), texts_of=banks.texts_of)
