"""A picture's luminance as a viewer shows it: turned as its EXIF data say, over white, its first frame.

JPEGs give their luminance plane without their colors ever being decoded, and large ones are scaled down while they are
decoded, in the DCT. As the hash's filter is told of that (`pdq.Scaled`), both move a hash by less than a bit on average.

Runs in the child process of `hasher.py`; only tests and benches call it elsewhere.
"""

from __future__ import annotations

import io
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from redshank.core.settings import MediaSettings
from redshank.media.hashes import MediaError, Variant
from redshank.media.pdq import SMALLEST, Gray, Scaled, pdq_of, sample
from redshank.media.variants import variants

SCALE_TO = 128
"""Shortest side that a JPEG keeps when it is scaled while decoding, by 2, 4 or 8.

Measured on 1.5 to 2 MP, distance to the hash at full size: 1 bit on average and 4 at most.
"""

Image.MAX_IMAGE_PIXELS = None  # `_open` has the limit, and the better sentence.

_NAMES = {"WEBP": "WebP"}


class Picture(NamedTuple):
    """The luminance of a picture, (h, w) uint8, perhaps scaled down, and the size in pixels at which it is shown."""

    gray: Gray
    width: int
    height: int
    scaled: Scaled | None = None


def read_gray(file: BinaryIO, format_: str, limits: MediaSettings, *, longest: int = 0) -> Picture:
    """The luminance of a picture as it is shown. `format_` is the one reader of Pillow's that is tried.

    A large JPEG may be given scaled down, but its longer side not below `longest` pixels.

    Raises MediaError where the picture is damaged, cut short, or larger than the limits.
    """
    image = _open(file, format_, limits)
    width, height = image.size
    try:
        if format_ == "JPEG":
            least = max(SCALE_TO, -(-longest * min(width, height) // max(width, height)))
            image.draft("L", (least, least))
        image.load()
        gray = _gray(image)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - Pillow's readers raise whatever the damage makes them raise.
        raise MediaError(_damage(format_, error)) from None
    turn = _orientation(image)
    if turn in _ON_THEIR_SIDE:
        gray, width, height = gray.T, height, width
    if turn in _UPSIDE_DOWN:
        gray = gray[::-1]
    if turn in _MIRRORED:
        gray = gray[:, ::-1]
    factor = round(max(width, height) / max(gray.shape))
    if factor == 1:
        return Picture(gray, width, height)
    return Picture(gray, width, height, Scaled(height, width, factor, turn in _UPSIDE_DOWN, turn in _MIRRORED))


def hash_picture(picture: Picture) -> tuple[str, int, tuple[Variant, ...]]:
    """PDQ hash, quality and variants of a picture that was read. What is too small or plain to be told has no variants."""
    if min(picture.gray.shape) < SMALLEST:
        return "0" * 64, 0, ()
    points = sample(picture.gray, picture.scaled)
    hash_, quality = pdq_of(points)
    return hash_, quality, variants(picture.gray, points, quality, scaled=picture.scaled is not None)


def read_preview(file: BinaryIO, format_: str, limits: MediaSettings, width: int) -> bytes:
    """The picture as it is shown, as a JPEG at most `width` pixels wide. Raises MediaError as `read_gray` does."""
    image = _open(file, format_, limits)
    try:
        if format_ == "JPEG":
            image.draft(None, (width, width))
        image.load()
        shown = _colors(image)
        turn = _TURNS.get(_orientation(image))
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - as above.
        raise MediaError(_damage(format_, error)) from None
    return to_jpeg(shown if turn is None else shown.transpose(turn), width)


def to_jpeg(image: Image.Image, width: int) -> bytes:
    """`image`, in RGB or gray, as a JPEG that is at most `width` pixels wide and four times as high."""
    image.thumbnail((width, 4 * width))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=85)
    return out.getvalue()


def _open(file: BinaryIO, format_: str, limits: MediaSettings) -> Image.Image:
    try:
        image = Image.open(file, formats=[format_])
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - as above.
        raise MediaError(_damage(format_, error)) from None
    width, height = image.size
    if width * height > limits.max_pixels:
        raise MediaError(
            f"a picture of {width:,} x {height:,} pixels, more than the {limits.max_pixels:,} allowed",
            hint="The setting media.max_pixels says how many are.",
        )
    if image.info.get("default_image"):  # An animated PNG whose still is for viewers that know no animation.
        image.seek(1)
    return image


def _gray(image: Image.Image) -> Gray:
    if image.mode == "L" and "transparency" not in image.info:
        return np.asarray(image)
    return np.asarray(_colors(image).convert("L"))


def _colors(image: Image.Image) -> Image.Image:
    """`image` in RGB or L, 8 bits, over white where it is transparent."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode == "I":
        values = np.asarray(image)
        return Image.fromarray(np.clip(values >> 8 if values.max(initial=0) > 255 else values, 0, 255).astype(np.uint8))
    if image.mode == "F":
        values = np.nan_to_num(np.asarray(image))
        return Image.fromarray(np.clip(values * (255 if values.max(initial=0) <= 1 else 1), 0, 255).astype(np.uint8))
    if image.has_transparency_data:
        clear = image if image.mode in {"RGBA", "LA"} else image.convert("RGBA")
        flat = Image.new("RGB" if clear.mode == "RGBA" else "L", clear.size, "white")
        flat.paste(clear.convert(flat.mode), mask=clear.getchannel("A"))
        return flat
    return image if image.mode in {"RGB", "L"} else image.convert("RGB")


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # noqa: BLE001 - damaged EXIF data are of no account: the picture is shown as it lies.
        return 1


_TURNS: dict[int, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


# EXIF's orientations that change places of rows and columns; after that, turn the rows over; and the columns.
_ON_THEIR_SIDE, _UPSIDE_DOWN, _MIRRORED = {5, 6, 7, 8}, {3, 4, 7, 8}, {2, 3, 6, 7}


def _damage(format_: str, error: Exception) -> str:
    name, text = _NAMES.get(format_, format_), str(error)
    if isinstance(error, EOFError) or any(word in text.lower() for word in ("truncated", "end of file", "incomplete")):
        return f"the {name} picture is cut short"
    return f"the {name} picture is damaged"
