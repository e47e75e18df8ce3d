"""The walk, with the real rooms behind it: nothing lost, nothing twice, the good beside the bad goes on."""

import base64
import json
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image, ImageDraw
from pytest_django.fixtures import Settings

from redshank.archive.models import AccountRecord, Blob, EventRecord
from redshank.audit.models import Entry, Evidence
from redshank.banks import services as banks
from redshank.cases.models import Case, Item
from redshank.core.settings import MediaSettings
from redshank.enforcement import services as enforcement
from redshank.enforcement.models import Action, Delivery
from redshank.intake.models import Report
from redshank.media import Hasher
from redshank.pipeline import StoreFullError, accept, walk_waiting

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)


def event(number: int, **fields: object) -> bytes:
    base = {
        "id": f"e{number}",
        "type": "post.created",
        "network": "marsh",
        "at": NOW.isoformat(),
        "account": {"id": "a1", "handle": "heron"},
        "post": {"id": f"p{number}", "text": "Good morning"},
    }
    return json.dumps({**base, **fields}).encode()


def picture(seed: int = 1) -> bytes:
    image = Image.new("RGB", (640, 480), (200, 190, 160))
    draw = ImageDraw.Draw(image)
    for n in range(40):
        x, y = (n * 97 * seed) % 600, (n * 61 + seed * 40) % 440
        draw.ellipse((x, y, x + 30 + n * 3, y + 20 + n * 2), fill=((n * 37) % 255, (n * 91) % 255, (n * 13) % 255))
    out = BytesIO()
    image.save(out, "JPEG", quality=92)
    return out.getvalue()


def counts() -> tuple[int, ...]:
    return tuple(
        model.objects.count() for model in (EventRecord, Case, Item, Action, Delivery, Evidence, Report, Entry)
    )


@pytest.fixture
def term_bank(db: None) -> None:
    bank = banks.make_bank("slogans", kind="term", policy="violent-extremism-support", severity=3, by="system", now=NOW)
    banks.add_entries(bank, [banks.NewEntry(value="iron wolf brigade")], by="system", now=NOW)
    banks.known(fresh=True)


@pytest.mark.django_db(transaction=True)
def test_a_batch_is_answered_event_by_event_and_the_same_again_changes_nothing(term_bank: None) -> None:
    batch = [
        event(1, post={"id": "p1", "text": "join the IRON  wolf brigade tonight"}),
        b'{"broken',
        event(2),
        event(2),
        event(3, account={"id": "a1", "ip": "192.0.2.1"}),
        event(4, network="elsewhere"),
    ]
    answers = accept(batch, now=NOW, actor="key:marsh", network="marsh")
    assert [answer.status for answer in answers] == [
        "accepted", "rejected", "accepted", "duplicate", "rejected", "rejected",
    ]  # fmt: skip
    assert (answers[4].id, answers[4].field) == ("e3", "account.ip")
    assert answers[5].field == "network"
    case = Case.objects.get()
    finding = case.items.get(kind="finding").body
    assert (finding["where"]["field"], finding["where"]["start"], finding["where"]["end"]) == ("post.text", 9, 27)
    before = counts()
    again = accept(batch, now=NOW + timedelta(hours=1), actor="key:marsh", network="marsh")
    assert [answer.status for answer in again][::2] == ["duplicate", "duplicate", "rejected"]
    assert counts() == before


