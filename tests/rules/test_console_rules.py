"""Rules of the console: versions, a second person's word, in force everywhere, back again; whatever breaks stays alone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from redshank.audit.models import Entry
from redshank.core import Account, BadInput, Post, PostCreated
from redshank.people.models import User
from redshank.rules import Facts, services
from redshank.rules.models import ConsoleRule, RuleVersion
from redshank.rules.services import Changed
from redshank.web import health

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
FILES = """
names:
  marching: contains(post.text, "march")
rules:
  - id: of-a-file
    mode: live
    when: marching
    effects: [preserve]
"""
TEXT = """\
rules:
  - id: calls
    description: Calls to the march.
    when: marching and account.posts < 10
    effects: [open_case]
    fires_on:
      - post: {text: to the march}
        account: {posts: 1}
"""
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "files.yaml").write_text(FILES)
    monkeypatch.setattr(services, "CHECKED_EVERY", 0.0)
    monkeypatch.setattr(services, "_sound", {})
    settings.REDSHANK = msgspec.structs.replace(settings.REDSHANK, rules=str(tmp_path))
    services._kept = None
    yield tmp_path
    services._kept = None


@pytest.fixture
def mara() -> User:
    return User.objects.create_user("mara", role="admin")


@pytest.fixture
def lee() -> User:
    return User.objects.create_user("lee", role="lead")


def fired(posts: int = 1, text: str = "to the march") -> set[tuple[str, bool]]:
    account = Account(id="a", posts=posts)
    event = PostCreated(id="e", network="marsh", at=NOW, account=account, post=Post(id="p", text=text))
    return {(one.rule, one.live) for one in services.current_rules().evaluate(Facts(event, (), NOW))[0]}


def changed(version: RuleVersion, text: str, by: User, **more: Any) -> RuleVersion:
    return services.save(text, by=by, now=NOW, rule_id=version.rule.rule_id, base=version.number, **more)


def reviewed(version: RuleVersion, by: User) -> RuleVersion:
    services.ask_review(version, by=version.author, now=NOW)
    services.approve(version, by=by, now=NOW)
    version.refresh_from_db()
    return version


def steps() -> list[str]:
    return [
        step.removeprefix("rule.")
        for step in Entry.objects.filter(object="rule:calls").order_by("pk").values_list("step", flat=True)
    ]


def test_from_the_first_word_to_live_and_back(mara: User, lee: User) -> None:
    first = services.save(TEXT, by=mara, now=NOW, note="A new wave.")
    assert fired() == {("of-a-file", True)}
    services.put_in_force(first, "shadow", by=mara, now=NOW)
    assert fired() == {("of-a-file", True), ("calls", False)}
    with pytest.raises(BadInput, match="no second person has approved this text"):
        services.put_in_force(first, "live", by=mara, now=NOW)
    services.ask_review(first, by=mara, now=NOW)
    with pytest.raises(BadInput, match="nobody approves a text of their own"):
        services.approve(first, by=mara, now=NOW)
    services.approve(first, by=lee, now=NOW)
    assert services.put_in_force(first, "live", by=lee, now=NOW) == "live"
    assert fired() == {("of-a-file", True), ("calls", True)}
    # A draft of it runs beside it.
    second = changed(first, TEXT.replace("< 10", "< 100"), lee)
    services.put_in_force(second, "shadow", by=lee, now=NOW)
    assert fired(5) == {("of-a-file", True), ("calls", True), ("calls", False)}
    assert fired(50) == {("of-a-file", True), ("calls", False)}
    assert services.put_in_force(reviewed(second, mara), "live", by=mara, now=NOW) == "live"
    assert fired(50) == {("of-a-file", True), ("calls", True)}
    # Back with one step, without another review.
    assert services.put_in_force(first, "live", by=lee, now=NOW, note="Too many.") == "back"
    assert fired(50) == {("of-a-file", True)}
    services.retire("calls", by=lee, now=NOW, note="It is over.")
    assert fired() == {("of-a-file", True)}
    with pytest.raises(BadInput, match="retired"):
        services.put_in_force(first, "live", by=lee, now=NOW)
    services.revive("calls", by=lee, now=NOW)
    assert services.put_in_force(first, "live", by=lee, now=NOW) == "back"
    services.stop("calls", "live", by=mara, now=NOW)
    assert fired() == {("of-a-file", True)}
    assert steps() == [
        "saved", "shadowed", "review_asked", "approved", "set_live", "saved", "shadowed", "review_asked", "approved",
        "set_live", "rolled_back", "retired", "revived", "rolled_back", "stopped",
    ]  # fmt: skip
    rolled = Entry.objects.filter(step="rule.rolled_back").earliest("pk")
    assert (rolled.actor, rolled.reason, rolled.body["version"]) == ("user:lee", "Too many.", 1)
    assert rolled.body["was"] == {"live": 2, "shadow": None}
    assert rolled.body["fingerprint"] == first.fingerprint


def test_no_text_goes_live_but_the_one_that_was_approved(mara: User, lee: User) -> None:
    first = services.save(TEXT, by=mara, now=NOW)
    reviewed(first, lee)
    second = changed(first, TEXT.replace("[open_case]", "[preserve]"), mara)
    with pytest.raises(BadInput, match="no second person"):
        services.put_in_force(second, "live", by=lee, now=NOW)
    services.put_in_force(first, "live", by=mara, now=NOW)
    RuleVersion.objects.filter(pk=first.pk).update(text=second.text)  # Whoever writes to the store behind our back.
    services._sound.clear()
    services._bump()
    assert fired() == {("of-a-file", True)}
    assert services.in_force().broken == {"calls": "its text is not the one that was reviewed"}


def test_what_a_reviewer_returns_and_what_is_withdrawn(mara: User, lee: User) -> None:
    first = services.save(TEXT, by=mara, now=NOW)
    services.ask_review(first, by=mara, now=NOW)
    with pytest.raises(BadInput, match="say what"):
        services.give_back(first, by=lee, now=NOW, note=" ")
    services.give_back(first, by=lee, now=NOW, note="Add an example of news.")
    with pytest.raises(Changed):
        services.approve(first, by=lee, now=NOW)
    services.ask_review(first, by=mara, now=NOW)
    second = changed(first, TEXT + "    silent_on:\n      - post: {text: fog}\n", lee)
    services.ask_review(second, by=mara, now=NOW)  # Only the newest question stands.
    first.refresh_from_db()
    assert first.state == "draft"
    services.withdraw(second, by=mara, now=NOW)
    second.refresh_from_db()
    assert second.state == "draft"


def test_two_people_who_write_at_once_are_told(mara: User, lee: User) -> None:
    first = services.save(TEXT, by=mara, now=NOW)
    changed(first, TEXT + "# lee\n", lee)
    with pytest.raises(Changed, match="lee saved version 2 while you were writing"):
        changed(first, TEXT + "# mara\n", mara)
    second = RuleVersion.objects.get(number=2)
    assert changed(second, TEXT + "# mara\n", mara).number == 3
    assert changed(first, TEXT + "# mara\r\n", mara).number == 3  # The same again is the same.
    seen = services.stands(ConsoleRule.objects.get())
    services.put_in_force(first, "shadow", by=lee, now=NOW, seen=seen)
    with pytest.raises(Changed, match="while you were looking"):
        services.put_in_force(first, "shadow", by=mara, now=NOW, seen=seen)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (TEXT.replace("calls", "of-a-file"), "in the files already"),
        (TEXT.replace("- id: calls", "- policy: x"), "has no id yet"),
        (TEXT + "#" * services.MAX_TEXT, "more than 65536 characters"),
        (TEXT + "# \x00", "U.0000"),
    ],
)
def test_what_cannot_be_kept(mara: User, text: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        services.save(text, by=mara, now=NOW)
    assert not ConsoleRule.objects.exists()


def test_what_has_errors_is_kept_and_judges_nothing(mara: User) -> None:
    broken = services.save(TEXT.replace("marching", "marchin"), by=mara, now=NOW)
    assert broken.fingerprint == ""
    for step in (services.ask_review, lambda *args, **more: services.put_in_force(*args, "shadow", **more)):
        with pytest.raises(BadInput, match="line 4: there is no `marchin`"):
            step(broken, by=mara, now=NOW)
    failing = changed(broken, TEXT.replace("{posts: 1}", "{posts: 11}"), mara)
    with pytest.raises(BadInput, match=r"an example of its own comes out wrong\. See line 7"):
        services.ask_review(failing, by=mara, now=NOW)
    with pytest.raises(BadInput, match="there is a rule calls in the console already"):
        services.save(TEXT, by=mara, now=NOW)


def test_a_rule_that_breaks_later_takes_no_other_down(mara: User, lee: User, folder: Path) -> None:
    for name, when in (("calls", "marching"), ("other", 'contains(post.text, "march")')):
        version = services.save(TEXT.replace("calls", name).replace("marching", when), by=mara, now=NOW)
        services.put_in_force(version, "shadow", by=mara, now=NOW)
    (folder / "files.yaml").write_text(
        FILES.replace("marching:", "marched:").replace("when: marching", "when: marched")
    )
    assert fired() == {("of-a-file", True), ("other", False)}
    assert "line 4: there is no `marching`" in services.in_force().broken["calls"]
    # A file takes the id: the file's rule counts, and it is said.
    (folder / "files.yaml").write_text(FILES.replace("of-a-file", "other"))
    assert fired() == {("other", True), ("calls", False)}
    assert "there is a rule `other` already, at files.yaml:5" in services.in_force().broken["other"]
    check = health.rules()
    assert (check.state, check.says[:16]) == ("warn", "Left out: other:")
    # Broken files leave the files' rules as they were, and the console goes on.
    (folder / "files.yaml").write_text("rules: [")
    services.stop("calls", "shadow", by=mara, now=NOW)
    assert fired() == {("other", True)}
    assert "the rules have 1 error" in services.in_force().trouble


def test_a_rule_that_cannot_be_compiled_is_left_out(mara: User, monkeypatch: pytest.MonkeyPatch) -> None:
    version = services.save(TEXT, by=mara, now=NOW)
    services.put_in_force(version, "shadow", by=mara, now=NOW)
    with monkeypatch.context() as patched:
        patched.setattr("redshank.rules.ruleset.RuleSet.compile", lambda _self: 1 / 0)
        assert fired() == {("of-a-file", True)}
    assert services.in_force().broken == {"calls": "ZeroDivisionError: division by zero"}


def test_it_is_checked_as_it_will_run(mara: User) -> None:
    mode = services.check_text(TEXT.replace("    when", "    mode: live\n    policy: recruitmen\n    when"), now=NOW)
    assert mode.is_good
    assert [(found.line, found.message, found.hint) for found in mode.diagnostics] == [
        (4, "`mode` says nothing here", "Take the line out: its page sets the mode."),
        (5, "in force, there is no policy `recruitmen`", "Did you mean `recruitment`?"),
    ]
    matched = TEXT.replace("marching and", 'matched("slogan") and')
    (bank,) = services.check_text(matched.split("    fires_on")[0], now=NOW, banks={"slogans": "term"}).diagnostics
    assert (bank.severity, bank.message, bank.hint) == (
        "warning",
        'there is no bank "slogan", or it is switched off',
        "Did you mean `slogans`?",
    )
    assert bank.excerpt[1].strip() == "^" * 8
    two = services.check_text(TEXT + TEXT.partition("\n")[2], now=NOW)
    assert [found.message for found in two.diagnostics] == ["expected one rule, not 2"]
    services.save(TEXT, by=mara, now=NOW)
    taken = services.check_text(TEXT, now=NOW)
    assert [found.message for found in taken.diagnostics] == ["there is a rule `calls` already, in the console"]
    renamed = services.check_text(TEXT.replace("calls", "shouts"), rule_id="calls", now=NOW)
    assert [found.message for found in renamed.diagnostics] == ["this is the rule `calls`: its id stays"]
    wrong = services.check_text(TEXT.replace("{posts: 1}", "{}"), rule_id="calls", now=NOW)
    assert [outcome.values for outcome in wrong.wrong] == [("account.posts is missing",)]


@pytest.mark.django_db(transaction=True)
def test_another_process_has_it_within_two_seconds(mara: User) -> None:
    import time
    from subprocess import PIPE, Popen
    from sys import executable

    from django.db import connection

    program = (
        "import os, sys, time; os.environ['DJANGO_SETTINGS_MODULE'] = 'redshank.web.settings'\n"
        "import django; django.setup()\n"
        "from django.db import connection\n"
        "connection.settings_dict['NAME'] = sys.argv[1]\n"
        "from redshank.rules import services\n"
        "services.rules_path = lambda: __import__('pathlib').Path(sys.argv[2])\n"
        "print(len(services.current_rules()), flush=True)\n"
        "while len(services.current_rules()) == 1: time.sleep(0.02)\n"
        "print(time.time(), flush=True)\n"
    )
    version = services.save(TEXT, by=mara, now=NOW)
    settings = [str(connection.settings_dict["NAME"]), str(services.rules_path())]
    with Popen([executable, "-c", program, *settings], stdout=PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline().strip() == "1"
        services.put_in_force(version, "shadow", by=mara, now=NOW + timedelta(days=1))
        done = time.time()
        seen = float(other.stdout.readline())
    assert seen - done < 30  # Two seconds on a machine that does nothing else.
