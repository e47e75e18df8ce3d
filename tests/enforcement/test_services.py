"""The outbox against real receivers: nothing lost, nothing twice, nothing green that was not confirmed."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.db import connections, transaction

from redshank.archive import services as archive
from redshank.archive.models import AccountRecord, Blob
from redshank.audit.models import Entry, Evidence
from redshank.core import Account, BadInput, Media, Post, PostCreated, Subject
from redshank.core.settings import OutboxSettings
from redshank.enforcement import answers, services, signing
from redshank.enforcement.courier import Courier
from redshank.enforcement.models import Action, Connector, Delivery
from redshank.enforcement.services import Ask
from redshank.policies.models import Policy
from tests.enforcement.receiver import always, hanging, receiving

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
HERON = Subject("marsh", "account", "heron", "heron")
POST = Subject("marsh", "post", "p1", "heron")
ALL = ("remove", "restrict", "suspend", "label", "restore")


def connect(url: str, network: str = "marsh", verbs: tuple[str, ...] = ALL) -> Connector:
    return services.connect(network, network.capitalize(), url, verbs, by="user:anna", now=NOW)


def ask(verb: Any = "suspend", subject: Subject = HERON, key: str = "k", **more: Any) -> Action:
    one = Ask(verb=verb, subject=subject, label=more.pop("label", None), duration_hours=more.pop("hours", None))
    values = {"policy": "violence", "reason": "because", "message": "Told so.", "asked_by": "user:anna"} | more
    with transaction.atomic():
        (action,) = services.request_actions(
            [one], key=key, now=more.get("now", NOW), **{k: v for k, v in values.items() if k != "now"}
        )
    return action


def deliver(now: datetime = NOW, limit: int = 100) -> int:
    return services.deliver_due(now=now, limit=limit, clock=lambda: now, chance=lambda: 1.0)


def state(action: Action) -> tuple[str, str]:
    fresh = Action.objects.select_related("delivery").get(pk=action.pk)
    return fresh.state, fresh.delivery.state


def steps(action: Action) -> list[str]:
    return list(Entry.objects.filter(object=f"action:{action.pk}").values_list("step", flat=True))


@pytest.fixture
def time_out(settings: Any) -> Callable[[float], None]:
    def set_to(seconds: float) -> None:
        settings.REDSHANK = msgspec.structs.replace(settings.REDSHANK, outbox=OutboxSettings(timeout_seconds=seconds))

    return set_to


# ── Asking ──


@pytest.mark.django_db
def test_what_is_sent_is_this_and_signed() -> None:
    with receiving() as marsh:
        connector = connect(marsh.url)
        ask(
            "restrict",
            POST,
            hours=48,
            asked_by="rule:known-video@3f",
            message="We have restricted your post for 2 days.",
        )
        assert deliver() == 1
        ((headers, body),) = marsh.got
    golden = Path(__file__).parent / "golden" / "webhook.json"
    assert json.dumps(json.loads(body), indent=2) + "\n" == golden.read_text()
    assert signing.verify(services.secret_of(connector), headers, body, now=NOW) == json.loads(body)["data"]["action"]
    assert headers["content-type"] == "application/json"


@pytest.mark.django_db
def test_the_same_ask_again_is_the_same_action() -> None:
    connect("http://127.0.0.1:9/")
    first, again, other = ask(), ask(), ask(key="other")
    assert first.pk == again.pk != other.pk
    assert Delivery.objects.count() == 2
    assert steps(first) == ["action.requested"]


@pytest.mark.django_db
def test_nothing_is_asked_for_unless_the_callers_transaction_holds() -> None:
    connect("http://127.0.0.1:9/")
    with transaction.atomic():
        ask()
        transaction.set_rollback(True)
    assert not Action.objects.exists()
    assert not Delivery.objects.exists()
    assert not Entry.objects.filter(step="action.requested").exists()


@pytest.mark.django_db
def test_evidence_is_there_before_the_action() -> None:
    stored = archive.blob_store().put(b"a picture")
    event = PostCreated(
        id="e1",
        network="marsh",
        at=NOW,
        account=Account(id="heron"),
        post=Post(id="p1", text="x\x00y", media=(Media(id="m"),)),
    )
    archive.claim([archive.NewEvent(event=event, blobs={"m": stored})], now=NOW)
    archive.note_blobs({stored: 9}, now=NOW)
    connect("http://127.0.0.1:9/")
    action = ask("remove", POST)
    kept = Evidence.objects.get()
    assert action.evidence == [kept.sha256]
    assert json.loads(kept.body)["event"]["post"]["text"] == "x\x00y"
    assert (kept.blobs, Blob.objects.get().kept_for) == ([stored], "evidence")
    assert Entry.objects.get(step="action.requested").evidence == [kept.sha256]


@pytest.mark.django_db
def test_what_nobody_can_do_is_written_down_and_can_be_sent_once_somebody_can() -> None:
    action = ask()
    assert state(action) == ("failed", "dead")
    assert "not connected" in Action.objects.get().state_reason
    assert steps(action) == ["action.requested", "action.dead"]
    with receiving() as marsh:
        connect(marsh.url)
        services.resend(action.pk, by="user:lea", now=NOW)
        deliver()
    assert state(action) == ("confirmed", "delivered")


@pytest.mark.django_db
def test_a_verb_that_does_not_fit_is_refused_by_name() -> None:
    with pytest.raises(BadInput, match="suspend cannot be asked for a post"):
        ask("suspend", POST)


@pytest.mark.django_db
def test_offers_say_what_is_not_possible_and_why() -> None:
    assert {(offer.verb, offer.possible) for offer in services.offers("marsh", "account")} == {
        ("restore", False), ("label", False), ("restrict", False), ("suspend", False),
    }  # fmt: skip
    connect("http://127.0.0.1:9/", verbs=("remove", "suspend"))
    suspend = next(offer for offer in services.offers("marsh", "account") if offer.verb == "suspend")
    assert (suspend.possible, suspend.reversible) == (True, False)
    assert suspend.sentence.endswith("Marsh cannot undo it.")
    label = next(offer for offer in services.offers("marsh", "post") if offer.verb == "label")
    assert (label.possible, label.why_not) == (False, "Marsh does not offer this.")


@pytest.mark.django_db
def test_a_message_takes_what_strangers_wrote_as_it_is() -> None:
    Policy.objects.update_or_create(
        slug="violence",
        defaults={"name": "V", "summary": "", "ground": "", "message": "We have {action} {subject}: {reason} {else}"},
    )
    told = services.tell("violence", Ask(verb="suspend", subject=HERON, duration_hours=24), "{subject} {0.__class__}")
    assert told == "We have suspended for 1 day your account: {subject} {0.__class__} {else}"


# ── What platforms answer ──


@pytest.mark.django_db
def test_confirmed_at_once() -> None:
    with receiving() as marsh:
        connect(marsh.url)
        action = ask()
        assert state(action) == ("requested", "pending")
        deliver()
        assert deliver(NOW + timedelta(days=1)) == 0
    assert state(action) == ("confirmed", "delivered")
    assert steps(action) == ["action.requested", "action.sent", "action.confirmed"]
    assert AccountRecord.objects.get().state == "suspended"


@pytest.mark.django_db
@pytest.mark.parametrize("answer", [always(202), always(204), always(200), always(202, b"thank you")])
def test_taken_is_not_confirmed_until_the_platform_says_so(answer: Any) -> None:
    with receiving(answer) as marsh:
        connect(marsh.url)
        action = ask()
        deliver()
    assert state(action) == ("sent", "delivered")
    assert not AccountRecord.objects.exists()
    with pytest.raises(BadInput):  # Another network's word counts for nothing.
        services.settle(action.pk, "confirmed", "", now=NOW, by="platform:moor", network="moor")
    assert services.settle(action.pk, "confirmed", "", now=NOW, by="platform:marsh", network="marsh")
    assert not services.settle(action.pk, "confirmed", "", now=NOW, by="platform:marsh", network="marsh")
    assert steps(action) == ["action.requested", "action.sent", "action.confirmed"]


@pytest.mark.django_db
def test_a_refusal_is_shown_with_its_reason_and_can_be_sent_again() -> None:
    with receiving(
        lambda id_: (200, {}, json.dumps({"action": id_, "state": "failed", "reason": "a\nb\x00"}).encode())
    ) as marsh:
        connect(marsh.url)
        action = ask()
        deliver()
    assert state(action) == ("failed", "delivered")
    assert Action.objects.get().state_reason == "a b"
    services.resend(action.pk, by="user:lea", now=NOW)
    assert state(action) == ("requested", "pending")


@pytest.mark.django_db
def test_500_for_a_day_then_well_again() -> None:
    tries = 0
    with receiving(always(503)) as marsh:
        connect(marsh.url)
        action = ask()
        for minute in range(24 * 60):
            tries += deliver(NOW + timedelta(minutes=minute))
        assert state(action) == ("requested", "pending")
        assert 24 <= tries <= 40
        marsh.answer = lambda id_: (
            200,
            {},
            json.dumps({"action": id_, "state": "confirmed", "duplicate": True}).encode(),
        )
        for minute in range(24 * 60, 25 * 60 + 1):
            deliver(NOW + timedelta(minutes=minute))
        assert state(action) == ("confirmed", "delivered")
        assert {body for _, body in marsh.got} == {Delivery.objects.get().body.encode()}
        assert set(marsh.actions) == {action.pk}


@pytest.mark.django_db
def test_what_nobody_takes_for_three_days_is_dead_and_can_be_sent_again() -> None:
    with receiving(always(500, b"boom")) as marsh:
        connect(marsh.url)
        action = ask()
        for hour in range(72):
            deliver(NOW + timedelta(hours=hour))
        assert state(action) == ("requested", "pending")
        deliver(NOW + timedelta(hours=72))
        assert state(action) == ("failed", "dead")
        assert services.dead_letters()[0].last_error == "answered 500: boom"
        assert steps(action)[-1] == "action.dead"
        before = len(marsh.got)
        deliver(NOW + timedelta(hours=90))
        assert len(marsh.got) == before
        services.resend(action.pk, by="user:lea", now=NOW + timedelta(hours=90))
        assert deliver(NOW + timedelta(hours=90)) == 1
        assert state(action) == ("requested", "pending")
        assert steps(action)[-1] == "action.resent"


@pytest.mark.django_db
@pytest.mark.parametrize("status", [400, 401, 404, 410, 422])
def test_a_refusal_for_good_is_dead_at_once(status: int) -> None:
    with receiving(always(status, b"no")) as marsh:
        connect(marsh.url)
        action = ask()
        deliver()
        assert state(action) == ("failed", "dead")
        assert Delivery.objects.get().last_error == f"refused with {status}: no"
        assert len(marsh.got) == 1


@pytest.mark.django_db
@pytest.mark.parametrize("status", [408, 409, 425, 429, 503])
def test_later_means_later(status: int) -> None:
    with receiving(always(status, retry_after="7200")) as marsh:
        connect(marsh.url)
        ask()
        deliver()
        delivery = Delivery.objects.get()
        assert (delivery.state, delivery.due_at) == ("pending", NOW + timedelta(hours=2))


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ({"action": "act_other", "state": "confirmed"}, "answered about another action, act_other"),
        (
            {"action": "ID", "state": "confirmed", "duplicate": True},
            "called it a duplicate, though it was never sent before",
        ),
        ({"action": "ID", "state": "duplicate"}, "called it a duplicate, though it was never sent before"),
    ],
)
def test_who_lies_about_idempotency_is_not_believed_the_next_time_either(reply: dict[str, Any], said: str) -> None:
    with receiving(lambda id_: (200, {}, json.dumps(reply).replace("ID", id_).encode())) as marsh:
        connect(marsh.url)
        action = ask()
        for hour in range(3):
            deliver(NOW + timedelta(hours=hour))
        assert len(marsh.got) == 3
        assert state(action) == ("requested", "pending")
        assert Delivery.objects.get().last_error == said
        assert not AccountRecord.objects.exists()
        reply.clear()
        reply.update({"action": "ID", "state": "confirmed"})
        deliver(NOW + timedelta(hours=4))
    assert state(action) == ("confirmed", "delivered")


@pytest.mark.django_db
@pytest.mark.parametrize(
    "answer",
    [
        always(200, b"<html>Sign in to the network</html>"),
        always(200, b'{"state": "confirmed"}'),
        always(200, b'{"action": "\\ud800", "state": "confirmed"}'),
        always(200, b"[" * 60_000),
        always(200, b'{"action": 1}'),
        always(302, location="http://127.0.0.1:1/elsewhere"),
        always(200, b"x" * 2_000_000),
    ],
    ids=["a page", "no action", "surrogate", "deep", "wrong type", "redirect", "huge"],
)
def test_what_is_no_answer_confirms_nothing(answer: Any) -> None:
    with receiving(answer) as marsh:
        connect(marsh.url)
        action = ask()
        deliver()
        assert len(marsh.got) == 1
    assert state(action) == ("requested", "pending")
    assert len(Delivery.objects.get().last_error) < 1000


@pytest.mark.django_db
def test_one_who_hangs_and_one_who_dribbles_cost_the_time_out_and_no_more(time_out: Any) -> None:
    time_out(0.4)
    with hanging() as url:
        connect(url)
        hung = ask()
        deliver()
    assert Delivery.objects.get(pk=hung.pk).last_error == "no whole answer within 0.4 seconds"
    with receiving() as marsh:
        marsh.trickle = 0.01
        connect(marsh.url, "moor")
        slow = ask("suspend", Subject("moor", "account", "a", "a"))
        deliver()
    assert Delivery.objects.get(pk=slow.pk).last_error == "no whole answer within 0.4 seconds"
    assert (state(hung), state(slow)) == (("requested", "pending"), ("requested", "pending"))


@pytest.mark.django_db
def test_nobody_there() -> None:
    connect("http://127.0.0.1:9/")
    ask()
    deliver()
    assert Delivery.objects.get().last_error.startswith("not reached: ")


@pytest.mark.django_db(transaction=True)
def test_a_platform_that_hangs_holds_up_nobody_else(time_out: Any) -> None:
    time_out(5)  # Enough for those who answer, on a machine that is busy with other tests.
    with hanging() as url, receiving() as well:
        connect(url, "moor")
        connect(well.url, "marsh")
        for number in range(20):
            ask("label", Subject("moor", "post", f"p{number}"), label="x")
            ask("label", Subject("marsh", "post", f"p{number}"), label="x")
        courier = Courier(clock=lambda: NOW, chance=lambda: 1.0)
        courier.start(limit=1000)
        courier.wait(None)
        assert len(well.got) == 20
    assert Action.objects.filter(network="marsh", state="confirmed").count() == 20
    tried = Delivery.objects.filter(action__network="moor", attempts=1).count()
    assert 0 < tried < 20  # One round showed that nobody is there; the rest waits for another day.


@pytest.mark.django_db(transaction=True)
def test_two_workers_at_once_deliver_once_each() -> None:
    with receiving() as marsh:
        connect(marsh.url)
        actions = [ask("label", Subject("marsh", "post", f"p{number}"), label="x") for number in range(60)]
        start = threading.Barrier(2)

        def work() -> None:
            start.wait()
            deliver(limit=200)
            connections.close_all()

        workers = [threading.Thread(target=work) for _ in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert not [d.last_error for d in Delivery.objects.exclude(last_error="")]
        assert sorted(marsh.actions) == sorted(action.pk for action in actions)
    assert Action.objects.filter(state="confirmed").count() == 60


# ── Order, and taking back ──


@pytest.mark.django_db
def test_a_restore_never_overtakes_what_it_restores() -> None:
    with receiving(always(500)) as marsh:
        connect(marsh.url)
        suspend, label = ask(), ask("label", HERON, label="x")
        elsewhere = ask("remove", POST)
        assert deliver() == 2
        assert set(marsh.actions) == {suspend.pk, elsewhere.pk}
        marsh.answer = always(202)
        deliver(NOW + timedelta(minutes=1))
        assert marsh.actions[2:].count(label.pk) == 1
        assert marsh.actions.index(label.pk) > max(i for i, id_ in enumerate(marsh.actions) if id_ == suspend.pk)


@pytest.mark.django_db
def test_what_was_never_sent_is_canceled() -> None:
    with receiving() as marsh:
        connect(marsh.url)
        action = ask()
        assert services.reverse(action.pk, reason="no", asked_by="user:anna", now=NOW) is None
        assert services.reverse(action.pk, reason="no", asked_by="user:anna", now=NOW) is None
        assert deliver(NOW + timedelta(hours=1)) == 0
        assert not marsh.got
    assert state(action) == ("canceled", "canceled")
    assert steps(action) == ["action.requested", "action.canceled"]


@pytest.mark.django_db
def test_what_may_have_arrived_is_stopped_and_restored() -> None:
    with receiving(always(500)) as marsh:
        connect(marsh.url)
        action = ask()
        deliver()
        back = services.reverse(action.pk, reason="no", asked_by="user:anna", now=NOW)
        assert back is not None
        assert (back.verb, back.undoes_id) == ("restore", action.pk)
        marsh.answer = lambda id_: (200, {}, json.dumps({"action": id_, "state": "confirmed"}).encode())
        deliver(NOW + timedelta(hours=1))
        assert marsh.actions == [action.pk, back.pk]
    assert (state(action), state(back)) == (("canceled", "canceled"), ("confirmed", "delivered"))
    # The first one had arrived after all, and the platform says so late: the account is as the restore left it.
    services.settle(action.pk, "confirmed", "", now=NOW, by="platform:marsh", network="marsh")
    assert state(action)[0] == "confirmed"
    assert AccountRecord.objects.get().state == "active"
    with pytest.raises(services.WrongState, match="undone since"):
        services.resend(action.pk, by="user:lea", now=NOW)


@pytest.mark.django_db
def test_a_restore_waits_for_what_is_on_its_way() -> None:
    with receiving() as marsh:
        connect(marsh.url)
        action = ask()
        (letter,) = services.claim_letters("marsh", now=NOW, limit=5)
        back = services.reverse(action.pk, reason="no", asked_by="user:anna", now=NOW)
        assert back is not None
        assert services.claim_letters("marsh", now=NOW, limit=5) == []
        services.save_outcome(letter, answers.Outcome("confirmed", status=200), now=NOW, chance=0.5)
        assert state(action)[0] == "confirmed"
        deliver()
        assert marsh.actions == [back.pk]
    assert AccountRecord.objects.get().state == "active"


@pytest.mark.django_db
def test_lifting_one_of_two_leaves_the_other_and_restoring_a_restore_asks_again() -> None:
    with receiving() as marsh:
        connect(marsh.url)
        restrict, suspend = ask("restrict", hours=5), ask("suspend")
        deliver()
        lifted = services.reverse(suspend.pk, reason="no", asked_by="user:anna", now=NOW)
        deliver()
        assert AccountRecord.objects.get().state == "restricted"
        assert lifted is not None
        again = services.reverse(lifted.pk, reason="yes after all", asked_by="user:anna", now=NOW)
        deliver()
        assert again is not None
        assert (again.verb, AccountRecord.objects.get().state) == ("suspend", "suspended")
        assert state(restrict)[0] == "confirmed"


@pytest.mark.django_db
def test_what_contradicts_a_confirmation_is_written_down_and_changes_nothing() -> None:
    with receiving() as marsh:
        connect(marsh.url)
        action = ask()
        deliver()
    for _ in range(2):
        assert not services.settle(action.pk, "failed", "no such account", now=NOW, by="platform:marsh")
    fresh = Action.objects.get()
    assert (fresh.state, fresh.state_reason) == ("confirmed", "The platform later said: failed. no such account")
    assert steps(action).count("action.contradicted") == 1


# ── Leases, connectors ──


@pytest.mark.django_db
def test_a_worker_that_died_is_followed_by_another_with_the_same_key() -> None:
    with receiving(
        lambda id_: (200, {}, json.dumps({"action": id_, "state": "confirmed", "duplicate": True}).encode())
    ) as marsh:
        connect(marsh.url)
        action = ask()
        (letter,) = services.claim_letters("marsh", now=NOW, limit=5)
        assert deliver(NOW + timedelta(seconds=1)) == 0
        assert deliver(letter.leased_until) == 1
        assert marsh.actions == [action.pk]
        # The first worker was only slow: what it has to say late changes nothing any more.
        services.save_outcome(letter, answers.Outcome("again", "too late"), now=letter.leased_until, chance=0.5)
    assert state(action) == ("confirmed", "delivered")


@pytest.mark.django_db
def test_paused_means_that_nothing_leaves() -> None:
    with receiving() as marsh:
        connect(marsh.url)
        ask()
        services.pause("marsh", by="user:lea", now=NOW)
        assert deliver() == 0
        (standing,) = services.outbox_state(NOW)
        assert (standing.paused, standing.waiting, standing.oldest) == (True, 1, NOW)
        services.resume("marsh", by="user:lea", now=NOW)
        assert deliver(NOW + timedelta(days=9)) == 1
        assert len(marsh.got) == 1


@pytest.mark.django_db
def test_a_new_secret_and_the_one_before_it_both_verify() -> None:
    with receiving() as marsh:
        old = services.secret_of(connect(marsh.url))
        new = services.rotate_secret("marsh", by="user:lea", now=NOW)
        ask()
        deliver()
        ((headers, body),) = marsh.got
        for secret in (old, new):
            assert signing.verify(secret, headers, body, now=NOW)
        assert old != new
        services.rotate_secret("marsh", by="user:lea", now=NOW)
        ask(key="2")
        deliver()
        with pytest.raises(BadInput):
            signing.verify(old, *marsh.got[1], now=NOW)
    assert not any(old[6:] in str(row) for row in Connector.objects.values_list())


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("network", "url", "verbs", "where"),
    [
        ("Marsh!", "http://a/", ("remove",), "Marsh!"),
        ("marsh", "ftp://a/", ("remove",), "ftp://a/"),
        ("marsh", "http:///x", ("remove",), "http:///x"),
        ("marsh", "http://[::1/x", ("remove",), "http://[::1/x"),
        ("marsh", "http://a:99999/", ("remove",), "http://a:99999/"),
        ("marsh", "http://a/", ("delete",), "verbs"),
        ("marsh", "http://a/", (), "verbs"),
    ],
)
def test_a_connector_that_cannot_be_is_refused_by_name(
    network: str, url: str, verbs: tuple[str, ...], where: str
) -> None:
    with pytest.raises(BadInput) as caught:
        services.connect(network, "", url, verbs, by="user:lea", now=NOW)
    assert caught.value.where == where


def test_the_waits_double_and_stay_within_an_hour() -> None:
    assert [answers.delay(n, 1.0) for n in (1, 2, 3)] == [5, 10, 20]
    assert [answers.delay(n, 0.0) for n in (1, 2, 3)] == [2.5, 5, 10]
    assert answers.delay(10**6, 1.0) == 3600


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("120", 120), ("Wed, 01 Jul 2026 12:01:00 GMT", 60), ("Wed, 01 Jul 2020 12:01:00 GMT", 0), ("soon", 0), ("", 0), ("-5", 0), ("9" * 400, 10**9), ("٣", 0)],
)  # fmt: skip
def test_retry_after(value: str, seconds: float) -> None:
    assert answers.retry_after(value, NOW) == seconds
