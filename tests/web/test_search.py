"""The search page: what it finds, how it errs, what it keeps, and that it is written down who searched."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from django.test import Client

from redshank.archive import past_writer, services
from redshank.archive.models import EventRecord, PastBatch, SavedSearch
from redshank.audit.models import Entry
from redshank.cases.models import Case
from redshank.cases.services import needed_events
from redshank.cli import main
from redshank.core import Account, Finding, Match, Post, PostCreated, Report, ReportReceived, Verdict, Whole
from redshank.core.events import Reporter
from redshank.people.models import User
from redshank.rules import searches

NOW = datetime.now(UTC).replace(microsecond=0)


def post(number: int, text: str, account: str = "anna", hours: float = 1.0, **more: Any) -> PostCreated:
    return PostCreated(
        id=f"e{number}", network="marsh.example", at=NOW - timedelta(hours=hours),
        account=Account(id=account, handle=f"@{account}"), post=Post(id=f"p{number}", text=text, **more),
    )  # fmt: skip


@pytest.fixture
def lead(db: None, tmp_path: Path, settings: Any) -> Client:
    settings.DATA_DIR = tmp_path
    client = Client()
    client.force_login(User.objects.create_user("lee", role="lead"))
    old = [
        post(number, f"march number {number}", hours=30 + number, links=("https://a.example/x",))
        for number in range(60)
    ]
    services.claim([services.NewEvent(event=one) for one in old], now=NOW)
    match = Match(bank="known", entry=1, value="x", policy="p", severity=4)
    seen = Verdict(
        findings=(Finding(detector="d", kind="term", score=1.0, where=Whole("post.text"), seen="march", match=match),)
    )
    services.save_verdicts({("marsh.example", "e3"): seen})
    past_writer.write_due(now=NOW, all_of_it=True)
    fresh = [
        post(100, "=HYPERLINK(1) march just now", account="bert"),
        post(101, "nothing to see <script>", account="bert"),
    ]
    services.claim([services.NewEvent(event=one) for one in fresh], now=NOW)
    return client


def test_what_is_found_is_counted_listed_and_paged(lead: Client) -> None:
    answer = lead.get("/search", {"q": 'contains(post.text, "march")', "range": "week", "by": "account"})
    page = answer.content.decode()
    assert "61 events" in page
    found = answer.context["found"]
    assert found.top == (("marsh.example/anna", 60), ("marsh.example/bert", 1))
    assert [one.row.id for one in answer.context["rows"]] == ["e100", *(f"e{n}" for n in range(49))]
    older = lead.get("/search" + answer.context["older"])
    assert [one.row.id for one in older.context["rows"]] == [f"e{n}" for n in range(49, 60)]
    assert not older.context["older"]
    assert "<script>" not in lead.get("/search", {"q": "", "range": "all"}).content.decode().replace(
        "</script>", ""
    ).replace("<script src", "")
    said = list(Entry.objects.filter(step="archive.searched").values_list("actor", "body"))
    assert len(said) == 3
    assert said[0][0] == "user:lee"
    assert said[0][1]["when"] == 'contains(post.text, "march")'


def test_narrowing_by_a_value_and_in_ones_own_zone(lead: Client) -> None:
    answer = lead.get(
        "/search", {"q": "len(post.links) > 0 or True", "by": "domain", "zone": "Asia/Kathmandu", "since": "2020-01-01"}
    )
    assert answer.context["found"].top == (("a.example", 60),)
    assert answer.cookies["zone"].value == "Asia/Kathmandu"
    narrowed = lead.get("/search" + answer.context["top"][0].url)
    assert narrowed.context["found"].events == 60
    assert narrowed.context["rows"][0].zone == "+0545"
    by_account = lead.get("/search", {"q": "", "by": "account"})
    assert lead.get("/search" + by_account.context["top"][1].url).context["found"].events == 2
    assert b"no time zone Mars/Base" in lead.get("/search", {"q": "", "zone": "Mars/Base"}).content
    assert b"is no day or time" in lead.get("/search", {"q": "", "since": "31/7/2026"}).content


def test_errors_stand_where_they_are(lead: Client) -> None:
    page = lead.get("/search", {"q": 'contians(post.text, "x")'}).content.decode()
    assert "unknown function <code>contians</code>" in page
    assert "Did you mean <code>contains</code>?" in page
    assert "^^^^^^^^" in page
    page = lead.get("/search", {"q": '"watch" in account.labels'}).content.decode()
    assert "the past does not hold our labels of then" in page
    assert not Entry.objects.filter(step="archive.searched").exists()


def test_a_download_has_everything_up_to_its_bound_and_no_formula(lead: Client, settings: Any) -> None:
    def download() -> list[list[str]]:
        answer = lead.get("/search/results.csv", {"q": 'contains(post.text, "march")'})
        return list(csv.reader(io.StringIO(b"".join(answer.streaming_content).decode("utf-8-sig"))))

    rows = download()
    assert len(rows) == 62
    assert {row[1] for row in rows[1:]} == {"e100", *(f"e{n}" for n in range(60))}
    assert {row[8][:12] for row in rows if row[1] == "e100"} == {"'=HYPERLINK("}
    assert all(row[6].startswith("'@") for row in rows[1:])
    settings.REDSHANK = msgspec.structs.replace(
        settings.REDSHANK, archive=msgspec.structs.replace(settings.REDSHANK.archive, csv_rows=7)
    )
    rows = download()
    assert len(rows) == 9
    assert rows[-1][0].startswith("Cut off here")
    assert Entry.objects.filter(step="archive.downloaded").count() == 2


def test_an_event_is_shown_from_the_store_and_from_the_past(lead: Client) -> None:
    for _ in range(2):
        page = lead.get("/events/marsh.example/e3").content.decode()
        assert "march number 3" in page
        assert "known" in page
        EventRecord.objects.filter(event_id="e3").delete()
    assert "the past" in page
    assert lead.get("/events/marsh.example/nowhere").status_code == 404
    assert Entry.objects.filter(step="archive.event_viewed").count() == 2


def test_kept_searches_are_ones_own_or_the_teams_and_go_with_the_account_they_name(lead: Client) -> None:
    other = Client()
    other.force_login(User.objects.create_user("ada", role="admin"))
    for name, asked, shared in (("one", "?q=account.id+%3D%3D+%22anna%22&range=all", "1"), ("two", "?q=True", "")):
        assert lead.post("/search/keep", {"name": name, "asked": asked, "shared": shared}).status_code == 302
    assert [one.name for one in lead.get("/search").context["saved"]] == ["one", "two"]
    assert [one.name for one in other.get("/search").context["saved"]] == ["one"]
    mine = SavedSearch.objects.get(name="two")
    assert other.post(f"/search/kept/{mine.pk}/drop").status_code == 404
    past_writer.erase("marsh.example", "anna", by="user:ada", reason="asked", now=NOW)
    assert list(SavedSearch.objects.values_list("name", flat=True)) == ["two"]
    assert lead.get("/search", {"q": "", "range": "all"}).context["found"].events == 2
    assert lead.post(f"/search/kept/{mine.pk}/drop").status_code == 302
    assert not SavedSearch.objects.exists()


def test_every_event_is_seen_once_whatever_is_written_meanwhile(lead: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = past_writer.past

    def written_meanwhile() -> Any:
        monkeypatch.setattr(past_writer, "past", honest)
        past_writer.write_due(now=NOW, all_of_it=True)
        return honest()

    monkeypatch.setattr(past_writer, "past", written_meanwhile)
    now = past_writer.everything()
    assert {one.id for one in now.fresh} == {"e100", "e101"}
    assert len(now.files) == 1
    assert len(past_writer.everything().files) == 2
    PastBatch.objects.update(written_at=None)  # Cut off between its files and its mark.
    again = past_writer.everything()
    assert (len(again.files), len(again.fresh)) == (0, 62)


def test_old_events_leave_the_store_but_not_those_that_a_case_shows(lead: Client, settings: Any) -> None:
    case = Case(
        network="marsh.example", subject_kind="post", subject_id="p5", account_id="anna", state="decided", opened_at=NOW,
        deadline=NOW, source="rule",
    )  # fmt: skip
    case.save()
    report = ReportReceived(
        id="r1", network="marsh.example", at=NOW,
        report=Report(id="r", subject_kind="post", subject_id="p5", reason="x", reporter=Reporter(kind="user")),
    )  # fmt: skip
    services.claim([services.NewEvent(event=report)], now=NOW)

    def trim(days: int) -> list[str]:
        after = rounds = 0
        while rounds == 0 or after:
            after = past_writer.trim_store(after, needed_events, now=NOW + timedelta(days=days), limit=10)
            rounds += 1
        return sorted(EventRecord.objects.values_list("event_id", flat=True))

    assert len(trim(180)) == 63
    assert trim(181) == ["e100", "e101", "e5", "r1"], "what is in no file yet stays"
    past_writer.write_due(now=NOW, all_of_it=True)
    assert trim(181) == ["e5", "r1"]
    assert lead.get("/search", {"q": "", "range": "all"}).context["found"].events == 63


def test_the_command_finds_the_same_and_is_written_down(lead: Client) -> None:
    def run(*words: str) -> Any:
        return CliRunner().invoke(main, ["archive", "search", *words])

    assert run('contains(post.text, "march")', "--by", "account").output.split() == [
        "60",
        "marsh.example/anna",
        "1",
        "marsh.example/bert",
    ]
    days = run("--by", "day", "--json").output.splitlines()
    assert sum(msgspec.json.decode(line)["events"] for line in days) == 62
    rows = list(csv.reader(io.StringIO(run('account.id == "bert"', "--csv").output)))
    assert [row[1] for row in rows] == ["event", "e100", "e101"]
    assert "The newest 3; --limit gives more, --by counts." in run("--limit", "3").output
    wrong = run("account.agee < days(2)")
    assert wrong.exit_code == 1
    assert "search:1:1: error: an account has no `agee`" in wrong.output
    assert Entry.objects.filter(step="archive.searched", actor="system").count() == 4


def test_a_process_stands_ready_and_does_not_matter_when_it_is_gone(lead: Client) -> None:
    assert b"Search" in lead.get("/search").content
    ready = searches._ready[0][0]
    assert b"march just now" in lead.get("/search?q=&range=all").content
    assert ready.poll() is not None  # It took the job, and another one stands ready.
    after = searches._ready[0][0]
    assert after is not ready
    after.kill()
    after.wait()
    assert b"march just now" in lead.get("/search?q=&range=all").content
    last = searches._ready[0][0]
    assert last.stdin
    assert last.poll() is None
    last.stdin.close()
    assert last.wait(30) == 0  # As when the server ends.
