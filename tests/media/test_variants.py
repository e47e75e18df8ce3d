"""What was mirrored, turned, framed or cut hashes, in one of its variants, as what it was made from; and what is seen by whom."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from redshank.media import ImageHashes, VideoHashes, match_videos
from redshank.media.child import hash_file
from redshank.media.pdq import pdq, sample
from redshank.media.scan import Known
from redshank.media.variants import MOST_PARTS, TURNS, parts, variants
from tests.media.made import LIMITS, distance, encoded, picture, write_video

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "media"
needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason="needs the media of the shared data, ../shared/data/media"
)
LIMIT = 31
UNDONE = {
    "mirrored": lambda p: p[:, ::-1],
    "upside down": lambda p: p[::-1, ::-1],
    "mirrored, upside down": lambda p: p[::-1],
    "turned right": lambda p: np.rot90(p, -1),
    "turned left": lambda p: np.rot90(p, 1),
    "mirrored, turned left": lambda p: np.rot90(p[:, ::-1], 1),
    "mirrored, turned right": lambda p: np.rot90(p[:, ::-1], -1),
}


def gray(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("L"))


def of(image: Image.Image | np.ndarray) -> dict[str, list[str]]:
    """The variants' hashes by how."""
    pixels = image if isinstance(image, np.ndarray) else gray(image)
    out: dict[str, list[str]] = {}
    for one in variants(pixels, sample(pixels), 100):
        out.setdefault(one.how, []).append(one.pdq)
    return out


def nearest(image: Image.Image, original: Image.Image) -> tuple[int, str]:
    """How near the variants of `image` come to the plain hash of `original`, and by which."""
    want = pdq(gray(original))[0]
    return min((distance(hash_, want), how) for how, hashes in of(image).items() for hash_ in hashes)


@settings(max_examples=40, deadline=None)
@given(
    width=st.integers(64, 500), height=st.integers(64, 500), seed=st.integers(0, 2**32 - 1), how=st.sampled_from(TURNS)
)
def test_what_was_turned_is_turned_back(width: int, height: int, seed: int, how: str) -> None:
    original = gray(picture(seed, width, height))
    assert distance(of(UNDONE[how](original))[how][0], pdq(original)[0]) <= LIMIT


@pytest.mark.parametrize("color", ["black", "white", (90, 40, 40)])
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), sides=st.tuples(*[st.sampled_from([0, 0.04, 0.1, 0.25, 0.5])] * 4))
def test_bars_are_taken_off(color: object, seed: int, sides: tuple[float, float, float, float]) -> None:
    original = picture(seed, 480, 360)
    left, top, right, bottom = (round(side * 400) for side in sides)
    if not any(sides):
        return
    framed = Image.new("RGB", (480 + left + right, 360 + top + bottom), color)
    framed.paste(original, (left, top))
    again = Image.open(io.BytesIO(encoded(framed, "JPEG", quality=80)))
    assert nearest(again, original)[0] <= LIMIT
    mirrored, how = nearest(ImageOps.mirror(again), original)
    assert mirrored <= LIMIT
    assert "mirrored" in how


def test_a_frame_in_a_frame_is_taken_off() -> None:
    original = picture(3, 480, 360)
    framed = ImageOps.expand(ImageOps.expand(original, 12, "white"), 40, "black")
    assert nearest(framed, original) == (0, "bordered")


