"""Each kind of source against a server that speaks its protocol: new, changed, withdrawn, cut off, with opinions, told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from redshank.audit.models import Entry as Logged
from redshank.banks import services as banks
from redshank.banks.models import Entry, Opinion
from redshank.exchanges import running, services
from redshank.exchanges.models import Claim, Exchange, Run, SetAside
from tests.exchanges.conftest import NOW, md5, pdq
from tests.exchanges.servers import Misp, Ncmec, StopNcii, Tcap, ThreatExchange, as_json, medallion

pytestmark = pytest.mark.django_db(transaction=True)
INCREMENTAL = (ThreatExchange, Tcap, StopNcii, Ncmec, Misp)


def living() -> set[str]:
    return set(Entry.objects.filter(withdrawn_at=None).values_list("value", flat=True))


def start(serve: Any, exchange: Any, kind: Any) -> tuple[Any, Any, Exchange]:
    source = kind()
    server = serve(source)
    return source, server, exchange(kind.KIND, server.url, secret=kind.SECRET, options=kind.OPTIONS)


@pytest.mark.parametrize("kind", INCREMENTAL)
def test_what_is_new_comes_what_is_withdrawn_goes_and_the_same_again_changes_nothing(
    kind: Any, serve: Any, exchange: Any, clock: Any
) -> None:
    source, server, one = start(serve, exchange, kind)
    at = int(NOW.timestamp()) - 10_000
    for number in range(1, 6):
        source.put(str(number), "md5", md5(number), at + number)
    source.put("6", "pdq", pdq(6), at + 6)
    source.put("7", "md5", "not a hash", at + 7)
    first = running.run(one, clock=clock)
    assert first is not None
    assert first.state == Run.State.DONE
    assert living() == {*(md5(number) for number in range(1, 6)), pdq(6)}
    assert first.counts["added"] == 6
    assert [aside.value for aside in SetAside.objects.all()] == ["not a hash"]
    assert Entry.objects.filter(foreign=True, confirmed_at=None, source="made-up").count() == 6
    assert Opinion.objects.filter(entry__value=md5(1)).count() >= 1
    one.refresh_from_db()
    checkpoint = one.checkpoint
    assert checkpoint

    clock.pass_(hours=1)
    again = running.run(one, clock=clock)
    assert again is not None
    assert again.state == Run.State.DONE
    assert not {name for name, count in again.counts.items() if count} - {"set_aside"}
    one.refresh_from_db()
    before = Logged.objects.count()

    source.put("2", "md5", md5(2), int(clock.now.timestamp()) + 100, gone=True)
    source.put("8", "md5", md5(8), int(clock.now.timestamp()) + 101)
    clock.pass_(hours=1)
    running.run(one, clock=clock)
    assert living() == {*(md5(number) for number in (1, 3, 4, 5, 8)), pdq(6)}
    assert Entry.objects.get(value=md5(2)).withdrawn_by == "exchange:made-up"
    assert not Opinion.objects.filter(entry__value=md5(2)).exists()
    assert Logged.objects.count() > before
    for request in server.requests:
        assert not any(part in request.raw for part in kind.SECRET.replace("|", ",").replace(":", ",").split(",") if len(part) > 5)  # fmt: skip


@pytest.mark.parametrize("kind", [ThreatExchange, Tcap, StopNcii])
def test_a_source_that_breaks_off_half_way_keeps_what_was_whole_and_goes_on_there(
    kind: Any, serve: Any, exchange: Any, clock: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr("redshank.exchanges.http.TRIES", 1)
    source, server, one = start(serve, exchange, kind)
    at = int(NOW.timestamp()) - 10_000
    for number in range(1, 8):
        source.put(str(number), "md5", md5(number), at + number)
    server.break_after = 2 if kind is not Tcap else 3  # It signs in first.
    run = running.run(one, clock=clock)
    assert run is not None
    assert run.cut
    assert living() == {md5(number) for number in range(1, 5)}
    one.refresh_from_db()
    assert one.failures == 1
    assert one.last_error
    assert one.due_at is not None
    assert one.due_at > clock.now
    server.break_after = None
    clock.pass_(minutes=5)
    asked = len(server.requests)
    assert running.run_due(clock=clock) == 1
    assert living() == {md5(number) for number in range(1, 8)}
    assert len(server.requests) - asked <= 4
    one.refresh_from_db()
    assert one.failures == 0
    assert not one.last_error


@pytest.mark.parametrize("kind", INCREMENTAL)
def test_a_source_that_sends_its_first_page_without_end_is_left_with_what_it_gave(
    kind: Any, serve: Any, exchange: Any, clock: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr("redshank.exchanges.sources.misp.PAGE", 2)
    source, server, one = start(serve, exchange, kind)
    for number in range(1, 8):
        source.put(str(number), "md5", md5(number), int(NOW.timestamp()) - 10_000 + number)
    real, pages = server.answer, []

    def again(request: Any) -> Any:
        if request.path.startswith("/token-auth"):
            return real(request)
        assert len(pages) < 20, "it is asked on and on"
        pages.append(pages[0] if pages else real(request))
        return pages[0]

    server.answer = again
    run = running.run(one, clock=clock)
    assert run is not None
    assert run.cut
    assert living() == {md5(1), md5(2)}
    one.refresh_from_db()
    assert "the same page again and again" in one.last_error


@pytest.mark.parametrize("kind", [ThreatExchange, Tcap, StopNcii, Misp])
def test_a_source_that_goes_back_in_time_is_noticed_and_the_checkpoint_stays(
    kind: Any, serve: Any, exchange: Any, clock: Any
) -> None:
    source, server, one = start(serve, exchange, kind)
    at = int(NOW.timestamp()) - 10_000
    source.put("1", "md5", md5(1), at)
    running.run(one, clock=clock)
    one.refresh_from_db()
    held = one.checkpoint
    real = server.answer

    def back(request: Any) -> Any:
        if request.path.startswith("/token-auth"):
            return real(request)
        if kind is Misp:
            source.put("1", "md5", md5(1), at - 5000)
            return as_json({"response": {"Attribute": source.rows}})
        if kind is ThreatExchange:
            source.put("1", "md5", md5(1), at - 5000)
            return as_json({"data": source.rows, "paging": {}})
        if kind is Tcap:
            return as_json({"count": 0, "next": None, "checkpoint": f"{at - 5000},1", "results": []})
        return as_json({"count": 0, "nextSetTimestamp": at - 5000, "hasMoreRecords": False, "hashRecords": []})

    server.answer = back
    clock.pass_(hours=1)
    running.run(one, clock=clock)
    one.refresh_from_db()
    assert one.checkpoint == held
    assert "went back in time" in one.noticed
    standing = services.standing(one, None, clock.now)
    assert standing.state == "odd"
    assert standing.alarming


@pytest.mark.parametrize(
    ("later", "said", "living_now"),
    [
        ({"date": "2026-05-01T00:00:00.000Z"}, "went back in time", {1, 2, 3}),
        ({"date": "2026-06-02T00:00:00.000Z", "more": True, "next": "2"}, "the same page again and again", {1, 2, 3}),
    ],
)
def test_a_taxii_server_that_goes_back_in_time_or_in_circles_is_noticed_and_left(
    later: dict[str, Any], said: str, living_now: set[int], serve: Any, exchange: Any, clock: Any
) -> None:
    now: dict[str, Any] = {"numbers": (1, 2), "date": "2026-06-01T00:00:00.000Z"}

    def answer(request: Any) -> Any:
        assert len(server.requests) < 20, "it is asked on and on"
        things = [indicator(number, f"[file:hashes.MD5 = '{md5(number)}']") for number in now["numbers"]]
        dates = {f"X-TAXII-Date-Added-{name}": now["date"] for name in ("First", "Last")}
        more = {name: now[name] for name in ("more", "next") if name in now}
        return as_json({"objects": things, **more}, **dates)

    server = serve(answer)
    one = exchange("taxii", server.url, options={"collection": "c"})
    running.run(one, clock=clock)
    one.refresh_from_db()
    held = one.checkpoint
    now.update(later, numbers=(3,))
    clock.pass_(hours=1)
    running.run(one, clock=clock)
    one.refresh_from_db()
    assert said in one.noticed + one.last_error
    assert living() == {md5(number) for number in living_now}
    assert one.checkpoint == held or "again" in said


def test_a_checkpoint_that_is_too_old_has_all_of_it_fetched_and_compared(serve: Any, exchange: Any, clock: Any) -> None:
    source, _server, one = start(serve, exchange, ThreatExchange)
    at = int(NOW.timestamp()) - 10_000
    for number in range(1, 5):
        source.put(str(number), "md5", md5(number), at + number)
    running.run(one, clock=clock)
    source.rows = source.rows[1:]  # Its word that 1 was deleted is forgotten there by now.
    clock.pass_(days=100)
    run = running.run(one, clock=clock)
    assert run is not None
    assert run.full
    assert living() == {md5(number) for number in range(2, 5)}
    one.refresh_from_db()
    assert "too old" in one.noticed


def indicator(number: int, pattern: str, modified: str = "2026-01-01T00:00:00.000Z", **more: Any) -> dict[str, Any]:
    return {
        "type": "indicator", "spec_version": "2.1", "id": f"indicator--00000000-0000-4000-8000-{number:012d}",
        "created": "2026-01-01T00:00:00.000Z", "modified": modified, "pattern": pattern, "pattern_type": "stix",
        "valid_from": "2026-01-01T00:00:00Z", "name": f"made up {number}", **more,
    }  # fmt: skip


def test_a_taxii_collection_is_read_by_pages_and_told(tmp_path: Any, limits: Any, exchange: Any, clock: Any) -> None:
    from datetime import UTC, datetime, timedelta

    with medallion(tmp_path) as (root, collection, backend):
        limits(private=(root.split("/")[2],))
        when = datetime(2026, 6, 1, tzinfo=UTC)

        def add(*objects: dict[str, Any]) -> None:
            nonlocal when
            for thing in objects:
                when += timedelta(seconds=1)
                backend.add_objects("root", collection, {"objects": [thing]}, when)

        add(*(indicator(number, f"[file:hashes.MD5 = '{md5(number)}']") for number in range(1, 8)))
        add(indicator(8, f"[file:hashes.'SHA-256' = '{'ab' * 32}' OR url:value = 'https://bad.example/x']"))
        add(indicator(9, "[network-traffic:src_port = 1] FOLLOWEDBY [url:value = 'https://other.example/']"))
        one = exchange("taxii", root, secret="reader:s3cret-s3cret", options={"collection": collection}, tells=True)
        run = running.run(one, clock=clock)
        assert run is not None
        assert (run.state, run.cut) == (Run.State.DONE, False), run.reason
        assert living() == {*(md5(number) for number in range(1, 8)), "ab" * 32, "https://bad.example/x"}
        assert SetAside.objects.count() == 1
        add(indicator(1, f"[file:hashes.MD5 = '{md5(1)}']", "2026-06-02T00:00:00.000Z", revoked=True))
        add({"type": "opinion", "spec_version": "2.1", "id": "opinion--00000000-0000-4000-8000-000000000001",
             "created": "2026-01-01T00:00:00.000Z", "modified": "2026-01-01T00:00:00.000Z", "opinion": "strongly-disagree",
             "object_refs": [indicator(2, "")["id"]]})  # fmt: skip
        clock.pass_(hours=1)
        running.run(one, clock=clock)
        assert md5(1) not in living()
        assert Opinion.objects.get(entry__value=md5(2)).says == "disagrees"


def test_a_misp_feed_is_read_event_by_event(serve: Any, exchange: Any, clock: Any) -> None:
    names = [f"0000000{number}-0000-4000-8000-000000000000" for number in (1, 2)]
    events = {
        name: {"Event": {"uuid": name, "Attribute": [{"uuid": f"a{at}", "type": "md5", "value": md5(at), "to_ids": True}],
               "Object": [{"Attribute": [{"uuid": f"b{at}", "type": "filename|md5", "value": f"x|{md5(at + 10)}", "to_ids": True}]}]}}
        for at, name in enumerate(names, 1)
    }  # fmt: skip
    manifest = {name: {"timestamp": str(100 + at), "info": "made up"} for at, name in enumerate(names)}

    def answer(request: Any) -> Any:
        if request.path == "/manifest.json":
            return as_json(manifest)
        return as_json(events[request.path.strip("/").removesuffix(".json")])

    server = serve(answer)
    one = exchange("misp-feed", server.url)
    running.run(one, clock=clock)
    assert living() == {md5(1), md5(2), md5(11), md5(12)}
    times = [about["timestamp"] for about in manifest.values()]
    for about in manifest.values():
        about["timestamp"] = "50"
    clock.pass_(hours=1)
    one.refresh_from_db()
    running.run(one, clock=clock)
    one.refresh_from_db()
    assert "went back in time" in one.noticed
    assert one.checkpoint == {"since": int(times[-1])}
    for about, stamp in zip(manifest.values(), times, strict=True):
        about["timestamp"] = stamp
    del manifest[names[0]]
    clock.pass_(days=2)
    running.run(one, clock=clock)  # All of it is fetched anew once a day.
    assert living() == {md5(2), md5(12)}


LISTS = {
    "csv": b"value,kind,label\r\n%s,md5,one\n%s,MD5,two\nzz,md5,bad\nhttps://bad.example/a,url,\n",
    "json": b'[{"value": "%s", "type": "md5"}, {"md5": "%s"}, {"value": "zz", "kind": "md5"}, {"url": "https://bad.example/a"}]',
    "stix": json.dumps({"type": "bundle", "id": "bundle--1", "objects": [
        indicator(1, "[file:hashes.MD5 = '%s']"), indicator(2, "[file:hashes.'MD5' = '%s']"),
        indicator(3, "[file:hashes.MD5 = 'zz']"), indicator(4, "[url:value = 'https://bad.example/a']"),
    ]}).encode(),
}  # fmt: skip


@pytest.mark.parametrize("kind", LISTS)
def test_a_list_is_taken_whole(kind: str, serve: Any, exchange: Any, clock: Any) -> None:
    both = [md5(1), md5(2)]
    asked = {"etag": '"1"'}

    def answer(request: Any) -> Any:
        if request.headers.get("if-none-match") == asked["etag"]:
            return 304, {}, b""
        body = LISTS[kind] % (both[0].encode(), both[1].encode())
        return 200, {"ETag": asked["etag"], "Last-Modified": "Wed, 01 Jul 2026 10:00:00 GMT"}, body

    server = serve(answer)
    one = exchange(kind, f"{server.url}/list", secret="a-bearer-token")
    run = running.run(one, clock=clock)
    assert run is not None
    assert run.state == Run.State.DONE, run.reason
    assert living() == {*both, "https://bad.example/a"}
    assert SetAside.objects.count() == 1
    assert server.requests[0].headers["authorization"] == "Bearer a-bearer-token"
    one.refresh_from_db()
    running.run(one, clock=clock)
    assert len(server.requests) == 2
    both[0], asked["etag"] = md5(3), '"2"'
    one.refresh_from_db()
    run = running.run(one, clock=clock)
    assert run is not None
    assert run.state == Run.State.DONE, run.reason
    assert living() == {md5(3), md5(2), "https://bad.example/a"}
    assert Claim.objects.filter(gone_at=None).count() == 3


def test_tcaps_export_of_links_is_taken(serve: Any, exchange: Any, clock: Any) -> None:
    head = "ID,Description,URL,Domain,Created On,Content Data Type,Extreme Content,Pi I,Protocol\n"
    body = head + '1,"A cat, with glasses",bad.example/a,bad.example,x,URL,NO,NO,https://\n2,b,http://bad.example/b,,,,,,\n3,c,,,,,,,\n'  # fmt: skip
    server = serve(lambda request: (200, {}, body.encode()))
    running.run(exchange("tcap-links", server.url), clock=clock)
    assert living() == {banks.canonical("url", "https://bad.example/a"), banks.canonical("url", "http://bad.example/b")}
    assert SetAside.objects.count() == 1


PAGES = (b"<!DOCTYPE html><html>Sign in</html>", b"  \n<html><body>Bad gateway</body></html>", b"")
BOMB = b"<?xml version='1.0'?>" + b" " * 5000 + b"<!DOCTYPE q [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;&a;'>]><queryResult><images/>&b;</queryResult>"  # fmt: skip


@pytest.mark.parametrize("body", [*PAGES, BOMB], ids=["page", "bare page", "nothing", "entities"])
@pytest.mark.parametrize("kind", INCREMENTAL)
def test_a_web_page_in_place_of_an_answer_changes_nothing(
    kind: Any, body: bytes, serve: Any, exchange: Any, clock: Any
) -> None:
    source, server, one = start(serve, exchange, kind)
    source.put("1", "md5", md5(1), int(NOW.timestamp()) - 100)
    running.run(one, clock=clock)
    one.refresh_from_db()
    before = (one.checkpoint, living())
    real = server.answer
    server.answer = lambda request: real(request) if request.path.startswith("/token-auth") else (200, {}, body)
    clock.pass_(hours=1)
    run = running.run(one, clock=clock)
    assert run is not None
    assert run.state == Run.State.FAILED
    assert "answers with" in run.reason
    one.refresh_from_db()
    assert (one.checkpoint, living()) == before == (one.checkpoint, {md5(1)})
