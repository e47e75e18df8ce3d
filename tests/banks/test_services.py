from __future__ import annotations

import hashlib
import io
import threading
from contextlib import suppress
from datetime import timedelta

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from redshank.audit.models import Entry as AuditEntry
from redshank.banks import services
from redshank.banks.models import Bank, BankRevision, Entry
from redshank.banks.services import NewEntry
from redshank.core import BadInput, Media, Problem
from redshank.media import Frame, ImageHashes, VideoHashes
from tests.banks.conftest import NOW, post, posted

PDQ = "f8f8f0cee0f4a84f06370a22028f67f0b36e2ed596621e1d33e6b39c4e9c9b22"


def add(bank, *values):
    return services.add_entries(bank, [NewEntry(value=value) for value in values], by="user:ada", now=NOW)


def steps():
    return list(AuditEntry.objects.order_by("id").values_list("step", "actor", "object"))


def revision():
    return BankRevision.objects.values_list("number", flat=True).first() or 0


pytestmark = pytest.mark.django_db


def test_a_bank_is_made_and_written_down(make):
    bank, _ = make("term", name="slogans", severity=2, policy="recruitment")
    assert services.get_bank("slogans") == bank
    assert steps() == [("bank.created", "system", "bank:slogans")]
    assert AuditEntry.objects.get().body["policy"] == "recruitment"


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"name": "a b"}, "not a name"),
        ({"name": ""}, "not a name"),
        ({"kind": "phash"}, "There are pdq, video, md5"),
        ({"severity": 6}, "not a severity"),
        ({"policy": "recruting"}, r"Did you mean recruitment\?"),
        ({"limit": 3}, "for banks of kind pdq and video"),
        ({"kind": "pdq", "limit": 32}, "0 to 31 bits"),
        ({"name": "taken"}, "already"),
    ],
)
def test_a_wrong_bank_is_not_made(make, wrong, why):
    make("term", name="taken")
    said = {"name": "new", "kind": "term", "severity": 3, "policy": "recruitment", **wrong}
    with pytest.raises(Problem, match=why):
        services.make_bank(said.pop("name"), **said, by="system", now=NOW)
    assert Bank.objects.count() == 1


def test_a_misspelled_bank_is_answered_with_the_nearest(make):
    make("term", name="slogans")
    with pytest.raises(Problem, match=r"Did you mean slogans\?"):
        services.get_bank("slogan")


def test_the_good_beside_the_bad_goes_on(make):
    bank, _ = make("pdq")
    done = add(bank, PDQ.upper() + "\n", PDQ, PDQ[:-1], "0" * 64, "x" * 64)
    assert (done.added, done.repeated, done.weak, len(done.entries)) == (2, 1, 1, 2)
    assert [(aside.place, aside.reason) for aside in done.set_aside] == [
        (3, "63 hex digits; a PDQ hash has 64"),
        (5, "not hexadecimal: 'x' at place 1"),
    ]
    assert dict(bank.entries.values_list("value", "weak")) == {PDQ: "", "0" * 64: "all-zero"}
    step = AuditEntry.objects.filter(step="entry.added").get()
    assert (step.actor, step.object, step.body["count"]) == ("user:ada", "bank:known-pdq", 2)
    assert step.body["sha256"] == hashlib.sha256(("0" * 64 + "\n" + PDQ).encode()).hexdigest()


def test_what_changes_nothing_writes_nothing(make):
    bank, _ = make("term", "iron wolf")
    before = steps()
    done = add(bank, "IRON  WOLF", "x")
    assert (done.added, done.known, len(done.set_aside)) == (0, 1, 1)
    assert steps() == before


