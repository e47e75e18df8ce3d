"""TOML rule files: the same values as Python's own reader gives, each where it stands, and the same rules as in YAML."""

from __future__ import annotations

import json
import tomllib

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from yaml.nodes import MappingNode, SequenceNode

from redshank.rules import load, load_rules
from redshank.rules.examples import plain
from redshank.rules.source import Diagnostics, Source
from redshank.rules.toml_source import Text, TomlError, compose_toml

TRICKY = r'''
# a comment with [[brackets]] = "x"
top."dotted key".deep = 'a # b'  # behind
numbers = [1, -2, 0x1F, 1_000, 2.5, 1e3,
  true, # within
  false]
[a]
text = """
first "quoted" ""two"" \
      joined\tand \u00e9 """
raw = \'\'\'
C:\path 'x' ''y\'\'\'\'
b.c = {d = [[1], ["x"]], "e f" = {}}
[[a.list]]
n = 1
[a.list.sub]
m = 1
[[a.list]]
n = 2
'''.replace("\\'", "'")


def nodes(node):
    yield node
    for child in node.value if isinstance(node, MappingNode | SequenceNode) else ():
        for one in child if isinstance(child, tuple) else (child,):
            yield from nodes(one)


def check(text):
    root = compose_toml(text)
    assert plain(Source("x.toml", text, Diagnostics()), root) == tomllib.loads(text)
    for node in nodes(root):
        assert 0 <= node.start_mark.index < node.end_mark.index <= len(text)
        if isinstance(node, Text):
            assert len(node.offsets) == len(node.value) + 1
            assert node.offsets == sorted(node.offsets)
            places = zip(node.value, node.offsets[:-1], strict=True)
            assert all(text[at] == char or text[at] == "\\" for char, at in places)


def test_what_is_tricky_reads_as_pythons_own_reader_does():
    check(TRICKY)
    check(TRICKY.replace("\n", "\r\n"))


@pytest.mark.parametrize(
    "text",
    ["a = " + "[" * 10_000 + "]" * 10_000, "a = " + "{b=" * 10_000, "[[" * 10_000, "a." * 10_000 + "b = 1",
     "[" + "a." * 100_000 + "b]", "a = {" + "b . " * 10_000 + "c = 1}", "a = [1," * 10_000, "a = " + "a" * 1_000_000],
)  # fmt: skip
def test_what_is_ten_thousand_deep_is_refused_at_once(text):
    with pytest.raises(TomlError):
        compose_toml(text + "\n")


_values = st.recursive(
    st.integers(-(10**6), 10**6) | st.booleans() | st.text(st.characters(codec="utf-8", exclude_characters="\x7f"), max_size=12).map(json.dumps),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(map(_shown, items))}]"),
        st.dictionaries(st.sampled_from("abc"), inner, max_size=2).map(
            lambda items: "{" + ", ".join(f"{key} = {_shown(value)}" for key, value in items.items()) + "}"
        ),
    ),
    max_leaves=6,
)  # fmt: skip


def _shown(value):
    return str(value).lower() if isinstance(value, bool) else str(value)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(("a", "b-1", '"q x"')), _values, min_size=1))
@example({"a": '"\\\\"'})
def test_generated_values_read_as_pythons_own_reader_does(table):
    text = "".join(f"{key} = {_shown(value)}\n" for key, value in table.items())
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:  # JSON escapes characters beyond 16 bits by two surrogates.
        return
    check(text)


TOML = """
[names]
young = "account.age < days(7)"

[[rules]]
id = "march"
policy = "recruitment"
description = "An account in its first week calls people to the march."
when = 'contains(post.text, "join the march") and young'
effects = ["preserve", {open_case = {queue = "review", deadline = "12 h"}}]
expires = 2027-01-31
at_most = {open_case = 5}
[[rules.fires_on]]
post.text = "Join the march"
account.age = "2 days"
"""
YAML = """
names:
  young: account.age < days(7)
rules:
  - id: march
    policy: recruitment
    description: An account in its first week calls people to the march.
    when: contains(post.text, "join the march") and young
    effects: [preserve, open_case: {queue: review, deadline: 12 h}]
    expires: 2027-01-31
    at_most: {open_case: 5}
    fires_on:
      - post: {text: Join the march}
        account: {age: 2 days}
"""


def test_a_rule_is_the_same_in_both(tmp_path):
    for name, text in (("one.toml", TOML), ("two.yaml", YAML)):
        (tmp_path / name).write_text(text)
    one, two = (load(tmp_path / name, {}) for name in ("one.toml", "two.yaml"))
    (rule,), (same,) = one.rules.rules, two.rules.rules
    assert rule.version == same.version
    assert dict(rule.at_most) == {"open_case": 5}
    assert one.examples[0].fires_on[0].event == two.examples[0].fires_on[0].event
    # As the console would have it, it is the same once more.
    (tmp_path / "three.yaml").write_text(
        yaml.safe_dump({"names": {"young": "account.age < days(7)"}}) + one.examples[0].text
    )
    assert load_rules(tmp_path / "three.yaml").rules[0].version == rule.version


def test_a_folder_may_hold_both(tmp_path):
    (tmp_path / "a.toml").write_text(TOML)
    (tmp_path / "b.yaml").write_text("rules:\n  - id: other\n    when: young\n    effects: []\n")
    assert [rule.id for rule in load_rules(tmp_path).rules] == ["march", "other"]
