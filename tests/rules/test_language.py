"""The compiled rules against the language a second time, plain and slow, on generated rules and events."""

from __future__ import annotations

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from redshank.rules.checker import Scope, asks_for_passing, check_expression
from redshank.rules.counting import Ledger, Series, moment
from redshank.rules.explain import Explainer
from redshank.rules.outcome import Outlook
from redshank.rules.schema import BY_CLASS, EVENT_TYPES, PASSING, ROOTS
from tests.rules.making import (
    LISTS,
    all_facts,
    conditions,
    counting_conditions,
    facts,
    post,
    rules_of,
    streams,
)
from tests.rules.reference import evaluate

slow = settings(deadline=None, max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture])


def tree_of(text):
    """The checked tree of an expression, None where it has errors."""
    wrong = []
    scope = Scope(lambda _: None, {}, LISTS, {})
    tree = check_expression(text, scope, lambda *found: wrong.append(found), lambda *_: None)
    assert bool(wrong) == (tree is None)
    return tree


@slow
@given(st.lists(conditions, min_size=1, max_size=4), st.lists(all_facts, min_size=1, max_size=6))
@example(["account.age < days(7) or contains(post.text, 'a')"], [facts(post("a"))])
def test_compiled_rules_answer_as_the_plain_language_does(tmp_path, whens, given_facts):
    whens = [when for when in whens if tree_of(when) is not None]
    if not whens:
        return
    rules = rules_of(tmp_path, *whens)
    for known in given_facts:
        tag = BY_CLASS[type(known.event)].tag
        fired, errors = rules.evaluate(known)
        for number, when in enumerate(whens):
            asked = tag not in PASSING or asks_for_passing(rules.rules[number].tree)
            expected = evaluate(when, known, LISTS) if asked else False
            explained = [found for found in fired if found.rule == f"r{number}"]
            unsure = [line for line in errors if line.startswith(f"r{number}: ")]
            assert bool(explained) == (expected is True), (when, known.event)
            assert not unsure or expected is None, (when, unsure)
            assert not any("failed with" in line for line in unsure), unsure
            could_fire = tag in rules.rules[number].tags
            if expected is None and could_fire and tag == "post.created" and not _speaks_of_others(when):
                assert unsure, when
            assert all("no explanation" not in line for found in explained for line in found.because)


def _speaks_of_others(when):
    """Whether it speaks of what a post.created event never has."""
    names = set(ROOTS) - set(EVENT_TYPES["post.created"].parts) - {"event", "findings", "media", "now", "ties"}
    return any(name in when for name in (*names, "event.reason", "event.state"))


@slow
@given(conditions, all_facts)
def test_every_condition_is_worth_what_its_parts_are(when, known):
    """Each tree alone, three-valued, not only whether it fires."""
    tree = tree_of(when)
    if tree is not None:
        assert Explainer(tree).value(tree, known, {}) is evaluate(when, known, LISTS)


@settings(slow, max_examples=150)
@given(st.lists(counting_conditions, min_size=1, max_size=3), streams)
def test_counters_say_what_going_through_all_that_came_before_says(tmp_path, whens, stream):
    rules = rules_of(tmp_path, *[when for when in whens if tree_of(when) is not None] or ["True"])
    whens = [rule.when for rule in rules.rules]
    ledger = Ledger()
    for place, known in enumerate(stream):
        asks = rules.asks(known)
        for number in {
            number for _, numbers, _, _ in asks for number in numbers
        } & ledger.series.keys():  # As if stored and read again.
            series, counter = ledger.series[number], ledger.changed[number]
            ledger.series[number] = Series(series.packed(counter.window), distinct=counter.distinct)
        known.counts = ledger.count(asks, moment(known.event.at))
        again = ledger.count(asks, moment(known.event.at), again=True)
        assert again == known.counts
        fired, errors = rules.evaluate(known)
        assert not any("failed with" in line for line in errors), errors
        tag = BY_CLASS[type(known.event)].tag
        for number, when in enumerate(whens):
            tree = rules.rules[number].tree
            asked = tag not in PASSING or asks_for_passing(tree)
            expected = evaluate(when, known, LISTS, stream[:place]) if asked else False
            assert (f"r{number}" in {one.rule for one in fired}) == (expected is True), (when, known.event)
            if tag in rules.rules[number].tags:
                assert Explainer(tree).value(tree, known, {}) is expected, (when, known.event)


@slow
@given(counting_conditions | conditions)
def test_the_canonical_spelling_means_itself(when):
    tree = tree_of(when)
    if tree is not None:
        again = tree_of(tree.key)
        assert again is not None
        assert again.key == tree.key


@slow
@given(conditions | counting_conditions)
def test_most_generated_conditions_are_good(when):
    """Keeps the tests above from passing for want of anything to test: what is refused is refused for its types."""
    wrong = []
    scope = Scope(lambda _: None, {}, LISTS, {})
    check_expression(when, scope, lambda *found: wrong.append(found[0]), lambda *_: None)
    assert all("no answer" in message or "nested" in message for message in wrong), (when, wrong)


LEFT = ("account.followers", "account.age", "post.language", "severity()", "len(post.mentions)", "known(account.age)")
RIGHT = {"account.age": ("days(0)", "days(2)", "days(-1)"), "post.language": ('"en"', '"de"')}
clauses = st.sampled_from(LEFT).flatmap(
    lambda left: (
        st.sampled_from((left, f"not {left}"))
        if left.startswith("known")
        else st.tuples(
            st.just(left),
            st.sampled_from(("==", "!=") if left == "post.language" else ("==", "!=", "<", "<=", ">", ">=")),
            st.sampled_from(RIGHT.get(left, ("0", "2", "5", "6", "1000"))),
        ).map(" ".join)
    )
)


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(clauses, min_size=1, max_size=3), st.sampled_from((" and ", " or ")), st.booleans(), all_facts)
def test_what_a_rule_never_or_always_comes_to_is_so(parts, join, negated, known):
    text = join.join(parts)
    tree = tree_of(f"not ({text})" if negated else text)
    tag = BY_CLASS[type(known.event)].tag
    assert Explainer(tree).value(tree, known, {}) in Outlook(tag).of(tree), text