def test_withdrawn_matches_no_more_and_is_not_forgotten(make):
    bank, made = make("term", "iron wolf", "grey heron")
    wolf = services.entry_id(bank, "Iron Wolf")
    assert services.known().find(post("the iron wolf"))
    assert services.withdraw_entries(bank, [wolf], by="user:ada", now=NOW, reason="a football club") == 1
    assert not services.known().find(post("the iron wolf"))
    assert services.known().find(post("the grey heron"))
    assert services.withdraw_entries(bank, [wolf], by="user:ada", now=NOW) == 0
    entry = Entry.objects.get(pk=wolf)
    assert (entry.withdrawn_at, entry.withdrawn_by) == (NOW, "user:ada")
    assert [(step, actor) for step, actor, _ in steps()][-1:] == [("entry.withdrawn", "user:ada")]

    later = NOW + timedelta(days=1)
    again = services.add_entries(bank, [NewEntry(value="iron wolf", label="anew")], by="user:bo", now=later)
    assert (again.added, again.revived, again.entries) == (0, 1, (wolf,))
    (finding,) = services.known().find(post("the iron wolf"))
    assert finding.match
    assert (finding.match.entry, finding.match.label) == (wolf, "anew")
    assert len(made.entries) == 2


def test_an_entry_of_another_bank_is_not_withdrawn(make):
    bank, made = make("term", "iron wolf", name="a")
    other, others = make("term", "iron wolf", name="b")
    with pytest.raises(BadInput, match=f"{others.entries[0]}: no such entry"):
        services.withdraw_entries(bank, [*made.entries, *others.entries], by="system", now=NOW)
    assert Entry.objects.filter(withdrawn_at=None).count() == 2
    with pytest.raises(Problem, match="no such entry in this bank"):
        services.entry_id(other, str(made.entries[0]))


VALUES = st.lists(st.sampled_from(["iron wolf", "Iron Wolf", "grey heron", "x", "", "red fox"]), max_size=6)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(VALUES, VALUES)
def test_adding_then_withdrawing_returns_to_before(make, first, second):
    with transaction.atomic():
        bank, _ = make("term", *first, name="slogans")
        text = post("iron wolf, grey heron, red fox")
        before = services.known(fresh=True).find(text)
        there = set(bank.entries.filter(withdrawn_at=None).values_list("pk", flat=True))
        added = set(add(bank, *second).entries) - there
        assert len(services.known(fresh=True).find(text)) == len(before) + len(added)
        services.withdraw_entries(bank, added, by="system", now=NOW)
        assert services.known(fresh=True).find(text) == before
        transaction.set_rollback(True)


def test_every_change_is_known_at_once_here_and_to_who_asks_afresh(make):
    bank, _ = make("domain", "bad.example")
    numbers = [revision()]
    event = post("see https://worse.example/")
    assert not services.known().find(event)
    done = add(bank, "worse.example")
    numbers.append(revision())
    assert services.known().find(event)
    services.withdraw_entries(bank, done.entries, by="system", now=NOW)
    numbers.append(revision())
    assert not services.known(fresh=True).find(event)
    assert numbers == sorted(set(numbers))


def test_a_paused_bank_matches_nothing(make):
    bank, _ = make("term", "iron wolf")
    Bank.objects.filter(pk=bank.pk).update(active=False)
    add(bank, "grey heron")
    assert not services.known(fresh=True).find(post("iron wolf and grey heron"))


def test_nothing_stays_of_a_change_that_fails(make, monkeypatch):
    bank, _ = make("term", "iron wolf")
    number = revision()

    def refuse(*_args, **_kwargs):
        raise OSError("no space left")

    monkeypatch.setattr(services, "record", refuse)
    with pytest.raises(OSError, match="no space"), transaction.atomic():
        add(bank, "grey heron")
    assert revision() == number
    assert not services.known(fresh=True).find(post("grey heron"))


@pytest.mark.django_db(transaction=True)
def test_two_writers_at_once_add_each_value_once(make):
    bank, _ = make("term")
    values = [f"wolf {number}" for number in range(300)]
    done = []

    def write():
        try:
            done.append(add(bank, *values))
        finally:
            connection.close()

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.added for one in done) == [0, 0, 300]
    assert bank.entries.count() == 300
    assert len(services.known(fresh=True).find(post(" ".join(values[:10])))) == 10


