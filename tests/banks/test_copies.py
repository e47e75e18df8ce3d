"""A bank of plain hashes finds what was mirrored, turned, framed or cropped, and says how it was changed."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from redshank.banks import services
from redshank.banks.detect import Known, KnownBank, KnownEntry
from redshank.banks.frames import pack_frames
from redshank.core import Frames, Media, TimeRange
from redshank.media import ImageHashes, MediaHashes, VideoHashes
from redshank.media.child import hash_file
from tests.banks.conftest import known_of, posted
from tests.media.made import LIMITS, encoded, picture, write_video

PICTURES = KnownBank("known-pdq", "pdq", "terrorist-content", 4, 31, "our own")
VIDEOS = KnownBank("known-video", "video", "terrorist-content", 4, 31, "our own")
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "media"
needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason="needs the media of the shared data, ../shared/data/media"
)
HARMLESS = KnownBank("logos", "pdq", "terrorist-content", 1, 31, "our own", harmless=True)


def hashed(image: Image.Image) -> ImageHashes:
    found = hash_file(io.BytesIO(encoded(image, "JPEG", quality=85)), LIMITS)
    assert isinstance(found, ImageHashes)
    return found


def film(path: Path, seeds: range) -> VideoHashes:
    write_video(path, [(n / 5, seeds[n // 5]) for n in range(5 * len(seeds))], g="5")
    found = hash_file(io.BytesIO(path.read_bytes()), LIMITS)
    assert isinstance(found, VideoHashes)
    return found


def find(known: Known, hashes: MediaHashes):
    return known.find(posted(Media(id="m1")), {"m1": hashes})


@pytest.fixture
def known() -> Known:
    return known_of(
        (KnownEntry(1, PICTURES, hashed(picture(1)).pdq), b""), (KnownEntry(2, PICTURES, hashed(picture(2)).pdq), b"")
    )


@pytest.mark.parametrize(
    ("change", "how"),
    [
        (lambda image: image, ""),
        (ImageOps.mirror, "mirrored"),
        (lambda image: image.rotate(90, expand=True), "turned left"),
        (lambda image: ImageOps.expand(image, 40, "black"), "bordered"),
        (lambda image: ImageOps.mirror(ImageOps.expand(image, (0, 60), "white")), "bordered, mirrored"),
    ],
)
def test_a_changed_picture_is_found_and_the_change_named(known: Known, change, how: str) -> None:
    (finding,) = find(known, hashed(change(picture(1))))
    assert finding.match
    assert (finding.match.entry, finding.match.how) == (1, how)
    assert finding.match.distance is not None
    assert finding.match.distance <= 31


def test_strangers_are_not_found_in_any_form(known: Known) -> None:
    for seed in range(10, 30):
        assert find(known, hashed(ImageOps.expand(picture(seed), 30, "black"))) == ()


def test_a_variant_that_tells_too_little_matches_nothing(known: Known) -> None:
    plain = hashed(picture(1))
    faint = ImageHashes(
        sha256="a" * 64, md5="b" * 32, pdq=hashed(picture(9)).pdq, quality=100, width=9, height=9,
        variants=tuple(type(one)(one.how, plain.pdq, 10) for one in plain.variants),
    )  # fmt: skip
    assert find(known, faint) == ()


def test_what_is_harmless_as_it_is_is_not_found_by_a_change() -> None:
    logo = picture(4)
    mirrored = KnownEntry(1, PICTURES, hashed(ImageOps.mirror(logo)).pdq)
    look = known_of((mirrored, b""), (KnownEntry(2, HARMLESS, hashed(logo).pdq), b""))
    assert [finding.match.entry for finding in find(look, hashed(logo))] == [2]
    assert {finding.match.how for finding in find(known_of((mirrored, b"")), hashed(logo))} == {"mirrored"}


def test_a_mirrored_video_and_a_clip_of_it_are_found_at_their_place(tmp_path: Path) -> None:
    whole = film(tmp_path / "whole.mp4", range(1, 25))
    look = known_of((KnownEntry(7, VIDEOS, whole.sha256), pack_frames(whole.frames)))
    (finding,) = find(look, film(tmp_path / "clip.mp4", range(9, 15)))
    assert finding.match
    assert finding.match.how == ""
    assert isinstance(finding.where, Frames)
    assert finding.where.ranges == (TimeRange(0.0, 6.0, 8.0, 14.0),)
    turned = next(one for one in whole.variants if one.how == "mirrored")
    (finding,) = find(look, VideoHashes(
        sha256="e" * 64, md5="", frames=turned.frames, seconds=24, width=240, height=176,
        variants=(type(turned)("mirrored", whole.frames),),
    ))  # fmt: skip
    assert finding.match
    assert (finding.match.entry, finding.match.how) == (7, "mirrored")


@pytest.mark.django_db
def test_a_bank_in_the_store_finds_copies(make) -> None:
    make("pdq", hashed(picture(1)).pdq)
    (finding,) = services.known(fresh=True).find(posted(Media(id="m1")), {"m1": hashed(ImageOps.mirror(picture(1)))})
    assert finding.match
    assert finding.match.how == "mirrored"


def real(path: Path) -> MediaHashes:
    with path.open("rb") as file:
        return hash_file(file, LIMITS)


@needs_shared
@pytest.mark.django_db
def test_copies_of_a_real_picture_are_found_by_its_plain_hash(make) -> None:
    images = SHARED / "images"
    copies = [images / "bridge-letterboxed.jpg", *sorted(images.glob("dih-*"))]
    assert len(copies) == 8
    _, added = make("pdq", services.entry_from_media(real(images / "bridge-aaa-orig.jpg"), "pdq"))
    look = services.known(fresh=True)
    found = {path.name: find(look, real(path)) for path in copies}
    for name, findings in found.items():
        assert [finding.match and finding.match.entry for finding in findings] == list(added.entries), name
        assert all(finding.match and finding.match.how for finding in findings), name  # None of them as it is.


@needs_shared
@pytest.mark.django_db
def test_a_real_video_under_a_large_logo_is_found_in_its_place(make) -> None:
    videos = SHARED / "videos"
    _, added = make("video", services.entry_from_media(real(videos / "chair-orig-22-sd-bar.mp4"), "video"))
    look = services.known(fresh=True)
    (finding,) = find(look, real(videos / "chair-22-with-large-logo-bar.mp4"))
    assert finding.match
    assert finding.match.entry == added.entries[0]
    assert isinstance(finding.where, Frames)
    assert all(abs(one.start - one.known_start) <= 1 for one in finding.where.ranges)
    assert min(finding.where.share, finding.where.known_share) >= 0.5  # Frame by frame at the same second, 1 of 23 is.
