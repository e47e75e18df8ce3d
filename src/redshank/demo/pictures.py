"""Pictures and a video for the demo, made from a seed: coasts, towns, still lives, posters; and what people do to a
picture before they post it again. All of it harmless, all of it with enough light and shade for a hash to hold on to.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

Rng = np.random.Generator
Plane = NDArray[np.float32]

Size = tuple[int, int]
SIZE = (800, 600)
"""Width and height of a picture that matters, in pixels."""
SMALL = (480, 360)
"""The same of one among many."""
VIDEO_SIZE = (480, 360)
VIDEO_RATE = 8
"""Frames a second."""


def noise(rng: Rng, width: int, height: int, *, octaves: int = 5, start: int = 3) -> Plane:
    """Clouds: value noise of shape (height, width), float32 in 0 to 1; each octave twice as fine and half as strong."""
    total = np.zeros((height, width), np.float32)
    weight = 1.0
    for octave in range(octaves):
        cells = start * 2**octave
        grid = rng.random((cells, cells), dtype=np.float32)
        total += weight * np.asarray(Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC))
        weight /= 2
    low, high = float(total.min()), float(total.max())
    out: Plane = (total - low) / (high - low)
    return out


def _blend(one: Plane, other: Plane, share: Plane) -> Plane:
    out: Plane = one * (1 - share[..., None]) + other * share[..., None]
    return out


def _color(rng: Rng, low: int, high: int) -> Plane:
    return rng.integers(low, high, 3).astype(np.float32)


def _image(pixels: Plane) -> Image.Image:
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8), "RGB")


def coast(rng: Rng, size: Size = SIZE) -> Image.Image:
    """Hills behind each other under a clouded sky, a sun, and water that mirrors them."""
    width, height = size
    unit = width / 960
    rows = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    flat = np.broadcast_to(rows, (height, width)).astype(np.float32)
    sky = _blend(_color(rng, 90, 200), _color(rng, 170, 255), flat)
    sky = _blend(sky, np.full(3, 250, np.float32), noise(rng, width, height, start=2) ** 2 * 0.9)
    across, down = np.meshgrid(np.arange(width), np.arange(height))
    sun = (rng.uniform(0.1, 0.9) * width, rng.uniform(0.08, 0.35) * height)
    glow = np.exp(-((across - sun[0]) ** 2 + (down - sun[1]) ** 2) / (2 * (unit * rng.uniform(30, 70)) ** 2)).astype(
        np.float32
    )
    land = _blend(sky, np.array([255, 244, 214], np.float32), glow)
    shore = rng.uniform(0.6, 0.8)
    for layer in range(int(rng.integers(3, 6))):
        ridge = noise(rng, width, 8, octaves=6, start=int(rng.integers(3, 7)))[4]
        top = (shore - 0.06 * (4 - layer) - 0.38 * (1 - layer / 6) * ridge) * height
        hill = _color(rng, 25, 130) * (1 - 0.1 * layer)
        shade = 0.65 + 0.7 * noise(rng, width, height, octaves=6, start=6)
        under = ((down >= top[None, :]) & (down < shore * height)).astype(np.float32)
        land = _blend(land, hill * shade[..., None], under)
    line = int(shore * height)
    mirrored = land[max(0, 2 * line - height) : line][::-1]
    water = np.array([30, 55, 75], np.float32)
    ripple = noise(rng, width, len(mirrored), octaves=4, start=12)
    land[line : line + len(mirrored)] = _blend(mirrored * 0.75, water, 0.25 + 0.45 * ripple)
    return _image(land)


def town(rng: Rng, size: Size = SIZE) -> Image.Image:
    """Houses with lit windows in front of each other, under an evening sky."""
    width, height = size
    unit = width / 960
    rows = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    flat = np.broadcast_to(rows, (height, width)).astype(np.float32)
    sky = _blend(_color(rng, 20, 120), _color(rng, 120, 240), flat)
    picture = _image(_blend(sky, np.full(3, 230, np.float32), noise(rng, width, height, start=2) * 0.4))
    draw = ImageDraw.Draw(picture)
    for row in range(3):
        left = -int(unit * rng.integers(0, 60))
        while left < width:
            wide, tall = int(unit * rng.integers(60, 170)), int(unit * rng.integers(120, 430) * (1 - 0.22 * row))
            top = height - tall
            wall = tuple(int(value) for value in _color(rng, 30 + 30 * row, 110 + 40 * row))
            draw.rectangle((left, top, left + wide, height), fill=wall)
            if rng.random() < 0.5:
                draw.polygon(
                    [(left, top), (left + wide // 2, top - int(unit * rng.integers(15, 60))), (left + wide, top)],
                    fill=tuple(value // 2 for value in wall),
                )
            step = int(unit * rng.integers(16, 30))
            for x in range(left + step // 3, left + wide - step // 2, step):
                for y in range(top + step // 2, height - step // 2, step + step // 4):
                    if rng.random() < 0.7:
                        light = (250, 220, 130) if rng.random() < 0.55 else (40, 45, 60)
                        draw.rectangle((x, y, x + step // 2, y + 2 * step // 3), fill=light)
            left += wide + int(unit * rng.integers(-10, 50))
    return picture


def still_life(rng: Rng, size: Size = SIZE) -> Image.Image:
    """Balls of several sizes on a table, lit from one side."""
    width, height = size
    unit = width / 960
    wall = noise(rng, width, height, start=2)
    pixels = _blend(_color(rng, 40, 150), _color(rng, 120, 230), wall)
    edge = int(height * rng.uniform(0.5, 0.65))
    grain = noise(rng, width, height - edge, octaves=6, start=4)
    pixels[edge:] = _blend(_color(rng, 60, 140), _color(rng, 150, 220), grain)
    across, down = np.meshgrid(np.arange(width), np.arange(height))
    light = rng.uniform(-0.7, 0.7)
    for _ in range(int(rng.integers(5, 10))):
        radius = unit * rng.uniform(40, 150)
        x, y = rng.uniform(0.05, 0.95) * width, rng.uniform(0.4, 0.85) * height
        dx, dy = (across - x) / radius, (down - y) / radius
        inside = dx**2 + dy**2
        shadow = np.exp(
            -(((across - x + light * radius) / (1.2 * radius)) ** 2 + ((down - y - radius) / (0.3 * radius)) ** 2)
        )
        pixels *= (1 - 0.55 * shadow[..., None]).astype(np.float32)
        bulge = np.sqrt(np.clip(1 - inside, 0, 1))
        lit = np.clip(0.25 + 0.75 * (bulge * 0.7 - dx * light * 0.6 - dy * 0.5), 0, 1).astype(np.float32)
        ball = _color(rng, 60, 255) * lit[..., None] + (lit[..., None] ** 12) * 120
        pixels = _blend(pixels, ball, (inside < 1).astype(np.float32))
    return _image(pixels)


def poster(rng: Rng, size: Size = SIZE) -> Image.Image:
    """Waves, dots and polygons of no meaning at all: what a made-up brigade might print."""
    width, height = size
    unit = width / 960
    across, down = np.meshgrid(np.arange(width), np.arange(height))
    slant, length = rng.uniform(-0.8, 0.8), unit * rng.uniform(40, 110)
    bend = unit * rng.uniform(20, 70) * np.sin(across / (unit * rng.uniform(60, 160)))
    waves = (np.sin((down + slant * across + bend) / length * np.pi) > rng.uniform(-0.4, 0.4)).astype(np.float32)
    pixels = _blend(_color(rng, 20, 120), _color(rng, 140, 250), waves)
    pixels *= (0.7 + 0.6 * noise(rng, width, height, octaves=5, start=3))[..., None]
    picture = _image(pixels)
    draw = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(6, 12))):
        fill = tuple(int(value) for value in _color(rng, 10, 250))
        x, y, far = rng.uniform(0, width), rng.uniform(0, height), unit * rng.uniform(20, 110)
        if rng.random() < 0.5:
            draw.ellipse((x - far, y - far, x + far, y + far), fill=fill)
        else:
            corners = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 7))))
            draw.polygon([(x + 1.6 * far * np.cos(turn), y + 1.6 * far * np.sin(turn)) for turn in corners], fill=fill)
    return picture


SCENES: tuple[Callable[[Rng, Size], Image.Image], ...] = (coast, town, still_life, poster)


def render(rng: Rng, size: Size = SIZE) -> Image.Image:
    """A picture of any kind, RGB."""
    return SCENES[int(rng.integers(len(SCENES)))](rng, size)


def as_jpeg(picture: Image.Image, quality: int = 88) -> bytes:
    """`picture` as a JPEG file."""
    return _saved(picture, "JPEG", quality=quality)


def _saved(picture: Image.Image, form: str, **options: int) -> bytes:
    out = io.BytesIO()
    picture.save(out, form, **options)
    return out.getvalue()


# ── What people do to a picture ─────────────────────────────────────────────────────────────────────────────────────


def _same(picture: Image.Image, original: bytes, rng: Rng) -> bytes:
    return original


def _halved(picture: Image.Image, original: bytes, rng: Rng) -> bytes:
    share = rng.uniform(0.4, 0.6)
    return as_jpeg(
        picture.resize((int(picture.width * share), int(picture.height * share)), Image.Resampling.LANCZOS), 85
    )


def _small(picture: Image.Image, original: bytes, rng: Rng) -> bytes:
    return as_jpeg(picture.resize((320, 240), Image.Resampling.BILINEAR), 80)


def _recompressed(picture: Image.Image, original: bytes, rng: Rng) -> bytes:
    return as_jpeg(picture, int(rng.integers(18, 40)))


def _webp(picture: Image.Image, original: bytes, rng: Rng) -> bytes:
    return _saved(picture, "WEBP", quality=60, method=0)


def _gray(picture: Image.Image, original: bytes, rng: Rng) -> bytes:
    return as_jpeg(ImageOps.grayscale(picture).convert("RGB"))


def _brightened(picture: Image.Image, original: bytes, rng: Rng) -> bytes:
    bright = ImageEnhance.Brightness(picture).enhance(rng.uniform(1.1, 1.25))
    return as_jpeg(ImageEnhance.Contrast(bright).enhance(rng.uniform(0.85, 1.1)))


def _blurred(picture: Image.Image, original: bytes, rng: Rng) -> bytes:
    return as_jpeg(picture.filter(ImageFilter.GaussianBlur(rng.uniform(1.0, 2.5))))


def _cropped(picture: Image.Image, original: bytes, rng: Rng) -> bytes:
    cut = [int(side * rng.uniform(0.005, 0.03)) for side in (picture.width, picture.height) * 2]
    return as_jpeg(picture.crop((cut[0], cut[1], picture.width - cut[2], picture.height - cut[3])))


def _captioned(picture: Image.Image, original: bytes, rng: Rng) -> bytes:
    """A bar over its lower edge, with a few bright letters."""
    copy = picture.copy()
    draw = ImageDraw.Draw(copy)
    top = int(copy.height * rng.uniform(0.90, 0.95))
    draw.rectangle((0, top, copy.width, copy.height), fill=(12, 12, 12))
    tall = max(8, (copy.height - top) // 2)
    left = int(copy.width * 0.1)
    for _ in range(24):
        wide = int(rng.integers(6, 22))
        draw.rectangle((left, top + tall // 2, left + wide, top + tall // 2 + tall), fill=(235, 235, 235))
        left += wide + int(rng.integers(4, 14))
    return as_jpeg(copy)


def _mirrored(picture: Image.Image, original: bytes, rng: Rng) -> bytes:
    return as_jpeg(ImageOps.mirror(picture))


Edit = Callable[[Image.Image, bytes, Rng], bytes]
EDITS: dict[str, tuple[bool, Edit]] = {
    "the same file": (True, _same),
    "half the size": (True, _halved),
    "a thumbnail": (True, _small),
    "compressed hard": (True, _recompressed),
    "saved as WebP": (True, _webp),
    "made gray": (True, _gray),
    "brightened": (True, _brightened),
    "blurred a little": (True, _blurred),
    "cropped a little": (False, _cropped),
    "a caption bar over it": (False, _captioned),
    "mirrored": (True, _mirrored),
}
"""Each kind of edit: whether a match within 31 bits may be expected of all its pictures, and how it is made."""


# ── The video ───────────────────────────────────────────────────────────────────────────────────────────────────────


def frames(rng: Rng, seconds: int) -> Iterator[Image.Image]:
    """A slow ride over pictures: `VIDEO_RATE` frames a second of `VIDEO_SIZE`; a new scene about every four seconds."""
    count = seconds * VIDEO_RATE
    scene = VIDEO_RATE * 4
    picture = render(rng)
    for number in range(count):
        if number and number % scene == 0:
            picture = render(rng)
        way = (number % scene) / scene
        wide, tall = picture.width * 0.8, picture.height * 0.8
        left, top = (picture.width - wide) * way, (picture.height - tall) * (1 - way)
        yield picture.resize(
            VIDEO_SIZE, Image.Resampling.BILINEAR, box=(left, top, left + wide, top + tall), reducing_gap=2.0
        )


def encode(pictures: Iterator[Image.Image] | list[Image.Image], *, quality: int, rate: int = VIDEO_RATE) -> bytes:
    """The pictures as an MP4 (H.264). `quality` is x264's constant rate factor: 18 is good, 38 is poor."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream = None
        for number, picture in enumerate(pictures):
            if stream is None:
                stream = container.add_stream("libx264", rate=rate)
                stream.width, stream.height = picture.size
                stream.pix_fmt = "yuv420p"
                stream.options = {"crf": str(quality), "preset": "ultrafast", "threads": "1"}
            frame = av.VideoFrame.from_ndarray(np.asarray(picture), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, rate)
            container.mux(stream.encode(frame))
        if stream is not None:
            container.mux(stream.encode())
    return out.getvalue()


def _smaller(pictures: list[Image.Image]) -> bytes:
    return encode([picture.resize((320, 240), Image.Resampling.BILINEAR) for picture in pictures], quality=30)


def _gray_video(pictures: list[Image.Image]) -> bytes:
    return encode([picture.convert("L").convert("RGB") for picture in pictures], quality=28)


def _with_logo(pictures: list[Image.Image]) -> bytes:
    out = []
    for picture in pictures:
        copy = picture.copy()
        ImageDraw.Draw(copy).ellipse((10, 10, 30, 30), fill=(150, 150, 150))
        out.append(copy)
    return encode(out, quality=28)


def _shortened(pictures: list[Image.Image]) -> bytes:
    return encode(pictures[len(pictures) // 4 :], quality=26)


def _mirrored_video(pictures: list[Image.Image]) -> bytes:
    return encode([ImageOps.mirror(picture) for picture in pictures], quality=26)


VIDEO_EDITS: dict[str, tuple[bool, Callable[[list[Image.Image]], bytes]]] = {
    "smaller": (True, _smaller),
    "made gray": (True, _gray_video),
    "a small logo on it": (True, _with_logo),
    "its start cut off": (True, _shortened),
    "mirrored": (True, _mirrored_video),
}
