"""Banks that find parts of their pictures: from the file that is added to the finding with its regions."""

from __future__ import annotations

import base64
import io
from datetime import timedelta

import msgspec
import numpy as np
import pytest
from PIL import Image, ImageOps

from redshank.banks import lookback, services
from redshank.banks.models import Entry, EntryPoints, SeenPoints
from redshank.banks.parts import COMPARED, PartIndex
from redshank.cases.models import Case
from redshank.core import Media, Part, Problem
from redshank.core.settings import MediaSettings
from redshank.demo.pictures import encode, render
from redshank.media import Hasher, ImageHashes, VideoHashes
from redshank.media.child import hash_file
from redshank.media.features import Stills
from redshank.media.parts import telling
from redshank.pipeline import accept, look_back, look_back_for_parts, walk_waiting
from tests.banks.conftest import NOW, post
from tests.media.test_parts import KNOWN, PICTURES, cropped, lies, points, within

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
    assert finding.score == finding.where.likeness
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
    poor = services.NewEntry(value=hashed(PICTURES[0]).pdq, quality=100, points=((None, points(image)[0]),))
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


def film(path, images, *, seconds=2):
    """The pictures one after the other, as a video is read, with the points of its frames."""
    path.write_bytes(encode([image.resize((640, 480)) for image in images for _ in range(seconds)], quality=20, rate=1))
    with path.open("rb") as file:
        found = hash_file(file, MediaSettings(), points=True)
    assert isinstance(found, VideoHashes)
    return found


def test_a_known_picture_within_a_video_is_found_at_its_second_and_place(make, tmp_path):
    shown = [PICTURES[4], within(PICTURES[0], PICTURES[2], 0.1, 0.3), ImageOps.mirror(cropped(PICTURES[5], 0.3, 0.3))]
    _, added = make("pdq", new(PICTURES[0]), new(PICTURES[5]), name="partial", partial=True)
    seen = film(tmp_path / "film.mp4", shown)
    assert [still.second for still in seen.stills] == [0, 2, 4]
    found = {finding.match.entry: finding for finding in look(seen)}
    assert set(found) == set(added.entries)
    first, second = (found[entry].where for entry in added.entries)
    assert (first.second, second.second, first.known_second) == (2, 4, None)
    assert (found[added.entries[0]].match.how, found[added.entries[1]].match.how) == ("", "mirrored")
    assert lies(first.region, 0.1, 0.3, 0.65, 0.85)


def test_a_part_of_a_known_video_is_found_in_a_picture_and_in_another_video(make, tmp_path):
    known = film(tmp_path / "known.mp4", PICTURES[:3])
    _, added = make("video", services.entry_from_media(known, "video"), name="films", partial=True)
    assert EntryPoints.objects.get(entry=added.entries[0]).poor == ""
    (finding,) = look(hashed(within(PICTURES[1], PICTURES[4], 0.2, 0.2)))
    assert (finding.kind, finding.match.entry, finding.where.known_second) == ("part", added.entries[0], 2)
    (finding,) = look(film(tmp_path / "seen.mp4", [PICTURES[5], within(PICTURES[2], PICTURES[4], 0.2, 0.2)]))
    assert (finding.where.second, finding.where.known_second) == (2, 4)
    make("video", services.entry_from_media(known, "video"), name="whole")
    assert len(look(hashed(within(PICTURES[1], PICTURES[4], 0.2, 0.2)))) == 1


def test_what_is_harmless_at_one_second_of_a_video_is_not_at_another(make, tmp_path):
    make("pdq", new(PICTURES[0]), name="bad", partial=True)
    make("pdq", new(PICTURES[3]), name="harmless", negative=True)
    seen = film(tmp_path / "film.mp4", [PICTURES[3], within(PICTURES[0], PICTURES[2], 0.1, 0.3)])
    assert {finding.match.bank for finding in look(seen)} == {"bad", "harmless"}


def test_of_a_video_some_frames_are_kept_spread_over_all_of_it():
    for most, count in ((1, 50), (4, 4), (4, 5), (7, 100)):
        stills = Stills(most)
        for number in range(count):
            stills.offer(f"{number % 2 * 65535:064x}"[-64:], np.full((60, 80), number, np.uint8))
            stills.offer(f"{number % 2 * 65535:064x}"[-64:], np.zeros((40, 4000), np.uint8))
        assert 0 < len(stills) <= most
        assert len(stills) > most // 2 or count < most


def test_only_banks_of_pictures_and_videos_find_parts(make):
    with pytest.raises(Problem, match="pictures and videos alone"):
        make("sha256", name="files", partial=True)


