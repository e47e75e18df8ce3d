"""What people say of a campaign stays; what they move can be put back; and nobody is acted on but by a decision of their own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from redshank.audit.models import Entry
from redshank.campaigns import services
from redshank.campaigns.models import Campaign, Change, Member, Proposal
from redshank.cases import services as cases
from redshank.cases import together
from redshank.cases.models import Case, Decision
from redshank.cases.together import Wish
from redshank.core import BadInput, Problem
from redshank.enforcement import services as enforcement
from redshank.enforcement.models import Action
from redshank.people.models import User
from redshank.policies.models import Policy
from tests.campaigns.made import found, plant

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 7, 10, 12, tzinfo=UTC)
RED = [("red", f"a{at}") for at in range(6)]
BLUE = [("blue", f"b{at}") for at in range(5)]


@pytest.fixture
def mo() -> User:
    return User.objects.create_user("mo", role="moderator")


@pytest.fixture
def lee() -> User:
    return User.objects.create_user("lee", role="lead")


@pytest.fixture
def policy() -> str:
    enforcement.connect("red", "Red", "http://127.0.0.1:9/x", ("restrict", "suspend", "restore"), by="system", now=NOW)
    enforcement.connect("blue", "Blue", "http://127.0.0.1:9/x", ("label", "restore"), by="system", now=NOW)
    return Policy.objects.filter(retired_at=None).values_list("slug", flat=True)[0]


def who(campaign: Campaign) -> set[str]:
    return set(campaign.members.filter(out=False).values_list("account_id", flat=True))


def pks(campaign: Campaign, *accounts: str) -> list[int]:
    return list(campaign.members.filter(account_id__in=accounts).values_list("pk", flat=True))


def test_a_persons_label_stays_whatever_is_found(mo: User) -> None:
    (one,) = plant(found(RED, now=NOW), now=NOW)
    with pytest.raises(BadInput, match="say why"):
        services.label(one.pk, "audience", by=mo, reason=" ", now=NOW)
    services.label(one.pk, "audience", by=mo, reason="The fan club of a band.", now=NOW)
    plant(found(RED, now=NOW, label="feed"), now=NOW + timedelta(days=1))
    one.refresh_from_db()
    assert (one.label, one.seen_label, one.state) == ("audience", "feed", "open")
    services.label(one.pk, "", by=mo, reason="The rule is right.", now=NOW)
    one.refresh_from_db()
    assert (one.label, one.labeled_by) == ("feed", None)


def test_a_split_holds_against_searches_and_can_be_undone(mo: User) -> None:
    (one,) = plant(found(RED, now=NOW), now=NOW)
    fresh = services.split(one.pk, pks(one, "a0", "a1"), by=mo, reason="Another group.", now=NOW)
    assert (who(one), who(fresh)) == ({"a2", "a3", "a4", "a5"}, {"a0", "a1"})
    plant(found([*RED, ("red", "a9")], now=NOW), now=NOW + timedelta(days=1))
    assert (who(one), who(fresh)) == ({"a2", "a3", "a4", "a5", "a9"}, {"a0", "a1"})
    assert Member.objects.get(account_id="a0").seen_at == NOW + timedelta(days=1)
    with pytest.raises(BadInput, match="all members are chosen"):
        services.split(fresh.pk, pks(fresh, "a0", "a1"), by=mo, reason="x", now=NOW)
    change = Change.objects.get()
    services.undo(change.pk, by=mo, now=NOW)
    assert who(one) == {"a0", "a1", "a2", "a3", "a4", "a5", "a9"}
    fresh.refresh_from_db()
    assert (fresh.state, fresh.merged_into) == ("merged", one)
    with pytest.raises(services.Conflict, match="undone already"):
        services.undo(change.pk, by=mo, now=NOW)
    steps = list(Entry.objects.filter(object=f"campaign:{one.pk}").order_by("pk").values_list("step", flat=True))
    assert steps == ["campaign.found", "campaign.split", "campaign.grew", "campaign.split_undone"]


def test_a_merge_holds_against_searches_and_can_be_undone(mo: User) -> None:
    one, two = plant(found(RED, now=NOW), found(BLUE, now=NOW, name="dune", objects=7), now=NOW)
    days = list(one.days.values_list("day", "shares"))
    services.merge(one.pk, two.pk, by=mo, reason="The same people.", now=NOW)
    one.refresh_from_db()
    assert (one.size, one.networks, one.shared_objects.count()) == (11, ["blue", "red"], 19)
    assert sum(one.days.values_list("shares", flat=True)) == 2 * sum(shares for _day, shares in days)
    assert plant(found(RED, now=NOW), found(BLUE, now=NOW, name="dune", objects=7), now=NOW + timedelta(days=1)) == []
    with pytest.raises(services.Conflict, match=f"part of K-{one.pk} now"):
        services.rename(two.pk, "x", by=mo, now=NOW)
    services.undo(Change.objects.get().pk, by=mo, now=NOW)
    one.refresh_from_db()
    two.refresh_from_db()
    assert (who(one), who(two), one.shared_objects.count()) == ({a for _, a in RED}, {b for _, b in BLUE}, 12)
    assert (two.state, two.merged_into, one.networks) == ("open", None, ["red"])


def test_who_is_taken_out_stays_out_until_that_is_undone(mo: User) -> None:
    (one,) = plant(found(RED, now=NOW), now=NOW)
    services.take_out(one.pk, pks(one, "a5"), by=mo, reason="A journalist.", now=NOW)
    plant(found(RED, now=NOW), now=NOW + timedelta(days=1))
    one.refresh_from_db()
    assert (who(one), one.size) == ({"a0", "a1", "a2", "a3", "a4"}, 5)
    assert services.of_account("red", "a5") == []
    services.undo(Change.objects.get().pk, by=mo, now=NOW)
    assert "a5" in who(one)


def test_what_is_closed_comes_back_when_it_grows(mo: User) -> None:
    (one,) = plant(found(RED, now=NOW), now=NOW)
    services.set_state(one.pk, "closed", by=mo, reason="Nothing left.", now=NOW)
    plant(found(RED, now=NOW), now=NOW + timedelta(days=1))
    one.refresh_from_db()
    assert one.state == "closed"
    plant(found([*RED, *[("red", f"n{at}") for at in range(3)]], now=NOW), now=NOW + timedelta(days=2))
    one.refresh_from_db()
    assert (one.state, one.size) == ("new", 9)


def test_a_few_are_decided_on_at_once_each_by_a_case_of_its_own(mo: User, policy: str) -> None:
    (one,) = plant(found([*RED, *BLUE], now=NOW), now=NOW)
    chosen = list(one.members.order_by("-network", "account_id").values_list("pk", flat=True))[:8]
    wishes = [Wish("suspend", duration_hours=24)]
    seen = together.preview(
        one, list(one.members.filter(pk__in=chosen)), policy=policy, reason="Pushing it.", wishes=wishes, by=mo, now=NOW
    )
    assert (seen.members, dict(seen.networks), seen.second_look) == (6, {"red": 6}, False)
    assert list(seen.cannot) == ["blue"]
    assert "Pushing it." in seen.samples[0].message
    assert Case.objects.count() == Action.objects.count() == 0  # A preview does nothing.
    done = together.propose(one.pk, chosen, policy=policy, reason="Pushing it.", wishes=wishes, by=mo, now=NOW)
    assert (done.state, len(done.decisions)) == ("done", 6)
    assert Case.objects.filter(state="decided", subject_kind="account", network="red").count() == 6
    assert {action.verb for action in Action.objects.all()} == {"suspend"}
    assert Case.objects.first().items.get().body["seen"].startswith(f"K-{one.pk}: shared ")  # type: ignore[union-attr]
    undone, why_not = together.undo(done.pk, by=mo, reason="They were readers.", now=NOW)
    assert (undone, why_not) == (6, [])
    assert Action.objects.filter(state="canceled").count() == 6
    assert Case.objects.filter(state="open").count() == 6


def test_many_need_a_second_person(mo: User, lee: User, policy: str) -> None:
    many = [("red", f"m{at}") for at in range(12)]
    (one,) = plant(found(many, now=NOW), now=NOW)
    chosen = list(one.members.values_list("pk", flat=True))
    words: dict[str, Any] = {"policy": policy, "reason": "Pushing it.", "wishes": [Wish("restrict")], "now": NOW}
    waiting = together.propose(one.pk, chosen, by=mo, **words)
    assert waiting.state == "waiting"
    assert Decision.objects.count() == 0
    with pytest.raises(services.Conflict, match="a second person"):
        together.confirm(waiting.pk, by=mo, now=NOW)
    done = together.confirm(waiting.pk, by=lee, now=NOW)
    assert (done.state, len(done.decisions), done.second) == ("done", 12, lee)
    with pytest.raises(services.Conflict, match="settled already"):
        together.confirm(waiting.pk, by=lee, now=NOW)
    other = together.propose(one.pk, chosen, by=lee, **words)
    together.refuse(other.pk, by=mo, note="They are fans.", now=NOW)
    assert Proposal.objects.get(pk=other.pk).state == "refused"
    assert Decision.objects.count() == 12


def test_whom_a_colleague_looks_at_is_passed_over_and_named(mo: User, lee: User, policy: str) -> None:
    from redshank.cases.priority import CaseRequest
    from redshank.core import Subject

    (one,) = plant(found(RED, now=NOW), now=NOW)
    request = CaseRequest(
        subject=Subject("red", "account", "a0", "a0"), policy=policy, queue="review", priority=50, priority_reason="x",
        source="person", deadline=None,
    )  # fmt: skip
    opened = cases.gather([request], now=NOW)
    cases.take(opened["red", "account", "a0"], lee, now=NOW)
    done = together.propose(
        one.pk, pks(one, "a0", "a1"), policy=policy, reason="r", wishes=[Wish("suspend")], by=mo, now=NOW
    )
    assert len(done.decisions) == 1
    assert done.note == "red/a0: lee is at this case"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"reason": " "}, "say why"),
        ({"policy": ""}, "choose a policy"),
        ({"policy": "nowhere"}, "none of these could be decided"),
        ({"wishes": []}, "choose at least one action"),
        ({"wishes": [Wish("label")]}, "say which label"),
        ({"wishes": [Wish("label", label="x")]}, "Red does not offer this"),
    ],
)
def test_what_is_missing_is_named_and_nothing_is_changed(
    mo: User, policy: str, more: dict[str, Any], message: str
) -> None:
    (one,) = plant(found(RED, now=NOW), now=NOW)
    words: dict[str, Any] = {"policy": policy, "reason": "r", "wishes": [Wish("suspend")]}
    with pytest.raises(Problem, match=message):
        together.propose(one.pk, pks(one, "a0"), by=mo, now=NOW, **(words | more))
    assert Case.objects.count() == Proposal.objects.count() == Action.objects.count() == 0


def test_campaigns_with_the_same_things_are_shown_beside(mo: User) -> None:
    one, two = plant(found(RED, now=NOW), found(BLUE, now=NOW, label="audience"), now=NOW)
    assert services.related(one) == [(two, 12)]
