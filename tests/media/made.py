"""Tiny pictures and videos, made when a test wants them; nothing of the kind lies in the repository."""

from __future__ import annotations

import io
import struct
import zlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from redshank.core.settings import MediaSettings

LIMITS = MediaSettings(decode_seconds=20)


def pixels(seed: int = 1, width: int = 240, height: int = 180) -> np.ndarray[Any, Any]:
    """Something with shapes at several scales, (height, width, 3) uint8."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3), np.float32)
    for cells in (3, 7, 15, 40):
        noise = rng.normal(0, 1, (cells, cells, 3)).astype(np.float32)
        for c in range(3):
            layer = Image.fromarray(noise[..., c]).resize((width, height), Image.Resampling.BICUBIC)
            total[..., c] += np.asarray(layer) / cells**0.5
    return np.uint8(255 * (total - total.min()) / (total.max() - total.min()))


def picture(seed: int = 1, width: int = 240, height: int = 180) -> Image.Image:
    return Image.fromarray(pixels(seed, width, height))


def encoded(image: Image.Image, format_: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, format_, **options)
    return out.getvalue()


def bomb(width: int = 50_000, height: int = 50_000) -> bytes:
    """A PNG of a few kB that says it has `width` by `height` pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack("!I", len(body)) + kind + body + struct.pack("!I", zlib.crc32(kind + body))

    head = struct.pack("!IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = zlib.compress(bytes(3_000_000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def write_video(
    path: Path, shown: list[tuple[float, int]], *, end: float | None = None, codec: str = "libx264", **options: str
) -> Path:
    """A video at `path` of pictures (second, seed), each shown from its second on: any frame rate, or none."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=30, options=options)
        stream.width, stream.height, stream.pix_fmt = 240, 176, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for second, seed in shown + ([(end, shown[-1][1])] if end is not None else []):
            frame = av.VideoFrame.from_ndarray(pixels(seed, 240, 176), format="rgb24")
            frame.pts, frame.time_base = round(second * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def distance(one: str, other: str) -> int:
    return (int(one, 16) ^ int(other, 16)).bit_count()
