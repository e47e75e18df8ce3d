"""What leaves, and what does not; a withdrawal follows; others' clients read it; sources are told."""

from __future__ import annotations

import csv
import io
import json
import uuid
from datetime import timedelta
from typing import Any

import pytest
import stix2
from django.test import Client

from redshank.audit.models import Entry as Logged
from redshank.banks import services as banks
from redshank.banks.models import Entry, MatchCount
from redshank.core import Problem
from redshank.exchanges import running, services, sharing, telling
from redshank.exchanges.models import Claim, Exchange, Telling
from redshank.exchanges.sources import lists, misp, stix
from redshank.intake.services import make_key
from tests.exchanges.conftest import NOW, md5, pdq
from tests.exchanges.servers import Misp, Ncmec, StopNcii, ThreatExchange, medallion

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def share(make_banks: dict[str, Any]) -> Any:
    """A share of the MD5 and the term banks, and what adds to these."""
    for kind in ("md5", "term", "pdq"):
        banks.change_bank(make_banks[kind], {"license": "Members only"}, by="user:ada", now=NOW)

    def add(kind: str, *values: str, by: str = "user:ada", **more: Any) -> list[int]:
        bank = make_banks[kind]
        return list(banks.add_entries(bank, [banks.NewEntry(value=v, **more) for v in values], by=by, now=NOW).entries)

    made = sharing.make_share(
        "peers", banks=["from-md5", "from-term", "from-pdq"], readers=["peer"], by="user:ada", now=NOW
    )
    return made, add


def given(share: Any, format_: str, now: Any = NOW) -> str:
    return "".join(sharing.give(share, format_, to="Marsh", by="user:ada", now=now))


def rows(share: Any, now: Any = NOW) -> dict[str, str]:
    return {row["value"]: row["withdrawn_at"] for row in csv.DictReader(io.StringIO(given(share, "csv", now)))}


def test_only_what_a_person_here_reviewed_leaves_and_a_withdrawal_follows(share: Any, make_banks: Any, exchange: Any, limits: Any) -> None:  # fmt: skip
    one, add = share
    ours = add("md5", md5(1), md5(2), md5(3), md5(4))
    add("md5", md5(5), by="system")
    theirs = add("md5", md5(6), md5(7), md5(8), by="exchange:x", foreign=True)
    banks.confirm_entries(theirs[:2], by="user:ada", now=NOW)
    free = exchange("csv", "https://free.example/", name="free", license="CC0")
    closed = exchange("csv", "https://closed.example/", name="closed")
    for source, entry in ((free, theirs[0]), (closed, theirs[1]), (free, theirs[2])):
        Claim.objects.create(exchange=source, key=str(entry), entry_id=entry, digest=1, at=NOW)
    banks.dispute_entry(ours[1], "It is a logo.", by="user:bob", now=NOW)
    Entry.objects.filter(pk=ours[2]).update(quarantined_at=NOW)
    add("pdq", "0" * 64)  # Weak.
    banks.add_entries(make_banks["url"], [banks.NewEntry(value="https://a.example/")], by="user:ada", now=NOW)
    assert rows(one) == {md5(1): "", md5(4): "", md5(6): ""}

    bank = make_banks["md5"]
    banks.withdraw_entries(bank, ours[:1], by="user:ada", now=NOW)
    banks.settle_dispute(ours[1], "It is none.", by="user:ada", now=NOW)
    Claim.objects.filter(entry=theirs[0]).update(gone_at=NOW)
    after = rows(one, NOW + timedelta(hours=1))
    assert {value for value, gone in after.items() if gone} == {md5(1), md5(6)}
    assert {value for value, gone in after.items() if not gone} == {md5(2), md5(4)}
    banks.restore_entries(bank, ours[:1], by="user:ada", now=NOW)
    assert rows(one, NOW + timedelta(hours=2))[md5(1)] == ""
    banks.change_bank(bank, {"license": ""}, by="user:ada", now=NOW)
    assert all(rows(one, NOW + timedelta(hours=3)).values())
    logged = Logged.objects.filter(step="share.handed_out")
    assert logged.count() == 4
    assert logged[0].body["to"] == "Marsh"
    with pytest.raises(Problem, match="not said for whom"):
        sharing.give(one, "csv", to="", by="user:ada", now=NOW)
    with pytest.raises(Problem, match="may not be shared"):
        sharing.make_share("other", banks=["from-url"], by="user:ada", now=NOW)


