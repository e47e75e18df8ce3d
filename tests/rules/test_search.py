"""A search finds what one finds who looks at every event: in files old and new, in what is in no file yet, page by page."""

from __future__ import annotations

import csv
import re
import tempfile
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from redshank.archive.past import OLD_SCHEMA, Past, batch_of
from redshank.core import Fired, Verdict
from redshank.rules import search as searching
from redshank.rules.checker import Scope, asks_for_passing
from redshank.rules.explain import Explainer
from redshank.rules.outcome import applies_to
from redshank.rules.schema import BY_CLASS, PASSING
from redshank.rules.search import Limits, Place, Question, check, every_row, refuse, search
from redshank.rules.search_csv import _line, harmless
from tests.rules.making import BANKS, HOLDS, all_facts, facts, finding, post
from tests.rules.test_pushdown import MANY, more, row, tree_of

slow = settings(
    deadline=None, max_examples=15, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
SCOPE = Scope(lambda _: None, {}, MANY, {}, refuse, {name: bank.kind for name, bank in BANKS.items()})
START = datetime(2026, 7, 1, tzinfo=UTC)
LIMITS = Limits(seconds=60, threads=1)
Pasts = st.lists(st.tuples(all_facts, st.integers(0, 72), st.sampled_from((1, 2, 0))), min_size=1, max_size=14)


def spread(given_past):
    """Events of three days, each told apart by id, and where they lie: layout 1 or 2, or no file yet (0)."""
    out = []
    for number, (known, hours, layout) in enumerate(given_past):
        at = START + timedelta(hours=hours)
        event = msgspec.structs.replace(known.event, id=f"e{number}", at=at)
        out.append((searching.Facts(event, known.findings, at + timedelta(minutes=1), holds=HOLDS), layout))
    return out


def kept(root, known):
    past = Past(root)
    for layout in (1, 2):
        new = past.write(layout, [row(one) for one, lies in known if lies == layout])
        for path in new if layout == 1 else ():
            table = pq.read_table(path, partitioning=None).select(OLD_SCHEMA.names)
            pq.write_table(table.replace_schema_metadata(None), path.with_name(f"{batch_of(path):012d}.parquet"))
            path.unlink()
    return past.files(), [row(one) for one, lies in known if not lies]


@slow
@given(more, Pasts, st.sampled_from(("account", "domain", "type", "bank", "language")))
def test_a_search_is_a_look_at_every_event(when, given_past, by):
    checked = check(when, SCOPE, texts_of=lambda names: {name: BANKS[name] for name in names if name in BANKS})
    if checked.question is None:
        return
    tree, known = tree_of(when), spread(given_past)
    tags = applies_to(tree, all_types=asks_for_passing(tree), passing=PASSING)
    until = START + timedelta(hours=60)
    expected = [
        one
        for one, _ in known
        if BY_CLASS[type(one.event)].tag in tags
        and Explainer(tree).value(tree, one, {}) is True
        and one.event.at < until
    ]
    ordered = sorted(expected, key=lambda one: (-one.event.at.timestamp(), one.event.network, one.event.id))
    question = msgspec.structs.replace(checked.question, times=True, by=by, rows=3, until=until, top=100)
    with tempfile.TemporaryDirectory() as folder:
        files, fresh = kept(Path(folder), known)
        found = search(files, fresh, question, LIMITS)
        assert (found.events, found.stopped) == (len(expected), "")
        assert dict(found.times) == Counter(int(one.event.at.timestamp()) // 900 * 900 for one in expected)
        if by == "account":
            owners = [
                (one.event.network, one.event.account.id) for one in expected if getattr(one.event, "account", None)
            ]
            assert dict(found.top) == Counter(map("/".join, owners))
        if by == "type":
            assert dict(found.top) == Counter(BY_CLASS[type(one.event)].tag for one in expected)
        pages, page = [*found.rows], found
        while page.more:
            last = page.rows[-1]
            after = Place(int(last.at.timestamp()) * 1_000_000, last.network, last.id)
            page = search(files, fresh, msgspec.structs.replace(question, times=False, by="", after=after), LIMITS)
            pages += page.rows
        assert [one.id for one in pages] == [one.event.id for one in ordered]
        assert {one.id for one in every_row(files, fresh, question, LIMITS)} == {one.event.id for one in expected}


def test_a_search_that_takes_too_long_says_how_far_it_came(tmp_path, monkeypatch):
    past = Past(tmp_path)
    events = [row(searching.Facts(one, (), one.at)) for one in posts(40)]
    for number, event in enumerate(events):
        past.write(number, [event])
    monkeypatch.setattr(searching, "MOST_FILES", 8)
    question = check("account.posts * 2 > 5 or len(post.text) > 2", SCOPE).question
    honest = searching._Look._judged
    seen = []

    def late(self, part):
        seen.append(part)
        if len(seen) == 3:
            self._end()
        return honest(self, part)

    monkeypatch.setattr(searching._Look, "_judged", late)
    found = search(
        past.files(), (), msgspec.structs.replace(question, times=True, rows=5), Limits(seconds=600, threads=1)
    )
    assert found.stopped == "time"
    assert found.events == 16
    newest = sorted({event.received_at.date() for event in events}, reverse=True)
    assert found.reached == newest[15]


def posts(number):
    from redshank.core import Account, Post, PostCreated

    return [
        PostCreated(
            id=f"e{one}",
            network="one",
            at=START + timedelta(days=one),
            account=Account(id="a", bio="x"),
            post=Post(id="p", text="long"),
        )
        for one in range(number)
    ]


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ('contains(post.text, "a") and "x" in account.labels', "our labels of then"),
        ('any(tie.band == "strong" for tie in ties)', "ties to suspended accounts"),
        ('count(per=account.id, over="day") > 3 or True', "a counter said then"),
        ("account.agee < days(2)", "has no `agee`"),
        ("account.age <", "expression"),
    ],
)
def test_what_the_past_cannot_answer_is_said_with_its_place(when, said):
    checked = check(when, SCOPE)
    assert checked.question is None
    (error,) = [found for found in checked.diagnostics if found.severity == "error"]
    assert said in error.message
    assert "^" in error.render()


