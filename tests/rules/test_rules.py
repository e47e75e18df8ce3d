"""What holds for rules at work: missing values, explanations, effects, versions, bad input."""

from __future__ import annotations

import json
import random
import time
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from redshank.core import (
    Account,
    AccountCreated,
    AddLabel,
    FollowCreated,
    Media,
    MediaUploaded,
    OpenCase,
    Post,
    PostCreated,
    PostDeleted,
    Preserve,
    Report,
    Reporter,
    ReportReceived,
    RequestAction,
)
from redshank.rules import Facts, RuleErrors, check, collect, load_rules
from redshank.rules.schema import EVENT_TYPES
from tests.rules.making import NOW, facts, finding, post, rules_of


def because(rules, known):
    ((fired,), errors) = rules.evaluate(known)
    assert not errors
    return list(fired.because)


def names(outcome):
    fired, _ = outcome
    return [found.rule for found in fired]


# --- missing values -----------------------------------------------------------------------------------------------


def test_missing_is_missing_not_false(tmp_path):
    rules = rules_of(
        tmp_path,
        "account.age < days(7)",
        "not (account.age < days(7))",
        'account.age < days(7) or contains(post.text, "a")',
        'account.age < days(7) and contains(post.text, "b")',
        "known(account.age) and account.age < days(7)",
    )
    fired, errors = rules.evaluate(facts(post("a")))
    assert [found.rule for found in fired] == ["r2"]
    assert errors == ("r0: account.age is missing", "r1: account.age is missing")


def test_unsure_effects_come_when_the_condition_cannot_be_evaluated_and_say_so(tmp_path):
    rules = rules_of(tmp_path, "account.age < days(7)", extra="    unsure: [open_case]")
    ((fired,), errors) = rules.evaluate(facts(post()))
    assert fired.effects == (OpenCase(),)
    assert fired.because == ("could not be evaluated: account.age is missing",)
    assert errors == ("r0: account.age is missing",)
    assert rules.evaluate(facts(post(created_at=NOW - timedelta(days=8)))) == ((), ())
    ((sure,), _) = rules.evaluate(facts(post(created_at=NOW)))
    assert sure.effects == (Preserve(),)


def test_what_an_event_of_its_type_never_has_is_nobodys_fault(tmp_path):
    rules = rules_of(tmp_path, 'contains(post.text, "a") or contains(account.bio, "b")')
    event = AccountCreated(id="e", network="n", at=NOW, account=Account(id="a", bio="x"))
    assert rules.evaluate(facts(event)) == ((), ())
    silent = AccountCreated(id="e", network="n", at=NOW, account=Account(id="a"))
    assert rules.evaluate(facts(silent)) == ((), ("r0: account.bio is missing",))


@pytest.mark.parametrize(
    ("hours", "age"),
    [(-30, None), (-24, timedelta(0)), (-1, timedelta(0)), (0, timedelta(0)), (5, timedelta(hours=5))],
)
def test_clocks_that_differ_a_little_make_a_new_account_and_more_an_unknown_one(tmp_path, hours, age):
    rules = rules_of(tmp_path, "account.age <= hours(5)")
    fired, errors = rules.evaluate(facts(post(created_at=NOW - timedelta(hours=hours))))
    assert bool(fired) == (age is not None)
    assert bool(errors) == (age is None)


def test_a_list_that_does_not_exist_leaves_the_rule_unsure(tmp_path):
    rules = rules_of(tmp_path, 'account.handle in list("nowhere")')
    assert [found.message.partition(":")[0] for found in rules.warnings] == ['there is no list "nowhere"']
    assert rules.evaluate(facts(post(handle="a"))) == ((), ('r0: list("nowhere") is missing',))


