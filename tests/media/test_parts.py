"""Parts of pictures, of rendered ones: what shows a part is found where it lies; what shares a logo or a caption is not."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont, ImageOps

from redshank.core.settings import MediaSettings
from redshank.demo.pictures import render
from redshank.media import Hasher
from redshank.media.features import MOST, points_of
from redshank.media.parts import KEPT, Points, match_points, pack_points, poverty, telling, unpack_points

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "media"
PICTURES = [render(np.random.default_rng(seed), (640, 480)) for seed in range(6)]


def points(image, quality=85):
    """Of the picture as it is saved, and of its mirror image."""
    out = io.BytesIO()
    image.convert("RGB").save(out, "JPEG", quality=quality)
    return points_of(np.asarray(Image.open(out).convert("L")))


KNOWN = [telling(points(image)[0]) for image in PICTURES]


def found(image, known, *, mirrored=False):
    return match_points(unpack_points(points(image)[mirrored]), unpack_points(known))


def cropped(image, left, top, side=0.55):
    width, height = image.size
    return image.crop(
        (round(width * left), round(height * top), round(width * (left + side)), round(height * (top + side)))
    )


def within(image, other, left, top, side=0.55):
    out = other.resize(image.size)
    out.paste(
        image.resize([round(x * side) for x in image.size]), (round(image.width * left), round(image.height * top))
    )
    return out


def lies(region, left, top, right, bottom, slack=0.05):
    """Whether it is this rectangle, give or take."""
    off = np.array([region.left - left, region.top - top, region.right - right, region.bottom - bottom])
    return np.abs(off).max() <= slack


@pytest.mark.parametrize("number", range(len(PICTURES)))
def test_a_crop_to_a_third_is_found_and_where_it_was_cut(number):
    match = found(cropped(PICTURES[number], 0.4, 0.25), KNOWN[number])
    assert match is not None
    assert lies(match.known, 0.4, 0.25, 0.95, 0.8)


@pytest.mark.parametrize("number", range(len(PICTURES)))
def test_a_picture_in_a_picture_is_found_where_it_lies(number):
    seen = within(PICTURES[number], PICTURES[number - 1], 0.1, 0.3)
    match = found(seen, KNOWN[number])
    assert match is not None
    assert lies(match.seen, 0.1, 0.3, 0.65, 0.85)


def test_its_mirror_image_is_found_by_the_mirrored_points_and_marked_where_it_is_seen():
    seen = within(ImageOps.mirror(PICTURES[0]), PICTURES[1], 0.1, 0.3)
    assert found(seen, KNOWN[0]) is None
    match = found(seen, KNOWN[0], mirrored=True)
    assert match is not None
    assert lies(match.mirrored().seen, 0.1, 0.3, 0.65, 0.85)


def test_pictures_that_have_nothing_in_common_are_not_found():
    for (here, image), (there, known) in itertools.product(enumerate(PICTURES), enumerate(KNOWN)):
        if here != there:
            assert found(image, known) is None


def framed(image):
    """Under the same caption, with the same logo and the same buttons around it."""
    out = Image.new("RGB", (640, 640), "white")
    out.paste(image, (0, 100))
    draw = ImageDraw.Draw(out)
    draw.text((20, 20), "ALL NEWS OF THE MARSH AT SEVEN", fill="black", font=ImageFont.load_default(36))
    draw.text((40, 600), "like     share     save     report     follow", fill="navy", font=ImageFont.load_default(24))
    draw.ellipse((560, 120, 620, 180), fill="red")
    draw.polygon([(575, 135), (610, 150), (575, 165)], fill="white")
    return out


def test_a_caption_a_logo_and_buttons_that_two_pictures_share_are_not_the_picture():
    for one, other in itertools.permutations(range(4), 2):
        known = telling(points(framed(PICTURES[one]))[0])
        assert found(framed(PICTURES[other]), known) is None
    assert found(framed(PICTURES[0]), KNOWN[0]) is not None


def words(first="the marsh"):
    out = Image.new("RGB", (600, 400), "white")
    for line in range(10):
        ImageDraw.Draw(out).text(
            (10, 10 + 38 * line),
            " ".join(
                np.random.default_rng([line, *first.encode()]).permutation(f"{first} of the gray marsh at dusk".split())
            ),
            fill="black",
            font=ImageFont.load_default(30),
        )
    return out


def flag():
    out = Image.new("RGB", (600, 400), "white")
    ImageDraw.Draw(out).rectangle((0, 0, 600, 133), fill="navy")
    ImageDraw.Draw(out).rectangle((0, 267, 600, 400), fill="green")
    return out


def board():
    squares = np.kron(np.indices((12, 16)).sum(axis=0) % 2 * 255, np.ones((40, 40))).astype(np.uint8)
    return Image.fromarray(squares).convert("RGB")


@pytest.mark.parametrize(
    "image", [flag(), board(), Image.new("RGB", (900, 600), "gray")], ids=["flag", "board", "flat"]
)
def test_what_repeats_itself_or_is_plain_has_too_little_to_know_it_by(image):
    assert poverty(telling(points(image)[0]))


def test_a_page_of_words_is_not_another():
    known = telling(points(words("a wader"))[0])
    assert found(words("no bird"), known) is None


def test_tiny_flat_and_noisy_pictures_have_points_within_bounds():
    for gray in (
        np.zeros((1, 1), np.uint8),
        np.zeros((47, 4000), np.uint8),
        np.zeros((4000, 60), np.uint8),
        np.full((2000, 2000), 9, np.uint8),
    ):
        assert points_of(gray) == (b"", b"")
    noise = np.random.default_rng(3).integers(0, 256, (3000, 3000), np.uint8)
    for packed in points_of(noise):
        kept = unpack_points(packed)
        assert 0 < len(kept.bits) <= MOST
        assert len(unpack_points(telling(packed)).bits) <= KEPT
    assert match_points(unpack_points(b""), unpack_points(KNOWN[0])) is None
    assert match_points(unpack_points(points_of(noise)[0]), unpack_points(KNOWN[0])) is None


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 60), st.integers(0, 2**32 - 1))
def test_whatever_points_are_given_they_are_packed_and_compared(count, seed):
    """Among them points on one line, at one place, and a picture crushed to a line."""
    rng = np.random.default_rng(seed)
    some = Points(
        height=int(rng.integers(1, 513)), width=int(rng.integers(1, 513)),
        small=rng.integers(0, 256, rng.integers(0, 145, 2), np.uint8),
        places=(rng.uniform(0, 512, (count, 2)) * rng.choice([0, 1], (1, 2))).astype(np.float32),
        sizes=rng.uniform(1, 4, count).astype(np.float32), angles=rng.uniform(0, 6.28, count).astype(np.float32),
        bits=rng.integers(0, 256, (count, 32), np.uint8),
    )  # fmt: skip
    again = unpack_points(pack_points(some))
    assert np.abs(again.places - some.places).max(initial=0) <= 1 / 16
    assert np.array_equal(again.bits, some.bits)
    assert np.array_equal(again.small, some.small)
    match_points(again, again)
    for places in (some.places * np.float32(0), some.places * np.array([1, 0], np.float32)):
        assert match_points(again, again._replace(places=places)) is None


def test_the_child_gives_points_to_who_asks_and_hashes_the_same(tmp_path):
    path = tmp_path / "one.jpg"
    PICTURES[0].save(path)
    Image.new("RGB", (64, 64), "red").save(tmp_path / "flat.png")
    still = [PICTURES[1].convert("P"), PICTURES[2].convert("P")]
    still[0].save(tmp_path / "moving.gif", save_all=True, append_images=still[1:])
    with Hasher(MediaSettings()) as hasher:
        plain, full = hasher.hash(path), hasher.hash(path, points=True)
        assert plain.points == plain.mirrored_points == b""
        assert (int(plain.pdq, 16) ^ int(full.pdq, 16)).bit_count() <= 4
        assert match_points(unpack_points(full.points), unpack_points(KNOWN[0])) is not None
        assert hasher.hash(tmp_path / "flat.png", points=True).points == b""
        first = hasher.hash(tmp_path / "moving.gif", points=True)
        assert match_points(unpack_points(first.points), unpack_points(KNOWN[1])) is not None


@pytest.mark.skipif(not SHARED.exists(), reason="the shared media are not there")
def test_a_third_of_the_real_bridge_is_found():
    bridge = Image.open(SHARED / "images" / "bridge-aaa-orig.jpg").convert("RGB").resize((800, 502))
    known = telling(points(bridge)[0])
    for left, top in itertools.product((0.05, 0.4), (0.05, 0.4)):
        assert found(cropped(bridge, left, top), known) is not None
        assert found(within(bridge, PICTURES[0], left, top), known) is not None
