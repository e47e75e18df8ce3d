"""One open case a subject, whoever asks and however many at once; and decisions that two people cannot both make."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext

from redshank.archive import services as archive
from redshank.archive.models import AccountRecord
from redshank.audit.models import Entry, Evidence
from redshank.cases import services
from redshank.cases.models import Case, Decision, Item
from redshank.cases.services import CaseRequest, Conflict, NewItem, NotAllowed
from redshank.core import Account, BadInput, Post, PostCreated, Subject
from redshank.enforcement import services as enforcement
from redshank.enforcement.models import Action
from redshank.enforcement.services import Ask
from redshank.people.models import User
from redshank.policies.models import Policy

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
POST = Subject("marsh", "post", "p1", "heron")
HERON = Subject("marsh", "account", "heron", "heron")


@pytest.fixture
def house(db: None) -> None:
    """A policy and a platform."""
    Policy.objects.update_or_create(
        slug="violence",
        defaults={"name": "Violence", "summary": "", "ground": "", "message": "{action} {subject}: {reason}"},
    )
    enforcement.connect("marsh", "Marsh", "http://127.0.0.1:9/", ("remove", "suspend", "restore"), by="system", now=NOW)


@pytest.fixture
def anna(db: None) -> User:
    return User.objects.create(username="anna", role="moderator")


@pytest.fixture
def ben(db: None) -> User:
    return User.objects.create(username="ben", role="moderator")


def item(key: str, kind: Any = "report", event: str = "marsh/e1", **body: Any) -> NewItem:
    return NewItem(key=key, kind=kind, event=event, body=body, at=NOW)


def request(
    subject: Subject = POST, *items: NewItem, priority: int = 50, source: str = "rule", **more: Any
) -> CaseRequest:
    values = {"policy": None, "queue": "review", "priority_reason": f"priority {priority}", "deadline": None} | more
    return CaseRequest(subject=subject, priority=priority, source=source, items=items, **values)


def open_case(*items: NewItem, subject: Subject = POST, now: datetime = NOW, **more: Any) -> Case:
    ids = services.gather([request(subject, *(items or (item("i1"),)), **more)], now=now)
    return Case.objects.get(pk=ids[subject.network, subject.kind, subject.id])


def steps(case: Case) -> list[str]:
    return list(Entry.objects.filter(object=f"case:{case.pk}").values_list("step", flat=True))


def decide(case: Case, by: User, outcome: Any = "act", **more: Any) -> Decision:
    asks = more.pop("asks", [Ask(verb="remove", subject=POST)] if outcome == "act" else [])
    values = {"version": case.version, "policy": "violence", "reason": "It calls for violence.", "now": NOW} | more
    return services.decide(case.pk, by=by, outcome=outcome, asks=asks, **values)


# ── Gathering ──


@pytest.mark.django_db
def test_a_case_is_opened_once_and_fed_after(house: None) -> None:
    case = open_case(item("a"), policy="violence")
    assert (case.priority, case.deadline, case.policy_id) == (50, NOW + timedelta(hours=72), "violence")
    assert open_case(item("a"), policy="violence") == case
    assert steps(case) == ["case.opened"]
    open_case(item("a"), item("b"))
    assert steps(case) == ["case.opened", "case.fed"]
    assert list(case.items.values_list("key", flat=True)) == ["a", "b"]
    case.refresh_from_db()
    assert case.version == 0  # More of the same does not disturb whoever is about to decide.


@pytest.mark.django_db
def test_what_is_more_urgent_moves_the_case_and_is_a_new_version(house: None) -> None:
    case = open_case(item("a"))
    open_case(item("b"), priority=95, source="authority", queue="authority", priority_reason="an authority asks")
    case.refresh_from_db()
    assert (case.queue, case.priority, case.priority_reason) == ("authority", 95, "an authority asks")
    assert (case.deadline, case.version, case.source) == (NOW + timedelta(hours=1), 1, "rule")


@pytest.mark.django_db
def test_something_new_on_a_decided_subject_opens_a_new_case_and_the_same_does_not(house: None, anna: User) -> None:
    first = open_case(item("a"))
    decide(first, anna, "no_violation")
    assert open_case(item("a")) == first
    second = open_case(item("b"))
    assert second != first
    assert services.earlier_cases(second) == [first]


@pytest.mark.django_db
def test_what_strangers_wrote_and_what_nobody_knows_breaks_nothing(house: None) -> None:
    case = open_case(
        item("a", text="x\x00y", deep=[{"\x00": "\x00"}]), policy="no-such-policy", priority=10**6, priority_reason="\x00",
        source="rule", queue="q" * 90,
    )  # fmt: skip
    assert case.policy is None
    assert (case.priority, len(case.queue)) == (100, 40)
    assert case.items.get().body["text"] == "x\N{REPLACEMENT CHARACTER}y"


@pytest.mark.django_db
def test_a_thousand_requests_take_few_statements(house: None) -> None:
    many = [
        request(Subject("marsh", ("post", "account")[n % 2], f"s{n % 800}", "a"), item(f"i{n}"), item(f"j{n}"))
        for n in range(1000)
    ]
    with CaptureQueriesContext(
        connection,
    ) as queries:
        opened = services.gather(many, now=NOW)
    assert len(opened) == 800
    assert Item.objects.count() == 2000
    assert len(queries) < 100
    with CaptureQueriesContext(connection) as queries:
        assert services.gather(many, now=NOW) == opened
    assert len(queries) <= 12
    assert Entry.objects.filter(step__startswith="case.").count() == 800


@pytest.mark.django_db(transaction=True)
def test_many_at_once_open_one_case_a_subject(house: None) -> None:
    start = threading.Barrier(4)
    failed: list[BaseException] = []

    def work(me: int) -> None:
        try:
            start.wait()
            for turn in range(5):
                subjects = [Subject("marsh", "post", f"p{(n * (me + 1)) % 20}") for n in range(20)]
                services.gather([request(one, item(f"{me}-{turn}")) for one in subjects], now=NOW)
        except BaseException as error:  # noqa: BLE001 - handed on to the test
            failed.append(error)
        finally:
            connections.close_all()

    workers = [threading.Thread(target=work, args=(me,)) for me in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failed
    assert Case.objects.count() == 20
    assert Entry.objects.filter(step="case.opened").count() == 20
    for case in Case.objects.all():
        assert case.items.count() == len({*case.items.values_list("key", flat=True)})
    touched = [len({(n * (me + 1)) % 20 for n in range(20)}) * 5 for me in range(4)]
    assert Item.objects.count() == sum(touched)


# ── Taking ──


@pytest.mark.django_db
def test_the_next_is_by_deadline_then_priority_and_what_others_hold_is_passed_over(
    house: None, anna: User, ben: User
) -> None:
    late = open_case(subject=Subject("marsh", "post", "late"), deadline=NOW + timedelta(hours=9), priority=99)
    soon = open_case(subject=Subject("marsh", "post", "soon"), deadline=NOW + timedelta(hours=1), priority=1)
    risky = open_case(subject=Subject("marsh", "post", "risky"), deadline=NOW + timedelta(hours=1), priority=80)
    assert services.take_next(anna, now=NOW) == risky
    assert services.take_next(anna, now=NOW) == risky  # Who has one in hand goes on with it.
    assert services.take_next(ben, now=NOW) == soon
    assert services.take_next(ben, skip=[soon.pk], now=NOW) == late
    assert services.take_next(ben, queue="escalations", now=NOW) is None
    assert steps(risky) == ["case.opened", "case.taken"]
    with pytest.raises(Conflict, match="anna is at this case"):
        services.take(risky.pk, ben, now=NOW)
    with pytest.raises(Conflict, match="anna is at this case"):
        decide(risky, ben, "no_violation")
    assert services.take(risky.pk, ben, now=NOW + services.HOLD).held_by == ben
    services.hand_over(risky.pk, by=ben, to=anna, now=NOW + services.HOLD)
    services.release(risky.pk, anna, now=NOW + services.HOLD)
    risky.refresh_from_db()
    assert risky.held_by is None


@pytest.mark.django_db(transaction=True)
def test_two_who_take_the_next_at_once_get_two(house: None) -> None:
    people = [User.objects.create(username=f"m{n}", role="moderator") for n in range(4)]
    for number in range(4):
        open_case(subject=Subject("marsh", "post", f"p{number}"))
    start = threading.Barrier(4)
    taken: list[int] = []

    def work(who: User) -> None:
        start.wait()
        case = services.take_next(who, now=NOW)
        assert case is not None
        taken.append(case.pk)
        connections.close_all()

    threads = [threading.Thread(target=work, args=(who,)) for who in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(taken)) == 4


# ── Deciding ──


@pytest.mark.django_db
def test_a_decision_preserves_asks_and_closes(house: None, anna: User) -> None:
    event = PostCreated(id="e1", network="marsh", at=NOW, account=Account(id="heron"), post=Post(id="p1", text="x"))
    archive.claim([archive.NewEvent(event=event)], now=NOW)
    case = open_case(item("a"))
    services.take(case.pk, anna, now=NOW)
    asks = [Ask(verb="suspend", subject=HERON, duration_hours=24), Ask(verb="remove", subject=POST)]
    decision = decide(case, anna, asks=asks)
    case.refresh_from_db()
    assert (case.state, case.decided_at, case.held_by, case.version) == ("decided", NOW, None, 1)
    suspend = Action.objects.get(verb="suspend")
    assert (suspend.case_id, suspend.decision_id, suspend.asked_by) == (case.pk, decision.pk, "user:anna")
    assert suspend.message == "suspended for 1 day your account: It calls for violence."
    assert suspend.message == services.preview_message("violence", asks[0], "It calls for violence.")
    evidence = Evidence.objects.get()
    assert suspend.evidence == [evidence.sha256]
    order = list(Entry.objects.order_by("pk").values_list("step", flat=True))
    assert order[-3:] == ["decision.made", "action.requested", "action.requested"]
    made = Entry.objects.get(step="decision.made")
    assert (made.actor, made.reason, made.evidence) == ("user:anna", "It calls for violence.", [evidence.sha256])


@pytest.mark.django_db
def test_two_people_cannot_both_decide_and_the_second_learns_who_did_what(house: None, anna: User, ben: User) -> None:
    case = open_case()
    decide(case, anna)
    with pytest.raises(Conflict, match=r"anna decided this case \(act\): It calls for violence."):
        decide(case, ben, "no_violation")
    assert (Decision.objects.count(), Action.objects.count()) == (1, 1)


@pytest.mark.django_db(transaction=True)
def test_two_people_who_decide_at_once(house: None, anna: User, ben: User) -> None:
    case = open_case()
    start = threading.Barrier(2)
    said: list[str] = []

    def work(who: User) -> None:
        start.wait()
        try:
            decide(case, who)
            said.append("decided")
        except Conflict:
            said.append("conflict")
        connections.close_all()

    threads = [threading.Thread(target=work, args=(who,)) for who in (anna, ben)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(said) == ["conflict", "decided"]
    assert Action.objects.count() == 1


@pytest.mark.django_db
def test_what_became_urgent_meanwhile_must_be_seen_before_deciding(house: None, anna: User) -> None:
    case = open_case(item("a"))
    open_case(item("b", "fired", rule="call", version="3f"), priority=99, priority_reason="a call with a date")
    with pytest.raises(Conflict, match="rule:call@3f brought something new that moved this case: a call with a date"):
        decide(case, anna, "no_violation")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"policy": ""}, "policy"),
        ({"policy": "no-such"}, "policy"),
        ({"reason": "  "}, "reason"),
        ({"asks": []}, "asks"),
        ({"asks": [Ask(verb="label", subject=POST, label="x")]}, "asks"),
        ({"asks": [Ask(verb="suspend", subject=POST)]}, "asks"),
        ({"asks": [Ask(verb="remove", subject=Subject("marsh", "post", "somebody-elses"))]}, "asks"),
        ({"asks": [Ask(verb="remove", subject=Subject("moor", "post", "p1"))]}, "asks"),
        ({"outcome": "undo"}, "outcome"),
        ({"outcome": "no_violation", "asks": [Ask(verb="remove", subject=POST)]}, "asks"),
    ],
)
def test_a_decision_that_lacks_something_changes_nothing(
    house: None, anna: User, change: dict[str, Any], where: str
) -> None:
    case = open_case()
    with pytest.raises(BadInput) as caught:
        decide(case, anna, **change)
    assert caught.value.where == where
    case.refresh_from_db()
    assert (case.state, case.version, Decision.objects.count(), Action.objects.count()) == ("open", 0, 0, 0)


@pytest.mark.django_db
def test_who_may_not_decide_does_not(house: None) -> None:
    gone = User.objects.create(username="gone", role="admin", is_active=False)
    case = open_case()
    for act in (
        lambda: decide(case, gone),
        lambda: services.take_next(gone, now=NOW),
        lambda: services.take(case.pk, gone, now=NOW),
        lambda: services.escalate(case.pk, by=gone, version=0, reason="x", now=NOW),
        lambda: services.undo(1, by=gone, reason="x", now=NOW),
        lambda: services.comment(case.pk, by=gone, text="x", now=NOW),
    ):
        with pytest.raises(NotAllowed):
            act()
    assert steps(case) == ["case.opened"]


def by_rule(case: Case, verb: Any = "remove", subject: Subject = POST) -> Action:
    (action,) = enforcement.request_actions(
        [Ask(verb=verb, subject=subject)], policy="violence", reason="known video", message="", asked_by="rule:known@1",
        key=f"{case.pk}/{verb}", case_id=case.pk, now=NOW,
    )  # fmt: skip
    return action


def arrive(action: Action) -> None:
    """The platform does it, and says so."""
    enforcement.settle(action.pk, "confirmed", "", now=NOW, by="platform:marsh")


@pytest.mark.django_db
def test_no_violation_takes_back_what_rules_did_and_says_so_beforehand(house: None, anna: User) -> None:
    case = open_case()
    assert services.no_violation_sentence(case) == "Closes the case. Nothing is asked of the platform."
    removed, suspended = by_rule(case), by_rule(case, "suspend", HERON)
    arrive(removed)
    assert services.no_violation_sentence(case).endswith("what rules did on it: remove post, suspend account.")
    decision = decide(case, anna, "no_violation", reason="A news report.")
    removed.refresh_from_db()
    suspended.refresh_from_db()
    assert suspended.state == "canceled"  # It was never sent.
    assert (removed.undone_by.verb, removed.undone_by.decision_id) == ("restore", decision.pk)
    assert services.rule_actions(case) == []


@pytest.mark.django_db
def test_undo_takes_the_actions_back_and_opens_the_case_again(house: None, anna: User, ben: User) -> None:
    case = open_case()
    decision = decide(case, anna, asks=[Ask(verb="remove", subject=POST), Ask(verb="suspend", subject=HERON)])
    suspend, remove = Action.objects.get(verb="suspend"), Action.objects.get(verb="remove")
    arrive(suspend)
    assert AccountRecord.objects.get().state == "suspended"
    assert services.may_undo(decision) == ""
    undone = services.undo(decision.pk, by=ben, reason="A mistake.", now=NOW + timedelta(days=9))
    case.refresh_from_db()
    assert (case.state, case.decided_at, case.version) == ("open", None, 2)
    assert case.deadline > NOW + timedelta(days=9)
    remove.refresh_from_db()
    assert remove.state == "canceled"
    back = Action.objects.get(undoes=suspend)
    assert (back.verb, back.decision_id, back.asked_by) == ("restore", undone.pk, "user:ben")
    arrive(back)
    assert AccountRecord.objects.get().state == "active"
    with pytest.raises(Conflict, match="undone already"):
        services.undo(decision.pk, by=ben, reason="again", now=NOW)
    with pytest.raises(Conflict, match="Only a decision to act"):
        services.undo(undone.pk, by=ben, reason="again", now=NOW)
    again = decide(case, anna)
    assert services.may_undo(again) == ""


@pytest.mark.django_db
def test_undoing_no_violation_asks_again_for_what_the_rule_had_done(house: None, anna: User) -> None:
    case = open_case()
    removed = by_rule(case)
    arrive(removed)
    decision = decide(case, anna, "no_violation")
    restored = Action.objects.get(undoes=removed)
    arrive(restored)
    services.undo(decision.pk, by=anna, reason="It was no news report.", now=NOW)
    again = Action.objects.get(undoes=restored)
    assert (again.verb, again.subject_id, again.state) == ("remove", "p1", "requested")


@pytest.mark.django_db
def test_undo_where_a_newer_case_is_open_leaves_that_one_open(house: None, anna: User) -> None:
    case = open_case()
    decision = decide(case, anna)
    newer = open_case(item("b"))
    services.undo(decision.pk, by=anna, reason="A mistake.", now=NOW)
    case.refresh_from_db()
    assert (case.state, Action.objects.get().state) == ("decided", "canceled")
    assert Case.objects.get(state="open") == newer
    assert Entry.objects.get(step="decision.undone").body["open_case"] == newer.pk


@pytest.mark.django_db
def test_escalating_moves_it_up_and_lets_it_go(house: None, anna: User, ben: User) -> None:
    case = services.take(open_case().pk, anna, now=NOW)
    services.escalate(case.pk, by=anna, version=0, reason="A place is named.", now=NOW)
    case.refresh_from_db()
    assert (case.queue, case.priority, case.held_by) == ("escalations", 90, None)
    assert case.deadline == NOW + timedelta(hours=4)
    with pytest.raises(Conflict, match="anna escalated this case: A place is named"):
        decide(open_case(), ben, version=0)


@pytest.mark.django_db
def test_history_tells_it_in_order_and_counts_never_lie(house: None, anna: User) -> None:
    case = open_case(item("a", "fired", rule="known", version="1", description="known video"), item("b", reason="hate"))
    services.comment(case.pk, by=anna, text="I know this one.", now=NOW + timedelta(minutes=1))
    decision = decide(case, anna, now=NOW + timedelta(minutes=2))
    arrive(Action.objects.get())
    services.undo(decision.pk, by=anna, reason="Wrong post.", now=NOW + timedelta(minutes=3))
    told = [(moment.kind, moment.who) for moment in services.history(case)]
    assert [kind for kind, _ in told if not kind.startswith("action")] == [
        "fired", "report", "case.opened", "comment", "decision.made", "decision.undone",
    ]  # fmt: skip
    assert {"action.requested", "action.confirmed"} <= {kind for kind, _ in told}
    assert ("fired", "rule:known@1") in told
    times = [moment.at for moment in services.history(case)]
    assert times == sorted(times)
    open_case(subject=Subject("marsh", "post", "p2"), deadline=NOW, now=NOW - timedelta(hours=5), queue="authority")
    counts = services.counts(NOW + timedelta(minutes=5))
    assert (counts.waiting, counts.overdue, counts.oldest) == (2, 1, NOW - timedelta(hours=5))
    assert [(queue.queue, queue.waiting, queue.overdue) for queue in counts.by_queue] == [
        ("authority", 1, 1),
        ("review", 1, 0),
    ]