def test_each_format_says_the_same_and_can_be_read_back(share: Any) -> None:
    one, add = share
    entries = add("md5", md5(1), md5(2), label="a name from here")
    add("term", "it's made\\up")
    add("pdq", pdq(3))
    sharing.publish(one, now=NOW)
    banks.withdraw_entries(banks.get_bank("from-md5"), entries[:1], by="user:ada", now=NOW)
    later = NOW + timedelta(hours=1)
    wanted = {("md5", md5(1), True), ("md5", md5(2), False), ("term", banks.canonical("term", "it's made\\up"), False), ("pdq", pdq(3), False)}  # fmt: skip

    bundle = given(one, "stix", later)
    parsed = stix2.parse(bundle, allow_custom=False)
    assert {thing.type for thing in parsed.objects} == {"identity", "marking-definition", "indicator"}
    found = [record for thing in json.loads(bundle)["objects"] for record in stix.records_of(thing, later)]
    assert {(record.kind, record.value, record.gone) for record in found} == wanted  # type: ignore[union-attr]

    event = json.loads(given(one, "misp", later))["Event"]
    found = [misp.record_of(row) for row in event["Attribute"]]
    assert {(record.kind, record.value, record.gone) for record in found} == wanted  # type: ignore[union-attr]

    table = [
        record
        for row in csv.DictReader(io.StringIO(given(one, "csv", later)))
        for record in lists._records(row, "", "")
    ]
    assert {(record.kind, record.value, record.gone) for record in table} == wanted  # type: ignore[union-attr]
    lines = [
        record for line in given(one, "json", later).splitlines() for record in lists._records(json.loads(line), "", "")
    ]
    assert {(record.key, record.gone) for record in lines} == {(record.key, record.gone) for record in table}  # type: ignore[union-attr]
    assert "a name from here" not in bundle + given(one, "csv", later) + json.dumps(event)


def test_taxii2_client_reads_a_share_by_pages(share: Any, live_server: Any) -> None:
    from taxii2client.common import TokenAuth
    from taxii2client.v21 import Collection, Server, as_pages

    one, add = share
    add("md5", *(md5(number) for number in range(1, 8)))
    sharing.publish(one, now=NOW)
    token = make_key("peer", may=("taxii",), by="system", now=NOW)
    server = Server(f"{live_server.url}/taxii2/", user="peer", password=token)
    root = server.default
    assert [found.title for found in root.collections] == ["peers"]
    assert root.collections[0].can_read
    assert not root.collections[0].can_write
    collection = Collection(root.collections[0].url, auth=TokenAuth(token))
    pages = list(as_pages(collection.get_objects, per_request=3))
    things = [thing for page in pages for thing in page.get("objects", [])]
    assert len(pages) == 3
    assert len({thing["id"] for thing in things}) == 9 == len(things)
    assert sum(thing["type"] == "indicator" for thing in things) == 7
    manifest = [row for page in as_pages(collection.get_manifest, per_request=4) for row in page["objects"]]
    assert [row["id"] for row in manifest] == [thing["id"] for thing in things]
    newest = manifest[-1]["date_added"]
    assert collection.get_objects(added_after=newest) == {}

    entry = Entry.objects.get(value=md5(3))
    banks.withdraw_entries(banks.get_bank("from-md5"), [entry.pk], by="user:ada", now=NOW)
    sharing.publish(one, now=NOW + timedelta(minutes=1))
    (gone,) = collection.get_objects(added_after=newest)["objects"]
    assert gone["revoked"] is True
    assert md5(3) in gone["pattern"]
    assert collection.get_object(gone["id"])["objects"] == [gone]
    assert [thing["id"] for thing in collection.get_objects(id=[gone["id"], things[5]["id"]])["objects"]] == [things[5]["id"], gone["id"]]  # fmt: skip
    assert len(collection.get_objects(type="identity")["objects"]) == 1
    assert Logged.objects.filter(step="share.handed_out", actor="key:peer").count() >= 4


