"""Banks that find parts of their pictures: from the file that is added to the finding with its regions."""

from __future__ import annotations

import base64
import io

import msgspec
import numpy as np
import pytest
from PIL import Image

from redshank.banks import lookback, services
from redshank.banks.models import Entry, EntryPoints
from redshank.banks.parts import PartIndex
from redshank.cases.models import Case
from redshank.core import Media, Part, Problem
from redshank.core.settings import MediaSettings
from redshank.demo.pictures import render
from redshank.media import Hasher, ImageHashes
from redshank.media.child import hash_file
from redshank.media.parts import telling
from redshank.pipeline import accept, walk_waiting
from tests.banks.conftest import NOW, post
from tests.media.test_parts import KNOWN, PICTURES, cropped, points, within

pytestmark = pytest.mark.django_db


def hashed(image, *, with_points=True) -> ImageHashes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=85)
    found = hash_file(io.BytesIO(out.getvalue()), MediaSettings(), points=with_points)
    assert isinstance(found, ImageHashes)
    return found


def look(hashes):
    return services.known(fresh=True).find(post(media=(Media(id="m1"),)), {"m1": hashes})


def new(image, **more):
    return services.entry_from_media(hashed(image), "pdq", **more)


def test_a_crop_is_found_in_a_bank_that_asks_for_parts_and_in_no_other(make):
    seen = hashed(cropped(PICTURES[0], 0.3, 0.3))
    make("pdq", new(PICTURES[0]), name="whole")
    assert look(seen) == ()
    assert not services.known().wants_points
    _, added = make("pdq", new(PICTURES[0], label="the coast"), name="partial", partial=True)
    assert services.known(fresh=True).wants_points
    (finding,) = look(seen)
    assert (finding.detector, finding.kind, finding.match.entry) == ("parts", "part", added.entries[0])
    assert isinstance(finding.where, Part)
    assert finding.where.media == "m1"
    assert finding.where.inliers >= 9
    assert finding.score == finding.where.share
    assert finding.match.distance is None
    assert finding.match.how == ""
    assert abs(finding.where.known.left - 0.3) < 0.05
    assert look(hashed(cropped(PICTURES[0], 0.3, 0.3), with_points=False)) == ()
    assert [one.kind for one in look(hashed(PICTURES[0]))] == ["pdq", "pdq"]  # As a whole it is not named for its part.


def test_entries_come_and_go_and_a_hash_is_given_its_points_later(make):
    seen = hashed(within(PICTURES[1], PICTURES[2], 0.2, 0.2))
    bank, added = make("pdq", hashed(PICTURES[1]).pdq, name="partial", partial=True)
    assert not EntryPoints.objects.exists()
    assert look(seen) == ()
    again = services.add_entries(bank, [new(PICTURES[1])], by="system", now=NOW)
    assert (again.added, again.known) == (0, 1)
    assert [one.match.entry for one in look(seen)] == list(added.entries)
    services.withdraw_entries(bank, added.entries, by="system", now=NOW)
    assert look(seen) == ()
    services.restore_entries(bank, added.entries, by="system", now=NOW)
    assert len(look(seen)) == 1
    services.change_bank(bank, {"partial": False}, by="system", now=NOW)
    assert look(seen) == ()
    services.change_bank(services.get_bank("partial"), {"partial": True, "active": False}, by="system", now=NOW)
    assert look(seen) == ()


def test_what_is_too_poor_is_kept_said_and_not_sought(make):
    image = Image.new("RGB", (640, 480), "gray")
    image.paste(PICTURES[0].resize((120, 90)), (40, 40))
    poor = services.NewEntry(value=hashed(PICTURES[0]).pdq, quality=100, points=points(image)[0])
    _, added = make("pdq", poor, name="partial", partial=True)
    kept = EntryPoints.objects.get(entry=added.entries[0])
    assert kept.poor
    assert not services.known(fresh=True).wants_points
    assert Entry.objects.get(pk=added.entries[0]).weak == ""


def test_a_harmless_picture_that_shows_the_same_region_withholds_it(make):
    seen = hashed(within(PICTURES[3], PICTURES[2], 0.2, 0.2))
    make("pdq", new(PICTURES[3]), name="bad", partial=True)
    make("pdq", new(PICTURES[3]), name="harmless", partial=True, negative=True)
    assert [(one.match.bank, one.match.withheld) for one in look(seen)] == [("harmless", "harmless")]


def test_a_seen_picture_that_is_harmless_as_a_whole_has_no_parts(make):
    image = within(PICTURES[3], PICTURES[2], 0.2, 0.2)
    make("pdq", new(PICTURES[3]), name="bad", partial=True)
    make("pdq", new(image), name="harmless", negative=True)
    assert [one.match.bank for one in look(hashed(image))] == ["harmless"]


def test_only_banks_of_pictures_find_parts(make):
    with pytest.raises(Problem, match="pictures alone"):
        make("video", name="films", partial=True)


def test_the_past_keeps_no_points(db):
    event = post(media=(Media(id="m1"),))
    lookback.keep([(event, {"m1": hashed(PICTURES[0])})], now=NOW)
    kept = lookback.hashes_of("marsh", "e1")["m1"]
    assert kept.pdq == hashed(PICTURES[0]).pdq
    assert kept.points == kept.mirrored_points == b""


def test_an_index_holds_what_was_added_and_gives_up_what_was_removed():
    index = PartIndex()
    index.add(dict(enumerate(KNOWN)))
    seen = points(cropped(PICTURES[4], 0.2, 0.2))[0]
    assert [entry for entry, _ in index.find(seen)] == [4]
    index.add({2**34: KNOWN[4]})
    assert {entry for entry, _ in index.find(seen)} == {4, 2**34}
    index.remove(4)
    index.remove(77)
    assert [entry for entry, _ in index.find(seen)] == [2**34]
    assert len(index) == len(KNOWN)
    assert list(index.find(b"")) == []


def test_of_many_entries_with_one_picture_some_are_compared_in_full():
    index = PartIndex()
    same = telling(points(render(np.random.default_rng(8), (320, 240)), 20)[0])
    index.add(dict.fromkeys(range(60), same))
    found = list(index.find(points(render(np.random.default_rng(8), (320, 240)), 20)[0]))
    assert 0 < len(found) <= 10


@pytest.mark.django_db(transaction=True)
def test_a_crop_in_an_event_is_walked_into_a_case_with_its_region(make):
    make("pdq", new(PICTURES[0]), name="partial", severity=4, partial=True)
    out = io.BytesIO()
    cropped(PICTURES[0], 0.3, 0.3).save(out, "JPEG", quality=85)
    media = [{"id": "m1", "data": base64.b64encode(out.getvalue()).decode()}]
    sent = {"id": "e1", "type": "post.created", "network": "marsh", "at": NOW.isoformat()}
    sent |= {"account": {"id": "a1"}, "post": {"id": "p1", "media": media}}
    accept([msgspec.json.encode(sent)], now=NOW, actor="key:marsh")
    with Hasher(MediaSettings()) as hasher:
        assert walk_waiting(now=NOW, limit=10, hasher=hasher) == 1
    finding = Case.objects.get().items.get(kind="finding").body
    assert (finding["kind"], finding["where"]["in"]) == ("part", "part")
    assert abs(finding["where"]["known"]["left"] - 0.3) < 0.05
