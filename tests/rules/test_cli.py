"""`redshank rules`, as a person uses it."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner

from redshank.banks import services as banks
from redshank.cli import main
from redshank.rules.library import FUNCTIONS
from tests.rules.making import facts, post, rules_of
from tests.rules.test_language import tree_of

pytestmark = pytest.mark.django_db
GOOD = """
rules:
  - id: march
    policy: recruitment
    when: contains(post.text, "join the march")
    effects: [open_case]
    fires_on:
      - post: {text: Join the March}
    silent_on:
      - post: {text: the march of time}
"""


def run(*arguments):
    done = CliRunner().invoke(main, ["rules", *map(str, arguments)])
    return done.exit_code, done.output


@pytest.fixture
def path(tmp_path):
    (tmp_path / "rules.yaml").write_text(GOOD)
    return tmp_path / "rules.yaml"


def test_check_counts_and_says_what_is_wrong(path):
    assert run("check", path) == (0, "1 rule (0 live, 1 shadow, 0 off), 0 warnings.\n")
    path.write_text(GOOD.replace("post.text", "post.txt").replace("contains", "contians"))
    code, said = run("check", path)
    assert code == 1
    assert "rules.yaml:5:11: error: unknown function `contians`" in said
    assert "Did you mean `contains`?" in said


def test_check_warns_of_banks_and_policies_that_the_store_does_not_have(path):
    now = datetime(2026, 7, 1, tzinfo=UTC)
    for name, kind in (("hosts", "domain"), ("pictures", "pdq"), ("gone", "domain")):
        made = banks.make_bank(name, kind=kind, policy="recruitment", severity=3, by="system", now=now)
    banks.change_bank(made, {"active": False}, by="system", now=now)
    asked = ('bank("hosts")', 'bank("host")', 'bank("pictures")', 'bank("gone")')
    whens = " or ".join([*(f"account.handle in {bank}" for bank in asked), 'matched("hosts", "picture", severity=2)'])
    path.write_text(
        GOOD.replace('contains(post.text, "join the march")', whens)
        .replace("recruitment", "recruiting")
        .split("    fires_on")[0]
    )
    code, said = run("check", path)
    assert (code, said.count(" warning: "), "0 errors" in said or "5 warnings" in said) == (0, 5, True)
    for message in (
        'there is no bank "host", or it is switched off', "Did you mean `hosts`?", 'there is no bank "gone", or it is switched off',
        'no text can be looked up in the bank "pictures", which is of kind pdq', 'Ask matched("pictures").',
        'there is no bank "picture"', "Did you mean `pictures`?", "in force, there is no policy `recruiting`",
    ):  # fmt: skip
        assert message in said


def test_check_and_test_take_the_rules_in_force():
    assert run("check")[0] == 0
    assert run("test")[0] == 0


def test_test_shows_the_example_that_came_out_otherwise_and_why(path):
    assert run("test", path) == (0, "2 examples came out right.\n")
    path.write_text(GOOD.replace("the march of time", "now join the march of time"))
    code, said = run("test", path)
    assert code == 1
    assert "rules.yaml:10: `march` fires on an example of `silent_on`" in said
    assert "post.text = now «join the march» of time" in said


def test_test_says_what_was_missing(path):
    path.write_text(GOOD.replace("contains(post.text", "account.age < days(2) and contains(post.text"))
    code, said = run("test", path)
    assert code == 1
    assert "account.age is missing" in said


def test_run_sets_bad_lines_aside_with_their_reason(path, tmp_path):
    events = tmp_path / "events.jsonl"
    good = {"id": "1", "type": "post.created", "at": "2026-07-01T12:00:00Z", "account": {"id": "a"}}
    good["post"] = {"id": "p", "text": "join the march"}
    odd = {**good, "account": {"id": "a", "ip": "10.0.0.1"}}
    lines = [json.dumps(good), "{", json.dumps(odd), "", '["x"]', json.dumps({**good, "at": "2026-07-01T12:00:00"})]
    events.write_text("\n".join(lines) + "\n")
    code, said = run("run", path, "--events", events, "--out", tmp_path / "out.jsonl")
    assert code == 3
    assert "1 event judged" in said
    assert "4 unread" in said
    written = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert written[0] == {"id": "1", "rules": ["march"], "effects": ["review"]}
    assert [answer["line"] for answer in written[1:]] == [2, 3, 5, 6]
    assert written[2]["error"] == "account: Object contains unknown field `ip`"


def test_lists_that_are_no_lists_are_named(path, tmp_path):
    (tmp_path / "lists.json").write_text('{"a": "b"}')
    code, said = run("check", path, "--lists", tmp_path / "lists.json")
    assert code == 1
    assert "lists.json: a: expected a list of texts" in said


def test_the_library_names_every_function_and_its_examples_hold(tmp_path):
    code, said = run("library")
    assert code == 0
    for function in FUNCTIONS.values():
        assert function.signature in said
        assert function.example in said
        assert tree_of(function.example) is not None, function.name
        rules_of(tmp_path, function.example).evaluate(facts(post("x")))
