"""The banks' pages: made, changed, filled, searched and judged from there, by those who may."""

from __future__ import annotations

import ast
import json
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone

import redshank
from redshank import pipeline
from redshank.banks import imports, services
from redshank.banks.models import Bank, Entry, MatchCount
from redshank.people.models import User
from redshank.web import uploads
from redshank.web.words import STEPS
from tests.banks.conftest import post
from tests.web.seed import PEOPLE, picture, plant

pytestmark = pytest.mark.django_db
PDQ = "f8f8f0cee0f4a84f06370a22028f67f0b36e2ed596621e1d33e6b39c4e9c9b22"


def client(name: str) -> Client:
    user, _made = User.objects.get_or_create(username=name, defaults={"role": PEOPLE[name]})
    made = Client()
    made.force_login(user)
    return made


def said(answer: Any) -> str:
    return str(answer.content.decode())


@pytest.fixture
def terms() -> Bank:
    return services.make_bank("terms", kind="term", policy="recruitment", severity=3, by="system", now=timezone.now())


def test_a_bank_is_made_changed_and_switched_off() -> None:
    lee = client("lee")
    form = {"name": "logos", "kind": "pdq", "policy": "recruitment", "severity": "2", "sampled": "100", "negative": "on", "limit": "12"}  # fmt: skip
    page = said(lee.post("/bank/new", form, follow=True))
    assert "The bank logos is made." in page
    assert "known as harmless" in page
    assert "distance 12 of 256" in page
    wrong = lee.post("/banks/logos/change", {**form, "limit": "99"})
    assert (wrong.status_code, "not a limit" in said(wrong)) == (422, True)
    lee.post("/banks/logos/change", form | {"surge": "0"})
    there = Bank.objects.get()
    assert (there.active, there.surge, there.limit, there.negative) == (False, 0, 12, True)
    assert "paused" in said(client("mara").get("/banks"))
    assert "<dd>never</dd>" in said(lee.get("/banks/logos"))
    del form["limit"]
    lee.post("/banks/logos/change", form)
    page = said(lee.get("/banks/logos"))
    assert "distance 31 of 256, the installation" in page
    assert "1,000 events in an hour, the installation" in page


def test_values_are_added_and_what_is_not_taken_is_said(terms: Bank) -> None:
    page = said(
        client("lee").post("/banks/terms/add", {"values": "Iron Wolf\r\n\r\nx", "label": "a call"}, follow=True)
    )
    assert "1 entry added." in page
    assert "Set aside: x: a single character" in page
    assert Entry.objects.get().label == "a call"


def test_an_import_is_shown_first_and_done_only_when_somebody_says_so(terms: Bank) -> None:
    lee = client("lee")

    def send(name: str, lines: bytes) -> str:
        answer = lee.post("/banks/terms/import", {"file": SimpleUploadedFile(name, lines)})
        assert answer.status_code == 302
        return str(answer.url)

    def work() -> None:
        assert imports.run_next(stop=threading.Event()) == 1

    where = send("list.csv", b"value,label\niron wolf,one\niron wolf,two\nx,three\ngray heron,<b>four</b>\n")
    page = said(lee.get(where))
    assert "Nothing is added yet" in page
    assert "HX-Refresh" not in lee.get(f"{where}/status")
    work()
    assert lee.get(f"{where}/status")["HX-Refresh"] == "true"
    page = said(lee.get(where))
    assert "Add 2 entries" in page
    assert page.count("a single character, which") == page.count("three") + 1 == 1
    assert "Line 4" in page
    assert "&lt;b&gt;four" in page
    assert Entry.objects.count() == 0
    lee.post(f"{where}/release")
    assert "0 entries added so far" in said(lee.get(where))
    work()
    assert "What became of it" in said(lee.get(where))
    assert "does not wait any more" in said(lee.post(f"{where}/release", follow=True))
    assert Entry.objects.count() == 2
    where = send("page.html", b"<html>sign in</html>")
    work()
    assert "neither CSV nor lines of JSON" in said(lee.get(where))
    where = send("other.csv", b"marsh harrier\n")
    assert "It is canceled" in said(lee.post(f"{where}/cancel", follow=True))
    assert "The file is forgotten" in said(lee.post(f"{where}/discard", follow=True))
    assert "list.csv" in said(lee.get("/banks/terms/import"))
    empty = lee.post("/banks/terms/import", {"file": SimpleUploadedFile("empty.csv", b"")})
    assert (empty.status_code, "the file is empty" in said(empty)) == (422, True)
    assert Entry.objects.count() == 2


