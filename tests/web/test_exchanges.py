"""The exchanges' pages: set up, looked at, released, paused; shares made and given; nothing shown that should not be."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from redshank.audit.models import Entry as Logged
from redshank.banks import services as banks
from redshank.banks.models import Entry
from redshank.exchanges import running, services, sharing
from redshank.exchanges.models import Exchange, Run, Share
from redshank.exchanges.sources import KINDS
from redshank.intake.services import make_key
from redshank.people.models import User
from tests.web.seed import PEOPLE

pytestmark = pytest.mark.django_db(transaction=True)


def client(name: str) -> Client:
    user, _made = User.objects.get_or_create(username=name, defaults={"role": PEOPLE[name]})
    made = Client()
    made.force_login(user)
    return made


def said(answer: Any) -> str:
    return str(answer.content.decode())


@pytest.fixture
def admin(settings: Any, tmp_path: Any) -> Client:
    settings.DATA_DIR = tmp_path
    (services.folder()).mkdir()
    banks.make_bank(
        "files", kind="md5", policy="recruitment", severity=3, by="system", license="Members", now=timezone.now()
    )
    return client(next(name for name, role in PEOPLE.items() if role == "admin"))


def drop(*numbers: int) -> None:
    (services.folder() / "list.json").write_text(json.dumps([f"{n:032x}" for n in numbers] + ["zz <b>"]))


FORM = {"name": "peers", "kind": "json", "address": "file:list.json", "option-json-kind": "md5", "secret": "very-secret-token", "banks": ["files"], "every_minutes": "30"}  # fmt: skip


def test_a_source_is_set_up_seen_first_released_and_paused(admin: Client) -> None:
    drop(1, 2, 3)
    assert "What is it?" in said(admin.get("/exchange/new"))
    wrong = admin.post("/exchange/new", FORM | {"address": "https://a.example/?token=x"})
    assert (wrong.status_code, "with a secret in it" in said(wrong)) == (422, True)
    assert "very-secret-token" not in said(wrong)
    page = said(admin.post("/exchange/new", FORM, follow=True))
    assert "peers is set up" in page
    assert running.run_due() == 1
    page = said(admin.get("/exchanges/peers"))
    assert "Held: a person should look" in page
    assert "Take it over" in page
    assert "zz &lt;b&gt;" in page
    assert "very-secret-token" not in page
    assert "peers" in said(admin.get("/system"))
    run = Run.objects.get()
    lee = client(next(name for name, role in PEOPLE.items() if role == "lead"))
    assert "Released" in said(lee.post("/exchanges/peers/release", {"run": run.pk}, follow=True))
    assert "held no more" in said(lee.post("/exchanges/peers/discard", {"run": run.pk}, follow=True))
    assert running.run_due() == 1
    assert Entry.objects.filter(foreign=True).count() == 3
    aside = b"".join(lee.get("/exchanges/peers/set-aside.csv").streaming_content).decode()  # type: ignore[attr-defined]
    assert "zz <b>" in aside
    assert "up to date" in said(lee.get("/exchanges"))
    page = said(lee.get("/exchanges/peers"))
    assert "Nothing, from here." in page
    assert "give its maker the file" in page
    banks.confirm_entries([Entry.objects.filter(foreign=True).earliest("pk").pk], by="user:ada", now=timezone.now())
    told = b"".join(lee.get("/exchanges/peers/told.csv").streaming_content).decode()  # type: ignore[attr-defined]
    assert told.startswith("key,kind,value,says,events\r\n")
    assert told.count("agrees") == 1
    lee.post("/exchanges/peers/pause")
    assert "paused" in said(lee.get("/exchanges/peers"))
    lee.post("/exchanges/peers/resume")
    lee.post("/exchanges/peers/full")
    one = Exchange.objects.get()
    assert (one.asked_full, one.paused_at) == (True, None)
    assert lee.get("/exchange/new").status_code == 403
    changed = said(admin.post("/exchanges/peers/change", {**FORM, "secret": "", "every_minutes": "5"}, follow=True))
    assert "Changed: every_minutes." in changed
    one.refresh_from_db()
    assert services.secret_of(one) == "very-secret-token"
    assert Logged.objects.filter(object="exchange:peers", actor__startswith="user:").count() >= 6


def test_a_source_that_takes_answers_is_told_where_the_form_says_so(admin: Client) -> None:
    page = said(admin.get("/exchange/new"))
    assert page.count("Can be told what became of it.") == sum(kind.tell is not None for kind in KINDS.values()) > 3
    assert 'name="tells"' not in said(admin.get("/exchange/new?kind=csv"))
    assert 'name="tells"' in said(admin.get("/exchange/new?kind=ncmec"))
    form = {
        "name": "hashes", "kind": "ncmec", "address": "https://a.example/x", "secret": "user:long-password", "banks": ["files"],
        "every_minutes": "60", "tells": "on", "option-ncmec-members": "7, 42",
    }  # fmt: skip
    wrong = admin.post("/exchange/new", form | {"option-ncmec-members": "seven"})
    assert (wrong.status_code, "members=seven" in said(wrong)) == (422, True)
    assert "hashes is set up" in said(admin.post("/exchange/new", form, follow=True))
    one = Exchange.objects.get()
    assert all("with the next round" in said(admin.get(path)) for path in ("/exchanges", "/exchanges/hashes"))
    page = said(admin.post("/exchanges/hashes/pause", follow=True))
    assert "nobody asks it until you go on" in page
    assert "next round" not in page
    admin.post("/exchanges/hashes/resume")
    assert (one.tells, one.options) == (True, {"members": "7, 42"})
    shown = said(admin.get("/exchanges/hashes/change"))
    assert 'name="tells" value="on" checked' in shown
    assert 'value="7, 42"' in shown
    admin.post("/exchanges/hashes/change", {**form, "secret": "", "every_minutes": "5"})
    one.refresh_from_db()
    assert (one.tells, one.every_minutes) == (True, 5)


def test_a_share_is_made_given_and_closed(admin: Client) -> None:
    banks.add_entries(banks.get_bank("files"), [banks.NewEntry(value="ab" * 16)], by="user:ada", now=timezone.now())
    make_key("marsh", may=("taxii",), by="system", now=timezone.now())
    page = said(admin.post("/share/new", {"name": "circle", "banks": ["files"], "readers": ["marsh"]}, follow=True))
    assert "The share circle is made." in page
    assert str(Share.objects.get().collection) in page
    assert "ab" * 16 in page
    refused = said(admin.post("/shares/circle/give", {"format": "csv", "to": " "}, follow=True))
    assert "not said for whom" in refused
    answer = admin.post("/shares/circle/give", {"format": "csv", "to": "Ada of Marsh"})
    text = b"".join(answer.streaming_content).decode()  # type: ignore[attr-defined]
    assert "ab" * 16 in io.StringIO(text).read()
    assert answer["Content-Disposition"] == 'attachment; filename="circle-csv.csv"'
    assert "Ada of Marsh" in said(admin.get("/shares/circle"))
    admin.post("/shares/circle/change", {"banks": ["files"], "readers": ["marsh"], "closed": "on"})
    assert Share.objects.get().shared.filter(withdrawn=True).count() == 1
    lee = client(next(name for name, role in PEOPLE.items() if role == "lead"))
    assert lee.get("/shares/circle").status_code == 200
    assert lee.post("/shares/circle/change", {}).status_code == 403
    moderator = client(next(name for name, role in PEOPLE.items() if role == "moderator"))
    assert moderator.get("/exchanges").status_code == 403 == moderator.get("/shares/circle").status_code


def test_what_a_program_added_is_shared_once_a_person_confirmed_it(admin: Client) -> None:
    bank = banks.get_bank("files")
    (entry,) = banks.add_entries(bank, [banks.NewEntry(value="cd" * 16)], by="key:hma", now=timezone.now()).entries
    admin.post("/share/new", {"name": "circle", "banks": ["files"]})
    assert not Share.objects.get().shared.exists()
    banks.confirm_entries([entry], by="user:ada", now=timezone.now())  # Along with a case that it led to: no review.
    page = f"/banks/files/entries/{entry}"
    assert "Nobody here has reviewed it yet" in said(admin.get(page))
    assert "may be shared" in said(admin.post(f"{page}/confirm", follow=True))
    assert "Nobody here has reviewed it yet" not in said(admin.get(page))
    sharing.publish(Share.objects.get(), now=timezone.now())
    assert Share.objects.get().shared.get().entry_id == entry