def test_counts_by_what_was_seen_and_what_fired(tmp_path):
    def event(number, day, *rules, bank=""):
        known = facts(post(), [finding(bank=bank)] if bank else ())
        at = START + timedelta(days=day)
        made = msgspec.structs.replace(known.event, id=f"e{number}", network="marsh", at=at)
        kept = row(searching.Facts(made, known.findings, at))
        fired = tuple(
            Fired(rule=rule.strip("-"), version="1", policy="p", description="", live=not rule.startswith("-"))
            for rule in rules
        )
        verdict = msgspec.json.encode(Verdict(findings=known.findings, fired=fired)).decode() if rules or bank else ""
        return msgspec.structs.replace(kept, verdict=verdict, account=f"a{number % 2}")

    past = Past(tmp_path / "it's")
    assert search(past.files(), (), Question(times=True, by="account"), LIMITS).events == 0
    past.write(1, [event(1, 0, "x"), event(2, 0, "x", "-y", bank="b"), event(3, 1, "-y"), event(4, 2)])

    def counts(by, **more):
        return dict(search(past.files(), (), Question(by=by, **more), LIMITS).top)

    assert counts("rule") == {"x": 2}
    assert counts("shadow") == {"y": 2}
    assert counts("bank", rule="y") == {"b": 1}
    assert counts("account") == {"marsh/a0": 2, "marsh/a1": 2}
    assert counts("account", since=START + timedelta(hours=1), until=START + timedelta(days=2)) == {"marsh/a1": 1}
    assert counts("type", networks=("elsewhere",)) == {}
    assert counts("type", account="a1", rule="x' OR 'a'='a") == {}
    assert counts("type", account="a1") == {"post.created": 2}


@pytest.mark.parametrize("cell", ["=1+1", "+49", "-2", "@SUM(A1)", "\t=1", "  =1", "＝1"])
def test_no_cell_of_a_download_is_a_formula(cell):
    (read,) = csv.reader([_line([cell])])
    assert read == [f"'{cell}"]
    assert harmless("a=b") == "a=b"


def test_the_searches_of_the_docs_and_of_the_page_are_good():
    from redshank.web.views.search import EXAMPLES

    text = (Path(__file__).parents[2] / "docs" / "search.md").read_text()
    written = re.findall(r"^\| [^|]+ \| `([^`]+)` \|", text, re.MULTILINE)
    assert len(written) == 8
    for when in (*written, *EXAMPLES):
        assert not check(when, Scope(lambda _: None, {}, MANY, {}, refuse, {"known-domains": "domain"})).diagnostics, (
            when
        )