# --- explanations ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("when", "said"),
    [
        (
            'contains(post.text, "join the march") and account.age < days(7)',
            ["post.text = …re is a long way to say it, so come and «JOIN  the March» on friday", "account.age = 2 days 3 h"],
        ),
        ('matches(account.handle, "f[0-9]+$")', ["account.handle = wol«f77»"]),
        ('account.followers < 10 or account.followers > 5', ["account.followers = 3"]),
        ('account.handle in list("handles")', ['account.handle = "wolf77"', 'account.handle is in list("handles")']),
        ('not (account.handle in ["a"])', ['account.handle = "wolf77"']),
        ('"trusted" in account.labels', ['account.labels = ["trusted"]']),
        ("known(account.followers)", ["account.followers = 3"]),
        ("len(post.mentions) < account.followers * 2", ["len(post.mentions) = 0", "account.followers = 3"]),
        (
            'matched("known", severity=4)',
            ['matched("known", severity=4) = pdq match with entry 1 of known at distance 12 (severity 5), in media:m1'],
        ),
        (
            'any(f.kind == "pdq" and f.distance < 20 for f in findings)',
            ["findings has pdq match with entry 1 of known at distance 12 (severity 5), in media:m1",
             'x.kind = "pdq"', "x.distance = 12"],
        ),
        ("all(m.id == \"m9\" for m in media)", ["media = []"]),
        ('script(post.text, "Latin")', ["post.text = «T»here is a long way to say it, so come an…"]),
    ],
)  # fmt: skip
def test_a_rule_that_fires_says_by_what(tmp_path, when, said):
    text = "There is a long way to say it, so come and JOIN  the March on friday"
    event = post(text, handle="wolf77", followers=3, created_at=NOW - timedelta(days=2, hours=3, minutes=7))
    rules = rules_of(tmp_path, when, lists={"handles": ["wolf77"]})
    lines = because(rules, facts(event, [finding("pdq", field="media:m1", distance=12)], ["trusted"]))
    assert lines == said


def test_an_explanation_stays_on_its_lines_whatever_a_stranger_writes(tmp_path):
    rules = rules_of(tmp_path, 'contains(post.text, "wolf") and known(account.handle)')
    lines = because(rules, facts(post("a\n\u202ewolf\x00" + "x" * 50_000, handle="h\r\nrules = none" * 70)))
    assert len(lines) == 2
    assert all(len(line) < 400 and line.isprintable() for line in lines)


def test_a_fired_rule_keeps_its_version_mode_and_policy(tmp_path):
    (rule,) = (rules := rules_of(tmp_path, "matched()", extra="    policy: recruitment")).rules
    ((fired,), _) = rules.evaluate(facts(post(), [finding()]))
    assert (fired.version, fired.live, fired.policy) == (rule.version, True, "recruitment")


def test_the_version_follows_what_a_rule_means_not_how_it_is_written(tmp_path):
    def version(when, head="", extra=""):
        return rules_of(tmp_path, when, head=head, extra=extra).rules[0].version

    young = version("account.age < days(7)")
    assert version("account.age   <   days( 7 )", extra="    description: other words") == young
    assert version("young", head="names: {young: account.age < days(7)}") == young
    assert version("account.age < days(8)") != young
    assert version("young", head="names: {young: account.age < days(8)}") != young
    assert version("account.age < days(7)", extra="    expires: 2030-01-01") != young


def test_the_policy_of_the_worst_match_that_the_rule_asked_for(tmp_path):
    rules = rules_of(tmp_path, 'matched(kind="url")', extra="    policy: fallback\n    policy_from: match")
    seen = [
        finding("url", 2, policy="mild"),
        finding("url", 4, policy="severe"),
        finding("sha256", 5, policy="of-something-else"),
    ]
    ((fired,), _) = rules.evaluate(facts(post(), seen))
    assert fired.policy == "severe"


# --- which events ---------------------------------------------------------------------------------------------------


def test_rules_look_at_deletions_only_when_they_ask_for_the_type(tmp_path):
    rules = rules_of(tmp_path, 'contains(post.text, "a")', 'event.type == "post.deleted" and contains(post.text, "a")')
    deleted = PostDeleted(id="e", network="n", at=NOW, account=Account(id="a"), post=Post(id="p", text="a"))
    assert names(rules.evaluate(facts(post("a")))) == ["r0"]
    assert names(rules.evaluate(facts(deleted))) == ["r1"]


def test_every_type_of_event_can_be_judged(tmp_path):
    rules = rules_of(tmp_path, *(f'event.type == "{tag}"' for tag in EVENT_TYPES))
    assert len(rules.warnings) == len(EVENT_TYPES)  # Each of them fires on every event of its type.
    account, item = Account(id="a"), Post(id="p")
    report = Report(id="r", subject_kind="post", subject_id="p", reason="x", reporter=Reporter(kind="user"))
    parts = {"account": account, "followed": account, "post": item, "media": Media(id="m"), "report": report}
    for number, found in enumerate(EVENT_TYPES.values()):
        given = {name: parts[name] for name in found.parts}
        given |= {"action": "act_1", "state": "failed"} if found.tag == "action.updated" else {}
        event = found.cls(id="e", network="n", at=NOW, **given)
        assert names(rules.evaluate(facts(event))) == [f"r{number}"]


