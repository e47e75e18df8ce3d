"""An entry that suddenly matches too much: counted, set apart, shown, and let out again by a person."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from redshank import pipeline
from redshank.audit.models import Entry as AuditEntry
from redshank.banks import current, quarantine, services
from redshank.banks.models import Entry, MatchCount
from redshank.cases.models import Case
from redshank.core import BadInput, Problem
from tests.banks.conftest import NOW, post

pytestmark = pytest.mark.django_db


def send(*ids, now=NOW, text="the iron wolf, the iron wolf"):
    raws = [
        json.dumps({
            "type": "post.created", "id": id_, "network": "marsh.example", "at": now.isoformat(),
            "account": {"id": f"a-{id_}"}, "post": {"id": f"p-{id_}", "text": text},
        }).encode()
        for id_ in ids
    ]  # fmt: skip
    return [answer.status for answer in pipeline.accept(raws, now=now, actor="key:test")]


@pytest.fixture(autouse=True)
def _looks_at_once(monkeypatch):
    monkeypatch.setattr(current, "CHECKED_EVERY", 0.0)


def withheld():
    return [finding.match.withheld for finding in services.known(fresh=True).find(post("iron wolf"))]


def test_what_matches_too_much_is_set_apart_matched_on_and_opens_no_more_cases(make):
    _, made = make("term", "iron wolf", surge=3)
    _, others = make("term", "grey heron", name="others", surge=3)
    (entry,) = made.entries
    send("1", "2", "3")
    assert (withheld(), Case.objects.count()) == ([""], 3)
    send("4")
    assert (withheld(), Case.objects.count()) == (["quarantined"], 4)
    send("5", "6")
    assert Case.objects.count() == 4
    assert MatchCount.objects.get().count == 6, "an event counts once, and counting goes on"
    record = pipeline.archive.records_of([("marsh.example", "6")])[0]
    (finding, _) = pipeline.archive.verdict_of(record).findings
    assert (finding.match.entry, finding.match.withheld) == (entry, "quarantined")
    (one,) = quarantine.quarantined()
    assert (one.pk, one.quarantined_at) == (entry, NOW)
    step = AuditEntry.objects.get(step="entry.quarantined")
    assert (step.actor, step.body) == ("system", {"entry": entry, "matches": 4, "limit": 3})
    send("7", text="a grey heron")
    assert Case.objects.count() == 5, "others go on"
    assert others.entries[0] not in [one.pk for one in quarantine.quarantined()]


def test_the_hour_before_counts_as_far_as_it_is_within_sixty_minutes(make):
    make("term", "iron wolf", surge=3)
    send("1", "2", "3", now=NOW - timedelta(minutes=10))
    send("4", now=NOW + timedelta(minutes=30))  # 1, and half of 3
    assert withheld() == [""]
    send("5", now=NOW + timedelta(minutes=31))
    send("6", now=NOW + timedelta(minutes=32))  # 3, and a little less than half of 3
    assert withheld() == ["quarantined"]


def test_released_it_matches_again_and_is_left_alone_for_a_day(make):
    _, made = make("term", "iron wolf", surge=1)
    (entry,) = made.entries
    send("1", "2")
    with pytest.raises(BadInput):
        quarantine.release(entry, " ", by="user:lee", now=NOW)
    quarantine.release(entry, "The attack is real.", by="user:lee", now=NOW)
    assert withheld() == [""]
    send("3", "4", "5")
    assert withheld() == [""]
    with pytest.raises(Problem, match="in no quarantine"):
        quarantine.release(entry, "Again.", by="user:ada", now=NOW)
    later = NOW + timedelta(hours=25)
    send("6", "7", now=later)
    assert withheld() == ["quarantined"]
    services.withdraw_entries(services.get_bank("known-term"), [entry], by="user:lee", now=later)
    assert withheld() == []
    assert not quarantine.quarantined().exists()
    steps = AuditEntry.objects.filter(object="bank:known-term").order_by("id").values_list("step", flat=True)
    assert list(steps)[2:] == ["entry.quarantined", "entry.released", "entry.quarantined", "entry.withdrawn"]


@pytest.mark.parametrize("bank", [{"surge": 0}, {"surge": 1, "negative": True}, {}])
def test_none_is_set_apart_where_the_bank_says_so_or_knows_it_as_harmless(make, bank):
    make("term", "iron wolf", **bank)
    send("1", "2", "3")
    assert not quarantine.quarantined().exists()
    assert MatchCount.objects.get().count == 3


def test_many_entries_are_counted_in_few_statements(make, django_assert_max_num_queries):
    _, made = make("term", *(f"iron wolf {number}" for number in range(300)))
    text = " ".join(f"iron wolf {number}," for number in range(300))
    verdict = pipeline.Verdict(findings=services.known(fresh=True).find(post(text)))
    with django_assert_max_num_queries(4):
        quarantine.count_matches([verdict, verdict], now=NOW)
    assert set(MatchCount.objects.values_list("count", flat=True)) == {2}
    assert MatchCount.objects.count() == len(made.entries)
    assert quarantine.forget_old(now=NOW + timedelta(days=500)) == 300
    assert Entry.objects.count() == 300