@pytest.mark.parametrize(("paper", "ink"), [("white", "black"), ("black", "white")])
@pytest.mark.parametrize("share", [0.12, 0.3])
def test_a_bar_with_letters_is_taken_off(paper: str, ink: str, share: float) -> None:
    original = picture(5, 480, 360)
    tall = round(360 * share)
    meme = Image.new("RGB", (480, 360 + 2 * tall), paper)
    meme.paste(original, (0, tall))
    draw = ImageDraw.Draw(meme)
    for top in (tall // 4, 360 + tall + tall // 4):
        for left in range(40, 430, 14):
            draw.rectangle((left, top, left + 8, top + tall // 2), fill=ink)
    assert nearest(Image.open(io.BytesIO(encoded(meme, "JPEG", quality=75))), original)[0] <= LIMIT


def test_bars_filled_with_the_picture_blurred_are_taken_off() -> None:
    original = picture(8, 480, 360)
    meme = original.resize((960, 720)).crop((80, 180, 880, 540)).filter(ImageFilter.GaussianBlur(25))
    meme.paste(original, (160, 0))
    assert nearest(meme, original)[0] <= LIMIT


@pytest.mark.parametrize("lost", [0.015, 0.02, 0.03])
def test_edges_that_were_cut_are_guessed(lost: float) -> None:
    original = picture(11, 640, 480)
    across, down = round(640 * lost), round(480 * lost)
    assert nearest(original.crop((across, down, 640 - across, 480 - down)), original)[0] <= LIMIT


def test_nothing_is_taken_off_what_has_no_bars() -> None:
    for seed in range(40):
        assert parts(gray(picture(seed, 480, 360))) == []


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 90), width=st.integers(1, 90), seed=st.integers(0, 1000),
    what=st.sampled_from(["noise", "plain", "stripes", "dot", "halves"]),
)  # fmt: skip
def test_strange_pictures_have_few_parts_that_lie_within_them(height: int, width: int, seed: int, what: str) -> None:
    pixels = np.full((height, width), 90, np.uint8)
    if what == "noise":
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    elif what == "stripes":
        pixels[seed % 3 :: 3] = 200
    elif what == "dot":
        pixels[seed % height, seed % width] = 255
    elif what == "halves":
        pixels[:, : seed % width] = 10
    found = parts(pixels)
    assert len(found) <= MOST_PARTS
    for part in found:
        assert 0 <= part.top < part.bottom <= height
        assert 0 <= part.left < part.right <= width


def test_a_plain_picture_has_no_variant_that_tells_anything() -> None:
    found = hash_file(io.BytesIO(encoded(Image.new("L", (300, 200), 7), "PNG")), LIMITS)
    assert isinstance(found, ImageHashes)
    assert all(one.quality == 0 for one in found.variants)


def test_strangers_stay_strangers() -> None:
    known = [pdq(gray(picture(seed)))[0] for seed in range(60)]
    for seed in range(100, 160):
        framed = ImageOps.expand(picture(seed), 20, "black")
        seen = [hash_ for hashes in of(framed).values() for hash_ in hashes]
        assert min(distance(one, other) for one in seen for other in known) > 50


def test_what_is_hashed_has_its_variants() -> None:
    found = hash_file(io.BytesIO(encoded(ImageOps.mirror(picture(2)), "PNG")), LIMITS)
    assert isinstance(found, ImageHashes)
    assert [one.how for one in found.variants[:7]] == list(TURNS)
    assert distance(found.variants[0].pdq, pdq(gray(picture(2)))[0]) <= LIMIT
    tiny = hash_file(io.BytesIO(encoded(picture(2, 4, 4), "PNG")), LIMITS)
    assert isinstance(tiny, ImageHashes)
    assert tiny.variants == ()


def test_a_mirrored_video_is_found_as_one(tmp_path: Path) -> None:
    path = write_video(tmp_path / "film.mp4", [(n / 10, 1 + n // 10) for n in range(40)], g="10")
    found = hash_file(io.BytesIO(path.read_bytes()), LIMITS)
    assert isinstance(found, VideoHashes)
    (variant,) = [one for one in found.variants if one.how == "mirrored"]
    assert [frame.second for frame in variant.frames] == [frame.second for frame in found.frames]
    for frame, number in zip(variant.frames, range(1, 5), strict=True):
        mirrored = gray(ImageOps.mirror(picture(number, 240, 176)))
        assert distance(frame.pdq, pdq(mirrored)[0]) <= LIMIT


@needs_shared
def test_the_bridge_is_found_however_it_was_turned_or_framed() -> None:
    images = SHARED / "images"
    original = hash_file((images / "bridge-aaa-orig.jpg").open("rb"), LIMITS)
    look = Known([("bridge", original)], LIMITS, variants=True)
    for path in (images / "bridge-letterboxed.jpg", *images.glob("dih-*.jpg")):
        (sighting,) = look.find(path.name, hash_file(path.open("rb"), LIMITS))
        assert sighting.found
        assert sighting.how == ("bordered" if "letterboxed" in path.name else sighting.how)
        assert sighting.how
        assert sighting.distance is not None
        assert sighting.distance <= 10


@needs_shared
def test_the_chair_is_found_under_its_large_logo() -> None:
    videos = SHARED / "videos"
    known, seen, other = (
        hash_file((videos / f"chair-{name}-bar.mp4").open("rb"), LIMITS)
        for name in ("orig-22-sd", "22-with-large-logo", "19-sd")
    )
    assert isinstance(known, VideoHashes)
    assert isinstance(seen, VideoHashes)
    assert isinstance(other, VideoHashes)
    assert match_videos(seen, known, LIMIT).matched <= 1
    match = match_videos(seen, known, LIMIT, near=64)
    assert match.share >= LIMITS.video_share
    assert all(one.start == one.known_start for one in match.ranges)
    assert match_videos(other, known, LIMIT, near=64).share < LIMITS.video_share