def test_ten_thousand_equal_entries_are_one(make):
    bank, _ = make("pdq")
    done = services.add_entries(bank, [NewEntry(value=PDQ)] * 10_000, by="system", now=NOW)
    assert (done.added, done.repeated) == (1, 9_999)
    assert len(services.known(fresh=True).find(posted(Media(id="m1", pdq=PDQ)))) == 1


def test_files_become_entries(make):
    image = ImageHashes(sha256="a" * 64, md5="b" * 32, pdq=PDQ, quality=20, width=1, height=1)
    video = VideoHashes(sha256="c" * 64, md5="d" * 32, frames=(Frame(0, PDQ, 100),), seconds=1, width=1, height=1)
    for kind, hashes, value, weak in (
        ("pdq", image, PDQ, "low quality: 20 of 100"),
        ("md5", image, "b" * 32, ""),
        ("sha256", video, "c" * 64, ""),
        ("video", video, "c" * 64, ""),
    ):
        bank, done = make(kind, services.entry_from_media(hashes, kind, label="x"))
        assert list(bank.entries.values_list("value", "label", "weak")) == [(value, "x", weak)]
        assert done.added == 1
    with pytest.raises(BadInput, match="a picture, which a bank of kind video does not take"):
        services.entry_from_media(image, "video")
    with pytest.raises(BadInput, match="One of kind video does"):
        services.entry_from_media(video, "pdq")


def test_a_video_needs_its_frames(make):
    _, done = make("video", "c" * 64)
    assert [aside.reason for aside in done.set_aside] == ["a video without frames"]


# Import


def read(bank, text):
    return services.import_entries(bank, io.StringIO(text, newline=""), by="system", now=NOW)


def test_csv_with_a_header(make):
    bank, _ = make("pdq")
    done = read(
        bank,
        "\ufefflabel,value,quality,note\r\n"
        f"a wolf,{PDQ},90,\r\n"
        f'"a fox, red","{"0" * 64}\n",,"over two\nlines"\r\n'
        "\r\n"
        f"a hare,{PDQ[:-2]},90,\r\n"
        f"too,many,1,cells,here\r\n"
        f"a hen,{PDQ[::-1]},101,\r\n"
        f"a cow,{PDQ[::-1]},7,\r\n",
    )
    assert (done.added, done.weak) == (3, 2)
    assert [(aside.place, aside.reason) for aside in done.set_aside] == [
        (7, "62 hex digits; a PDQ hash has 64"),
        (8, "5 cells; the header names 4"),
        (9, "a quality of '101'; it is 0 to 100"),
    ]
    assert set(bank.entries.values_list("label", "weak")) == {
        ("a wolf", ""), ("a fox, red", "all-zero"), ("a cow", "low quality: 7 of 100"),
    }  # fmt: skip


@pytest.mark.parametrize(
    "text", ["value;label\nIron Wolf;x", "value\tlabel\nIron Wolf\tx\n", "\n\nvalue,label\nIron Wolf,x\n"]
)
def test_other_csv(make, text):
    bank, _ = make("term")
    assert read(bank, text).added == 1
    assert list(bank.entries.values_list("value", "label")) == [("iron wolf", "x")]


def test_values_alone(make):
    bank, _ = make("domain")
    done = read(bank, "bad.example\n\nworse.example\nnot one\nbad.example,with a cell\n")
    assert (done.added, [aside.place for aside in done.set_aside]) == (2, [4, 5])


def test_a_quote_that_is_never_closed_costs_its_line_alone(make):
    bank, _ = make("term")
    done = read(bank, 'value,note\nwolf,"open\n' + "".join(f"heron {n},\n" for n in range(50)))
    assert (done.added, [aside.place for aside in done.set_aside]) == (50, [2])


def test_json_lines(make):
    bank, _ = make("pdq")
    lines = [
        f'{{"value": "{PDQ}", "label": "a wolf"}}',
        f'{{"file": "x.jpg", "sha256": "{"a" * 64}", "md5": "{"b" * 32}", "pdq": "{PDQ[::-1]}", "quality": 99}}',
        '{"value": 7}',
        "{" * 5000,
        '{"label": "nothing"}',
        '{"value": "\\ud800"}',
    ]
    done = read(bank, "\n".join(lines))
    assert (done.added, [aside.place for aside in done.set_aside]) == (2, [3, 4, 5, 6])