def test_a_share_opens_to_its_readers_and_to_nobody_else(share: Any) -> None:
    one, add = share
    add("md5", md5(1))
    sharing.publish(one, now=NOW)
    peer = make_key("peer", may=("taxii",), by="system", now=NOW)
    other = make_key("other", may=("taxii",), by="system", now=NOW)
    events = make_key("platform", "marsh", by="system", now=NOW)
    client = Client()
    base = f"/taxii2/shares/collections/{one.collection}/"
    media = "application/taxii+json;version=2.1"

    def ask(path: str, token: str | None, method: str = "get", **more: Any) -> Any:
        headers = {"Accept": media, **({"Authorization": f"Bearer {token}"} if token else {})} | more
        return getattr(client, method)(path, headers=headers)

    for path in (
        "/taxii2/",
        "/taxii2/shares/",
        "/taxii2/shares/collections/",
        base,
        base + "objects/",
        base + "manifest/",
    ):
        assert ask(path, None).status_code == 401 == ask(path, events).status_code == ask(path, "rsk_x").status_code
        fine = ask(path, peer)
        assert fine.status_code == 200
        assert fine["Content-Type"] == media
        assert ask(path, peer, "post").status_code == 403 == ask(path, peer, "delete").status_code
        assert ask(path, peer, Accept="text/html").status_code == 406
        assert ask(path, peer, Accept="application/taxii+json;version=2.0").status_code == 406
    for path in (base, base + "objects/", base + "manifest/", f"/taxii2/shares/collections/{uuid.uuid4()}/objects/"):
        assert ask(path, other).status_code == 404
    assert ask("/taxii2/shares/collections/", other).json() == {}
    for query in ("added_after=x", "limit=0", "limit=-1", "next=%00", "limit=x"):
        assert ask(f"{base}objects/?{query}", peer).status_code == 400, query
    assert ask(f"{base}objects/indicator--{uuid.uuid4()}/", peer).status_code == 404


TOLD: dict[Any, Any] = {
    ThreatExchange: lambda told: {body for _path, body in told} == {"reactions=SAW_THIS_TOO", "reactions=HELPFUL", "reactions=NON_MALICIOUS"},
    StopNcii: lambda told: {row["hashFeedbacks"][0]["feedbackValue"] for row in told} == {"PendingReview", "Blocked", "NotBlocked"},
    Ncmec: lambda told: len(told) == 2 and "affirmative" in str(told) and "<guid>g-1</guid>" in str(told),
    Misp: lambda told: {row["type"] for _path, row in told} == {"0", "1"} and {row["source"] for _path, row in told} == {"us"},
}  # fmt: skip


@pytest.mark.parametrize("kind", TOLD)
def test_a_source_is_told_once_what_became_of_what_it_gave(kind: Any, serve: Any, exchange: Any, clock: Any) -> None:
    source = kind()
    at = int(NOW.timestamp()) - 10_000
    for number in range(1, 5):
        source.put(str(number), "md5", md5(number), at + number)
    server = serve(source)
    one = exchange(kind.KIND, server.url, secret=kind.SECRET, options=kind.OPTIONS, tells=True)
    running.run(one, clock=clock)
    entries = {entry.value: entry.pk for entry in Entry.objects.all()}
    clock.pass_(minutes=5)
    banks.confirm_entries([entries[md5(1)]], by="user:ada", now=clock.now)
    banks.dispute_entry(entries[md5(2)], "A logo.", by="user:ada", now=clock.now)
    MatchCount.objects.create(entry_id=entries[md5(3)], hour=NOW, count=7)
    MatchCount.objects.create(entry_id=entries[md5(3)], hour=NOW + timedelta(hours=1), count=4)
    clock.pass_(minutes=15)
    takes = services.kind_of(one).takes
    assert telling.queue(now=clock.now) == len(takes)
    assert telling.queue(now=clock.now) == 0
    said = {"agrees": 0, "disagrees": 0, "seen": 11}
    assert dict(Telling.objects.values_list("says", "count")) == {says: said[says] for says in takes}
    assert [row[1:] for row in telling.rows_of(one, now=clock.now)] == [
        ("md5", md5(1), "agrees", 0), ("md5", md5(2), "disagrees", 0), ("md5", md5(3), "seen", 11),
    ]  # fmt: skip
    real, server.answer = server.answer, lambda request: (503, {"Retry-After": "9999"}, b"")
    assert telling.send_due(clock=clock) in (2, 3)
    server.answer = real
    clock.pass_(minutes=5)
    telling.send_due(clock=clock)
    clock.pass_(hours=1)
    assert telling.send_due(clock=clock) == 0
    assert set(Telling.objects.values_list("state", flat=True)) == {"sent"}
    assert TOLD[kind](source.told), source.told