@pytest.mark.django_db(transaction=True)
def test_a_known_file_is_found_preserved_and_acted_on_once(tmp_path: Path) -> None:
    enforcement.connect("marsh", "Marsh", "http://127.0.0.1:9/", ["remove", "restore"], by="system", now=NOW)
    with Hasher(MediaSettings()) as hasher:
        known = tmp_path / "known.jpg"
        known.write_bytes(picture())
        hashes = hasher.hash(known)
        bank = banks.make_bank("files", kind="sha256", policy="terrorist-content", severity=5, by="system", now=NOW)
        banks.add_entries(bank, [banks.NewEntry(value=hashes.sha256)], by="system", now=NOW)
        banks.known(fresh=True)
        broken = base64.b64encode(picture(2)[:500]).decode()
        media = [{"id": "m1", "data": base64.b64encode(picture()).decode()}, {"id": "m2", "data": broken}]
        accept([event(1, post={"id": "p1", "media": media})], now=NOW, actor="key:marsh")
        record = EventRecord.objects.get()
        assert (record.state, "data" in record.body) == ("waiting", False)
        assert Blob.objects.count() == 2
        assert walk_waiting(now=NOW, limit=10, hasher=hasher) == 1
        assert walk_waiting(now=NOW, limit=10, hasher=hasher) == 0
    record.refresh_from_db()
    assert (record.state, "m2" in record.error) == ("walked", True)
    action = Action.objects.get()
    assert (action.verb, action.subject_kind, action.subject_id, action.state) == ("remove", "post", "p1", "requested")
    evidence = Evidence.objects.get()
    assert action.evidence == [evidence.sha256]
    assert hashes.sha256 in evidence.blobs
    assert Blob.objects.get(sha256=hashes.sha256).kept_for == "evidence"
    steps = list(Entry.objects.order_by("id").values_list("step", flat=True))
    assert steps.index("case.opened") < steps.index("action.requested")


@pytest.mark.django_db(transaction=True)
def test_a_report_becomes_a_case_with_the_reporters_deadline() -> None:
    report = {"id": "r1", "subject_kind": "post", "subject_id": "p9", "reason": "threat", "text": "He quotes: x"}
    accept(
        [
            event(1, type="report.received", post=None, report={**report, "reporter": {"kind": "authority", "name": "Office"}})
            .replace(b'"post": null, ', b"")
        ],
        now=NOW,
        actor="key:marsh",
    )  # fmt: skip
    case = Case.objects.get()
    assert (case.source, case.subject_id, case.deadline) == ("authority", "p9", NOW + timedelta(hours=1))
    assert Report.objects.get().reporter_name == "Office"


@pytest.mark.django_db(transaction=True)
def test_a_full_disk_takes_nothing_and_says_so(settings: Settings, tmp_path: Path) -> None:
    full = tmp_path / "blobs"
    full.symlink_to("/dev/full")
    settings.DATA_DIR = tmp_path
    before = counts()
    data = base64.b64encode(picture()).decode()
    with pytest.raises(StoreFullError, match="could not be kept"):
        accept([event(1), event(2, post={"id": "p", "media": [{"id": "m", "data": data}]})], now=NOW, actor="key:marsh")
    assert counts() == before


@pytest.mark.django_db(transaction=True)
def test_the_platforms_news_of_an_account_is_kept() -> None:
    accept(
        [event(1, type="account.suspended").replace(b', "post": {"id": "p1", "text": "Good morning"}', b"")],
        now=NOW,
        actor="key:marsh",
    )
    assert AccountRecord.objects.get().state == "suspended"


@pytest.mark.django_db(transaction=True)
def test_a_null_character_hides_nothing_and_breaks_no_store(term_bank: None) -> None:
    text = "\x00 iron wolf brigade \\u0000 \x00\x00"
    report = {"id": "r\x001", "subject_kind": "post", "subject_id": "p\x00", "reason": "\x00", "text": "\x00",
              "reporter": {"kind": "user", "name": "\x00"}}  # fmt: skip
    batch = [
        event(
            1,
            post={"id": "p1", "text": text},
            account={"id": "a\x00", "handle": "\x00", "bio": "iron wolf brigade\x00"},
        ),
        event(2, type="report.received", report=report),
    ]
    answers = accept(batch, now=NOW, actor="key:marsh", network="marsh")
    assert [answer.status for answer in answers] == ["accepted", "accepted"]
    spans = [item.body["where"] for item in Item.objects.filter(kind="finding", body__where__field="post.text")]
    assert [text.replace("\x00", "?")[span["start"] : span["end"]] for span in spans] == ["iron wolf brigade"]