def test_a_request_that_is_larger_than_any_file_is_refused(terms: Bank, settings: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(uploads, "FORM", 1000)
    for part, values in (("media", {"max_bytes": 2000}), ("banks", {"max_import_bytes": 4000})):
        changed = msgspec.structs.replace(getattr(settings.REDSHANK, part), **values)
        settings.REDSHANK = msgspec.structs.replace(settings.REDSHANK, **{part: changed})
    lee, stranger = client("lee"), Client(enforce_csrf_checks=True)
    for who, size, status in (
        (lee, 3500, 302),
        (lee, 4500, 422),
        (lee, 6000, 400),
        (stranger, 2000, 403),
        (stranger, 3500, 400),
    ):
        file = SimpleUploadedFile("list.csv", b"marsh\n" * (size // 6))
        assert who.post("/banks/terms/import", {"file": file}).status_code == status, size


def test_all_banks_are_searched_by_hash_text_link_and_file(terms: Bank) -> None:
    now = timezone.now()
    pictures = services.make_bank(
        "pictures", kind="pdq", policy="recruitment", severity=5, by="system", now=now, sampled=0
    )
    links = services.make_bank("links", kind="url", policy="recruitment", severity=4, by="system", now=now)
    near = f"{int(PDQ, 16) ^ 0b111:064x}"
    for bank, value in ((pictures, near), (terms, "iron wolf"), (links, "https://wolf.example/join")):
        services.add_entries(bank, [services.NewEntry(value=value, label=f"of {bank.name}")], by="system", now=now)
    mara = client("mara")
    page = said(mara.post("/bank/search", {"q": PDQ.upper()}))
    assert "of pictures" in page
    assert "distance 3 of 256" in page
    assert "of terms" in said(mara.post("/bank/search", {"q": "the Iron Wolf calls"}))
    assert "of links" in said(mara.post("/bank/search", {"q": "see wolf.example/join"}))
    services.withdraw_entries(terms, [Entry.objects.get(bank=terms).pk], by="system", now=now)
    withdrawn = said(mara.post("/bank/search", {"q": "Iron Wolf"}))
    assert "of terms" in withdrawn
    assert "withdrawn" in withdrawn
    Entry.objects.filter(bank=links).update(expires_at=now - timedelta(hours=1), changed=services.bump())
    assert "expired" in said(mara.post("/bank/search", {"q": "https://wolf.example/join"}))
    assert "expired" in said(mara.get("/banks/links"))
    harmless = services.make_bank(
        "fine", kind="term", policy="recruitment", severity=1, by="system", now=now, negative=True
    )
    services.add_entries(terms, [services.NewEntry(value="iron wolf")], by="system", now=now)
    services.add_entries(harmless, [services.NewEntry(value="iron wolf")], by="system", now=now)
    outdone = said(mara.post("/bank/search", {"q": "iron wolf"}))
    assert outdone.count("known as harmless") == outdone.count("something harmless is as near") == 1
    assert "Not known" in said(mara.post("/bank/search", {"q": "a gray heron"}))
    client("lee").post("/banks/pictures/add", {"file": SimpleUploadedFile("marsh.jpg", picture(3))})
    found = said(mara.post("/bank/search", {"file": SimpleUploadedFile("same.jpg", picture(3))}))
    assert "distance 0 of 256" in found
    broken = mara.post("/bank/search", {"file": SimpleUploadedFile("no.jpg", b"\xff\xd8 nothing")})
    assert (broken.status_code, "no.jpg" in said(broken)) == (422, True)


def test_an_entry_shows_its_matches_and_is_judged_released_and_withdrawn(terms: Bank) -> None:
    now = timezone.now()
    added = services.add_entries(terms, [services.NewEntry(value="iron wolf", label="a call")], by="user:lee", now=now)
    (pk,) = added.entries
    for hours, count in ((0, 5), (30, 7), (24 * 40, 100)):
        MatchCount.objects.create(entry_id=pk, hour=now - timedelta(hours=hours), count=count)
    Entry.objects.update(quarantined_at=now)
    lee, url = client("lee"), f"/banks/terms/entries/{pk}"
    page = said(lee.get(url))
    assert "12 events" in page
    assert page.count('<rect class="fill"') == 2
    assert "In quarantine" in page
    for where in ("/banks", "/system"):
        assert "1 entry suddenly matches too much" in said(lee.get(where))
    mara = said(client("mara").get(url))
    assert "Withdraw" not in mara
    assert "/search?" not in mara
    assert "Nothing was changed" in said(lee.post(f"{url}/release", {"text": ""}, follow=True))
    assert "rules see its matches again" in said(lee.post(f"{url}/release", {"text": "It is real."}, follow=True))
    assert "a club" in said(lee.post(f"{url}/dispute", {"text": "a club"}, follow=True))
    lee.post(f"{url}/opinion", {"source": "marsh watch", "says": "disagrees"})
    lee.post(f"{url}/note", {"text": "Seen in May."})
    page = said(lee.post(f"{url}/settle", {"text": "Another club."}, follow=True))
    assert "marsh watch" in page
    assert "Seen in May." in page
    assert "Nothing was changed" in said(lee.post(f"{url}/withdraw", {"text": " "}, follow=True))
    assert "matches nothing any more" in said(lee.post(f"{url}/withdraw", {"text": "A club."}, follow=True))
    assert not services.known(fresh=True).find(post("iron wolf"))
    assert "Nothing was changed" in said(lee.post(f"{url}/restore", {"text": ""}, follow=True))
    assert client("mara").post(f"{url}/restore", {"text": "It is one."}).status_code == 403
    assert "in force again" in said(lee.post(f"{url}/restore", {"text": "It is one."}, follow=True))
    assert len(services.known(fresh=True).find(post("iron wolf"))) == 1
    assert lee.get(f"/banks/other/entries/{pk}").status_code == 404


def test_an_entry_leads_to_the_events_that_it_matched(terms: Bank) -> None:
    now = timezone.now()
    new = [services.NewEntry(value=value) for value in ("iron wolf", "gray heron")]
    services.add_entries(terms, new, by="user:lee", now=now)
    raws = [
        json.dumps({
            "type": "post.created", "id": f"e{number}", "network": "marsh", "at": now.isoformat(),
            "account": {"id": "a1"}, "post": {"id": f"p{number}", "text": text},
        }).encode()
        for number, text in enumerate(("the iron wolf", "iron wolf, gray heron", "nothing"))
    ]  # fmt: skip
    pipeline.accept(raws, now=now, actor="key:test")
    lee = client("lee")
    for value, count in (("iron wolf", 2), ("gray heron", 1)):
        page = lee.get(f"/banks/terms/entries/{Entry.objects.get(value=value).pk}")
        assert page.context["total"] == count
        assert f"/search?{page.context['matched']}".replace("&", "&amp;") in said(page)
        assert lee.get(f"/search?{page.context['matched']}").context["found"].events == count


def test_every_step_of_the_audit_log_has_words() -> None:
    """So that a person can read it, and choose it on the audit page."""
    source = Path(redshank.__file__).parent
    steps = {
        keyword.value.value
        for place in source.rglob("*.py")
        for node in ast.walk(ast.parse(place.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Step"
        for keyword in node.keywords
        if keyword.arg == "step" and isinstance(keyword.value, ast.Constant)
    }
    assert len(steps) > 40
    assert sorted(steps - set(STEPS)) == []


def test_what_a_case_shows_is_added_with_the_case_it_came_from() -> None:
    ids = plant(many=4)
    lee = client("lee")
    page = said(lee.get(f"/cases/{ids['main']}"))
    assert "Known from now on" in page
    assert "Known from now on" not in said(client("mara").get(f"/cases/{ids['main']}"))
    things = lee.get(f"/cases/{ids['main']}").context["bankable"]["things"]
    media = next(thing.value for thing in things if thing.value.startswith("media:"))
    link = next(thing.value for thing in things if thing.value.startswith("link:"))
    where = f"/cases/{ids['main']}/bank"
    before = Entry.objects.count()
    assert "1 entry added." in said(
        lee.post(where, {"what": media, "bank": "marsh-pictures", "label": "x"}, follow=True)
    )
    assert "1 entry added." in said(
        lee.post(where, {"what": link, "bank": "recruiting-links", "label": "y"}, follow=True)
    )
    assert set(Entry.objects.order_by("-pk").values_list("from_case", flat=True)[:2]) == {ids["main"]}
    for wrong in ({"what": link, "bank": "marsh-pictures"}, {"what": "media:" + "0" * 64, "bank": "marsh-pictures"}):
        assert "Nothing was added" in said(lee.post(where, wrong, follow=True))
    assert Entry.objects.count() == before + 2
