"""Pictures of every make are hashed as a viewer shows them."""

import io

import numpy as np
import pytest
from PIL import Image

from redshank.media import MediaError
from redshank.media.pdq import pdq
from redshank.media.pictures import read_gray
from redshank.media.sniff import HEAD, sniff
from tests.media.made import LIMITS, distance, encoded, picture, pixels


def hashed(data: bytes) -> str:
    kind, reader = sniff(data[:HEAD])
    assert kind == "image"
    found = read_gray(io.BytesIO(data), reader, LIMITS)
    return pdq(found.gray, scaled=found.scaled)[0]


PLAIN = hashed(encoded(picture(), "PNG"))


def gray16() -> Image.Image:
    return Image.fromarray(np.asarray(picture().convert("L")).astype(np.uint16) * 257)


def faded() -> Image.Image:
    """Half of it transparent, and black under the transparency, which no viewer shows."""
    image = picture().convert("RGBA")
    hole = np.asarray(image).copy()
    hole[:90] = 0
    return Image.fromarray(hole)


def white_above() -> Image.Image:
    colors = pixels().copy()
    colors[:90] = 255
    return Image.fromarray(colors)


SAME = {
    "jpeg": encoded(picture(), "JPEG", quality=90),
    "progressive jpeg": encoded(picture(), "JPEG", quality=90, progressive=True),
    "cmyk jpeg": encoded(picture().convert("CMYK"), "JPEG", quality=90),
    "gray jpeg": encoded(picture().convert("L"), "JPEG", quality=90),
    "webp": encoded(picture(), "WEBP", quality=90),
    "avif": encoded(picture(), "AVIF", quality=85),
    "bmp": encoded(picture(), "BMP"),
    "tiff": encoded(picture(), "TIFF"),
    "16-bit png": encoded(gray16(), "PNG"),
    "16-bit tiff": encoded(gray16(), "TIFF"),
    "animated webp": encoded(picture(), "WEBP", save_all=True, append_images=[picture(2)], duration=100, quality=90),
    "animated png": encoded(picture(), "PNG", save_all=True, append_images=[picture(2)], duration=100),
    "png with a still for others": encoded(
        picture(2), "PNG", save_all=True, default_image=True, append_images=[picture(), picture(3)], duration=100
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_it_is_hashed_as_it_is_shown(name: str) -> None:
    assert distance(hashed(SAME[name]), PLAIN) <= 12


@pytest.mark.parametrize("animated", [False, True])
@pytest.mark.parametrize("format_", ["PNG", "GIF"])
def test_a_palette_is_looked_up(format_: str, animated: bool) -> None:
    few = picture().quantize(200)
    more = {"save_all": True, "append_images": [picture(2).quantize(200)], "duration": 100} if animated else {}
    assert hashed(encoded(few, format_, **more)) == hashed(encoded(few.convert("RGB"), "PNG"))


@pytest.mark.parametrize("format_", ["PNG", "WEBP"])
def test_what_is_transparent_is_shown_over_white(format_: str) -> None:
    options = {"lossless": True} if format_ == "WEBP" else {}
    assert distance(hashed(encoded(faded(), format_, **options)), hashed(encoded(white_above(), "PNG"))) <= 4


def test_a_transparent_palette_is_shown_over_white() -> None:
    few = faded().quantize(64, method=Image.Quantize.FASTOCTREE)
    white = Image.new("RGBA", few.size, "white")
    white.alpha_composite(few.convert("RGBA"))
    assert "transparency" in Image.open(io.BytesIO(encoded(few, "PNG"))).info
    assert hashed(encoded(few, "PNG")) == hashed(encoded(white.convert("RGB"), "PNG"))


@pytest.mark.parametrize("size", [(240, 180), (1601, 1003)])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_it(orientation: int, size: tuple[int, int]) -> None:
    """A picture stored turned, with EXIF data that turn it back, is the picture; scaled decoding included."""
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Image.Transpose values that store what EXIF undoes.
    upright = picture(4, *size)
    stored = upright.transpose(Image.Transpose(back[orientation])) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(stored, "JPEG", quality=92, exif=exif)
    found = read_gray(io.BytesIO(data), "JPEG", LIMITS)
    assert (found.width, found.height) == size
    assert distance(hashed(data), hashed(encoded(upright, "PNG"))) <= 8


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"PK\x03\x04 and more", "a ZIP archive, not a picture or video"),
        (b"", "an empty file"),
        (b"#EXTM3U\nhttp://127.0.0.1/", "a play list"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", "HEIC"),
        (b"8BPS\x00\x01", "neither a picture nor a video"),
    ],
)
def test_what_is_no_picture_is_named(head: bytes, words: str) -> None:
    with pytest.raises(MediaError, match=words):
        sniff(head)
