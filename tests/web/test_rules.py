"""The rules' pages: what is typed is never lost, two who write are told, nobody approves their own, each button does its step."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.test import Client, override_settings

from redshank import pipeline
from redshank.archive import past_writer
from redshank.banks.services import texts_of
from redshank.cases import services as cases
from redshank.cases.models import Case
from redshank.core import Subject
from redshank.enforcement import services as enforcement
from redshank.enforcement.services import Ask
from redshank.people.models import User
from redshank.rules import firings, jobs, services
from redshank.rules.handbook import entries
from redshank.rules.models import BacktestJob, ConsoleRule, RuleVersion
from redshank.web import kept
from redshank.web.rule_words import TEMPLATE, difference
from tests.rules.test_console_rules import FILES, TEXT

pytestmark = pytest.mark.django_db
NOW = datetime.now(UTC)
OPENS = TEXT.replace("marching and account.posts < 10", "marching").split("    fires_on")[0]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "files.yaml").write_text(FILES)
    settings.DATA_DIR = tmp_path
    monkeypatch.setattr(services, "CHECKED_EVERY", 0.0)
    monkeypatch.setattr(services, "_sound", {})
    with override_settings(REDSHANK=msgspec.structs.replace(settings.REDSHANK, rules=str(tmp_path))):
        services._kept = None
        yield
    services._kept = None


def signed_in(name: str, role: str = "lead") -> Client:
    user = User.objects.filter(username=name).first() or User.objects.create_user(name, role=role)
    client = Client()
    client.force_login(user)
    return client


def save(client: Client, text: str, where: str = "/rule/new", base: int = 0, **more: str) -> Any:
    return client.post(where, {"text": text, "base": str(base), "do": "save", "note": "", **more}, follow=True)


def send(number: int, text: str = "to the march", hours: int = 0, **account: Any) -> None:
    at = datetime.now(UTC) - timedelta(hours=hours)
    raw = {
        "id": f"e{number}", "network": "marsh", "type": "post.created", "at": at.isoformat(),
        "account": {"id": f"a{number % 3}", **account}, "post": {"id": f"p{number}", "text": text},
    }  # fmt: skip
    (answer,) = pipeline.accept([json.dumps(raw).encode()], now=datetime.now(UTC), actor="system")
    assert answer.status == "accepted"


def test_what_the_editor_begins_with_is_right_and_so_is_each_example_of_the_handbook() -> None:
    assert services.check_text(TEMPLATE, now=NOW).is_good
    lists = "lists:\n  shorteners: [a.example]\n"
    for entry in entries():
        if not entry.example:
            continue
        text = f"{lists}rules:\n  - id: tried\n    policy: recruitment\n"
        if entry.group == "effects":
            text += f'    when: contains(post.text, "x")\n    effects:\n      {entry.example}\n'
        else:
            text += f"    when: |\n      {entry.example}\n    effects: [preserve]\n"
        said = services.check_text(text, now=NOW)
        assert said.is_good, (entry, said.diagnostics)


def test_a_mistake_is_shown_where_it_is_and_the_text_stays() -> None:
    lee = signed_in("lee")
    wrong = TEXT.replace("marching", "marchin")
    page = lee.post("/rule/new", {"text": wrong, "base": "0", "do": "check"})
    assert page.status_code == 200
    assert "there is no <code>marchin</code>" in page.content.decode()
    assert "Did you mean <code>marching</code>?" in page.content.decode()
    assert "^^^^^^^" in page.content.decode()
    assert not ConsoleRule.objects.exists()
    part = lee.post("/rule/check", {"text": wrong, "base": "0"}, headers={"HX-Request": "true"}).content.decode()
    assert "Did you mean" in part
    assert "<html" not in part
    nameless = save(lee, TEXT.replace("id: calls", "description: x"))
    assert nameless.status_code == 422
    assert "the rule has no id yet" in nameless.content.decode()
    assert "to the march" in nameless.content.decode()
    failing = lee.post("/rule/check", {"text": TEXT.replace("{posts: 1}", "{posts: 11}"), "base": "0"})
    assert "It does not fire on an example on which it should" in failing.content.decode()
    assert "account.posts = 11" in failing.content.decode()


def test_what_was_typed_comes_back_after_the_session_ended() -> None:
    lee = signed_in("lee")
    user = User.objects.get(username="lee")
    user.set_password("heron-over-the-marsh-7")
    user.save()
    lee.force_login(user)
    page = lee.get("/rule/new").content.decode()
    form = {"text": TEXT + "# typed\n", "base": "0", "note": "a note", "do": "save", "here": "/rule/new"}
    form["whose"] = page.partition('name="whose" value="')[2].partition('"')[0]
    for fragment in (False, True):
        lee.session.flush()  # The session is over; the browser does not know yet.
        if fragment:
            answer = lee.post("/rule/check", form, headers={"HX-Request": "true"})
            assert answer["HX-Redirect"] == "/session/sign-in?next=/rule/new"
        else:
            answer = lee.post("/rule/new", form)
            assert answer["Location"] == "/session/sign-in?next=/rule/new"
        login = {"login": "lee", "password": "heron-over-the-marsh-7", "next": "/rule/new"}
        assert lee.post("/session/sign-in", login)["Location"] == "/rule/new"
        back = lee.get("/rule/new").content.decode()
        assert "What you had typed is back" in back
        assert "# typed" in back
        assert 'value="a note"' in back
        assert "# typed" not in lee.get("/rule/new").content.decode()  # Once.
    # Who signed in again elsewhere has another form's token by now: the page is loaded anew, with the text.
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(user)
    assert strict.post("/rule/new", form)["Location"] == "/rule/new"
    assert "# typed" in strict.get("/rule/new").content.decode()
    assert strict.post("/rule/check", form, headers={"HX-Request": "true"})["HX-Redirect"] == "/rule/new"
    assert strict.post("/rule/new", {**form, "whose": "x"}).status_code == 403
    # A stranger leaves nothing, and what is one person's goes to no other.
    stranger = Client()
    assert stranger.post("/rule/new", {**form, "whose": "x"})["Location"] == "/session/sign-in?next=/"
    assert not stranger.session.get("kept")
    lee.session.flush()
    lee.post("/rule/new", form)
    lee.force_login(User.objects.create_user("ada", role="admin"))
    assert "# typed" not in lee.get("/rule/new").content.decode()
    assert kept.FIELDS["text"] == services.MAX_TEXT


def test_two_who_write_at_once_see_both_texts() -> None:
    lee, ada = signed_in("lee"), signed_in("ada", "admin")
    assert save(lee, TEXT).redirect_chain[-1][0] == "/rules/calls/versions/1"
    edit = "/rules/calls/edit"
    save(ada, TEXT + "# of ada\n", edit, base=1)
    during = lee.post("/rule/check", {"text": TEXT, "base": "1", "rule": "calls"}).content.decode()
    assert "ada saved version 2 since you began" in during
    page = save(lee, TEXT + "# of lee\n", edit, base=1)
    assert page.status_code == 409
    said = page.content.decode()
    assert "ada saved version 2 while you were writing" in said
    assert "+</span># of ada" in said
    assert "−</span># of ada" in said
    assert "+</span># of lee" in said
    assert 'name="base" value="2"' in said  # Saving again goes over it, knowingly.
    assert save(lee, TEXT + "# of lee\n", edit, base=2).redirect_chain[-1][0] == "/rules/calls/versions/3"


def test_from_the_draft_to_live_and_back_by_its_buttons() -> None:
    lee, ada, mara = signed_in("lee"), signed_in("ada", "admin"), signed_in("mara", "moderator")
    save(lee, OPENS)

    def press(client: Client, where: str, **form: str) -> str:
        seen = services.stands(ConsoleRule.objects.get())
        return client.post(f"/rules/calls/{where}", {"seen": seen, **form}, follow=True).content.decode()

    assert "judges in the shadow from now on" in press(lee, "versions/1/shadow")
    assert "no second person has approved" in press(ada, "versions/1/live")
    assert "waits for a second person" in press(lee, "versions/1/review")
    assert "You wrote it, so that cannot be you" in lee.get("/rules/calls/versions/1").content.decode()
    assert "nobody approves a text of their own" in press(lee, "versions/1/approve")
    assert mara.post("/rules/calls/versions/1/approve").status_code == 403
    assert "Your word" in ada.get("/rules/calls/versions/1").content.decode()
    assert "calls, version 1" in ada.get("/rules").content.decode()
    assert "is approved. It is not live yet." in press(ada, "versions/1/approve", note="It names calls alone.")
    assert "Version 1 is live." in press(ada, "versions/1/live")
    send(1)
    case = Case.objects.get()
    assert case.subject_id == "p1"
    link = f"/rules/calls?version={RuleVersion.objects.get().fingerprint}"
    assert link in mara.get(f"/cases/{case.pk}").content.decode()
    assert mara.get(link)["Location"] == "/rules/calls/versions/1"
    assert "This is not the version 0123" in mara.get("/rules/of-a-file?version=0123").content.decode()
    save(lee, OPENS.replace("marching", 'contains(post.text, "fog")'), "/rules/calls/edit", base=1)
    press(lee, "versions/2/review")
    assert "what to change" in ada.get("/rules/calls/versions/2").content.decode()
    assert "say what should be changed" in press(ada, "versions/2/return")
    assert "goes back to its author" in press(ada, "versions/2/return", note="Why fog?")
    assert "Why fog?" in lee.get("/rules/calls/versions/2").content.decode()
    press(lee, "versions/2/review")
    press(ada, "versions/2/approve")
    press(ada, "versions/2/live")
    page = mara.get("/rules/calls").content.decode()
    assert "In plain words" in page
    assert "Roll back to" not in page
    assert "Roll back to 1" in lee.get("/rules/calls").content.decode()
    assert "Version 1 is live again. It was reviewed before." in press(lee, "versions/1/live", back="rule")
    stale = lee.post("/rules/calls/versions/2/live", {"seen": "1-1"}, follow=True).content.decode()
    assert "somebody changed what is in force while you were looking" in stale
    assert "live no more" in press(lee, "stop-live", note="Enough.")
    assert "The rule is retired" in press(ada, "retire")
    assert "Bring it back" in ada.get("/rules/calls").content.decode()
    assert "The rule is back" in press(ada, "revive")


def test_what_a_draft_in_the_shadow_would_do_stands_beside_what_people_decided() -> None:
    lee, ada = signed_in("lee"), signed_in("ada", "admin")
    save(lee, OPENS)
    enforcement.connect("marsh", "Marsh", "http://127.0.0.1:9/", ["remove", "restore"], by="system", now=NOW)
    version = RuleVersion.objects.get()
    author, other = User.objects.get(username="lee"), User.objects.get(username="ada")
    services.put_in_force(version, "shadow", by=author, now=NOW)
    for number in range(4):
        send(number, hours=30)
    past_writer.write_due(now=datetime.now(UTC), all_of_it=True)
    services.ask_review(version, by=author, now=NOW)
    services.approve(version, by=other, now=NOW)
    services.put_in_force(version, "live", by=other, now=NOW)
    wider = services.save(OPENS.replace("marching", 'word(post.text, "march", "fog")'), by=author, now=NOW, rule_id="calls", base=1)  # fmt: skip
    services.put_in_force(wider, "shadow", by=author, now=NOW)
    for number in range(4, 8):
        send(number, "fog" if number == 7 else "to the march")
    for case, outcome in zip(Case.objects.order_by("pk"), ("act", "no_violation", "act"), strict=True):
        cases.decide(case.pk, by=other, version=case.version, outcome=outcome, policy=_policy(), reason="So it is.", asks=_asks(case) if outcome == "act" else [], now=datetime.now(UTC))  # type: ignore[arg-type]  # fmt: skip
    since = firings.since_days(datetime.now(UTC), 30)
    live, shadow = firings.recent("calls", since=since)
    assert ({one.event for one in live.firings}, {one.event for one in shadow.firings}) == (
        {"e4", "e5", "e6"}, {f"e{number}" for number in range(8)},
    )  # fmt: skip
    told = firings.tell("calls", wider.fingerprint, "shadow", shadow, cases.decided)
    assert (told.events, told.accounts, told.cases, told.subjects, told.then, told.alone) == (8, 3, 8, 8, 3, 1)
    assert told.beside == {"of-a-file": 7}
    assert (told.precision.agreed, told.precision.cleared) == (2, 1)
    assert sum(day.events for day in told.days) == 8
    # Written twice while one looks: in the past already, and not yet marked as written.
    past_writer.write_due(now=datetime.now(UTC), all_of_it=True)
    past_writer.PastBatch.objects.update(written_at=None)
    assert firings.recent("calls", since=since) == (live, shadow)
    page = lee.get("/rules/calls/did", headers={"HX-Request": "true"}).content.decode()
    assert "version 2, version 1" in page
    assert "They acted on 2 of the 3 that they decided on:" in page
    assert "Wilson" in page
    assert "Only the draft" in page
    assert ada.get("/rules/of-a-file/did").status_code == 200


def _asks(case: Case) -> list[Ask]:
    return [Ask(verb="remove", subject=Subject("marsh", "post", case.subject_id, case.account_id))]


def _policy() -> str:
    from redshank.policies import services as policies

    return policies.active()[0].slug


def test_a_backtest_is_asked_for_run_and_shown() -> None:
    lee, mara = signed_in("lee"), signed_in("mara", "moderator")
    save(lee, OPENS)
    pk = RuleVersion.objects.get().pk
    for number in range(6):
        send(number, "to the march" if number % 2 else "fog", hours=number)
    past_writer.write_due(now=datetime.now(UTC), all_of_it=True)
    form = lee.get(f"/backtests?version={pk}").content.decode()
    assert f'value="{pk}" checked' in form
    assert mara.post("/backtest/new", {"version": pk}).status_code == 403
    wrong = lee.post("/backtest/new", {"version": pk, "since": "yesterday"})
    assert wrong.status_code == 422
    assert "since: not a day" in wrong.content.decode()
    asked = lee.post("/backtest/new", {"version": pk, "rule": "of-a-file", "since": "2020-01-01"})
    job = BacktestJob.objects.get()
    assert asked["Location"] == f"/backtests/{job.pk}"
    assert "waiting" in mara.get(f"/backtests/{job.pk}").content.decode()
    assert "HX-Refresh" not in mara.get(f"/backtests/{job.pk}/status")
    jobs.run_next(decided=cases.decided, texts_of=texts_of, stop=threading.Event())
    assert mara.get(f"/backtests/{job.pk}/status")["HX-Refresh"] == "true"
    page = mara.get(f"/backtests/{job.pk}").content.decode()
    assert "6 events" in page
    assert "Events a day" in page
    assert "/accounts/marsh/a1" in page
    assert "/events/marsh/e1" not in page  # The past is opened by leads.
    assert "/events/marsh/e1" in lee.get(f"/backtests/{job.pk}").content.decode()
    assert "Nobody has decided on any of them yet." in page
    assert "/backtests/" in lee.get("/rules/calls").content.decode()
    lee.post("/backtest/new", {"version": pk})
    second = BacktestJob.objects.order_by("pk").last()
    assert second is not None
    assert "is canceled" in lee.post(f"/backtests/{second.pk}/cancel", follow=True).content.decode()


def test_a_rule_of_a_file_is_read_only_and_copied_under_a_new_id() -> None:
    lee = signed_in("lee")
    page = lee.get("/rules/of-a-file").content.decode()
    assert "It is changed in its file" in page
    assert lee.get("/rules/of-a-file/edit").status_code == 404
    copy = lee.get("/rule/new?from=of-a-file").content.decode()
    assert "- id: of-a-file-2" in copy
    assert "mode: live" not in copy
    assert "No errors." in copy
    clash = save(lee, TEXT.replace("calls", "of-a-file"))
    assert clash.status_code == 422
    assert "there is a rule of-a-file in the files already" in clash.content.decode()


def test_the_library_is_searched() -> None:
    mara = signed_in("mara", "moderator")
    whole, some = mara.get("/rule/library").content.decode(), mara.get("/rule/library?q=regular").content.decode()
    assert "contains(" in whole
    assert "matches(" in some
    assert "contains(" not in some
    own = mara.get("/rule/library?q=your").content.decode()
    assert "marching" in own
    assert "contains(post.text, &quot;march&quot;)" in own
    assert "Nothing has this" in mara.get("/rule/library?q=zzz").content.decode()


def test_a_difference_is_told_line_by_line() -> None:
    old = "".join(f"line {number}\n" for number in range(1, 21))
    new = old.replace("line 10\n", "line ten\n")
    assert [(line.kind, line.text, line.number) for line in difference(old, new)] == [
        ("gap", "", None),
        *[("same", f"line {number}", number) for number in (7, 8, 9)],
        ("old", "line 10", None),
        ("new", "line ten", 10),
        *[("same", f"line {number}", number) for number in (11, 12, 13)],
    ]
    assert difference(old, old) == []