@pytest.mark.parametrize("when", ["", "len(post.text) == 4", "account.posts * 1 >= 0 or len(post.text) > 2"])
@pytest.mark.parametrize("moment", ["before a part is read", "after a part is read", "before the rows are read"])
def test_what_is_erased_or_forgotten_meanwhile_does_a_search_no_harm(tmp_path, monkeypatch, when, moment):
    past = Past(tmp_path)
    kept, erased, forgotten = [
        [
            msgspec.structs.replace(
                row(searching.Facts(one, (), one.at)), id=f"{number:02d}-{account}", account=account, received_at=day
            )
            for number, one in enumerate(posts(12))
        ]
        for account, day in (("kept", START), ("erased", START), ("old", START - timedelta(days=9)))
    ]
    mixed = [one for pair in zip(erased, kept, strict=True) for one in pair]
    for batch, events in enumerate((mixed[:12], mixed[12:], forgotten[:6], forgotten[6:])):
        past.write(batch, events)
    files, seen = past.files(), []

    def change():
        seen.append(moment)
        if len(seen) == 1:
            past.erase("one", "erased")
            past.forget(START + timedelta(days=1), {"post": 5})
            assert len(past.files()) == 2

    look, rows = searching._Look._look_at, searching._Look._rows_of

    def at_a_part(self, part):
        if moment == "before a part is read":
            change()
        tally = look(self, part)
        if moment == "after a part is read":
            change()
        return tally

    def at_the_rows(self, ordered):
        if moment == "before the rows are read":
            change()
        return rows(self, ordered)

    monkeypatch.setattr(searching._Look, "_look_at", at_a_part)
    monkeypatch.setattr(searching._Look, "_rows_of", at_the_rows)
    question = check(when, SCOPE).question
    found = search(files, (), msgspec.structs.replace(question, times=True, by="account", rows=40), LIMITS)
    assert seen
    assert not found.stopped
    if moment == "before the rows are read":  # They were counted while they were there.
        assert (found.events, dict(found.top)) == (36, {"one/kept": 12, "one/erased": 12, "one/old": 12})
    else:
        assert (found.events, dict(found.top)) == (12, {"one/kept": 12})
    shown = [one.id for one in found.rows if one.account == "kept"]
    assert shown == sorted((one.id for one in kept), reverse=True)
    if "posts" not in when:  # Rows that the condition itself had to look at were read already.
        assert len(found.rows) == 12


@pytest.mark.parametrize("when", ["len(post.text) == 4", "account.posts * 1 >= 0 or len(post.text) > 2"])
def test_an_event_of_another_schema_stops_no_search(tmp_path, when):
    known = [row(searching.Facts(one, (), one.at)) for one in posts(4)]
    strange = msgspec.structs.replace(
        known[2], body=known[2].body.replace('"schema":1', '"schema":99').replace("{", '{"new": {},', 1)
    )
    past = Past(tmp_path)
    past.write(2, [known[0], strange, known[3]])
    question = msgspec.structs.replace(check(when, SCOPE).question, times=True, rows=9, by="account")
    found = search(past.files(), (), question, LIMITS)
    assert {one.id for one in found.rows} >= {"e0", "e3"}
    assert found.stopped == ""


def test_a_download_goes_on_where_files_go_meanwhile(tmp_path):
    past = Past(tmp_path)
    for number, one in enumerate(posts(6)):
        past.write(number, [msgspec.structs.replace(row(searching.Facts(one, (), one.at)), account="ab"[number % 2])])
    files = past.files()
    past.erase("one", "a")
    assert len(past.files()) == 3
    fresh = [row(searching.Facts(msgspec.structs.replace(posts(1)[0], id="fresh"), (), START))]
    question = check("", SCOPE).question
    assert [one.id for one in every_row(files, fresh, question, LIMITS)] == ["fresh", "e5", "e3", "e1"]
    past.erase("one", "b")
    assert [one.id for one in every_row(files, fresh, question, LIMITS)] == ["fresh"]
    assert search(files, fresh, msgspec.structs.replace(question, times=True), LIMITS).events == 1