def test_expired_and_switched_off_rules_are_silent(tmp_path):
    rules = rules_of(tmp_path, "matched()", extra="    expires: 2026-07-02")
    fired, errors = rules.evaluate(facts(post(), [finding()]))
    assert len(fired) == 1
    later = Facts(post(), (finding(),), datetime(2026, 7, 2, tzinfo=UTC))
    assert rules.evaluate(later) == ((), ())
    path = tmp_path / "off.yaml"
    path.write_text("rules:\n  - {id: a, mode: off, when: matched(), effects: [preserve]}\n")
    assert load_rules(path).evaluate(facts(post(), [finding()])) == ((), errors)


# --- findings, media, lists -------------------------------------------------------------------------------------------


def test_a_finding_is_on_the_part_that_carries_it(tmp_path):
    rules = rules_of(tmp_path, *(f'matched(on="{part}")' for part in ("account", "followed", "post", "media")))
    avatar = Account(id="a", avatar=Media(id="m1"))
    at = {"id": "e", "network": "n", "at": NOW}
    own = PostCreated(**at, account=avatar, post=Post(id="p", media=(Media(id="m2"),)))
    assert names(rules.evaluate(facts(own, [finding(field="media:m1")]))) == ["r0"]
    assert names(rules.evaluate(facts(own, [finding(field="media:m2")]))) == ["r2"]
    assert names(rules.evaluate(facts(own, [finding(field="media:m3")]))) == []
    assert names(rules.evaluate(facts(own, [finding(field="account.links")]))) == ["r0"]
    uploaded = MediaUploaded(**at, account=avatar, media=Media(id="m3"))
    assert names(rules.evaluate(facts(uploaded, [finding(field="media:m3")]))) == ["r3"]
    follow = FollowCreated(**at, account=Account(id="b"), followed=avatar)
    assert names(rules.evaluate(facts(follow, [finding(field="media:m1")]))) == ["r1"]


def test_media_have_the_hashes_reckoned_here_before_those_that_were_sent(tmp_path):
    class Hashes(msgspec.Struct):
        sha256: str
        pdq: bytes

    rules = rules_of(tmp_path, f'any(m.sha256 == "{"c" * 64}" and m.pdq == "{"0f" * 32}" for m in media)')
    event = PostCreated(
        id="e", network="n", at=NOW, account=Account(id="a"), post=Post(id="p", media=(Media(id="m", sha256="A" * 64),))
    )
    assert names(rules.evaluate(facts(event, media={"m": Hashes("C" * 64, b"\x0f" * 32)}))) == ["r0"]
    assert names(rules.evaluate(facts(event))) == []


def test_declared_fields_come_from_extra_and_count_only_in_their_type(tmp_path):
    head = "fields:\n  post.topic: text\n  account.trust: {type: number, from: account.karma}"
    rules = rules_of(tmp_path, 'post.topic == "march"', "account.trust < 3", head=head)

    def judged(**extra):
        event = PostCreated(id="e", network="n", at=NOW, account=Account(id="a"), post=Post(id="p"), extra=extra)
        fired, errors = rules.evaluate(facts(event))
        return [found.rule for found in fired], list(errors)

    assert judged(**{"post.topic": "march", "account.trust": 2}) == (["r0", "r1"], [])
    assert judged(**{"post.topic": 5, "account.trust": True}) == (
        [],
        ["r0: post.topic is missing", "r1: account.trust is missing"],
    )


def test_a_long_list_is_taken_as_it_is(tmp_path):
    many = frozenset(str(number) for number in range(200_000))
    rules = rules_of(tmp_path, 'account.handle in list("many")', lists={"many": many})
    assert rules.rules[0].tree.right.value is many
    assert names(rules.evaluate(facts(post(handle="7")))) == ["r0"]


# --- effects ------------------------------------------------------------------------------------------------------


def test_effects_are_joined_each_once_from_evidence_to_the_harshest(tmp_path):
    path = tmp_path / "rules.yaml"
    path.write_text(
        """
rules:
  - id: a
    mode: live
    policy: recruitment
    when: matched()
    effects:
      - action: {suspend: account, hours: 24}
      - open_case: {queue: media, priority: 80, deadline: 1 h}
      - preserve
  - id: b
    mode: live
    policy: recruitment
    when: matched()
    effects: [action: {remove: post}, label: returned, preserve]
  - id: c
    policy: recruitment
    when: matched()
    effects: [action: {restrict: account}]
""",
        encoding="utf-8",
    )
    fired, _ = load_rules(path).evaluate(facts(post(), [finding()]))
    assert collect(fired) == (
        Preserve(),
        AddLabel(label="returned"),
        OpenCase(queue="media", priority=80, deadline_minutes=60),
        RequestAction(verb="remove", target="post"),
        RequestAction(verb="suspend", target="account", duration_hours=24),
    )
    assert RequestAction(verb="restrict", target="account") in collect(fired, live=False)


