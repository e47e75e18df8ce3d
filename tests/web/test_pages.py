"""What the pages say and do, asked of the views themselves, on any store."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from django.test import Client
from django.utils import timezone

from redshank.audit.models import Entry
from redshank.cases.models import Case, Decision
from redshank.core import decode_event
from redshank.enforcement.models import Action
from redshank.people.models import Exposure, User
from tests.web.seed import HOSTILE, PASSWORD, plant

pytestmark = pytest.mark.django_db


@pytest.fixture
def ids() -> dict[str, int]:
    return plant(many=12)


def client(name: str) -> Client:
    one = Client()
    one.force_login(User.objects.get(username=name))
    return one


def form(ids: dict[str, int], case: str, **more: Any) -> dict[str, Any]:
    found = Case.objects.get(pk=ids[case])
    return {
        "version": found.version,
        "policy": found.policy_id,
        "outcome": "act",
        "ask": ["remove:subject"],
        "reason": "It calls for joining an armed group.",
        **more,
    }


def test_signing_in_by_name_and_password_and_changing_the_password(ids: dict[str, int]) -> None:
    visitor = Client()
    assert visitor.get("/")["Location"] == "/session/sign-in?next=/"
    wrong = visitor.post("/session/sign-in", {"login": "mara", "password": "not this one"})
    assert wrong.status_code == 200
    assert b'class="error"' in wrong.content
    assert visitor.post("/session/sign-in", {"login": "mara", "password": PASSWORD})["Location"] == "/"
    fields = {"oldpassword": PASSWORD, "password1": "tern-and-curlew-4711", "password2": "tern-and-curlew-4711"}
    assert visitor.post("/session/password", fields).status_code == 302
    assert visitor.get("/").status_code == 200
    assert visitor.post("/session/end")["Location"] == "/session/sign-in"
    assert visitor.get("/").status_code == 302
    assert visitor.post("/session/sign-in", {"login": "mara", "password": "tern-and-curlew-4711"}).status_code == 302


def test_the_queue_counts_what_is_there_and_filters_stand_in_the_address(ids: dict[str, int]) -> None:
    mara = client("mara")
    page = mara.get("/").content.decode()
    waiting = Case.objects.filter(state="open").count()
    overdue = Case.objects.filter(state="open", deadline__lt=timezone.now()).count()
    assert f"{waiting} waiting" in page
    assert overdue == 1
    assert "1 overdue" in page
    order = list(Case.objects.filter(state="open").order_by("deadline", "-priority").values_list("pk", flat=True))
    shown = [int(part.split('"')[0]) for part in page.split('id="case-')[1:]]
    assert shown == order
    narrowed = mara.get("/?source=authority&due=hour").content.decode()
    assert narrowed.count('id="case-') == 1
    assert f'id="case-{ids["order"]}"' in narrowed
    none = mara.get("/?network=nowhere.example").content.decode()
    assert "No case matches these filters" in none


def test_start_takes_the_most_pressing_case_that_nobody_holds(ids: dict[str, int]) -> None:
    assert client("mara").post("/start")["Location"] == f"/cases/{ids['late']}"
    assert client("ada").post("/start")["Location"] == f"/cases/{ids['order']}"
    assert client("ada").post("/start", {"queue": "nothing"})["Location"] == "/"


def test_the_case_shows_why_it_is_here_and_marks_the_words(ids: dict[str, int]) -> None:
    page = client("mara").get(f"/cases/{ids['main']}").content.decode()
    assert "distance 8 of 256 bits; 31 is the limit" in page
    assert ">iron wolf brigade<sup" in page
    assert "River Watch e. V." in page
    assert "Marsh does not offer this." in page
    assert "1 rule asked for it" in page
    assert (
        page.index("Why it is here")
        < page.index("What was published")
        < page.index("Decide</h2>")
        < page.index("History")
    )


def test_what_a_stranger_wrote_stays_text(ids: dict[str, int]) -> None:
    page = client("mara").get(f"/cases/{ids['hostile']}").content.decode()
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert not set(page) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200b\x1b")
    assert "U+202E" in page
    assert HOSTILE.count("w") <= page.count("w")


def test_deciding_asks_for_the_action_and_undo_takes_it_back(ids: dict[str, int]) -> None:
    mara, case = client("mara"), ids["main"]
    told = mara.post(f"/cases/{case}/preview", form(ids, "main")).content.decode()
    assert "It calls for joining an armed group." in told
    answer = mara.post(f"/cases/{case}/decide", form(ids, "main", then="stay"), follow=True).content.decode()
    action = Action.objects.get(case_id=case)
    assert (action.verb, action.state, action.asked_by) == ("remove", "requested", "user:mara")
    assert "1 action(s) requested" in answer
    assert f'hx-get="/cases/{case}/actions"' in answer
    decision = Decision.objects.get(case=case)
    mara.post(f"/decisions/{decision.pk}/undo")
    assert Case.objects.get(pk=case).state == "open"
    assert Action.objects.get(pk=action.pk).state == "canceled"
    again = mara.post(f"/decisions/{decision.pk}/undo", follow=True).content.decode()
    assert "Nothing was undone" in again


def test_what_is_missing_is_named_and_what_was_typed_stays(ids: dict[str, int]) -> None:
    mara, case = client("mara"), ids["main"]
    answer = mara.post(f"/cases/{case}/decide", form(ids, "main", ask=[], reason="Half a <b>thought"))
    assert answer.status_code == 422
    assert b"One thing is missing" in answer.content
    assert b"Half a &lt;b&gt;thought" in answer.content
    forged = mara.post(f"/cases/{case}/decide", form(ids, "main", ask=["suspend:elsewhere"]))
    assert forged.status_code == 422
    assert not Decision.objects.filter(case=case).exists()


def test_two_people_cannot_both_decide(ids: dict[str, int]) -> None:
    case, stale = ids["main"], form(ids, "main")
    client("mara").post(f"/cases/{case}/decide", form(ids, "main", then="stay"))
    answer = client("lee").post(f"/cases/{case}/decide", {**stale, "reason": "Mine, with care."})
    assert answer.status_code == 409
    page = answer.content.decode()
    assert "Somebody else was here first" in page
    assert "mara" in page
    assert "Mine, with care." in page
    assert Decision.objects.filter(case=case).count() == 1
    status = client("lee").get(f"/cases/{case}/status?version={stale['version']}").content.decode()
    assert "This case changed since you opened it." in status


def test_nothing_is_green_before_the_platform_confirmed_it(ids: dict[str, int]) -> None:
    client("mara").post(f"/cases/{ids['main']}/decide", form(ids, "main", then="stay"))
    page = client("mara").get(f"/cases/{ids['main']}/actions").content.decode()
    assert "badge green" not in page
    assert 'class="good"' not in page
    done = client("mara").get(f"/cases/{ids['decided']}/actions").content.decode()
    assert "badge green" in done


def test_putting_back_handing_over_commenting_and_escalating(ids: dict[str, int]) -> None:
    mara, case = client("mara"), ids["main"]
    mara.post(f"/cases/{case}/take")
    mara.post(f"/cases/{case}/hand-over", {"to": "lee"})
    assert Case.objects.get(pk=case).held_by.username == "lee"  # type: ignore[union-attr]
    assert mara.post(f"/cases/{case}/take").status_code == 409
    client("lee").post(f"/cases/{case}/release")
    assert mara.post(f"/cases/{case}/comment", {"text": "See the avatar too."})["Location"] == f"/cases/{case}#past"
    assert b"See the avatar too." in mara.get(f"/cases/{case}").content
    version = Case.objects.get(pk=case).version
    assert mara.post(f"/cases/{case}/escalate", {"version": version, "reason": ""}).status_code == 422
    mara.post(f"/cases/{case}/escalate", {"version": version, "reason": "A threat to a named person."})
    assert Case.objects.get(pk=case).queue == "escalations"


def test_media_come_only_as_our_own_jpeg_and_veiled(ids: dict[str, int]) -> None:
    from PIL import Image

    mara = client("mara")
    sha256 = json.loads(_record("e-3").blobs)["m-1"]
    part = mara.get(f"/cases/{ids['main']}/media/{sha256}", headers={"HX-Request": "true"}).content.decode()
    assert "640 × 420" in part
    assert f'src="/media/{sha256}.jpg?veil=1"' in part
    answer = mara.get(f"/media/{sha256}.jpg")
    assert answer["Content-Type"] == "image/jpeg"
    assert answer["Cache-Control"].startswith("private")
    assert answer["Content-Security-Policy"].startswith("sandbox")
    assert answer["X-Content-Type-Options"] == "nosniff"
    import io

    with Image.open(io.BytesIO(mara.get(f"/media/{sha256}.jpg?veil=1").content)) as veiled:
        assert veiled.mode == "L"
        assert veiled.width <= 18
    assert mara.get(f"/media/{'0' * 64}.jpg").status_code == 404
    assert mara.get(f"/media/{sha256}.jpg?at=nan").status_code == 404
    assert Client().get(f"/media/{sha256}.jpg").status_code == 302


def test_the_strip_of_a_video_marks_the_matched_frames(ids: dict[str, int]) -> None:
    sha256 = json.loads(_record("e-3").blobs)["m-2"]
    part = client("mara").get(f"/cases/{ids['main']}/media/{sha256}", headers={"HX-Request": "true"}).content.decode()
    assert part.count("<figure") == 12
    assert part.count('<figure class="matched"') == 5  # seconds 3 to 7
    assert "3–7 s" in part
    assert "At 5 s: the marked region" in part
    assert part.count('class="veil big"') == 1
    assert 'data-clear="/media/' + sha256 + '.jpg?at=5.0"' in part
    case = client("mara").get(f"/cases/{ids['main']}").content.decode()
    assert "at 5 s of this video" in case
    assert "at 2 s of the known video" in case


def test_reveals_are_counted_for_their_owner(ids: dict[str, int]) -> None:
    mara = client("mara")
    for seconds in ("1.5", "nan", "-4", "1e9", "x"):
        assert mara.post("/media/revealed", {"seconds": seconds}).status_code == 204
    today = Exposure.objects.get(user__username="mara")
    assert (today.reveals, today.seconds) == (5, 601.5)
    assert "5 reveals today" in mara.get("/").content.decode()
    assert "5 reveals" not in client("lee").get("/").content.decode()


def test_whatever_is_pasted_is_found(ids: dict[str, int]) -> None:
    mara = client("mara")
    for pasted in (f"C-{ids['main']}", str(ids["main"]), "p-3", "https://marsh.example/@gray_harbor/p-3/"):
        assert mara.get("/find", {"q": pasted})["Location"] == f"/cases/{ids['main']}", pasted
    assert "/accounts/marsh.example/a-gray_harbor" in mara.get("/find", {"q": "@gray_harbor"})["Location"]
    assert b"Nothing has exactly this" in mara.get("/find", {"q": "<i>"}).content
    assert mara.get("/find", {"q": "http://[::1"}).status_code == 200


def test_the_account_page_holds_its_past(ids: dict[str, int]) -> None:
    page = client("mara").get("/accounts/marsh.example/a-gray_harbor").content.decode()
    assert "Good morning from the harbor" in page
    assert "2 other cases" in page
    assert client("mara").get("/accounts/marsh.example/a-nobody").status_code == 404


def test_people_are_added_with_a_password_shown_once_and_the_last_admin_stays(ids: dict[str, int]) -> None:
    ada = client("ada")
    page = ada.post("/people", {"name": "noor", "role": "lead"}).content.decode()
    password = page.split("<code>")[1].split("</code>")[0]
    assert Client().login(username="noor", password=password)
    assert password not in ada.get("/people").content.decode()
    assert Entry.objects.filter(step="user.made", object="user:noor", actor="user:ada").exists()
    assert ada.post("/people", {"name": "NOOR", "role": "lead"}).status_code == 422
    said = ada.post("/people/ada/role", {"role": "moderator"}, follow=True).content.decode()
    assert "the last admin" in said
    ada.post("/people/noor/off")
    assert not Client().login(username="noor", password=password)


def test_a_dead_letter_is_sent_again_and_an_event_tried_again(ids: dict[str, int]) -> None:
    lee = client("lee")
    page = lee.get("/system").content.decode()
    assert "connection refused" in page
    assert "did not answer within 60 s" in page
    dead = Action.objects.get(state="failed")
    lee.post(f"/system/actions/{dead.pk}/resend")
    assert Action.objects.get(pk=dead.pk).state == "requested"
    lee.post(f"/system/events/{_record('e-9').pk}/retry")
    assert _record("e-9").attempts == 0
    assert Entry.objects.filter(step="event.retried", actor="user:lee").exists()


def test_a_connector_is_paused_and_goes_on(ids: dict[str, int]) -> None:
    ada = client("ada")
    assert "paused" in ada.post("/connectors/marsh.example/pause", follow=True).content.decode()
    ada.post("/connectors/marsh.example/resume")
    steps = Entry.objects.filter(object="connector:marsh.example").values_list("step", flat=True)
    assert list(steps)[-2:] == ["connector.paused", "connector.resumed"]


def test_a_text_of_a_hundred_thousand_characters_is_shown_whole(ids: dict[str, int]) -> None:
    from redshank.archive.services import NewEvent, claim

    text = "\u202e" * 20 + "word " * 19_990
    raw = {"id": "e-long", "type": "post.created", "network": "marsh.example", "at": timezone.now().isoformat(), "account": {"id": "a-night_reed"}, "post": {"id": "p-5", "text": text}}  # fmt: skip
    claim([NewEvent(event=decode_event(msgspec.json.encode(raw), now=timezone.now()))], now=timezone.now())
    page = client("mara").get(f"/cases/{ids['hostile']}").content.decode()
    assert page.count("word ") >= 19_990
    assert "\u202e" not in page


def _record(event_id: str) -> Any:
    from redshank.archive.models import EventRecord

    return EventRecord.objects.get(network="marsh.example", event_id=event_id)
