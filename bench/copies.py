"""What is found of pictures that were changed: 25 kinds of edit at three strengths, beside plain PDQ and threatexchange.

    python -m bench.copies [--quick] [--pictures N] [--seed N]

Originals are the photograph of the shared data and those of scikit-image, where they are, and rendered pictures of two
makers. Each is edited, saved as JPEG and hashed as the child process does it; an edit counts as found where the
original's plain hash lies within 31 bits of the copy's (plain PDQ, and threatexchange's own hasher), or of one of its
variants, or where the original is found by its points among all originals and all strangers. These, pictures that have nothing
in common (tiles of photographs that do not overlap, rendered scenes, clouds, pages of words, what channels show), are sought
among each other by each method, to count false matches: the share of pairs is to be 1e-6 at most.
"""

from __future__ import annotations

import io
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps
from threatexchange.signal_type.pdq.pdq_hasher import pdq_from_bytes

from bench._common import bar, machine, parser
from bench._pictures import Rng, picture, texture
from redshank.banks.parts import PartIndex
from redshank.core.settings import MediaSettings
from redshank.demo.pictures import render
from redshank.media import ImageHashes
from redshank.media.child import hash_file
from redshank.media.features import points_of
from redshank.media.parts import poverty, telling
from redshank.media.pictures import read_gray

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "media"
LIMITS = MediaSettings()
LIMIT = 31
Results = dict[tuple[str, int], list[tuple[bool, bool, bool, bool]]]
"""What of an edit at a strength was found: by threatexchange, by plain PDQ, by variants, in part."""
Edit = Callable[[Image.Image, int, Rng, Image.Image], Image.Image]
"""The picture, the strength 0 to 2, chance, and a picture that has nothing to do with it."""


def _canvas(width: float, height: float, color: Any) -> Image.Image:
    return Image.new("RGB", (round(width), round(height)), color)


def _color(rng: Rng) -> tuple[int, int, int]:
    shade = int(rng.choice([0, 0, 255, 255, 24, 128]))
    return (shade, shade, shade) if rng.random() < 0.8 else tuple(int(c) for c in rng.integers(0, 256, 3))  # type: ignore[return-value]


def _framed(image: Image.Image, left: float, top: float, right: float, bottom: float, color: Any) -> Image.Image:
    """`image` with bars, in shares of its own sides."""
    width, height = image.size
    out = _canvas(width * (1 + left + right), height * (1 + top + bottom), color)
    out.paste(image, (round(width * left), round(height * top)))
    return out


def _letters(image: Image.Image, box: tuple[float, float, float, float], rng: Rng, color: Any) -> None:
    """Fill `box` of `image`, in pixels, with one to three lines of words."""
    left, top, right, bottom = box
    lines = int(rng.integers(1, 4))
    size = max(8, int((bottom - top) / (1.5 * lines + 0.5)))
    font = ImageFont.load_default(size)
    draw = ImageDraw.Draw(image)
    for line in range(lines):
        words = " ".join("".join(rng.choice(list("aeioulnrstm"), rng.integers(2, 8))) for _ in range(12))
        wide = (right - left) * rng.uniform(0.6, 0.92)
        while words and draw.textlength(words, font) > wide:
            words = words[:-1]
        x = left + (right - left - draw.textlength(words, font)) / 2
        draw.text((x, top + size * (0.4 + 1.4 * line)), words, fill=color, font=font)


def _caption(image: Image.Image, level: int, rng: Rng, above: bool, below: bool) -> Image.Image:
    share = (0.12, 0.2, 0.3)[level]
    light = rng.random() < 0.6
    paper, ink = ((255,) * 3, (0,) * 3) if light else ((0,) * 3, (255,) * 3)
    out = _framed(image, 0, share * above, 0, share * below, paper)
    if above:
        _letters(out, (0, 0, out.width, image.height * share), rng, ink)
    if below:
        _letters(out, (0, out.height - image.height * share, out.width, out.height), rng, ink)
    return out


def _covered(image: Image.Image, level: int, rng: Rng) -> Image.Image:
    out = image.copy()
    top = image.height * (1 - (0.05, 0.08, 0.12)[level])
    ImageDraw.Draw(out).rectangle((0, top, image.width, image.height), fill=(10, 10, 10))
    _letters(out, (0, top, image.width, image.height), rng, (240, 240, 240))
    return out


