"""What becomes known later is found in what was seen before, whoever saw it, and just once."""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from redshank import pipeline
from redshank.archive import services as archive
from redshank.audit.models import Entry as AuditEntry
from redshank.banks import current, lookback, segment, services
from redshank.banks.models import Entry, Seen
from redshank.cases.models import Case, Item
from redshank.core import Account, Media, MediaUploaded
from redshank.media import Frame, Hasher, ImageHashes, VideoHashes
from tests.banks.conftest import NOW
from tests.web.seed import picture

PDQ = "f8f8f0cee0f4a84f06370a22028f67f0b36e2ed596621e1d33e6b39c4e9c9b22"
OTHER = f"{int(PDQ, 16) ^ int('5a' * 32, 16):064x}"
LATER = NOW + timedelta(days=3, hours=5)
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _of_its_own(tmp_path, settings, monkeypatch):
    settings.DATA_DIR = tmp_path
    monkeypatch.setattr(current, "CHECKED_EVERY", 0.0)


def send(id_, *, at=NOW, **media):
    """A post whose media are told by their hashes alone."""
    raw = {
        "type": "post.created", "id": id_, "network": "marsh.example", "at": at.isoformat(),
        "account": {"id": f"a-{id_}"}, "post": {"id": f"p-{id_}", "text": "", "media": [{"id": "m1", **media}]},
    }  # fmt: skip
    (answer,) = pipeline.accept([json.dumps(raw).encode()], now=at, actor="key:test")
    assert answer.status == "accepted"


def near(bits):
    return f"{int(PDQ, 16) ^ ((1 << bits) - 1) << 5:064x}"


def look_back(now=LATER):
    return pipeline.look_back(now=now)


def cases():
    return sorted(Case.objects.values_list("subject_id", flat=True))


@pytest.mark.parametrize("sealed", [False, True])
def test_a_new_entry_is_found_in_the_past_by_distance_and_by_digest(make, sealed):
    send("near", pdq=near(20))
    send("far", pdq=near(60), at=NOW + timedelta(days=1))
    send("file", sha1="AB" * 20, at=NOW + timedelta(days=3))
    send("today", pdq=near(3), at=LATER)
    if sealed:
        assert lookback.seal(now=LATER) > 3
        assert lookback.seal(now=LATER) == 0
        days = sorted(place.name for place in Path(archive.blob_store().root.parent, "seen").iterdir())
        assert days[:3] == ["2026-07-01", "2026-07-02", "2026-07-03"]
        assert days[3].startswith("2026-07-04T")
    assert (look_back(), cases()) == (0, [])
    make("pdq", PDQ, severity=5)
    make("sha1", "ab" * 20, severity=4)
    assert look_back() == 2
    assert cases() == ["p-file", "p-near", "p-today"]
    assert look_back() == 0
    record = archive.records_of([("marsh.example", "near")])[0]
    verdict = archive.verdict_of(record)
    assert [finding.match.distance for finding in verdict.findings] == [20]
    assert [fired.rule for fired in verdict.fired] == ["known-file-severity-5"]
    assert AuditEntry.objects.filter(step="event.looked_back").count() == 3


def test_looking_back_again_changes_nothing_and_a_second_entry_adds_only_what_is_new(make):
    send("1", pdq=PDQ)
    bank, _ = make("pdq", near(4), severity=3)
    look_back()
    before = (AuditEntry.objects.count(), Item.objects.count(), cases())
    assert lookback.ask_again(bank) == 1
    assert look_back() == 1
    assert (AuditEntry.objects.count(), Item.objects.count(), cases()) == before
    services.add_entries(bank, [services.NewEntry(value=near(9))], by="system", now=NOW)
    look_back()
    assert cases() == ["p-1"]
    record = archive.records_of([("marsh.example", "1")])[0]
    assert [finding.match.distance for finding in archive.verdict_of(record).findings] == [4, 9]


def test_ours_are_found_too_pictures_their_variants_and_frames_of_videos(make):
    event = MediaUploaded(id="v", network="marsh.example", at=NOW, media=Media(id="m1"), account=Account(id="a"))
    film = VideoHashes(
        sha256="d" * 64, md5="e" * 32, seconds=3, width=9, height=9,
        frames=(Frame(0, OTHER, 100), Frame(1, PDQ, 100), Frame(2, near(90), 10)),
    )  # fmt: skip
    still = ImageHashes(sha256="c" * 64, md5="", pdq=OTHER, quality=90, width=9, height=9)
    lookback.keep([(event, {"m1": film})], now=NOW)
    lookback.keep(
        [
            (
                MediaUploaded(id="s", network="marsh.example", at=NOW, media=Media(id="m1"), account=Account(id="a")),
                {"m1": still},
            )
        ],
        now=NOW,
    )
    assert lookback.hashes_of("marsh.example", "v") == {"m1": film}

    def found(kind, *new):
        _, added = make(kind, *new, name=f"b{Entry.objects.count()}")
        return lookback.find([one for one in lookback.due(now=LATER) if one.id in added.entries], now=LATER)

    v, s = ("marsh.example", "v"), ("marsh.example", "s")
    assert found("pdq", near(2)) == [v]
    assert found("pdq", OTHER) == [v, s]
    assert found("pdq", near(90)) == [], "a frame of low quality is not kept"
    assert found("md5", "e" * 32) == [v]
    assert found("video", services.NewEntry(value="0" * 63 + "1", frames=(Frame(0, OTHER, 100),))) == [v, s]


