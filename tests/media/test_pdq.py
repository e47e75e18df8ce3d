"""Our PDQ is the reference's, to the bit, at every size; and of a scaled copy, nearly so."""

from pathlib import Path

import numpy as np
import pdqhash
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from redshank.media.pdq import Scaled, pdq
from redshank.media.pictures import read_gray
from tests.media.made import LIMITS, distance, picture, pixels

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "media"


def reference(colors: np.ndarray) -> tuple[str, int]:
    bits, quality = pdqhash.compute(np.ascontiguousarray(colors))
    return np.packbits(bits).tobytes().hex(), quality


@settings(max_examples=60, deadline=None)
@given(width=st.integers(64, 700), height=st.integers(64, 700), seed=st.integers(0, 2**32 - 1), noisy=st.booleans())
def test_it_is_the_reference_at_every_size(width: int, height: int, seed: int, noisy: bool) -> None:
    if noisy:
        gray = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    else:
        gray = pixels(seed, width, height)[..., 0]
    expected, quality = reference(np.repeat(gray[..., None], 3, axis=2))
    found, ours = pdq(gray)
    assert distance(found, expected) <= 2  # Their sums run in float32: a bit at the very median may fall either way.
    assert abs(ours - quality) <= 1


@pytest.mark.parametrize("shape", [(5, 5), (7, 100), (63, 65), (20, 33)])
def test_it_is_the_reference_where_pixels_repeat(shape: tuple[int, int]) -> None:
    """On noise: where a small smooth picture repeats its pixels, waves tie at the median and rounding decides."""
    gray = np.random.default_rng(2).integers(0, 256, shape, dtype=np.uint8)
    assert distance(pdq(gray)[0], reference(np.repeat(gray[..., None], 3, axis=2))[0]) <= 2


def test_strided_views_hash_as_their_copies_do() -> None:
    gray = pixels(3, 300, 200)[..., 1]
    for view in (gray.T, gray[::-1], gray[:, ::-1], gray[20:180, 10:]):
        assert pdq(view) == pdq(view.copy())


@pytest.mark.parametrize("shape", [(4, 100), (100, 4), (1, 1)])
def test_what_is_too_small_has_no_hash(shape: tuple[int, int]) -> None:
    assert pdq(np.full(shape, 200, np.uint8)) == ("0" * 64, 0)


def test_a_plain_picture_has_no_quality() -> None:
    assert pdq(np.full((200, 300), 77, np.uint8))[1] == 0


def test_a_picture_larger_than_a_band_is_summed_right() -> None:
    gray = pixels(5, 2500, 2100)[..., 0]  # Over BAND_PIXELS.
    assert distance(pdq(gray)[0], reference(np.repeat(gray[..., None], 3, axis=2))[0]) <= 2


@pytest.mark.parametrize("factor", [2, 4, 8])
@pytest.mark.parametrize(("width", "height"), [(1601, 1003), (1024, 1024), (999, 1700)])
def test_a_scaled_copy_hashes_as_the_whole(width: int, height: int, factor: int) -> None:
    whole = np.asarray(picture(factor, width, height).convert("L"))
    down, right = -height % factor, -width % factor
    for from_bottom, from_right in ((False, False), (True, True)):
        sides = [(down, 0) if from_bottom else (0, down), (right, 0) if from_right else (0, right)]
        padded = np.pad(whole, sides, mode="edge").astype(np.float32)
        blocks = padded.reshape(padded.shape[0] // factor, factor, -1, factor)
        small = np.uint8(blocks.mean(axis=(1, 3)).round())
        scaled = Scaled(height, width, factor, from_bottom, from_right)
        assert distance(pdq(small, scaled=scaled)[0], pdq(whole)[0]) <= 8


def test_limited_range_changes_nothing_but_the_scale() -> None:
    gray = pixels(9, 320, 240)[..., 0]
    squeezed = np.uint8(np.round(gray * (219 / 255) + 16))
    (plain, quality), (limited, quality_limited) = pdq(gray), pdq(squeezed, limited=True)
    assert distance(plain, limited) <= 4
    assert abs(quality - quality_limited) <= 2


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the media of the shared data, ../shared/data/media")
def test_real_pictures_have_the_references_hashes() -> None:
    """Their colors and ours are turned to gray by a rounding's difference; a large JPEG is decoded smaller."""
    for place in sorted((SHARED / "images").glob("*.jpg")):
        with place.open("rb") as file, Image.open(place) as image:
            found = read_gray(file, "JPEG", LIMITS)
            expected, quality = reference(np.asarray(image.convert("RGB")))
        hash_, ours = pdq(found.gray, scaled=found.scaled)
        assert distance(hash_, expected) <= 4, place.name
        assert abs(ours - quality) <= 2, place.name