def test_an_effect_is_asked_for_only_where_the_event_has_what_it_is_about(tmp_path):
    path = tmp_path / "rules.yaml"
    path.write_text(
        "rules:\n  - id: a\n    policy: p\n    when: matched() or known(report)\n"
        "    effects: [action: {remove: post}, action: {remove: media}, action: {suspend: account}, label: x]\n"
    )
    rules = load_rules(path)

    def asked(event):
        ((fired,), _) = rules.evaluate(facts(event, [finding()]))
        return [getattr(effect, "target", "label") for effect in fired.effects]

    at = {"id": "e", "network": "n", "at": NOW}
    assert asked(post()) == ["label", "post", "account"]
    assert asked(MediaUploaded(**at, account=Account(id="a"), media=Media(id="m"))) == ["label", "media", "account"]
    report = Report(id="r", subject_kind="media", subject_id="m", reason="x", reporter=Reporter(kind="user"))
    assert asked(ReportReceived(**at, report=report)) == ["media"]
    assert asked(ReportReceived(**at, report=report, account=Account(id="a"))) == ["label", "media", "account"]


# --- bad input ----------------------------------------------------------------------------------------------------


def test_one_failing_rule_stops_no_other(tmp_path):
    class Broken:
        @property
        def sha256(self):
            raise RuntimeError("the disk is gone")

    shared = f'any(m.sha256 == "{"a" * 64}" for m in media)'
    rules = rules_of(
        tmp_path, 'contains(post.text, "a")', shared, f"{shared} and matched()", 'contains(post.text, "a")'
    )
    event = PostCreated(
        id="e", network="n", at=NOW, account=Account(id="a"), post=Post(id="p", text="a", media=(Media(id="m"),))
    )
    fired, errors = rules.evaluate(facts(event, [finding()], media={"m": Broken()}))
    assert [found.rule for found in fired] == ["r0", "r3"]
    assert errors == tuple(f"r{number}: failed with RuntimeError: the disk is gone" for number in (1, 2))


@pytest.mark.parametrize(
    "when",
    [
        "(" * 10_000 + "1" + ")" * 10_000,
        "-" * 10_000 + "1 > 0",
        "not " * 4_999 + "True",
        "account" + ".x" * 9_000,
        "1" + "+1" * 9_000 + " > 0",
        " and ".join(["(account.followers > 1"] * 800) + ")" * 800,
        "contains(post.text, " * 900 + '"a"' + ")" * 900,
        "any(" * 900 + "True" + " for x in media)" * 900,
        "[" * 5_000 + "]" * 5_000,
    ],
    ids=lambda when: when[:12],
)
def test_an_expression_ten_thousand_deep_is_an_error_with_its_place(tmp_path, when):
    with pytest.raises(RuleErrors, match=r"deep|characters|takes fewer|bracket|expected|syntax") as caught:
        rules_of(tmp_path, when)
    (found, *_) = caught.value.diagnostics
    assert found.line == 4


@pytest.mark.parametrize(("levels", "deep"), [(12, False), (30, True), (300, True)])
def test_forty_levels_are_the_most_whether_written_out_or_by_names(tmp_path, levels, deep):
    names = [f"  n{i}: not (n{i - 1} and account.posts > {i})" for i in range(1, levels)]
    by_names = (f"n{levels - 1}", "\n".join(["names:", "  n0: matched()", *names]))
    written_out = (" + ".join(["account.posts"] * 3 * levels) + " > 0", "")
    for when, head in (by_names, written_out):
        if deep:
            with pytest.raises(RuleErrors, match="nested more than 40 levels deep"):
                rules_of(tmp_path, when, head=head)
        else:
            rules_of(tmp_path, when, head=head).evaluate(facts(post(posts=1)))


def test_names_that_unfold_without_bound_are_refused(tmp_path):
    lines = ["names:", '  n0: contains(post.text, "a") or matched()']
    lines += [f"  n{i}: (n{i - 1} and account.posts > {i}) or (n{i - 1} and account.posts < {i})" for i in range(1, 38)]
    began = time.monotonic()
    with pytest.raises(RuleErrors, match="more than 4,000 parts"):
        rules_of(tmp_path, "n37", head="\n".join(lines))
    assert time.monotonic() - began < 30  # Not a measure of speed: unfolded, it would take longer than the sun has.


