"""Pictures a second, bytes of JPEGs of 1.5 to 2 megapixels to PDQ, beside threatexchange's hasher, on one core.

    python -m bench.hash_images [--quick] [--pictures N] [--seed N]

Both read the same bytes in memory in this process; the time is processor time, the best of some rounds for each picture,
so that other load on the machine stays out of the ratio. Redshank's figure has the sniffing and the EXIF data in it;
SHA-256 and MD5 are left out on both sides. The hashes of mirrored, turned and framed forms, which threatexchange does not
make, are timed on a line of their own. Every hash is held against pdqhash on the picture decoded at full size. The pictures are rendered,
saved at several qualities and with and without subsampled color, some turned to gray, some progressive.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pdqhash
from PIL import Image
from threatexchange.signal_type.pdq.pdq_hasher import pdq_from_bytes

from bench._common import bar, machine, parser, processor_seconds
from bench._pictures import picture as render_one
from redshank.core.settings import MediaSettings
from redshank.media.pdq import pdq
from redshank.media.pictures import hash_picture, read_gray
from redshank.media.sniff import HEAD, sniff

SIZES = ((1600, 1004), (1632, 1224), (1224, 1632), (1920, 1000), (1500, 1000), (1400, 1400), (1080, 1440), (1920, 1040))
REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "media" / "images"
LIMITS = MediaSettings()


def render(count: int, seed: int) -> list[bytes]:
    """`count` JPEGs; the same seed gives the same bytes."""
    rng = np.random.default_rng(seed)
    out = []
    for i in range(count):
        image = render_one(rng, *SIZES[i % len(SIZES)])
        if i % 9 == 8:
            image = image.convert("L")
        file = io.BytesIO()
        image.save(
            file,
            "JPEG",
            quality=int(rng.integers(70, 93)),
            subsampling=int(rng.choice([0, 2, 2])),
            progressive=i % 12 == 11,
        )
        out.append(file.getvalue())
    return out


def ours(data: bytes) -> tuple[str, int]:
    """Bytes to PDQ and quality."""
    _, reader = sniff(data[:HEAD])
    picture = read_gray(io.BytesIO(data), reader, LIMITS)
    return pdq(picture.gray, scaled=picture.scaled)


def ours_with_variants(data: bytes) -> tuple[str, int]:
    """Bytes to PDQ, quality and variants, as the child process does it."""
    _, reader = sniff(data[:HEAD])
    hash_, quality, _ = hash_picture(read_gray(io.BytesIO(data), reader, LIMITS))
    return hash_, quality


def reference(data: bytes) -> str:
    """pdqhash on the whole picture in RGB."""
    bits, _ = pdqhash.compute(np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))
    return np.packbits(bits).tobytes().hex()


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--pictures", type=int, help="how many are rendered (default: 120, quick: 24)")
    args = options.parse_args()
    count = args.pictures or (24 if args.quick else 120)
    rendered = render(count, args.seed)
    real = [path.read_bytes() for path in sorted(REAL.glob("*.jpg"))] if REAL.is_dir() else []
    sizes = [len(data) for data in rendered]
    print(machine())
    print(
        f"seed {args.seed}: {count} rendered JPEGs of 1.5 to 2 MP, {sum(sizes) / count / 1024:.0f} KiB each on average"
    )

    rounds = 3 if args.quick else 5
    mine, theirs = _best(ours, rendered, rounds), _best(pdq_from_bytes, rendered, rounds)
    whole = _best(ours_with_variants, rendered, rounds)
    print(f"redshank         {1 / mine:8.1f} pictures a second of processor time")
    print(f"  with variants  {1 / whole:8.1f}")
    print(f"threatexchange   {1 / theirs:8.1f}")
    if real:
        large = [data for data in real if len(data) > 100_000]
        size = sum(map(len, large)) / len(large) / 1024
        beside = _best(pdq_from_bytes, large, 2) / _best(ours, large, 2)
        print(
            f"on {len(large)} photographs of {size:.0f} KiB, where reading the bytes costs more: {beside:.1f} times as fast"
        )

    moved = np.array([_distance(ours(data)[0], reference(data)) for data in rendered])
    print(
        f"distance to pdqhash at full size: mean {moved.mean():.2f}, max {moved.max()}, over 10: {(moved > 10).sum()}"
    )
    if real:
        other = [_distance(ours(data)[0], reference(data)) for data in real]
        print(f"the same for {len(real)} photographs in shared data: mean {np.mean(other):.2f}, max {max(other)}")
        moved = np.concatenate([moved, other])
    large = [_larger(args.seed + k) for k in range(1 if args.quick else 10)]
    far = [_distance(ours(data)[0], reference(data)) for data in large]
    print(f"and for {len(large)} of 12 MP, which are scaled while decoding: mean {np.mean(far):.2f}, max {max(far)}")
    moved = np.concatenate([moved, far])
    bar("hash_images_ratio", theirs / mine)
    bar("hash_images_with_variants_ratio", theirs / whole)
    bar("hash_images_distance_mean", float(moved.mean()))
    bar("hash_images_distance_max", int(moved.max()))


def _best(hasher: Callable[[bytes], object], pictures: list[bytes], rounds: int) -> float:
    """Seconds a picture: the mean over the pictures of the best of some rounds each, so that a busy moment does not count."""
    hasher(pictures[0])
    best = [min(processor_seconds(lambda: hasher(data)) for _ in range(rounds)) for data in pictures]  # noqa: B023
    return sum(best) / len(best)


def _larger(seed: int) -> bytes:
    file = io.BytesIO()
    render_one(np.random.default_rng(seed), 4032, 3024).save(file, "JPEG", quality=88)
    return file.getvalue()


def _distance(one: str, other: str) -> int:
    return (int(one, 16) ^ int(other, 16)).bit_count()


if __name__ == "__main__":
    main()
