"""A backtest says what rules would have done, whatever files the past lies in and however many look at it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from click.testing import CliRunner

from redshank.archive import past_writer, services
from redshank.archive.past import Past, PastEvent
from redshank.cli import main
from redshank.core import Account, Finding, Fired, Match, Post, PostCreated, Verdict, Whole, encode_event
from redshank.rules import Trial, Written, load_rules
from redshank.rules.backtest import SAMPLES, Ruled, backtest
from redshank.rules.precision import Precision
from tests.rules.making import facts

START = datetime(2026, 7, 1, 23, tzinfo=UTC)
RULES = """
rules:
  - id: march
    mode: live
    when: contains(post.text, "march")
    effects: [open_case]
  - id: young
    when: account.age < days(3) and len(post.text) > 3
    effects: [preserve]
    unsure: [open_case]
  - id: known
    when: matched("b")
    effects: [preserve]
  - id: watched
    when: '"watch" in account.labels'
    effects: [preserve]
  - id: asleep
    mode: "off"
    when: len(post.text) >= 0
    effects: [preserve]
"""


def event(number: int) -> PastEvent:
    """Of account a0, a1 or a2, an hour after the one before; every second marches, every third is known."""
    at = START + timedelta(hours=number)
    account = Account(id=f"a{number % 3}", created_at=None if number % 5 == 0 else START - timedelta(days=2))
    text = "to the march" if number % 2 else "morning"
    made = PostCreated(
        id=f"e{number}", network="marsh", at=at, account=account, post=Post(id=f"p{number // 4}", text=text)
    )
    match = Match(bank="b", entry=1, value="x", policy="p", severity=3, withheld="harmless" if number == 0 else "")
    finding = Finding(detector="d", kind="term", score=1.0, where=Whole("post.text"), match=match)
    fired = Fired(rule="march", version="old", policy="", description="", live=True)
    other = Fired(rule="gone", version="1", policy="", description="", live=True)
    shadow = Fired(rule="ghost", version="1", policy="", description="", live=False)
    verdict = Verdict(
        findings=(finding,) if number % 3 == 0 else (),
        fired=((fired,) if number % 2 else (shadow,)) + ((other,) if number % 6 == 3 else ()),
    )
    return PastEvent(
        network="marsh", id=made.id, type="post.created", at=at, received_at=at, account=account.id,
        body=encode_event(made).decode(), verdict=msgspec.json.encode(verdict).decode(),
    )  # fmt: skip


@pytest.fixture
def rules(tmp_path):
    (tmp_path / "rules.yaml").write_text(RULES)
    return Ruled(path=tmp_path / "rules.yaml")


def past_of(folder, events, size):
    past = Past(folder)
    with past.lock():
        for number in range(0, len(events), size):
            past.write(number, events[number : number + size])
    return past


def test_it_counts_as_one_by_one(tmp_path, rules):
    events = [event(number) for number in range(60)]
    tried = backtest(past_of(tmp_path / "past", events, 7), rules, processes=1)
    assert (tried.events, tried.unread) == (60, 0)
    assert (tried.first, tried.last) == (START, START + timedelta(hours=59))
    march, young, known, watched = tried.rules
    assert (march.rule, march.mode, march.events, march.accounts, march.cases) == ("march", "live", 30, 3, 15)
    assert (march.then, march.beside, march.alone) == (30, {"gone": 10}, 20)
    days = [(day.day, day.events) for day in march.days]
    assert days == [("2026-07-02", 12), ("2026-07-03", 12), ("2026-07-04", 6)]
    assert sum(day.cases for day in march.days) == 15  # Each post's events lie within one day.
    assert young.unsure == sum(number % 5 == 0 for number in range(60))
    assert young.events == sum(number % 5 != 0 and number < 24 for number in range(60))
    assert known.events == 19  # The first was withheld then.
    assert (known.then, known.beside) == (0, {"march": 10, "gone": 10})
    assert (watched.events, watched.lacks) == (0, ("our labels on accounts, taken as none",))
    for rule in (march, known):
        assert len({sample.event for sample in rule.samples}) == min(SAMPLES, rule.events)
    assert march.samples[0].subject == f"post/p{int(march.samples[0].event.removeprefix('marsh/e')) // 4}"
    assert march.subjects == 15
    assert march.samples[0].because == ("post.text = to the «march»",)
    # What the backtest says is what the rules say.
    compiled = load_rules(rules.path)
    decoded = [msgspec.json.decode(one.body, type=PostCreated) for one in events]
    said = [fired.rule for one in decoded for fired in compiled.evaluate(facts(one))[0] if fired.rule == "march"]
    assert march.events == len(said)


def test_the_same_in_other_files_and_by_two_processes(tmp_path, rules):
    events = [event(number) for number in range(60)]
    one = backtest(past_of(tmp_path / "one", events, 60), rules, processes=1)
    assert backtest(past_of(tmp_path / "many", events[::-1], 9), rules, processes=2) == one


COUNTING = """
rules:
  - id: often
    when: count(per=account.id, over="day") >= 3
    effects: [preserve]
  - id: many
    when: distinct(account.id, per=event.network, over="hour", where=contains(post.text, "march")) >= 2
    effects: [preserve]