def test_a_picture_that_a_worker_hashed_is_found_by_what_becomes_known_later(make, settings):
    raw = {
        "type": "post.created", "id": "own", "network": "marsh.example", "at": NOW.isoformat(), "account": {"id": "a"},
        "post": {"id": "p-own", "text": "", "media": [{"id": "m1", "data": b64encode(picture(3)).decode()}]},
    }  # fmt: skip
    pipeline.accept([json.dumps(raw).encode()], now=NOW, actor="key:test")
    with Hasher(settings.REDSHANK.media) as hasher:
        assert pipeline.walk_waiting(now=NOW, limit=5, hasher=hasher) == 1
    assert (Seen.objects.count(), cases()) == (1, [])
    seen = lookback.hashes_of("marsh.example", "own")["m1"]
    make("sha512", seen.sha512)
    make("pdq", seen.pdq, severity=2)
    assert look_back() == 2
    assert cases() == ["p-own"]
    (record,) = archive.records_of([("marsh.example", "own")])
    assert [finding.kind for finding in archive.verdict_of(record).findings] == ["sha512", "pdq"]


def test_what_waits_is_not_sought_harmless_paused_quarantined_or_just_added(make):
    send("1", pdq=PDQ)
    make("pdq", PDQ, name="logos", negative=True)
    paused, _ = make("pdq", near(1), name="paused")
    services.change_bank(paused, {"active": False}, by="system", now=NOW)
    _, apart = make("pdq", near(2), name="apart")
    Entry.objects.filter(pk__in=apart.entries).update(quarantined_at=NOW)
    make("term", "iron wolf")
    assert lookback.due(now=LATER) == []
    _, added = make("pdq", near(3), name="new")
    assert lookback.due(now=NOW + timedelta(seconds=5)) == []
    assert [entry.id for entry in lookback.due(now=LATER)] == list(added.entries)


def test_damaged_or_lost_files_cost_time_and_find_the_same(make):
    send("1", pdq=PDQ)
    lookback.seal(now=LATER)
    (place,) = [place for place in lookback._root().iterdir() if place.name == "2026-07-01"]
    (place / "pictures.hamming").write_bytes(b"nothing")
    bank, _ = make("pdq", near(1))
    look_back()
    assert cases() == ["p-1"]
    assert not place.exists()
    assert lookback.seal(now=LATER) == 1
    lookback.ask_again(bank)
    assert lookback.find(lookback.due(now=LATER), now=LATER) == [("marsh.example", "1")]


def test_the_past_is_forgotten_by_rows_and_by_whole_files():
    send("old", pdq=PDQ)
    send("new", pdq=PDQ, at=NOW + timedelta(days=20))
    now = NOW + timedelta(days=40)
    lookback.seal(now=now)
    assert lookback.forget(now=now) == 1
    assert [seen.event_id for seen in Seen.objects.all()] == ["new"]
    assert not (lookback._root() / "2026-07-01").exists()
    assert (lookback._root() / "2026-07-21").exists()


def test_two_writers_of_one_stretch_and_one_that_was_killed_leave_it_whole(tmp_path):
    rng = np.random.default_rng(5)
    hashes = rng.integers(0, 256, (500, 32), np.uint8)
    digests = rng.integers(0, 1 << 63, 300).astype(np.uint64)
    (tmp_path / ".day.killed").mkdir()
    arrays = (hashes, np.arange(500), digests, np.arange(1000, 1300))
    segment.write(tmp_path / "day", *arrays)
    segment.write(tmp_path / "day", *arrays)
    wanted = segment.Wanted([(hashes[7].tobytes().hex(), 0), ("00" * 32, 31)], [f"{int(digests[9]):016x}" + "f" * 16])
    assert segment.find(tmp_path / "day", wanted) == segment.find_in(*arrays, wanted) == {7, 1009}
    assert sorted(place.name for place in tmp_path.iterdir()) == [".day.killed", "day"]