def _blurred_fill(image: Image.Image, level: int, rng: Rng) -> Image.Image:
    wide = round(image.width * (1.3, 1.8, 2.6)[level])
    back = image.resize((wide, round(image.height * wide / image.width)), Image.Resampling.BILINEAR)
    top = (back.height - image.height) // 2
    back = back.crop((0, top, wide, top + image.height)).filter(ImageFilter.GaussianBlur(image.width / 25))
    back.paste(image, ((wide - image.width) // 2, 0))
    return back if rng.random() < 0.5 else ImageOps.fit(back, back.size)


def _shaded_bars(image: Image.Image, level: int, rng: Rng) -> Image.Image:
    share = (0.08, 0.15, 0.25)[level]
    out = _framed(image, 0, share, 0, share, 0)
    shade = np.linspace(20, 90, out.width)[None, :, None] + rng.normal(0, 2, (out.height, out.width, 1))
    back = Image.fromarray(np.clip(np.repeat(shade, 3, axis=2), 0, 255).astype(np.uint8))
    back.paste(image, (0, round(image.height * share)))
    return back


def _cut(image: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    width, height = image.size
    return image.crop(
        (round(width * left), round(height * top), round(width * (1 - right)), round(height * (1 - bottom)))
    )


def _cut_to(image: Image.Image, area: float, rng: Rng) -> Image.Image:
    side = area**0.5
    left, top = rng.uniform(0, 1 - side, 2)
    return _cut(image, left, top, 1 - side - left, 1 - side - top)


def _inside(image: Image.Image, area: float, rng: Rng, other: Image.Image) -> Image.Image:
    side = area**0.5
    out = other.resize(image.size, Image.Resampling.LANCZOS)
    small = image.resize((round(image.width * side), round(image.height * side)), Image.Resampling.LANCZOS)
    left, top = rng.uniform(0, 1 - side, 2)
    out.paste(small, (round(image.width * left), round(image.height * top)))
    return out


def _player(image: Image.Image, level: int, rng: Rng) -> Image.Image:
    """A screenshot of a page that plays it: its title above, controls below, other things beside."""
    share = (0.6, 0.45, 0.3)[level]
    dark = rng.random() < 0.5
    paper, ink = ((18, 18, 18), (225, 225, 225)) if dark else ((250, 250, 250), (30, 30, 30))
    wide, tall = image.width / share**0.5, image.height / share**0.5
    out = _canvas(wide, tall, paper)
    draw = ImageDraw.Draw(out)
    left, top = round(wide * 0.02), round(tall * 0.1)
    _letters(out, (left, 0, wide * 0.5, top), rng, ink)
    out.paste(image, (left, top))
    under = top + image.height
    draw.rectangle((left, under - 4, left + image.width * 0.6, under), fill=(220, 30, 30))
    _letters(out, (left, under, left + image.width, under + (tall - under) * 0.8), rng, ink)
    room = wide - left - image.width - 20
    for row in range(5):
        y = top + row * image.height / 5
        if room > 40:
            draw.rectangle((wide - room, y, wide - room * 0.5, y + image.height / 7), fill=_color(rng))
    return out


def _shift(image: Image.Image, level: int) -> Image.Image:
    red, green, blue = image.split()
    factor = (0.9, 0.75, 0.6)[level]
    return Image.merge("RGB", (red, green.point(lambda v: int(v * factor)), blue.point(lambda v: int(v * factor**2))))


def _noise(image: Image.Image, level: int, rng: Rng) -> Image.Image:
    pixels = np.asarray(image).astype(np.float32) + rng.normal(0, (4, 10, 20)[level], (image.height, image.width, 1))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _logo(image: Image.Image, level: int, rng: Rng) -> Image.Image:
    out = image.copy()
    side = image.width * (0.06, 0.12, 0.18)[level]
    x, y = rng.uniform(0, image.width - side), rng.uniform(0, image.height - side)
    ImageDraw.Draw(out).ellipse((x, y, x + side, y + side), fill=_color(rng))
    return out


def _tilted(image: Image.Image, level: int, rng: Rng) -> Image.Image:
    degrees = (0.5, 1, 2)[level] * rng.choice([-1, 1])
    return _cut(image.rotate(degrees, Image.Resampling.BICUBIC), 0.02, 0.02, 0.02, 0.02)


_QUARTERS = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)
_MIRRORED = (Image.Transpose.TRANSPOSE, Image.Transpose.FLIP_TOP_BOTTOM, Image.Transpose.TRANSVERSE)

EDITS: dict[str, Edit] = {
    "compressed": lambda i, s, r, o: i,  # As hard as `_saved` says.
    "smaller": lambda i, s, r, o: i.resize([round(x * (0.5, 0.3, 0.2)[s]) for x in i.size], Image.Resampling.LANCZOS),  # type: ignore[arg-type]
    "brighter, more contrast": lambda i, s, r, o: ImageEnhance.Contrast(
        ImageEnhance.Brightness(i).enhance((1.1, 1.25, 1.4)[s])
    ).enhance((1.1, 1.2, 1.4)[s]),
    "colors shifted": lambda i, s, r, o: _shift(i, s),
    "blurred": lambda i, s, r, o: i.filter(ImageFilter.GaussianBlur((1, 2.5, 5)[s])),
    "grain": lambda i, s, r, o: _noise(i, s, r),
    "logo on it": lambda i, s, r, o: _logo(i, s, r),
    "tilted": lambda i, s, r, o: _tilted(i, s, r),
    "mirrored": lambda i, s, r, o: ImageOps.mirror(i),
    "turned": lambda i, s, r, o: i.transpose(_QUARTERS[s]),
    "mirrored and turned": lambda i, s, r, o: i.transpose(_MIRRORED[s]),
    "letterbox": lambda i, s, r, o: _framed(i, 0, (0.05, 0.12, 0.25)[s], 0, (0.05, 0.12, 0.25)[s], _color(r)),
    "bars left and right": lambda i, s, r, o: _framed(i, (0.05, 0.2, 0.6)[s], 0, (0.05, 0.2, 0.6)[s], 0, _color(r)),
    "border": lambda i, s, r, o: _framed(i, *[(0.03, 0.05, 0.15)[s]] * 4, _color(r)),
    "two frames": lambda i, s, r, o: _framed(_framed(i, *[(0.01, 0.02, 0.04)[s]] * 4, "white"), *[0.05] * 4, "black"),
    "border, mirrored": lambda i, s, r, o: _framed(ImageOps.mirror(i), *[(0.03, 0.05, 0.15)[s]] * 4, _color(r)),
    "bars of its own blur": lambda i, s, r, o: _blurred_fill(i, s, r),
    "shaded bars": lambda i, s, r, o: _shaded_bars(i, s, r),
    "caption above": lambda i, s, r, o: _caption(i, s, r, above=True, below=False),
    "captions on both sides": lambda i, s, r, o: _caption(i, s, r, above=True, below=True),
    "caption over it": lambda i, s, r, o: _covered(i, s, r),
    "edges cut": lambda i, s, r, o: _cut(i, *(r.uniform(0.5, 1, 4) * (0.015, 0.03, 0.05)[s])),
    "cut to a part": lambda i, s, r, o: _cut_to(i, (0.6, 0.45, 0.3)[s], r),
    "picture in picture": lambda i, s, r, o: _inside(i, (0.6, 0.45, 0.3)[s], r, o),
    "screenshot of a player": lambda i, s, r, o: _player(i, s, r),
}  # fmt: skip

DIHEDRAL = ("mirrored", "turned", "mirrored and turned")
BORDER = ("letterbox", "bars left and right", "border", "two frames", "border, mirrored")
PARTIAL = ("cut to a part", "picture in picture", "screenshot of a player")


def saved(image: Image.Image, quality: int) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()


def photographs(more: tuple[str, ...] = ()) -> Iterator[Image.Image]:
    """Those of the shared data and of scikit-image, as far as they are there, and `more` of its pictures."""
    path = REAL / "images" / "bridge-aaa-orig.jpg"
    if path.exists():
        yield Image.open(path).convert("RGB").resize((1000, 628), Image.Resampling.LANCZOS)
    try:
        from skimage import data
    except ImportError:
        print("scikit-image is not installed: its photographs are left out")
        return
    for name in (
        "astronaut",
        "chelsea",
        "coffee",
        "rocket",
        "camera",
        "hubble_deep_field",
        "retina",
        "immunohistochemistry",
        "moon",
        *more,
    ):
        try:
            pixels = getattr(data, name)()
        except (AttributeError, OSError, ValueError):  # Some are fetched from the net, which is not for a bench.
            continue
        yield Image.fromarray(pixels).convert("RGB")


def originals(count: int, seed: int) -> list[Image.Image]:
    out = list(photographs())
    rng = np.random.default_rng(seed)
    while len(out) < count:
        size = [(800, 600), (900, 506), (600, 800), (720, 720)][len(out) % 4]
        out.append(render(rng, size) if len(out) % 2 else picture(rng, *size))
    return out[:count]


def hashed(data: bytes) -> ImageHashes:
    found = hash_file(io.BytesIO(data), LIMITS, points=True)
    assert isinstance(found, ImageHashes)
    return found


def bits(hashes: list[str]) -> np.ndarray[Any, np.dtype[np.uint64]]:
    return np.frombuffer(bytes.fromhex("".join(hashes)), np.uint64).reshape(-1, 4)


def least(seen: list[str], known: np.ndarray[Any, np.dtype[np.uint64]]) -> np.ndarray[Any, Any]:
    """The least distance of any of `seen` to each of `known`."""
    return np.bitwise_count(bits(seen)[:, None] ^ known[None]).sum(axis=2).min(axis=0)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--pictures", type=int, help="originals (default: 20, quick: 8)")
    args = options.parse_args()
    count = args.pictures or (8 if args.quick else 20)
    print(machine())
    sources = originals(count, args.seed)
    rng = np.random.default_rng(args.seed + 1)
    known = [hashed(saved(image, 90)) for image in sources]
    others = crowd(150 if args.quick else 2400, args.seed)
    index = indexed(known + [one for of, one in others if of >= TILES])  # Tiles are parts of originals.
    theirs = [pdq_from_bytes(saved(image, 90))[0] for image in sources]

    results: Results = defaultdict(list)
    for number, image in enumerate(sources):
        want, want_theirs = bits([known[number].pdq]), bits([theirs[number]])
        other = sources[(number + 1) % count]
        for name, edit in EDITS.items():
            for level in range(3):
                quality = (50, 25, 12)[level] if name == "compressed" else int(rng.integers(70, 92))
                data = saved(edit(image, level, rng, other), quality)
                seen = hashed(data)
                beside = bool(least([pdq_from_bytes(data)[0]], want_theirs)[0] <= LIMIT)
                plain = bool(least([seen.pdq], want)[0] <= LIMIT)
                varied = plain or bool(
                    least([v.pdq for v in seen.variants if v.quality >= LIMITS.pdq_quality] or [seen.pdq], want)[0]
                    <= LIMIT
                )
                part = varied or number in in_part(index, seen)
                results[name, level].append((beside, plain, varied, part))
    print(f"\nseed {args.seed}: {count} originals; share found at weak / middle / strong\n")
    print(f"{'':26} {'threatexchange':>18} {'plain PDQ at 31':>18} {'with variants':>18} {'and in part':>18}")
    for name in EDITS:
        rows = [np.mean(results[name, level], axis=0) for level in range(3)]
        print(f"{name:26} " + " ".join(f"{' / '.join(f'{row[m]:.2f}' for row in rows):>18}" for m in range(4)))
    partial = _recall(results, PARTIAL, level=2)
    print(f"\nof copies that cover, or are, 30 % of the frame: {partial:.2f}")
    costs(sources[0], index)
    strangers(others)
    bar("copies_dihedral_recall", _recall(results, DIHEDRAL))
    bar("copies_border_recall", _recall(results, BORDER))
    bar("copies_partial30_recall", partial)


def indexed(known: list[ImageHashes]) -> PartIndex:
    index = PartIndex()
    kept = ((number, telling(one.points)) for number, one in enumerate(known))
    index.add({number: [(None, packed)] for number, packed in kept if not poverty(packed)})
    return index


def in_part(index: PartIndex, seen: ImageHashes) -> set[int]:
    return {entry for packed in (seen.points, seen.mirrored_points) for entry, *_ in index.find(packed)}


def costs(image: Image.Image, index: PartIndex) -> None:
    """Print what points cost beside the hash and its variants."""
    data = saved(image, 85)
    gray = read_gray(io.BytesIO(data), "JPEG", LIMITS, longest=512).gray
    took = defaultdict(list)
    for _ in range(15):
        for name, what in (
            ("hash and variants", lambda: hash_file(io.BytesIO(data), LIMITS)),
            ("the points besides", lambda: points_of(gray)),
            ("sought among all", lambda: in_part(index, hashed(data))),
        ):
            began = time.process_time()
            what()
            took[name].append(time.process_time() - began)
    took["sought among all"] = [all_ - sum(rest) for all_, *rest in zip(*reversed(took.values()), strict=True)]
    print(f"\na picture of {image.width} x {image.height}, processor time in ms, median: ", end="")
    print("; ".join(f"{name} {1000 * float(np.median(times)):.1f}" for name, times in took.items()))
    packed = telling(hashed(data).points)
    print(f"an entry: {len(packed):,} bytes in the store, {index.nbytes / max(1, len(index)):,.0f} in memory")
    bar("copies_points_ms", 1000 * float(np.median(took["the points besides"])))
    bar("copies_entry_bytes", len(packed))


def tiles(side: int = 168) -> Iterator[tuple[int, Image.Image]]:
    """Photographs, and real textures, cut into squares of which no two overlap, each with the number of what it is of."""
    for number, image in enumerate(photographs(("brick", "grass", "gravel", "cell", "coins"))):
        for top in range(0, image.height - side + 1, side):
            for left in range(0, image.width - side + 1, side):
                yield number, image.crop((left, top, left + side, top + side))


def _page(rng: Rng, width: int, height: int) -> Image.Image:
    """A page of words: lines of one size, light on dark or dark on light, in one column or two."""
    dark = rng.random() < 0.4
    out = _canvas(width, height, (20, 22, 25) if dark else (252, 251, 248))
    columns, size = int(rng.integers(1, 3)), int(rng.integers(10, 22))
    for column in range(columns):
        left, top = width * (column + 0.05) / columns, 8.0
        while top + size * 1.5 < height:
            box = (left, top, left + width * 0.9 / columns, top + 2 * size)
            _letters(out, box, rng, (225, 225, 225) if dark else (25, 25, 25))
            top += size * float(rng.choice([2, 2, 3]))
    return out


def channel(rng: Rng) -> Callable[[Image.Image], Image.Image]:
    """What a channel lays around all that it shows: the same words above and below, the same logo in the same corner."""
    above, below = float(rng.uniform(0, 0.2)), float(rng.uniform(0.05, 0.25))
    dark, seed = rng.random() < 0.5, int(rng.integers(2**32))

    def framed(image: Image.Image) -> Image.Image:
        again = np.random.default_rng(seed)
        out = _framed(image, 0, above, 0, below, (20, 22, 25) if dark else (250, 250, 250))
        ink = (230, 230, 230) if dark else (25, 25, 25)
        under = image.height * (1 + above)
        if above > 0.05:
            _letters(out, (0, 0, out.width, image.height * above), again, ink)
        _letters(out, (0, under, out.width, out.height), again, ink)
        side = image.width * 0.12
        x, y = image.width * 0.85, image.height * (above + 0.04)
        draw = ImageDraw.Draw(out)
        draw.ellipse((x, y, x + side, y + side), fill=_color(again))
        draw.polygon([(x + side * one, y + side * other) for one, other in again.random((3, 2))], fill=_color(again))
        return out

    return framed


STRANGE = ("letterbox", "caption above", "captions on both sides", "border", "bars of its own blur",
           "screenshot of a player", "screenshot of a player", "logo on it", "caption over it")  # fmt: skip
"""Edits after which pictures of nothing in common share at least a frame, letters, or a page."""


TILES = 10_000
"""Numbers from which pictures are no tiles."""


def unlike(count: int, rng: Rng) -> list[tuple[int, Image.Image]]:
    """Pictures of which no two show the same: tiles of photographs, rendered scenes, clouds, pages of words.

    One in four of those that are made is framed, captioned, or shown by a player's page; one in eight is what one of a few
    channels shows. Each has a number; tiles of one photograph have the same, as a mast or a wall may go on from one to the
    other.
    """
    photos = list(tiles())
    out = [photos[place] for place in rng.permutation(len(photos))[: count // 3]]
    size = (320, 240)
    makers: list[Callable[[], Image.Image]] = [lambda: render(rng, size), lambda: picture(rng, *size)] * 4
    makers += [lambda: Image.fromarray(texture(rng, *size, rough=rng.uniform(1.2, 2.2))), lambda: _page(rng, *size)]
    channels = [channel(rng) for _ in range(12)]
    while len(out) < count:
        image = makers[len(out) % len(makers)]()
        chance = rng.random()
        if chance < 0.125:
            image = channels[int(rng.integers(len(channels)))](image)
        elif chance < 0.375:
            image = EDITS[STRANGE[int(rng.integers(len(STRANGE)))]](image, int(rng.integers(3)), rng, image)
        out.append((TILES + len(out), image))
    return out


def crowd(count: int, seed: int) -> list[tuple[int, ImageHashes]]:
    """The hashes of so many pictures that have nothing in common, each with its number."""
    some = unlike(count, np.random.default_rng(seed + 2))
    return [(number, hashed(saved(image, 85))) for number, image in some]


def strangers(others: list[tuple[int, ImageHashes]]) -> None:
    """Print what is found among pictures that have nothing in common: each is sought among all the others."""
    of, known, count = np.array([number for number, _ in others]), [one for _, one in others], len(others)
    rich = np.array([not poverty(telling(one.points)) for one in known])
    index = indexed(known)
    enough = LIMITS.pdq_quality
    plain = bits([one.pdq for one in known])
    good = np.array([one.quality >= enough for one in known])
    path = REAL / "pdq-haystack.txt"
    if path.exists():  # Of real pictures and of none of ours.
        more = [line.strip()[:64] for line in path.read_text().splitlines()]
        plain, good = np.concatenate([plain, bits(more)]), np.concatenate([good, np.ones(len(more), bool)])
    pairs = 0
    found = np.zeros((2, 3), int)
    in_parts, part_pairs = np.zeros(2, int), np.zeros(2, int)  # Of strangers, and of tiles of one photograph.
    took = []
    for number, one in enumerate(known):
        ways = [[one.pdq] * (one.quality >= enough), [v.pdq for v in one.variants if v.quality >= enough]]
        others = good.copy()
        others[:count] &= of != of[number]
        pairs += int(others.sum())
        for row, hashes in enumerate(ways):
            if hashes:
                apart = least(hashes, plain[others])
                found[row] += [(apart <= within).sum() for within in (LIMIT, 40, 50)]
        began = time.process_time()
        shown = in_part(index, one) - {number}
        took.append(time.process_time() - began)
        near = int(sum(of[entry] == of[number] for entry in shown))
        beside = int((rich & (of == of[number])).sum()) - int(rich[number])
        in_parts += (len(shown) - near, near)
        part_pairs += (int((rich & (of != of[number])).sum()), beside)
    print(f"\nfalse matches: {count:,} pictures that have nothing in common, each sought among all others")
    for name, row in zip(("plain PDQ", "by variants"), found, strict=True):
        print(
            f"{name:12} {row[0]} of {pairs:,} pairs at {LIMIT}: {_rate(row[0], pairs)}; at 40: {row[1]}; at 50: {row[2]}"
        )
    print(f"{'in part':12} {in_parts[0]} of {part_pairs[0]:,} pairs: {_rate(in_parts[0], part_pairs[0])}; ", end="")
    print(f"{1000 * float(np.mean(took)):.0f} ms a picture beside {len(index):,} known ones")
    print(f"{'':12} and {in_parts[1]} of {part_pairs[1]:,} pairs of tiles of one photograph, beside each other")
    bar("copies_false_match_rate", float(found[:, 0].sum() / pairs))
    bar("copies_partial_false_match_rate", float(in_parts[0] / part_pairs[0]))
    bar("copies_partial_false_match_most", _most(int(in_parts[0]), int(part_pairs[0])))


def _rate(count: int, pairs: int) -> str:
    """A rate with its 95 % interval. Where nothing was counted that is from 0, and all 5 % lie above it."""
    least_ = _end(count, -1.96) / pairs if count else 0.0
    return f"{count / pairs:.1e} (95 %: {least_:.1e} to {_most(count, pairs):.1e})"


def _most(count: int, pairs: int) -> float:
    """The upper end of that interval."""
    return _end(count + 1, 1.96 if count else 1.645) / pairs


def _end(shape: float, deviations: float) -> float:
    """An end of Poisson's exact interval (Garwood), by the approximation of Wilson and Hilferty."""
    return float(shape * (1 - 1 / (9 * shape) + deviations / (3 * shape**0.5)) ** 3)


def _recall(results: Results, names: tuple[str, ...], level: int | None = None) -> float:
    levels = range(3) if level is None else (level,)
    return float(np.mean([one[-1] for name in names for which in levels for one in results[name, which]]))


if __name__ == "__main__":
    main()