def test_the_past_keeps_points_only_where_a_setting_asks_for_it(settings, tmp_path):
    seen = {"m1": hashed(PICTURES[0]), "m2": film(tmp_path / "film.mp4", PICTURES[:2])}
    event = post(media=(Media(id="m1"), Media(id="m2")))
    lookback.keep([(event, seen)], now=NOW)
    kept = lookback.hashes_of("marsh", "e1")
    assert kept["m1"].pdq == seen["m1"].pdq
    assert (kept["m1"].points, kept["m1"].mirrored_points, kept["m2"].stills) == (b"", b"", ())
    settings.REDSHANK = keeping(settings, days=2)
    lookback.keep([(msgspec.structs.replace(event, id="e2"), seen)], now=NOW)
    kept = lookback.hashes_of("marsh", "e2")
    assert (kept["m1"].points, kept["m1"].mirrored_points) == (seen["m1"].points, seen["m1"].mirrored_points)
    assert kept["m2"].stills == seen["m2"].stills != ()
    lookback.forget(now=NOW + timedelta(days=3))
    assert not SeenPoints.objects.exists()
    assert lookback.hashes_of("marsh", "e2")["m1"].pdq == seen["m1"].pdq


def keeping(settings, *, days):
    replace = msgspec.structs.replace
    return replace(settings.REDSHANK, banks=replace(settings.REDSHANK.banks, keep_points_days=days))


def sent(image, id_="e1"):
    """An event with a picture, as it comes in."""
    out = io.BytesIO()
    image.save(out, "JPEG", quality=85)
    media = [{"id": "m1", "data": base64.b64encode(out.getvalue()).decode()}]
    body = {"id": id_, "type": "post.created", "network": "marsh", "at": NOW.isoformat()}
    return msgspec.json.encode(body | {"account": {"id": "a1"}, "post": {"id": f"p-{id_}", "media": media}})


@pytest.mark.django_db(transaction=True)
def test_what_was_seen_before_is_found_in_part_when_it_becomes_known(make, settings):
    settings.REDSHANK = keeping(settings, days=2)
    accept([sent(within(ImageOps.mirror(PICTURES[0]), PICTURES[2], 0.2, 0.2))], now=NOW, actor="key:marsh")
    with Hasher(MediaSettings()) as hasher:
        assert walk_waiting(now=NOW, limit=10, hasher=hasher) == 1
    bank, added = make("pdq", hashed(PICTURES[0]).pdq, name="partial", severity=4, partial=True)
    assert look_back(now=NOW, settled=timedelta(0)) == 1
    assert look_back_for_parts(now=NOW) == 0, "there are no points of a hash"
    assert not Case.objects.exists()
    services.add_entries(bank, [new(PICTURES[0]), new(PICTURES[5])], by="system", now=NOW)
    for _ in range(2):
        assert look_back(now=NOW, settled=timedelta(0)) == 2
        assert [look_back_for_parts(now=NOW) for _ in "ab"] == [2, 0]
        finding = Case.objects.get().items.get(kind="finding").body
        assert (finding["kind"], finding["match"]["entry"], finding["match"]["how"]) == (
            "part",
            added.entries[0],
            "mirrored",
        )
        lookback.ask_again(bank)


def test_an_index_holds_what_was_added_and_gives_up_what_was_removed():
    index = PartIndex()
    index.add({number: [(None, packed)] for number, packed in enumerate(KNOWN)})
    seen = points(cropped(PICTURES[4], 0.2, 0.2))[0]
    assert [entry for entry, _, _ in index.find(seen)] == [4]
    index.add({2**34: [(1.0, KNOWN[2]), (2.0, KNOWN[4])]})
    assert {(entry, second) for entry, second, _ in index.find(seen)} == {(4, None), (2**34, 2.0)}
    index.remove(4)
    index.remove(77)
    assert [entry for entry, _, _ in index.find(seen)] == [2**34]
    assert len(index) == len(KNOWN) + 1
    assert list(index.find(b"")) == []


def test_of_many_entries_those_are_compared_of_which_points_say_the_same():
    index = PartIndex()
    index.add({9: [(None, KNOWN[0])]})
    strange = [telling(points(render(np.random.default_rng(seed), (200, 150)), 60)[0]) for seed in range(20, 60)]
    index.add({number: [(None, packed)] for number, packed in enumerate(strange, 100)})
    assert len(index) > COMPARED
    assert [entry for entry, _, _ in index.find(points(cropped(PICTURES[0], 0.2, 0.2))[0])] == [9]
    index.add({key: [(None, KNOWN[0])] for key in range(10, 80)})
    assert 0 < len(list(index.find(points(PICTURES[0])[0]))) <= COMPARED


@pytest.mark.django_db(transaction=True)
def test_a_crop_in_an_event_is_walked_into_a_case_with_its_region(make):
    make("pdq", new(PICTURES[0]), name="partial", severity=4, partial=True)
    accept([sent(cropped(PICTURES[0], 0.3, 0.3))], now=NOW, actor="key:marsh")
    with Hasher(MediaSettings()) as hasher:
        assert walk_waiting(now=NOW, limit=10, hasher=hasher) == 1
    finding = Case.objects.get().items.get(kind="finding").body
    assert (finding["kind"], finding["where"]["in"]) == ("part", "part")
    assert abs(finding["where"]["known"]["left"] - 0.3) < 0.05
