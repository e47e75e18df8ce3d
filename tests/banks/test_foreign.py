"""What another organization gave us is a reason to look, until a person here agrees."""

from __future__ import annotations

import msgspec
import pytest

from redshank.audit.models import Entry as AuditEntry
from redshank.banks import services
from redshank.banks.models import Entry
from redshank.banks.services import NewEntry
from redshank.cases import services as cases
from redshank.cases.models import Case
from redshank.core import Subject
from redshank.enforcement import services as enforcement
from redshank.enforcement.services import Ask
from redshank.people.models import User
from redshank.policies import services as policies
from tests.banks.conftest import NOW, post

pytestmark = pytest.mark.django_db


def foreign(value):
    return NewEntry(value=value, source="heron exchange", foreign=True)


def confirmed(text="the iron wolf"):
    return [finding.match.confirmed for finding in services.known(fresh=True).find(post(text))]


def test_it_is_found_unconfirmed_until_a_person_agrees(make):
    bank, added = make("term", foreign("iron wolf"), "grey heron")
    (pk, own) = added.entries
    assert confirmed() == [False]
    assert confirmed("grey heron") == [True]
    assert services.confirm_entries([pk], by="exchange:heron", now=NOW) == 0, "a machine's word is none"
    services.give_opinion(pk, "another exchange", "agrees", by="exchange:other", now=NOW)
    assert confirmed() == [False]
    services.give_opinion(pk, "us", "agrees", by="user:ada", now=NOW)
    assert confirmed() == [True]
    assert services.confirm_entries([pk, own], by="user:ada", now=NOW) == 0
    entry = Entry.objects.get(pk=pk)
    assert (entry.confirmed_at, entry.confirmed_by) == (NOW, "user:ada")
    assert AuditEntry.objects.filter(step="entry.confirmed", object=f"bank:{bank.name}").count() == 1


def test_who_adds_it_here_confirms_it_and_an_exchange_that_repeats_it_does_not(make):
    bank, _ = make("term", foreign("iron wolf"))
    services.add_entries(bank, [foreign("iron wolf")], by="user:ada", now=NOW)
    services.add_entries(bank, [NewEntry(value="iron wolf")], by="exchange:heron", now=NOW)
    assert confirmed() == [False]
    services.add_entries(bank, [NewEntry(value="Iron Wolf")], by="user:ada", now=NOW)
    assert confirmed() == [True]


def test_acting_on_its_case_confirms_it_and_undoing_that_takes_it_back(make):
    make("term", foreign("iron wolf"))
    enforcement.connect("marsh", "Marsh", "http://127.0.0.1:9/", ("remove", "restore"), by="system", now=NOW)
    anna = User.objects.create(username="anna", role="moderator")
    subject = Subject("marsh", "post", "p1", "a1")
    policy = policies.active()[0].slug
    (finding,) = services.known(fresh=True).find(post("the iron wolf"))
    item = cases.NewItem(key="k", kind="finding", event="marsh/e1", body=msgspec.to_builtins(finding), at=NOW)
    asked = cases.CaseRequest(
        subject=subject, policy=policy, queue="review", priority=50, priority_reason="r", source="rule", deadline=None,
        items=(item,),
    )  # fmt: skip
    (case_id,) = cases.gather([asked], now=NOW).values()

    def decide(outcome, *asks):
        version = Case.objects.get(pk=case_id).version
        return cases.decide(
            case_id, by=anna, version=version, outcome=outcome, policy=policy, reason="so it is", asks=asks, now=NOW
        )

    cases.undo(decide("no_violation").pk, by=anna, reason="no", now=NOW)
    assert confirmed() == [False], "that it is no violation here confirms nothing"
    acted = decide("act", Ask(verb="remove", subject=subject))
    assert confirmed() == [True]
    cases.undo(acted.pk, by=anna, reason="no", now=NOW)
    assert confirmed() == [False]
    assert AuditEntry.objects.filter(step="entry.confirmation_undone").count() == 1