def test_the_deepest_allowed_rule_compiles(tmp_path):
    when = "known(account.age)"
    for number in range(18):
        when = f"(not ({when} and account.age < days({number + 1})))"
    rules = rules_of(tmp_path, when)
    rules.evaluate(facts(post()))
    rules.evaluate(facts(post(created_at=NOW)))


def test_no_pattern_takes_longer_than_its_text(tmp_path):
    rules = rules_of(tmp_path, 'matches(post.text, "(a*)*(a*)*(a*)*b") or matches(post.text, "(x+x+)+y")')
    assert rules.evaluate(facts(post("a" * 50_000 + "x" * 50_000))) == ((), ())


def test_a_file_cut_off_anywhere_is_an_error_or_whole_rules(tmp_path):
    """Half written while it is read: never a rule with half its condition or half a value."""
    whole = (
        "names:\n  young: account.age < days(7)\nrules:\n"
        "  - id: first\n    when: matched(severity=4) and young\n    effects: [preserve, open_case: {priority: 90}]\n"
        "  - id: second\n    when: matched() or young\n    effects: [open_case]\n"
    )
    path = tmp_path / "rules.yaml"
    path.write_text(whole)
    versions = {rule.version for rule in load_rules(path).rules}
    loaded = 0
    for end in range(len(whole)):
        path.write_text(whole[:end])
        try:
            rules = load_rules(path)
        except RuleErrors:
            continue
        loaded += 1
        assert {rule.version for rule in rules.rules} <= versions
    assert loaded < 10


def test_noise_in_a_rule_file_is_an_error_never_a_crash(tmp_path):
    random_ = random.Random(7)
    whole = (
        "names: {young: account.age < days(7)}\nlists: {a: [x, y]}\nfields: {post.topic: text}\nrules:\n"
        '  - id: first\n    when: "matched(severity=4) and young and any(f.on == \\"post\\" for f in findings)"\n'
        "    effects: [preserve, open_case: {priority: 90}]\n    fires_on:\n      - {post: {text: a}}\n"
    )
    path = tmp_path / "rules.yaml"
    for _ in range(400):
        noisy = list(whole)
        for _ in range(random_.randint(1, 4)):
            noisy[random_.randrange(len(noisy))] = random_.choice("[]{}()'\":,.&*|>\n\t -#@x5é\u2028\x00=<!%")
        path.write_text("".join(noisy), encoding="utf-8")
        for found in check(path):
            assert found.render()


@pytest.mark.parametrize(
    "raw", [b"\xff\xfe\x00", b"rules:\n  - id: \xe9\n", b"\x00" * 100, "\ufeffrules: []\n".encode()]
)
def test_files_that_are_no_text(tmp_path, raw):
    path = tmp_path / "rules.yaml"
    path.write_bytes(raw)
    found = check(path)
    assert bool(found) == (b"rules: []" not in raw)


def test_a_missing_file_an_empty_folder_and_two_files_with_one_id(tmp_path):
    assert "cannot be read" in check(tmp_path / "none.yaml")[0].message
    assert "no rule files" in check(tmp_path)[0].message
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text("rules:\n  - {id: same, when: matched(), effects: [preserve]}\n")
    (found,) = check(tmp_path)
    assert found.message == "there is a rule `same` already, at a.yaml:2"
    assert found.file == "b.yaml"


def test_names_and_lists_serve_all_files_of_a_folder(tmp_path):
    (tmp_path / "a.yaml").write_text('rules:\n  - {id: a, when: young and account.handle in list("l"), effects: []}\n')
    (tmp_path / "b.yml").write_text("names: {young: account.age < days(7)}\nlists: {l: [wolf]}\n")
    rules = load_rules(tmp_path)
    assert names(rules.evaluate(facts(post(handle="wolf", created_at=NOW)))) == ["a"]


def test_a_pattern_is_searched_in_text_that_is_no_unicode(tmp_path):
    rules = rules_of(tmp_path, 'matches(post.text, "w.lf") or contains(post.text, "iron")')
    assert names(rules.evaluate(facts(post("\ud800 wolf")))) == ["r0"]
    assert names(rules.evaluate(facts(post("\udfff iron")))) == ["r0"]


def test_quotes_in_a_rule_stay_text(tmp_path):
    word = "\"'\\ {x} %s __import__('os')"
    rules = rules_of(tmp_path, f"contains(post.text, {json.dumps(word)})")
    assert names(rules.evaluate(facts(post(f"- {word} -")))) == ["r0"]