def test_who_changes_their_mind_says_so_again(serve: Any, exchange: Any, clock: Any) -> None:
    source = Misp()
    source.put("1", "md5", md5(1), int(NOW.timestamp()) - 10)
    one = exchange("misp", serve(source).url, secret=Misp.SECRET, tells=True)
    running.run(one, clock=clock)
    entry = Entry.objects.get().pk

    def tell() -> None:
        clock.pass_(minutes=15)
        telling.queue(now=clock.now)
        clock.pass_(minutes=1)
        telling.send_due(clock=clock)

    clock.pass_(minutes=5)
    banks.confirm_entries([entry], by="user:ada", now=clock.now)
    tell()
    banks.dispute_entry(entry, "A logo.", by="user:ada", now=clock.now)
    tell()
    banks.settle_dispute(entry, "It is none.", by="user:bob", now=clock.now)
    banks.dispute_entry(entry, "It is one.", by="user:ada", now=clock.now)
    tell()
    assert [row["type"] for _path, row in source.told] == ["0", "1"]


def test_a_taxii_source_is_told_by_sightings_and_opinions(
    tmp_path: Any, limits: Any, exchange: Any, clock: Any
) -> None:
    from tests.exchanges.test_kinds import indicator

    with medallion(tmp_path) as (root, collection, backend):
        limits(private=(root.split("/")[2],))
        for number in (1, 2):
            backend.add_objects("root", collection, {"objects": [indicator(number, f"[file:hashes.MD5 = '{md5(number)}']")]}, NOW)  # fmt: skip
        one = exchange("taxii", root, secret="reader:s3cret-s3cret", options={"collection": collection}, tells=True)
        running.run(one, clock=clock)
        clock.pass_(minutes=5)
        entry = Entry.objects.get(value=md5(1))
        banks.confirm_entries([entry.pk], by="user:ada", now=clock.now)
        MatchCount.objects.create(entry=entry, hour=NOW, count=7)
        clock.pass_(minutes=15)
        telling.queue(now=clock.now)
        telling.send_due(clock=clock)
        things = {thing["type"]: thing for thing in backend.get_objects("root", collection, {}, (), 100)[0]["objects"]}
        stix2.parse(things["sighting"])
        stix2.parse(things["opinion"])
        assert things["sighting"]["count"] == 7
        assert things["opinion"]["opinion"] == "strongly-agree"


def test_what_is_not_taken_for_long_is_given_up(serve: Any, exchange: Any, clock: Any) -> None:
    source = Misp()
    source.put("1", "md5", md5(1), int(NOW.timestamp()) - 10)
    server = serve(source)
    one: Exchange = exchange("misp", server.url, secret=Misp.SECRET, tells=True)
    running.run(one, clock=clock)
    clock.pass_(minutes=5)
    banks.confirm_entries([Entry.objects.get().pk], by="user:ada", now=clock.now)
    clock.pass_(minutes=15)
    telling.queue(now=clock.now)
    server.answer = lambda request: (400, {}, b"")
    for _ in range(20):
        telling.send_due(clock=clock)
        clock.pass_(hours=6)
    (row,) = Telling.objects.all()
    assert row.state == "dead"
    assert "answers 400" in row.last_error
