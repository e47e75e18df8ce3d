"""Counters against going through all that was ever counted; bounds; places in time."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from redshank.rules import counting
from redshank.rules.counting import HOUR, LATE, MOST, WINDOWS, Ledger, Series, counter_of, number_of, numbers_of

_steps = st.sampled_from((0, 1, HOUR - 1, HOUR, HOUR + 1, -1, -HOUR, 23 * HOUR, 24 * HOUR, 168 * HOUR - 1))
_events = st.lists(st.tuples(_steps, st.sampled_from("ab"), st.sampled_from("xyz")), min_size=1, max_size=30)


def ask(counter, network, per, hit, values):
    """As compiled rules ask."""
    return counting.ask(counter, numbers_of(network, per, 20), hit, numbers_of(network, values, 100))


@pytest.mark.parametrize("many", [2, 32])
@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_events, st.sampled_from(sorted(WINDOWS)), st.booleans())
def test_a_count_is_what_going_through_all_of_it_says(many, monkeypatch, events, over, distinct):
    """Whatever the order they come in, and though every series is stored and read again now and then."""
    monkeypatch.setattr(counting, "_MANY", many)
    counter = counter_of("count", over=over, distinct=distinct)
    ledger, past, at = Ledger(), [], 10**15
    for step, key, value in events:
        at = max(at + step, 10**15 - LATE // 2)
        past.append((at, key, value))
        (said,) = ledger.count([ask(counter, "net", key, True, value)], at).values()
        within = [other for when, where, other in past if where == key and at - counter.window < when <= at]
        assert said == (len(set(within)) if distinct else len(within))
        if step % 2:
            for number, series in ledger.series.items():
                ledger.series[number] = Series(series.packed(counter.window), distinct=distinct)


@settings(deadline=None, max_examples=20)
@given(st.booleans(), st.integers(1, 7))
def test_a_hot_key_stays_small_and_counts_on_to_its_most(distinct, apart):
    counter = counter_of("count", over="hour", distinct=distinct)
    ledger = Ledger()
    for number in range(3 * MOST):
        asks = [ask(counter, "net", "hot", True, str(number // apart))]
        said = ledger.count(asks, 10**15 + number)[counter.id]
        wanted = number // apart + 1 if distinct else number + 1
        assert said == min(wanted, MOST)
    (series,) = ledger.series.values()
    assert len(series.packed(counter.window)) <= (MOST + MOST // 4) * (16 if distinct else 8)
    # It is over when the hour is.
    assert ledger.count(asks, 10**15 + 3 * MOST + HOUR)[counter.id] == 1


def test_what_is_over_is_let_go():
    counter = counter_of("count", over="hour", distinct=False)
    ledger = Ledger()
    for number in range(100):
        ledger.count([ask(counter, "net", str(number), True, None)], number * HOUR)
    ledger.sweep(100 * HOUR)
    assert len(ledger.series) == 24
    (one, *_) = ledger.series.values()
    for number in range(100, 200):
        one.add(number * HOUR, counter.window)
    assert len(one.packed(counter.window)) == 8 * 25


def test_an_event_is_told_the_highest_of_its_keys_and_counts_once_under_each():
    counter = counter_of("count", over="day", distinct=False)
    ledger = Ledger()
    assert ledger.count([ask(counter, "net", ["a", "a"], True, None)], 0) == {counter.id: 1}
    assert ledger.count([ask(counter, "net", ["a", "b"], True, None)], 0) == {counter.id: 2}
    assert ledger.count([ask(counter, "net", ["b", "c"], False, None)], 0) == {counter.id: 1}
    assert ledger.count([ask(counter, "else", ["a"], False, None)], 0) == {counter.id: 0}
    assert ledger.count([ask(counter, "net", [], True, None)], 0) == {counter.id: 0}
    different = counter_of("distinct", over="day", distinct=True)
    for values in ((), None):
        ledger.count([ask(different, "net", "a", True, values)], 0)
    assert all(series.times for series in ledger.series.values())
    assert len(ask(counter, "net", [str(number) for number in range(1000)], True, None)[1]) == 20


def test_a_value_can_be_taken_out():
    counter = counter_of("distinct", over="day", distinct=True)
    ledger = Ledger()
    for value in "abc":
        ledger.count([ask(counter, "net", "key", True, value)], 0)
    (series,) = ledger.series.values()
    assert series.forget(number_of("net", "b"))
    assert not series.forget(number_of("net", "b"))
    assert ledger.count([(counter, tuple(ledger.series), False, ())], 0) == {counter.id: 2}