def test_a_video_by_what_redshank_hash_prints(make):
    bank, _ = make("video")
    line = f'{{"sha256": "{"c" * 64}", "frames": [{{"second": 0.0, "pdq": "{PDQ}", "quality": 100, "off": 0.0}}]}}'
    assert read(bank, line).added == 1
    assert len(services.known(fresh=True).find(posted(Media(id="m1", sha256="c" * 64)))) == 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("<!DOCTYPE html>\n<p>Sign in</p>", "neither CSV nor lines of JSON"),
        ('[{"value": "x"}]', "neither CSV nor lines of JSON"),
        ("value,vlaue\na,b\n", "an unknown column 'vlaue'"),
    ],
)
def test_a_file_that_is_something_else_is_refused(make, text, why):
    bank, _ = make("term")
    with pytest.raises(BadInput, match=why):
        read(bank, text)
    assert not bank.entries.exists()


def test_an_import_that_is_stopped_is_ended_by_the_same_again(make, monkeypatch):
    monkeypatch.setattr(services, "IMPORTED", 10)
    bank, _ = make("term", "wolf 3", "wolf 999")
    services.withdraw_entries(bank, [services.entry_id(bank, "wolf 3")], by="system", now=NOW)
    text = "value\n" + "".join(f"wolf {number}\n" if number % 7 else "x\n" for number in range(60))
    rehearsed, first = services.rehearse_import(bank, io.StringIO(text))
    assert [entry.value for entry in first] == [f"wolf {number}" for number in (1, 2, 4, 5, 6, 8, 9, 10)]
    assert bank.entries.count() == 2
    lines, aside = [], []

    def tell(line, total):
        if len(lines) == 3:
            raise KeyboardInterrupt
        lines.append((line, total))

    with pytest.raises(KeyboardInterrupt):
        services.import_entries(bank, io.StringIO(text), by="system", now=NOW, kept=tell)
    bank.refresh_from_db()
    assert (lines[-1][0], bank.in_force, bank.entries.count()) == (31, 26, 26)
    with transaction.atomic():
        onward = services.import_entries(bank, io.StringIO(text), by="system", now=NOW, before=lines[-1])
        assert (onward.added, onward.revived, onward.known, onward.aside) == (50, 1, 0, 9)
        assert len(onward.set_aside) == 9
        transaction.set_rollback(True)
    done = services.import_entries(bank, io.StringIO(text), by="system", now=NOW, aside=aside.append)
    assert (done.added, done.known, done.aside, len(aside)) == (26, 25, 9, 9)
    assert (rehearsed.added, rehearsed.revived, rehearsed.known, rehearsed.aside) == (50, 1, 0, 9)
    bank.refresh_from_db()
    assert (bank.in_force, bank.withdrawn) == (bank.entries.filter(withdrawn_at=None).count(), 0) == (52, 0)


def test_an_empty_file_adds_nothing(make):
    bank, _ = make("term")
    assert read(bank, "\n \n").added == 0


def test_a_line_without_end_is_passed_over(make, monkeypatch):
    monkeypatch.setattr(services, "MAX_LINE", 50)
    bank, _ = make("term")
    done = read(bank, "value\niron wolf\n" + "x" * 100_000 + "\ngrey heron\n")
    assert (done.added, [aside.place for aside in done.set_aside]) == (2, [3])
    assert set(bank.entries.values_list("value", flat=True)) == {"iron wolf", "grey heron"}


@given(st.binary(max_size=300))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_taken_or_refused_for_a_reason(make, raw):
    with transaction.atomic():
        bank, _ = make("term", name="slogans")
        with suppress(BadInput):
            done = read(bank, raw.decode("utf-8", "surrogateescape"))
            assert all(aside.reason for aside in done.set_aside)
            assert done.added == bank.entries.count()
        transaction.set_rollback(True)
