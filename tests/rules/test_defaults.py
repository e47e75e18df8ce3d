"""The rules that come with Redshank: free of warnings, true to their examples, and never harsh on a hint."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from redshank.core import Account, Media, OpenCase, Post, PostCreated, Preserve, RequestAction
from redshank.rules import DEFAULT_RULES, collect, load, load_rules, run_examples
from redshank.rules.schema import FINDING_KINDS
from tests.rules.making import facts, finding

EVENT = PostCreated(
    id="e",
    network="n",
    at=datetime(2026, 7, 1, tzinfo=UTC),
    account=Account(id="a", created_at=datetime(2020, 1, 1, tzinfo=UTC), avatar=Media(id="m2")),
    post=Post(id="p", text="good morning", media=(Media(id="m1"),)),
)


def test_they_have_no_warnings_and_examples_of_both_kinds_that_come_out_right():
    loaded = load(DEFAULT_RULES, {}, now=datetime(2026, 7, 1, tzinfo=UTC))
    assert [found.render() for found in loaded.diagnostics] == []
    assert all(found.fires_on and found.silent_on for found in loaded.examples)
    assert all(found.rule.description and found.rule.owner for found in loaded.examples)
    right, wrong = run_examples(loaded.examples)
    assert not wrong
    assert right > 2 * len(loaded.examples)


@pytest.mark.parametrize("kind", FINDING_KINDS)
@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("field", ["media:m1", "media:m2", "post.text", "account.bio"])
def test_every_match_comes_before_a_person_and_only_the_identical_file_is_taken_down(kind, severity, field):
    fired, errors = load_rules(DEFAULT_RULES).evaluate(facts(EVENT, [finding(kind, severity, field)]))
    effects = collect(fired)
    assert not errors
    assert any(isinstance(effect, OpenCase) for effect in effects)
    actions = [effect for effect in effects if isinstance(effect, RequestAction)]
    identical = kind == "sha256" and severity == 5 and field.startswith(("media:m1", "post"))
    assert actions == ([RequestAction(verb="remove", target="post")] if identical else [])
    assert not actions or Preserve() in effects
    assert {found.policy for found in fired} == {"terrorist-content"}


def test_what_another_organization_gave_comes_before_a_person_first():
    fired, errors = load_rules(DEFAULT_RULES).evaluate(
        facts(EVENT, [finding("sha256", 5, "media:m1", confirmed=False)])
    )
    effects = collect(fired)
    assert not errors
    assert any(isinstance(effect, OpenCase) for effect in effects)
    assert not any(isinstance(effect, RequestAction) for effect in effects)


def test_a_term_alone_never_gets_beyond_a_low_priority():
    fired, _ = load_rules(DEFAULT_RULES).evaluate(facts(EVENT, [finding("term", 5, "post.text")]))
    assert [effect.priority for effect in collect(fired)] == [20]


def test_nothing_seen_asks_for_nothing():
    assert load_rules(DEFAULT_RULES).evaluate(facts(EVENT)) == ((), ())
