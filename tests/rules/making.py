"""Makes events, findings and expressions of the rule language, and rule sets from text."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import msgspec
from hypothesis import strategies as st

from redshank.core import (
    Account,
    AccountDeleted,
    AccountUpdated,
    ActionUpdated,
    BankTexts,
    Finding,
    FollowCreated,
    Match,
    Media,
    MediaUploaded,
    Post,
    PostCreated,
    PostDeleted,
    Report,
    Reporter,
    ReportReceived,
    Span,
    Tie,
    Whole,
)
from redshank.matching import holder
from redshank.rules import Facts, load_rules

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
LISTS = {"handles": frozenset(("iron", "wolf", "a")), "empty": frozenset()}
BANKS = {
    "hosts": BankTexts("domain", frozenset(("example", "iron.example"))),
    "links": BankTexts("url", frozenset(("https://a.example/*", "https://b.example/"))),
    "names": BankTexts("name", frozenset(("iron", "wolf77", "мир"))),
    "terms": BankTexts("term", frozenset(("march", "dm for invite", "мир"))),
    "files": BankTexts("sha256", frozenset(("a" * 64,))),
    "pictures": BankTexts("pdq"),
}
"""Banks by kind; of the last no text is asked, and there is no other one."""
HOLDS = holder(BANKS)
WORDS = ("iron", "WOLF", "march", "dm for invite", "Straße", "мир", "", "a", "77", "join the march")


def rules_of(tmp_path, *whens, lists=LISTS, extra="", head=""):
    """A live rule set of conditions, their ids r0, r1, …"""
    lines = [head, "rules:"]
    for number, when in enumerate(whens):
        lines += [
            f"  - id: r{number}",
            "    mode: live",
            f"    when: {json.dumps(when)}",
            "    effects: [preserve]",
            extra,
        ]
    path = tmp_path / "rules.yaml"
    path.write_text("\n".join(line for line in lines if line) + "\n", encoding="utf-8")
    return load_rules(path, lists)


def post(text="", **account):
    """A post by an account."""
    return PostCreated(
        id="e1", network="example", at=NOW, account=Account(id="a1", **account), post=Post(id="p1", text=text)
    )


def facts(event, findings=(), labels=(), media=None):
    """Facts about an event, judged at its own time."""
    return Facts(event, tuple(findings), NOW, frozenset(labels), media or {}, holds=HOLDS)


def finding(kind="sha256", severity=5, field="post.text", **match):
    """A finding against a bank."""
    values = {"bank": "known", "entry": 1, "value": "x", "policy": "terrorist-content", "severity": severity, **match}
    return Finding(detector="test", kind=kind, score=1.0, where=Whole(field), match=Match(**values))


# --- events -------------------------------------------------------------------------------------------------------

_links = st.lists(
    st.sampled_from(("https://a.example/x", "iron.example", "https://www.b.example", "HTTP://X.iron.example/a?b=1", "no link", "a@b")),
    max_size=3,
).map(tuple)  # fmt: skip
texts = st.lists(st.sampled_from(WORDS), max_size=4).map(" ".join)
_maybe = lambda strategy: st.none() | strategy  # noqa: E731
_media = st.builds(
    Media,
    id=st.sampled_from(("m1", "m2", "m3")),
    kind=_maybe(st.sampled_from(("image", "video"))),
    sha256=_maybe(st.sampled_from(("A" * 64, "b" * 64))),
    alt=_maybe(texts),
)
_accounts = st.builds(
    Account,
    id=st.sampled_from(("a1", "a2")),
    handle=_maybe(st.sampled_from(("iron", "wolf", "wolf77", "Мир"))),
    bio=_maybe(texts),
    created_at=_maybe(
        st.integers(-48, 24 * 20).map(lambda hours: NOW - timedelta(hours=hours))
        | st.just(NOW - timedelta(days=7))
        | st.just(NOW)
    ),
    followers=_maybe(st.integers(0, 20)),
    posts=_maybe(st.integers(0, 5)),
    links=_links,
    avatar=_maybe(_media),
)
_posts = st.builds(
    Post,
    id=st.just("p1"),
    text=texts,
    language=_maybe(st.sampled_from(("en", "en-GB", "de"))),
    links=_links,
    mentions=st.lists(st.sampled_from(("a", "b")), max_size=3).map(tuple),
    media=st.lists(_media, max_size=2).map(tuple),
    reply_to=_maybe(st.just("p0")),
)
_reports = st.builds(
    Report,
    id=st.just("r1"),
    subject_kind=st.sampled_from(("account", "post")),
    subject_id=st.just("p1"),
    reason=st.sampled_from(WORDS),
    reporter=st.builds(Reporter, kind=st.sampled_from(("user", "authority")), name=_maybe(st.sampled_from(WORDS))),
)
_base = {"id": st.just("e1"), "network": st.sampled_from(("one", "two")), "at": st.just(NOW)}
events = st.one_of(
    st.builds(PostCreated, **_base, account=_accounts, post=_posts),
    st.builds(PostDeleted, **_base, account=_accounts, post=_posts),
    st.builds(AccountUpdated, **_base, account=_accounts),
    st.builds(AccountDeleted, **_base, account=_accounts),
    st.builds(MediaUploaded, **_base, account=_accounts, media=_media),
    st.builds(FollowCreated, **_base, account=_accounts, followed=_accounts),
    st.builds(ReportReceived, **_base, report=_reports, account=_maybe(_accounts), post=_maybe(_posts)),
    st.builds(ActionUpdated, **_base, action=st.just("act_1"), state=st.sampled_from(("confirmed", "failed"))),
)
_matches = st.builds(
    Match,
    bank=st.sampled_from(("one", "two")),
    entry=st.just(1),
    value=st.just("x"),
    policy=st.sampled_from(("p", "q")),
    severity=st.integers(1, 5),
    distance=_maybe(st.integers(0, 31)),
    confirmed=st.booleans(),
)
_findings = st.builds(
    Finding,
    detector=st.just("test"),
    kind=st.sampled_from(("pdq", "sha256", "term")),
    score=st.sampled_from((0.5, 1.0)),
    where=st.sampled_from(
        (Whole("media:m1"), Whole("media:m2"), Whole("account.avatar"), Span("post.text", 0, 4), Whole("elsewhere"))
    ),
    match=_maybe(_matches),
)


_ties = st.builds(
    Tie,
    account=st.sampled_from(("a1", "a9")),
    band=st.sampled_from(("possible", "likely")),
    probability=st.sampled_from((0.6, 0.99)),
    kinds=st.lists(st.sampled_from(("follows", "links", "name")), max_size=2, unique=True).map(tuple),
)


class _Hashes(msgspec.Struct):
    sha256: str


streams = st.lists(
    st.tuples(
        st.deferred(lambda: all_facts),
        st.sampled_from((0, 1, 59 * 60, 60 * 60, 61 * 60, -60 * 60, 24 * 3600, 86_399, -86_400, 7 * 86_400, 3 * 86_400)),
        st.integers(0, 2),
        _links,
    ),
    min_size=1, max_size=12,
).map(lambda steps: list(_streamed(steps)))  # fmt: skip
"""Facts of events that follow each other, some of them late."""


def _streamed(steps):
    at = NOW
    for found, seconds, micros, links in steps:
        at += timedelta(seconds=seconds, microseconds=micros)
        changes = {"at": at}
        if (account := getattr(found.event, "account", None)) is not None:
            tokens = tuple(f"ip:{'a' * 16}{number}" for number in range(len(links)))
            born = account.created_at and account.created_at + (at - NOW)
            changes["account"] = msgspec.structs.replace(account, tokens=tokens, created_at=born, links=links)
        if (wrote := getattr(found.event, "post", None)) is not None:
            changes["post"] = msgspec.structs.replace(wrote, links=links)
        event = msgspec.structs.replace(found.event, **changes)
        yield Facts(event, found.findings, at, found.account_labels, found.media, found.ties, holds=HOLDS)


all_facts = st.builds(
    Facts,
    event=events,
    findings=st.lists(_findings, max_size=3).map(tuple),
    now=st.just(NOW),
    account_labels=st.frozensets(st.sampled_from(("trusted", "returned")), max_size=2),
    media=st.dictionaries(st.sampled_from(("m1", "m2")), st.just(_Hashes("c" * 64)), max_size=1),
    ties=_maybe(st.lists(_ties, max_size=2).map(tuple)),
    holds=st.just(HOLDS),
)

# --- expressions ---------------------------------------------------------------------------------------------------

_quoted = json.dumps
_words = st.sampled_from([word for word in WORDS if word]).map(lambda word: json.dumps(word, ensure_ascii=False))
_text_leaves = st.sampled_from(
    ("post.text", "account.bio", "account.handle", "followed.handle", "report.reason", "report.reporter.name",
     "post.language", "post.reply_to", "event.network", "event.reason", "account.avatar.sha256", "account.avatar.alt")
)  # fmt: skip
_numbers = st.deferred(
    lambda: st.one_of(
        st.integers(-3, 12).map(str),
        st.sampled_from(("account.followers", "account.posts", "followed.followers", "0.5", 'severity(kind="pdq")')),
        st.sampled_from(
            ("len(post.text)", "len(media)", "len(findings)", "len(ties)", "len(account.links)", "len(account.bio)")
        ),
        st.tuples(_numbers, st.sampled_from("+-*/%"), _leaf_numbers).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
    )
)
_leaf_numbers = st.sampled_from(("account.followers", "account.posts", "len(post.mentions)", "3"))
_durations = st.one_of(
    st.integers(0, 20).map(lambda n: f"days({n})"),
    st.just("account.age"),
    st.just("(event.at - account.created_at)"),
    st.just("(account.age * 2)"),
    st.just("(account.age - hours(36))"),
    st.just("followed.age"),
)
_banks = st.sampled_from(sorted((*BANKS, "gone"))).map(lambda name: f'bank("{name}")')
_orders = st.sampled_from(("<", "<=", ">", ">=", "==", "!="))
_item_conditions = {
    "findings": (
        'x.kind == "pdq"', "x.severity >= 3", 'x.on == "post"', "x.distance < 16", "x.confirmed", 'x.bank in ["one", "three"]',
        'known(x.bank) and x.on == "account"', "x.score > 0.7", 'x.field == "media:m1"', "x.severity > account.followers",
    ),
    "media": ('x.kind == "image"', f'x.sha256 == "{"c" * 64}"', 'contains(x.alt, "iron")', "known(x.sha256)", "x.id in account.links"),
    "account.links": ('contains(x, "iron")', 'x in list("handles")', "x == account.handle", "len(x) > account.followers"),
    "post.mentions": ('x == "a"', 'x in list("handles")', 'x in ["b", "c"] or account.age < days(3)'),
    "account.avatar.alt": (),
    "ties": ('x.band == "likely"', '"follows" in x.kinds', "x.probability > 0.9", "x.account == account.handle", "known(x.kinds)"),
}  # fmt: skip
_quantified = st.sampled_from([key for key, value in _item_conditions.items() if value]).flatmap(
    lambda items: st.tuples(
        st.sampled_from(("any", "all")), st.lists(st.sampled_from(_item_conditions[items]), min_size=1, max_size=3)
    ).map(lambda t: f"{t[0]}({' and '.join(t[1])} for x in {items})")
)
_simple = st.one_of(
    st.tuples(_text_leaves, _words).map(lambda t: f"contains({t[0]}, {t[1]})"),
    st.tuples(_text_leaves, _words, _words).map(lambda t: f"contains({t[0]}, {t[1]}, {t[2]})"),
    st.tuples(_text_leaves, _words).map(lambda t: f"word({t[0]}, {t[1]})"),
    st.tuples(_text_leaves, st.sampled_from(("^iron", "w[o0]lf", "^$", "[0-9]{2}", "мир"))).map(
        lambda t: f'matches({t[0]}, "{t[1]}")'
    ),
    st.tuples(_text_leaves, st.sampled_from(("Latin", "Cyrillic"))).map(lambda t: f'script({t[0]}, "{t[1]}")'),
    st.just('language(post.language, "en", "fr")'),
    st.tuples(_text_leaves, st.sampled_from(("==", "!=")), _words).map(" ".join),
    st.tuples(_text_leaves, st.sampled_from(('list("handles")', '["iron", "wolf"]', "account.links"))).map(" in ".join),
    st.tuples(_text_leaves, st.just('list("empty")')).map(" not in ".join),
    st.tuples(_text_leaves, st.sampled_from(("in", "not in")), _banks).map(" ".join),
    st.tuples(
        st.sampled_from(("any", "all")), st.sampled_from(("x", "domain(x)", "domain(x)")), st.sampled_from(("in", "not in")),
        _banks, st.sampled_from(("account.links", "post.links", "domains(post.links)")),
    ).map(lambda t: f"{t[0]}({t[1]} {t[2]} {t[3]} for x in {t[4]})"),
    st.sampled_from(('any(domain(x) == "iron.example" for x in account.links)', "len(links_in(account.bio)) > 0", "len(domains(post.links)) != 1")),
    st.tuples(_numbers, _orders, _numbers).map(" ".join),
    st.tuples(_leaf_numbers, st.just("<="), _leaf_numbers, st.just("<"), _numbers).map(" ".join),
    st.tuples(_durations, _orders, _durations).map(" ".join),
    st.sampled_from((
        '"trusted" in account.labels', '"returned" not in account.labels', "True", "False",
        'event.type == "post.created"', 'event.type in ["post.deleted", "account.deleted"]',
        'event.type != "report.received"', 'event.state == "failed"', "account.created_at < now",
        'account.created_at >= time("2026-06-28")', 'report.reporter.kind == "authority"',
        'matched()', 'matched("one", kind=("pdq", "term"), severity=3)', 'matched(on="post")', 'matched(policy="q", on=["account"])',
        'matched("one", confirmed=True)', 'matched(confirmed=False)',
        'severity("one", "two") >= 4',
    )),
    _text_leaves.map(lambda name: f"known({name})"),
    st.sampled_from(("known(account.age)", "known(post)", "known(account.avatar)", "known(followed)", "known(ties)")),
    _quantified,
)  # fmt: skip
counters = st.one_of(
    st.tuples(
        st.sampled_from(("account.id", "post.links", "account.links", "post.mentions", "account.handle", "followed.id",
                         'hashes("sha256")', 'tokens("ip")', "report.subject_id", "event.network", "post.text")),
        st.sampled_from(("hour", "day", "week")),
        st.sampled_from(("", ', where=event.type == "post.created"', ', where=event.type in ["account.deleted", "post.deleted"]',
                         ', where=contains(post.text, "iron")', ", where=account.age < days(7)", ', where=matched(kind="pdq")',
                         ", where=not known(account.bio)")),
        st.sampled_from(("count(", "distinct(account.id, ", "distinct(account.handle, ", "distinct(post.mentions, ", "distinct(post.text, ")),
    ).map(lambda t: f'{t[3]}per={t[0]}, over="{t[1]}"{t[2]})'),
    st.just('count(per=account.id, over="hour")'),
)  # fmt: skip
"""Counters of the rule language."""
counted = st.tuples(counters, _orders, st.integers(0, 4).map(str) | counters | _leaf_numbers).map(" ".join)
conditions = st.recursive(
    _simple,
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=4).map(lambda parts: f"({' and '.join(parts)})"),
        st.lists(inner, min_size=2, max_size=4).map(lambda parts: f"({' or '.join(parts)})"),
        inner.map(lambda part: f"(not {part})"),
        st.tuples(inner, inner, inner).map(lambda t: f"({t[0]} if {t[1]} else {t[2]})"),
    ),
    max_leaves=8,
)
"""Conditions of the rule language, in its own spelling, without counters."""
counting_conditions = st.recursive(
    st.one_of(counted, _simple, counted.map(lambda part: f"any(x == account.handle or {part} for x in account.links)")),
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: f"({' and '.join(parts)})"),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: f"({' or '.join(parts)})"),
        inner.map(lambda part: f"(not {part})"),
    ),
    max_leaves=4,
)
"""Conditions that may ask counters."""
