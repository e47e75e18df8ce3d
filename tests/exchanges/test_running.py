"""What sources do wrong, what people here decide, and being killed anywhere."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction

from redshank import rows
from redshank.audit.models import Entry as Logged
from redshank.banks import services as banks
from redshank.banks.models import Entry, Opinion
from redshank.core import Account, BadInput, Media, Post, PostCreated, Problem
from redshank.core.sealed import unseal
from redshank.exchanges import running, services
from redshank.exchanges.models import Claim, Exchange, Run, SetAside
from redshank.exchanges.running import LEASE
from tests.exchanges.conftest import NOW, md5, pdq
from tests.exchanges.servers import StopNcii, as_json, drip
from tests.exchanges.test_kinds import indicator

pytestmark = pytest.mark.django_db(transaction=True)


class Listing:
    """A CSV list that holds what it is told to."""

    def __init__(self, *numbers: int) -> None:
        self.numbers: list[int] = list(numbers)
        self.raw: bytes | None = None
        self.headers: dict[str, str] = {}

    def __call__(self, request: Any) -> Any:
        body = self.raw or ("value\n" + "\n".join(md5(number) for number in self.numbers)).encode()
        return 200, self.headers, body


def living() -> set[str]:
    return set(Entry.objects.filter(withdrawn_at=None).values_list("value", flat=True))


def all_of(*numbers: int) -> set[str]:
    return {md5(number) for number in numbers}


@pytest.fixture
def listed(serve: Any, exchange: Any) -> Any:
    def make(*numbers: int, name: str = "made-up") -> tuple[Listing, Exchange]:
        listing = Listing(*numbers)
        return listing, exchange("csv", serve(listing).url, name=name, options={"kind": "md5"})

    return make


def go(one: Exchange, clock: Any) -> Run:
    one.refresh_from_db()
    done = running.run(one, clock=clock)
    assert done is not None
    return done


def test_an_entry_stays_while_another_source_lists_it_or_a_person_holds_it(listed: Any, clock: Any) -> None:
    first, one = listed(*range(1, 21))
    second, other = listed(1, name="second")
    go(one, clock)
    go(other, clock)
    by_value = dict(Entry.objects.values_list("value", "pk"))
    banks.confirm_entries([by_value[md5(2)]], by="user:ada", now=NOW)
    bank = Entry.objects.select_related("bank").defer("frames")[0].bank
    banks.add_entries(bank, [banks.NewEntry(value=md5(99))], by="user:ada", now=NOW)
    first.numbers = [*range(4, 21), 99]
    go(one, clock)
    assert living() == all_of(1, 2, *range(4, 21), 99)
    first.numbers, second.numbers = list(range(4, 21)), [50]
    go(other, clock)
    go(one, clock)
    assert living() == all_of(2, *range(4, 21), 50, 99)


def test_what_a_source_says_no_more_is_forgotten_and_what_others_say_there_stays(
    serve: Any, exchange: Any, clock: Any
) -> None:
    source = StopNcii()
    source.put("", "md5", md5(1), int(NOW.timestamp()) - 100)
    one = exchange("stopncii", serve(source).url, secret=StopNcii.SECRET)
    go(one, clock)
    entry = Entry.objects.get().pk
    banks.give_opinion(entry, "made-up-2/Other", "agrees", by="user:ada", now=NOW)
    said = set(Opinion.objects.values_list("source", flat=True))
    assert said == {"made-up", "made-up/Other", "made-up-2/Other"}
    for at, left in ((50, []), (20, [{"source": "Third", "feedbackValue": "NotBlocked", "tags": []}])):
        source.put("", "md5", md5(1), int(NOW.timestamp()) - at)
        source.rows[0]["CSPFeedbacks"] = left
        go(one, clock)
        said = set(Opinion.objects.values_list("source", flat=True))
        assert said == {"made-up", "made-up-2/Other", *(f"made-up/{row['source']}" for row in left)}
    assert living() == all_of(1)


def test_what_a_person_withdrew_stays_out_whatever_the_source_lists(listed: Any, clock: Any) -> None:
    listing, one = listed(1, 2, 3, 4)
    go(one, clock)
    entry = Entry.objects.select_related("bank").defer("frames").get(value=md5(1))
    banks.withdraw_entries(entry.bank, [entry.pk], by="user:ada", now=NOW)
    listing.numbers = [2, 3, 4]
    go(one, clock)
    listing.numbers = [1, 2, 3, 4]
    run = go(one, clock)
    assert living() == all_of(2, 3, 4)
    assert run.counts["kept_out"] == 1
    listing.numbers = [2, 4]
    go(one, clock)
    listing.numbers = [2, 3, 4]
    run = go(one, clock)
    assert run.counts["revived"] == 1
    assert living() == all_of(2, 3, 4)


def test_a_source_that_withdraws_all_is_held_until_a_person_decides(listed: Any, clock: Any) -> None:
    listing, one = listed(*range(1, 21))
    go(one, clock)
    listing.numbers = [100]
    run = go(one, clock)
    assert run.state == Run.State.HELD
    assert "withdraws all 20" in run.reason
    assert living() == all_of(*range(1, 21))
    assert Logged.objects.filter(step="exchange.held").count() == 1
    clock.pass_(days=1)
    assert running.run_due(clock=clock) == 0
    with pytest.raises(Problem, match="waits for a person"):
        running.run(one, clock=clock)
    running.discard(run, by="user:ada", now=clock.now)
    assert living() == all_of(*range(1, 21))
    assert not running.folder_of(run).exists()
    run = go(one, clock)
    assert run.state == Run.State.HELD
    running.release(run, by="user:ada", now=clock.now)
    with pytest.raises(Problem, match="held no more"):
        running.release(run, by="user:bob", now=clock.now)
    assert running.run_due(clock=clock) == 1
    assert living() == all_of(100)


def test_a_source_that_brings_ten_times_the_usual_is_held(listed: Any, limits: Any, settings: Any, clock: Any) -> None:
    listing, one = listed(1, 2)
    limits(hold_floor=5)
    go(one, clock)
    for top in (4, 6, 8):
        listing.numbers = list(range(1, top + 1))
        go(one, clock)
    listing.numbers = list(range(1, 40))
    run = go(one, clock)
    assert run.state == Run.State.HELD
    assert "31 new things; 2 are usual" in run.reason
    assert run.diff["new"] == 31
    assert len(living()) == 8


def test_somebody_may_ask_to_see_it_first(listed: Any, clock: Any) -> None:
    _, one = listed(1, 2)
    services.ask_now(one, look=True, by="user:ada", now=clock.now)
    assert running.run_due(clock=clock) == 1
    run = Run.objects.get()
    assert run.state == Run.State.HELD
    assert run.diff["first_new"] == [["md5", md5(1)], ["md5", md5(2)]]
    assert living() == set()


def test_a_dry_run_says_what_would_change_and_changes_nothing(listed: Any, clock: Any, tmp_path: Path) -> None:
    listing, one = listed(1, 2, 3)
    go(one, clock)
    listing.numbers = [2, 3, 4]
    one.refresh_from_db()
    before = (Logged.objects.count(), Run.objects.count(), one.checkpoint)
    folder = tmp_path / "dry"
    folder.mkdir()
    diff = running.rehearse(one, folder, clock=clock)
    assert (diff.new, diff.leaving, diff.same) == (1, 1, 2)
    assert diff.first_new == [("md5", md5(4))]
    assert diff.first_gone == [("md5", md5(1))]
    one.refresh_from_db()
    assert (Logged.objects.count(), Run.objects.count(), one.checkpoint) == before


BAD = {
    "a web page": (b"<!doctype html><html>Sign in</html>", "web page"),
    "nothing": (b"", "empty"),
    "a packed file": (b"\x1f\x8b\x08\x00" + b"x" * 40, "packed"),
    "another table": (b"name,age\nada,36\n", "names no column"),
    "rows of nonsense": (b"value\n" + b"\n".join(b"zz%d" % n for n in range(50)), "None of its 50 rows"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_no_list_changes_nothing_and_says_what_it_is(what: str, listed: Any, clock: Any) -> None:
    listing, one = listed(1, 2, 3)
    go(one, clock)
    listing.raw = BAD[what][0] or b" "
    run = go(one, clock)
    assert run.state == Run.State.FAILED
    assert BAD[what][1] in run.reason
    assert living() == all_of(1, 2, 3)
    one.refresh_from_db()
    assert one.failures == 1
    assert BAD[what][1] in one.last_error


@pytest.mark.parametrize("body", [b"<html>Bad gateway</html>", b"{", b"[]", b'{"hashRecords": 7}', b"\xff\xfe"])
def test_an_api_that_answers_with_garbage_changes_nothing(body: bytes, serve: Any, exchange: Any, clock: Any) -> None:
    server = serve(StopNcii())
    one = exchange("stopncii", server.url, secret=StopNcii.SECRET)
    server.answer = lambda request: (200, {}, body)
    run = go(one, clock)
    assert run.state == Run.State.FAILED
    assert ("a web page" if body.startswith(b"<html") else "") in run.reason
    one.refresh_from_db()
    assert one.checkpoint is None
    assert living() == set()


def test_a_list_that_breaks_off_is_taken_whole_or_not_at_all(listed: Any, clock: Any, monkeypatch: Any) -> None:
    listing, one = listed(1, 2, 3)
    go(one, clock)
    listing.raw = ("value\n" + md5(1) + "\n").encode()
    listing.headers = {"Content-Length": "100000", "Connection": "close"}
    server_side = pytest.MonkeyPatch()
    run = go(one, clock)
    server_side.undo()
    assert run.state == Run.State.FAILED
    assert living() == all_of(1, 2, 3)


def test_a_full_fetch_that_breaks_off_goes_on_and_withdraws_at_its_end_alone(
    serve: Any, exchange: Any, clock: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr("redshank.exchanges.http.TRIES", 1)
    source = StopNcii()
    at = int(NOW.timestamp()) - 10_000
    for number in range(1, 9):
        source.put("", "md5", md5(number), at + number)
    server = serve(source)
    one = exchange("stopncii", server.url, secret=StopNcii.SECRET)
    go(one, clock)
    source.rows = [row for row in source.rows if row["hashValue"] != md5(1)]  # It forgot one without a word.
    server.break_after = len(server.requests) + 2
    services.ask_now(one, full=True, by="user:ada", now=clock.now)
    run = go(one, clock)
    assert (run.state, run.pieces) == (Run.State.FETCHING, 2)
    assert living() == all_of(*range(1, 9))
    server.break_after = None
    clock.pass_(hours=1)
    assert running.run_due(clock=clock) == 1
    run.refresh_from_db()
    assert (run.state, run.cut, run.reason) == (Run.State.DONE, False, "")
    assert living() == all_of(*range(2, 9))


def test_what_no_store_can_keep_is_set_aside_and_nothing_stops_the_others(
    serve: Any, exchange: Any, clock: Any, limits: Any, monkeypatch: Any
) -> None:
    odd = [{"md5": md5(1), "label": "a\u0000b"}, {"md5": "\u0000zz"}, {"id": "k\u0000", "md5": md5(2)}]
    body = json.dumps(odd)[:-1] + ', {"md5": "' + md5(3) + '", "label": "x\\ud800"}]'
    server = serve(lambda request: (200, {"ETag": "a"}, body.encode()))
    one = exchange("json", server.url)
    run = go(one, clock)
    assert run.state == Run.State.DONE, run.reason
    assert all_of(1, 2) <= living()
    monkeypatch.setattr(running, "_weigh", lambda *args, **kwargs: 1 / 0)
    clock.pass_(days=1)
    other = exchange("json", server.url, name="other")
    assert running.run_due(clock=clock) == 1 == running.run_due(clock=clock)
    other.refresh_from_db()
    assert "ZeroDivisionError" in other.last_error
    assert running.run_due(clock=clock) == 0


def test_a_server_that_knows_our_checkpoint_no_more_is_read_anew_and_compared(
    serve: Any, exchange: Any, clock: Any
) -> None:
    listed = [1, 2, 3]

    def answer(request: Any) -> Any:
        if "added_after" in request.query:
            return as_json({"title": "Too old"}, 410)
        things = [indicator(number, f"[file:hashes.MD5 = '{md5(number)}']") for number in listed]
        dates = {f"X-TAXII-Date-Added-{name}": "2026-07-01T10:00:00.000Z" for name in ("First", "Last")}
        return as_json({"objects": things}, **dates)

    one = exchange("taxii", serve(answer).url, options={"collection": "c"})
    go(one, clock)
    listed[:] = [2, 3, 4]
    run = go(one, clock)
    assert (run.state, run.full) == (Run.State.DONE, True)
    assert "no longer knows" in run.noticed
    assert living() == all_of(2, 3, 4)


def test_an_older_list_is_held(listed: Any, clock: Any) -> None:
    listing, one = listed(1, 2, 3, 4)
    listing.headers = {"Last-Modified": "Wed, 01 Jul 2026 10:00:00 GMT"}
    go(one, clock)
    listing.numbers = [1, 2, 3]
    listing.headers = {"Last-Modified": "Wed, 01 Apr 2026 10:00:00 GMT"}
    run = go(one, clock)
    assert run.state == Run.State.HELD
    assert "older" in run.reason


def test_many_things_are_capped_and_read_in_bounded_pieces(listed: Any, limits: Any, settings: Any, clock: Any) -> None:
    listing, one = listed(*range(1, 5001))
    limits(max_records=4000)
    run = go(one, clock)
    assert run.state == Run.State.FAILED
    assert "more than 4,000 things" in run.reason
    assert living() == set()
    limits(max_records=10**6, max_bytes=10_000)
    run = go(one, clock)
    assert run.state == Run.State.FAILED
    assert "more than 10,000 bytes" in run.reason
    limits(max_bytes=10**9)
    listing.numbers = [*range(1, 5001), *range(1, 5001)]  # It repeats itself.
    run = go(one, clock)
    assert run.state == Run.State.DONE
    assert run.pieces == 5
    assert len(living()) == 5000 == Claim.objects.count()


class Killed(BaseException):
    """Stands for kill -9: nothing of ours handles it."""


def test_a_worker_that_ends_lets_go_at_the_next_mark(serve: Any, exchange: Any, clock: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(running, "TOGETHER", 2)
    source = StopNcii()
    for number in range(1, 8):
        source.put("", "md5", md5(number), int(NOW.timestamp()) - 10_000 + number)
    one = exchange("stopncii", serve(source).url, secret=StopNcii.SECRET)
    stop, phases = threading.Event(), []

    def progress(phase: str, done: int) -> None:
        phases.append((phase, done))
        if (phase, done) in {("fetched", 2), ("taken over", 1)}:
            stop.set()

    for _ in range(2):
        stop.clear()
        one.refresh_from_db()
        assert running.run(one, clock=clock, progress=progress, stop=stop) is None
        one.refresh_from_db()
        assert one.leased_until is None
    assert (Run.objects.get().state, len(living())) == ("applying", 2)
    assert go(one, clock).state == Run.State.DONE
    assert (len(living()), Run.objects.get().counts["added"]) == (7, 7)
    assert [done for phase, done in phases if phase == "fetched"] == [2, 4, 6, 7]


def test_killed_anywhere_nothing_is_lost_and_nothing_twice(
    serve: Any, exchange: Any, clock: Any, monkeypatch: Any
) -> None:
    source = StopNcii()
    at = int(NOW.timestamp()) - 10_000
    for number in range(1, 8):
        source.put("", "md5", md5(number), at + number)
    one = exchange("stopncii", serve(source).url, secret=StopNcii.SECRET)
    steps = 0
    last = 0

    def killing(target: Any, name: str) -> None:
        real = getattr(target, name)

        def run(*args: Any, **kwargs: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps == last:
                raise Killed
            out = real(*args, **kwargs)
            steps += 1
            if steps == last:
                raise Killed
            return out

        monkeypatch.setattr(target, name, run)

    for target, name in (
        (running, "_write"), (running, "_weigh"), (running._Running, "_mark_piece"), (running._TakeOver, "write"),
        (running._TakeOver, "_list"), (running._Running, "_end"), (running.banks, "add_fitted"), (running, "digest"),
    ):  # fmt: skip
        killing(target, name)
    monkeypatch.setattr(
        running, "TOGETHER", 2
    )  # Each piece by itself: there are many places to be killed between them.
    monkeypatch.setattr(rows, "GAP", 0.0)
    monkeypatch.setattr(running._Lease, "release", lambda self: None)  # Who is killed releases nothing.
    kills = 0
    while True:
        last = steps + 1 + kills * 3 % 17
        try:
            one.refresh_from_db()
            done = running.run(one, clock=clock)
        except Killed:
            kills += 1
            assert running.run(one, clock=clock) is None  # Its lease still stands.
            clock.now += LEASE * 1.1
            continue
        if done is not None and done.state == Run.State.DONE:
            break
    assert kills > 5
    assert living() == all_of(*range(1, 8))
    assert sum(step.body["count"] for step in Logged.objects.filter(step="entry.added")) == 7
    assert Run.objects.count() == 1
    assert not running.folder_of(done).exists()


def test_two_workers_never_ask_one_source_at_once(listed: Any, clock: Any) -> None:
    _, one = listed(1)
    lease = running._Lease.take(one, clock, threading.Event())
    assert lease is not None
    assert running.run(one, clock=clock) is None
    Exchange.objects.update(lease="another")
    with pytest.raises(running.LostError), transaction.atomic():
        lease.hold()


def test_a_secret_stands_nowhere_but_encrypted(serve: Any, exchange: Any, clock: Any, caplog: Any) -> None:
    secret = "subscription-1,very-secret-fetch"
    server = serve(lambda request: as_json({"message": f"bad key {request.headers['x-functions-key']}"}, 403))
    one = exchange("stopncii", server.url, secret=secret)
    run = go(one, clock)
    assert "answers 403" in run.reason
    assert "‹secret›" in run.reason
    assert "very-secret-fetch" not in caplog.text
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names():
            cursor.execute(f'SELECT * FROM "{table}"')
            for row in cursor.fetchall():
                for cell in row:
                    assert b"very-secret-fetch" not in (bytes(cell) if isinstance(cell, bytes | memoryview) else str(cell).encode()), table  # fmt: skip
    assert services.secret_of(one) == secret
    with pytest.raises(Problem, match="secret_key is another"):
        unseal("x" * 40, bytes(Exchange.objects.get().secret or b""), label=services.SEALED)


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("http://203.0.113.5/list", "not an https"), ("ftp://a.example/", "only http"), ("https://ada:pw@a.example/", "user name"),
        ("https://a.example/?access_token=x", "with a secret"), ("file:../secret_key", "plain name"), ("/etc/passwd", "only http"),
    ],
)  # fmt: skip
def test_an_address_that_cannot_be_asked_is_refused(address: str, why: str, exchange: Any, limits: Any) -> None:
    with pytest.raises(BadInput, match=why):
        exchange("csv", address)


def test_nothing_inside_is_reached(exchange: Any, limits: Any, clock: Any) -> None:
    one = exchange("csv", "https://127.0.0.1:9/list")
    run = go(one, clock)
    assert "not public" in run.reason
    assert "exchanges.private" in run.reason


def test_a_redirect_leads_nowhere_inside_and_takes_no_secret_along(
    serve: Any, exchange: Any, clock: Any, limits: Any
) -> None:
    target = serve(Listing(1))
    server = serve(lambda request: (302, {"Location": f"{target.url}/x"}, b""))
    one = exchange("csv", server.url, secret="a-bearer-token", options={"kind": "md5"})
    assert go(one, clock).state == Run.State.DONE
    assert "authorization" in server.requests[0].headers
    assert "authorization" not in target.requests[0].headers
    limits(private=(server.host,))
    assert "not public" in go(one, clock).reason


def test_a_file_here_is_a_list_too(exchange: Any, limits: Any, clock: Any) -> None:
    one = exchange("json", "file:drop.json")
    assert "not there" in go(one, clock).reason
    services.folder().mkdir()
    (services.folder() / "drop.json").write_text(json.dumps([{"md5": md5(1)}, {"sha256": "ab" * 32}, 7]))
    assert go(one, clock).state == Run.State.DONE
    assert living() == {md5(1), "ab" * 32}
    assert SetAside.objects.get().reason == "neither a text nor an object"
    clock.now = NOW.replace(year=2027)
    time.sleep(0)
    running.forget(now=clock.now)
    assert Run.objects.count() == 0 == SetAside.objects.count()


def test_one_hash_written_in_several_ways_is_one_entry_and_what_is_none_is_set_aside(listed: Any, clock: Any) -> None:
    listing, one = listed()
    plain = md5(0xABCDEF)
    ways = (
        plain,
        plain.upper(),
        f"0x{plain}",
        f"MD5: {plain}",
        f"{plain[:16]} {plain[16:]}",
        f'"{plain}\n"',
        f" {plain}\t",
    )
    none = (plain[:-1], plain + "0", plain[:-1] + "g", "", plain.replace("0", "O"))
    listing.raw = "\n".join(["value", *ways, *none]).encode()
    run = go(one, clock)
    assert run.state == Run.State.DONE, run.reason
    assert living() == {plain}
    aside = list(SetAside.objects.values_list("value", "reason"))
    assert {value for value, _ in aside} == set(none) - {""}
    assert all("32" in reason or "not hexadecimal" in reason for _, reason in aside)
    before = Entry.objects.get().pk
    listing.raw = f"value\nMD5: {plain.upper()}\n{md5(1)}\n{md5(2)}".encode()
    go(one, clock)
    assert living() == {plain, md5(1), md5(2)}
    assert Claim.objects.get(entry=before, gone_at=None).entry.value == plain
    listing.numbers, listing.raw = [1, 2], None
    go(one, clock)
    assert living() == all_of(1, 2)


def test_a_feed_that_says_the_same_again_writes_what_is_new_alone(listed: Any, clock: Any) -> None:
    listing, one = listed(1, 2, 3)
    go(one, clock)
    listing.numbers = [3, 2, 1, 4, 4, 4]
    run = go(one, clock)
    assert {name: count for name, count in run.counts.items() if count} == {"added": 1, "opinions": 1}
    assert living() == all_of(1, 2, 3, 4)


def test_of_what_a_feed_says_of_one_thing_in_one_answer_the_last_counts(serve: Any, exchange: Any, clock: Any) -> None:
    at = int(NOW.timestamp()) - 100
    said = [(1, False), (2, False), (1, True), (3, True), (3, False)]
    rows: list[Any] = []
    for number, gone in said:
        source = StopNcii()
        source.put("", "md5", md5(number), at, gone=gone)
        rows += source.rows
    body = {"count": 5, "nextPageToken": None, "nextSetTimestamp": at, "hasMoreRecords": False, "hashRecords": rows}
    go(exchange("stopncii", serve(lambda request: as_json(body)).url, secret=StopNcii.SECRET), clock)
    assert living() == all_of(2, 3)


def test_a_weak_hash_of_a_feed_is_kept_and_marked_and_matches_nothing_alone(
    serve: Any, exchange: Any, clock: Any, make_banks: Any
) -> None:
    low, good, zero, beside = pdq(1), pdq(2), "0" * 64, md5(1)
    rows = [{"pdq": low, "quality": 20}, {"pdq": good, "quality": 80}, {"pdq": zero}, {"md5": beside}]
    server = serve(lambda request: (200, {}, json.dumps(rows).encode()))
    go(exchange("json", server.url), clock)
    assert living() == {low, good, zero, beside}
    weak = dict(Entry.objects.values_list("value", "weak"))
    assert weak == {low: "low quality: 20 of 100", good: "", zero: "all-zero", beside: ""}

    def found(**hashes: str) -> set[str]:
        post = Post(id="p", media=(Media(id="m", **hashes),))
        event = PostCreated(id="e", network="n", at=NOW, account=Account(id="a"), post=post)
        known = banks.known(fresh=True)
        entries = [known.entry(one.match.entry) for one in known.find(event, {}) if one.match]
        return {entry.value for entry in entries if entry is not None}

    assert found(pdq=low) == found(pdq=zero) == set()
    assert found(pdq=good) == {good}
    assert found(pdq=low, md5=beside) == {low, beside}


@pytest.mark.parametrize("tries", [1, 2])
def test_a_source_that_falls_silent_half_way_is_left_in_time_and_gone_on_with(
    tries: int, serve: Any, exchange: Any, clock: Any, limits: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr("redshank.exchanges.http.TRIES", tries)
    source = StopNcii()
    for number in range(1, 8):
        source.put("", "md5", md5(number), int(NOW.timestamp()) - 10_000 + number)
    ended = threading.Event()

    def answer(request: Any) -> Any:
        status, headers, body = source(request)
        return (status, headers, drip(body, ended)) if len(server.requests) == 3 else (status, headers, body)

    server = serve(answer)
    limits(private=(server.host,), request_seconds=1)
    one = exchange("stopncii", server.url, secret=StopNcii.SECRET)
    run = go(one, clock)
    ended.set()
    assert (run.state, run.cut) == (Run.State.DONE, tries == 1)
    assert living() == all_of(*range(1, 5 if tries == 1 else 8))
    one.refresh_from_db()
    assert ("no whole answer within 1 seconds" in one.last_error) == (tries == 1)
    clock.pass_(hours=1)
    assert running.run_due(clock=clock) == 1
    assert living() == all_of(*range(1, 8))


def test_one_answer_that_is_too_large_is_not_read_on(serve: Any, exchange: Any, clock: Any, limits: Any) -> None:
    server = serve(lambda request: as_json({"hashRecords": [], "padding": "x" * 5000}))
    limits(private=(server.host,), max_page_bytes=2048)
    run = go(exchange("stopncii", server.url, secret=StopNcii.SECRET), clock)
    assert run.state == Run.State.FAILED
    assert "more than 2,048 bytes" in run.reason


def test_many_answers_that_are_too_much_together_end_the_run_with_what_came(
    serve: Any, exchange: Any, clock: Any, limits: Any
) -> None:
    source = StopNcii()
    for number in range(1, 41):
        source.put("", "md5", md5(number), int(NOW.timestamp()) - 10_000 + number)
    server = serve(source)
    limits(private=(server.host,), max_bytes=3000)
    run = go(exchange("stopncii", server.url, secret=StopNcii.SECRET), clock)
    assert run.cut
    assert 2 <= len(living()) < 40
    assert "more than 3,000 bytes" in Exchange.objects.get().last_error
