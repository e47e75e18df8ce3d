"""What SQL finds in the past against what the compiled condition says of each event, on generated events and conditions."""

from __future__ import annotations

import duckdb
import msgspec
import pyarrow as pa
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from redshank.archive.past import OLD_SCHEMA, PastEvent, table_of
from redshank.core import Post, Verdict, encode_event, subject_of
from redshank.matching import ASKED
from redshank.rules.checker import Scope, check_expression
from redshank.rules.explain import Explainer
from redshank.rules.outcome import applies_to
from redshank.rules.pushdown import push_down
from redshank.rules.schema import BY_CLASS, EVENT_TYPES
from redshank.rules.search import look_up
from redshank.rules.tree import walk
from tests.rules.making import BANKS, HOLDS, LISTS, all_facts, conditions, facts, post

slow = settings(
    deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
UNANSWERABLE = ("account.labels", "ties", "count(", "distinct(")
more = st.one_of(
    st.sampled_from((
        'any(domain(link) in ["a.example", "iron.example"] for link in post.links)',
        'all(domain(link) != "a.example" for link in post.links)',
        'any(not (link == "iron.example" or known(domain(link))) for link in account.links)',
        '"a.example" in domains(post.links)',
        'not any(domain(link) == "a.example" and not known(domain(link)) for link in post.links)',
        'any(m == account.id for m in post.mentions)', 'all(m in list("handles") for m in post.mentions)',
        'len(post.text) > 7', "len(post.mentions) == 2", 'language(post.language, "en_GB", "DE")',
        "event.at - account.created_at < days(2)", "account.created_at + days(3) > event.at", "now - event.at < hours(1)",
        'matches(post.text, "^(iron|мир)[^a-z]*$")', 'matches(post.text, "(?-i)WOLF|s")', 'word(account.bio, "wolf")',
        'contains(account.handle, "мир", "77") and not matched("one")', 'severity(kind="term") < 3',
        'event.state == "failed" or known(report.reporter.name)', 'account.avatar.sha256 == "' + "a" * 64 + '"',
        "account.posts * 2 < account.followers", "account.followers >= 2.5", "account.posts in [1, 2.0, 7]",
        'any(any(m in bank("names") or link in bank("links") for m in post.mentions) for link in post.links)',
        'not any(domain(link) in bank("hosts") and link in bank("links") for link in post.links)',
        'all(domain(link) not in bank("hosts") for link in post.links)', 'account.handle not in bank("names")',
        'account.handle in list("many")', 'not (account.handle in list("many"))', 'event.id in ["e1", "it\'s"]',
    )),
    conditions,
)  # fmt: skip


MANY = {**LISTS, "many": frozenset(("iron", "wolf77", *map(str, range(1500))))}


def tree_of(when):
    """The checked tree of a condition, None where it has errors."""
    scope = Scope(lambda _: None, {}, MANY, {})
    return check_expression(when, scope, lambda *_: None, lambda *_: None)


def row(known):
    """The event as the past keeps it."""
    subject = subject_of(known.event)
    account = getattr(known.event, "account", None)
    verdict = Verdict(findings=known.findings)
    return PastEvent(
        network=known.event.network, id=known.event.id, type=BY_CLASS[type(known.event)].tag, at=known.event.at,
        received_at=known.now, account=account.id if account else "", subject_kind=subject.kind if subject else "",
        subject_id=subject.id if subject else "", body=encode_event(known.event).decode(),
        verdict="" if verdict.is_empty else msgspec.json.encode(verdict).decode(),
    )  # fmt: skip


@slow
@given(more, st.lists(all_facts, min_size=1, max_size=8), st.sampled_from((1, 2)))
@example('contains(post.text, "a")', [facts(post("a"))], 1)
@example(
    'language(post.language, "k")',
    [facts(msgspec.structs.replace(post("a"), post=Post(id="p", language="\u212a-x")))],
    2,
)
def test_sql_finds_what_the_condition_is_true_of(when, given_facts, layout):
    tree = tree_of(when)
    if tree is None or any(node.key.startswith(UNANSWERABLE) for node in walk(tree)):
        return
    # The past tells nothing that was reckoned here, and has no labels; what came is judged as of its receipt.
    given_facts = [facts(known.event, known.findings) for known in given_facts]
    tags = applies_to(tree, all_types=True, passing=frozenset())
    pushed = push_down(tree, tags, layout, [bank for bank, known in BANKS.items() if known.kind in ASKED])
    event("exact" if pushed.exact else "narrowed")
    parts = [table_of([row(known)]) for known in given_facts]  # One by one: a table orders its events by their time.
    table = pa.concat_tables(parts).append_column("number", pa.array(range(len(parts))))
    if layout == 1:
        table = table.select([*OLD_SCHEMA.names, "number"])
    with duckdb.connect(":memory:") as database:
        database.register("events", table)
        for name, items in pushed.lists.items():
            database.register(name, pa.table({"item": pa.array(sorted(items), pa.string())}))
        for asked in pushed.lookups:
            look_up(database, asked, f"events WHERE {pushed.before}", HOLDS)
        found = {number for (number,) in database.execute(f"SELECT number FROM events WHERE {pushed.where}").fetchall()}
    true = {number for number, known in enumerate(given_facts) if Explainer(tree).value(tree, known, {}) is True}
    assert true <= found, (when, pushed)
    assert found == true or not pushed.exact, (when, pushed)


def test_most_of_the_language_is_answered_by_sql_alone():
    for when in (
        'account.age < days(2) and any(domain(link) in ["a.example"] for link in post.links)',
        'contains(post.text, "join the march", "dm for invite")',
        'matches(post.text, "dm.{0,9}invite") and language(post.language, "en")',
        "account.followers < 10 or not known(account.created_at)",
        '"a.example" in domains(post.links) and event.network == "one"',
        'account.handle not in bank("names") and any(domain(link) in bank("hosts") for link in post.links)',
    ):
        assert push_down(tree_of(when), tuple(EVENT_TYPES), 2).exact, when
