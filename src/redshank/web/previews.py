"""Pictures of media for the console: made by the media room's bounded child process, kept on disk, never the original.

A browser gets a small JPEG of our own making, or a veiled one of so few gray pixels that nothing can be made out; the
bytes that a stranger sent stay in the blob store.
"""

from __future__ import annotations

import atexit
import io
import threading
from pathlib import Path

import msgspec
from django.conf import settings
from PIL import Image

from redshank.archive import services as archive
from redshank.core.errors import BadInput
from redshank.media import Hasher, MediaHashes, VideoHashes

WIDTH = 960
STRIP = 12
"""Frames in a strip at most, besides those where something was found."""
VEILED_WIDTH = 18
"""Pixels across a veiled picture."""

_lock = threading.Lock()
_hasher: Hasher | None = None


class Facts(msgspec.Struct, frozen=True):
    """What a media item is: `seconds` is 0 for a picture."""

    width: int
    height: int
    seconds: float = 0


def facts(sha256: str) -> Facts:
    """Width, height and length of a kept media item, as it is shown. Raises MediaError, BadInput where it is not there."""
    if known := archive.media_facts(sha256):
        return Facts(known.width or 0, known.height or 0, known.seconds or 0)
    hashes = _with_hasher().hash(_bytes_of(sha256))  # kept before its walk, as where the worker is behind
    seconds = hashes.seconds if isinstance(hashes, VideoHashes) else None
    kind = "image" if seconds is None else "video"
    archive.note_media(sha256, kind=kind, width=hashes.width, height=hashes.height, seconds=seconds)
    return Facts(hashes.width, hashes.height, seconds or 0)


def preview(sha256: str, second: float | None, *, veiled: bool) -> bytes:
    """A JPEG of a kept media item, or of a video's frame. Raises MediaError, BadInput where it is not there."""
    name = "picture" if second is None else f"at-{second:.3f}"
    place = _place(sha256, f"{name}.jpg")
    if place.exists():
        clear = place.read_bytes()
    else:
        clear = _with_hasher().preview(_bytes_of(sha256), second=second, width=WIDTH)
        _keep(place, clear)
    return _veil(clear) if veiled else clear


def hashes(path: Path) -> MediaHashes:
    """The hashes of a file on this machine, made in the bounded child. Raises MediaError, naming what is wrong with it."""
    return _with_hasher().hash(path, points=True)


def moments(seconds: float, ranges: list[tuple[float, float]]) -> list[tuple[float, bool]]:
    """The seconds of a strip's frames, each with whether it lies in one of `ranges`: evenly spread, and one from the
    middle of each range."""
    whole = max(1, int(seconds))
    step = max(1, -(-whole // STRIP))
    spread = {float(second) for second in range(0, whole, step)}
    spread |= {float(int((start + end) / 2)) for start, end in ranges[:STRIP]}
    return [
        (second, any(start - 0.5 <= second <= end + 0.5 for start, end in ranges))
        for second in sorted(second for second in spread if second <= max(0.0, seconds))
    ]


def _veil(clear: bytes) -> bytes:
    with Image.open(io.BytesIO(clear)) as picture:  # our own JPEG, of our own size
        gray = picture.convert("L")
        height = max(1, round(VEILED_WIDTH * gray.height / max(1, gray.width)))
        small = gray.resize((VEILED_WIDTH, min(height, 200)), Image.Resampling.BOX)
        out = io.BytesIO()
        small.save(out, "JPEG", quality=60)
        return out.getvalue()


def _place(sha256: str, name: str) -> Path:
    return archive.blob_store().derived(sha256) / name


def _bytes_of(sha256: str) -> Path:
    path = archive.blob_store().path(sha256)
    if not path.exists():
        raise BadInput("these bytes are not kept any more", where=sha256[:12])
    return path


def _keep(place: Path, data: bytes) -> None:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        fresh = place.with_name(f".{place.name}.{threading.get_ident()}")
        fresh.write_bytes(data)
        fresh.replace(place)
    except OSError:
        return  # A full disk costs the cache, not the page.


def _with_hasher() -> Hasher:
    global _hasher  # noqa: PLW0603 - one child process a server process
    with _lock:
        if _hasher is None:
            _hasher = Hasher(settings.REDSHANK.media).__enter__()
            atexit.register(_hasher.__exit__, None, None, None)
        return _hasher