"""


def test_counters_are_counted_anew_and_always_come_to_the_same(tmp_path):
    (tmp_path / "rules.yaml").write_text(COUNTING)
    rules = Ruled(path=tmp_path / "rules.yaml")
    events = [event(number) for number in range(60)]
    expected = {"often": set(), "many": set()}
    trial = Trial(load_rules(rules.path))
    for one in events:
        for fired in trial.judge(msgspec.json.decode(one.body, type=PostCreated))[0]:
            expected[fired.rule].add(one.id)
    assert len(expected["often"]) == 60 - 6
    one = backtest(past_of(tmp_path / "one", events, 60), rules, processes=1)
    assert {tried.rule: tried.events for tried in one.rules} == {name: len(found) for name, found in expected.items()}
    assert backtest(past_of(tmp_path / "many", events[::-1], 9), rules, processes=2) == one
    # A stretch of it begins with what was counted before.
    since = START + timedelta(hours=30)
    some = backtest(past_of(tmp_path / "some", events, 7), rules, since=since, processes=1)
    assert some.rules[0].events == 30


def test_what_came_at_once_is_counted_in_the_order_in_which_it_happened(tmp_path):
    (tmp_path / "rules.yaml").write_text(COUNTING)
    events = [event(number) for number in range(11)]
    at_once = [msgspec.structs.replace(one, received_at=START + timedelta(hours=11)) for one in events]
    trial = Trial(load_rules(tmp_path / "rules.yaml"))
    fired = {one.id for one in events if trial.judge(msgspec.json.decode(one.body, type=PostCreated))[0]}
    tried = backtest(past_of(tmp_path / "past", at_once[::-1], 11), Ruled(path=tmp_path / "rules.yaml"), processes=1)
    assert fired == {f"e{number}" for number in range(6, 11)}  # By their ids, e10 would come before e2.
    assert {sample.event.removeprefix("marsh/") for sample in tried.rules[0].samples} == fired


def test_whoever_waits_hears_of_each_day_while_counters_are_counted(tmp_path):
    (tmp_path / "rules.yaml").write_text(COUNTING)
    past = past_of(tmp_path / "past", [event(number) for number in range(240)], 24)
    heard = []
    backtest(past, Ruled(path=tmp_path / "rules.yaml"), processes=1, apart=True, told=lambda *done: heard.append(done))
    days = len({file.parent.name for file in past.files()})
    assert len(heard) > days > 10
    assert heard == sorted(heard)
    assert heard[-1] == (len(past.files()), len(past.files()))


def test_a_stretch_of_time(tmp_path, rules):
    past = past_of(tmp_path / "past", [event(number) for number in range(60)], 10)
    some = backtest(past, rules, since=START + timedelta(hours=7), until=START + timedelta(hours=21), processes=1)
    assert (some.events, some.first, some.last) == (14, START + timedelta(hours=7), START + timedelta(hours=20))
    assert backtest(past, rules, network="elsewhere").events == 0


def test_precision_is_reckoned_from_what_people_decided(tmp_path, rules):
    past = past_of(tmp_path / "past", [event(number) for number in range(60)], 7)
    decided = {f"marsh/post/p{number}": number < 8 for number in range(10)} | {
        "elsewhere/post/p11": True,
        "marsh/account/a1": True,
    }
    tried = backtest(
        past, msgspec.structs.replace(rules, only=frozenset(("march", "asleep"))), decided=decided, processes=2
    )
    march, asleep = tried.rules
    assert (march.precision.agreed, march.precision.cleared, march.precision.share) == (8, 2, 0.8)
    assert (asleep.mode, asleep.events, asleep.precision) == ("shadow", 60, march.precision)


@pytest.mark.parametrize(
    ("agreed", "cleared", "low", "high"),
    [(8, 2, 0.4902, 0.9433), (0, 0, 0, 1), (10, 0, 0.7225, 1), (0, 10, 0, 0.2775), (81, 182, 0.2553, 0.3662)],
)
def test_the_interval_is_wilsons(agreed, cleared, low, high):
    """The last is the worked example of Newcombe, Two-sided confidence intervals for the single proportion (1998)."""
    assert Precision(agreed, cleared).interval == pytest.approx((low, high), abs=5e-5)


def test_a_text_that_stands_in_no_file_and_what_hears_of_the_way(tmp_path, rules):
    past = past_of(tmp_path / "past", [event(number) for number in range(60)], 7)
    text = 'rules:\n  - id: mornings\n    when: contains(post.text, "morning")\n    effects: [preserve]\n'
    ruled = msgspec.structs.replace(rules, written=(Written(text=text, mode="shadow"),), only=frozenset(("mornings",)))
    heard = []
    (mornings,) = backtest(past, ruled, processes=1, apart=True, told=lambda *done: heard.append(done)).rules
    assert (mornings.rule, mornings.events, mornings.alone) == ("mornings", 30, 30)
    assert heard[0] == (0, 11)
    assert heard[-1] == (11, 11)

    def stop(done, _whole):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        backtest(past, ruled, processes=1, apart=True, told=stop)


def test_an_event_of_another_schema_is_counted_and_stops_nothing(tmp_path, rules):
    odd = msgspec.structs.replace(event(1), id="odd", body='{"type": "post.created", "schema": 99}')
    tried = backtest(past_of(tmp_path / "past", [odd, event(3)], 2), rules, processes=1)
    assert (tried.events, tried.unread, tried.rules[0].events) == (1, 1, 1)


@pytest.mark.django_db
def test_the_command_shows_it(tmp_path, rules, settings):
    settings.DATA_DIR = tmp_path
    made = CliRunner().invoke(main, ["rules", "backtest", str(rules.path)])
    assert made.exit_code == 1
    assert "the past has no events then" in made.output
    events = [msgspec.json.decode(event(number).body, type=PostCreated) for number in range(10)]
    services.claim([services.NewEvent(event=one) for one in events], now=START)
    past_writer.write_due(now=START, all_of_it=True)
    made = CliRunner().invoke(main, ["rules", "backtest", str(rules.path), "--out", str(tmp_path / "out.json"), "--samples", "1"])  # fmt: skip
    assert made.exit_code == 0, made.output
    assert "10 events of 2026-07-01 to 2026-07-02." in made.output
    assert "march (live)\n  5 events, 2.5 a day; 3 accounts; 3 cases, 1.5 a day" in made.output
    assert "could not be evaluated on 2 events" in made.output
    assert "people have decided on none of what it found" in made.output
    assert len(json.loads((tmp_path / "out.json").read_bytes())["rules"]) == 4
    counted = CliRunner().invoke(main, ["archive", "search", "--by", "account"])
    assert counted.output.splitlines()[0].split() == ["4", "marsh/a0"]
