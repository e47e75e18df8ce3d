"""What is known of a file once it was hashed, and the errors for files that cannot be."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import BinaryIO

import msgspec

from redshank.core.errors import BadInput

CHUNK = 1024 * 1024
"""Bytes read at a time."""


class Variant(msgspec.Struct, frozen=True):
    """The hash that a picture would have had before it was changed in the way `how` says: `mirrored`, `bordered`."""

    how: str
    pdq: str
    quality: int


class Signal(msgspec.Struct, frozen=True):
    """What a plug-in makes of a file: the kind of bank that it is held against, and the value."""

    kind: str
    value: str


class ImageHashes(msgspec.Struct, frozen=True, kw_only=True, tag="image"):
    """A picture. `sha256`, `md5`, `sha1` and `sha512` are of its bytes, in hex, empty where they are not known;
    `width` and `height` as it is shown, in pixels.

    `pdq` is 64 hex digits; `quality` runs from 0 (nothing to tell it by, as a plain color) to 100. `variants` are the
    hashes it would have had before it was mirrored, turned, framed or cropped, as far as that can be undone. `points` and `mirrored_points` are there where they were asked for (see `parts.Points`).
    """

    sha256: str
    md5: str
    pdq: str
    quality: int
    width: int
    height: int
    sha1: str = ""
    sha512: str = ""
    variants: tuple[Variant, ...] = ()
    signals: tuple[Signal, ...] = ()
    points: bytes = b""
    mirrored_points: bytes = b""


class Frame(msgspec.Struct, frozen=True):
    """What a video shows at a second of it: the PDQ hash of that frame, 64 hex digits, and its quality, 0 to 100.

    `off` says how many seconds the frame's own time stamp lies from `second`: 0 where a frame begins just there, less
    where it began before and is still shown, either way where only key frames were decoded.
    """

    second: float
    pdq: str
    quality: int
    off: float = 0.0


class VideoVariant(msgspec.Struct, frozen=True):
    """The frames that a video would have had before it was changed in the way `how` says, as far as that can be undone."""

    how: str
    frames: tuple[Frame, ...]


class Still(msgspec.Struct, frozen=True):
    """The points of what a video shows at a second of it, and those of its mirror image (see `parts.Points`)."""

    second: float
    points: bytes
    mirrored_points: bytes = b""


class VideoHashes(msgspec.Struct, frozen=True, kw_only=True, tag="video"):
    """A video, one frame for each second of it that was hashed. `seconds` is how long it runs, by its frames' stamps.

    `stills` are there where points were asked for: of some frames, spread over what it shows.
    """

    sha256: str
    md5: str
    frames: tuple[Frame, ...]
    seconds: float
    width: int
    height: int
    sha1: str = ""
    sha512: str = ""
    variants: tuple[VideoVariant, ...] = ()
    stills: tuple[Still, ...] = ()
    signals: tuple[Signal, ...] = ()


MediaHashes = ImageHashes | VideoHashes


def stills_of(seen: MediaHashes) -> Iterator[tuple[float | None, bytes, str]]:
    """The points of a picture, or of a video's frames, and of the mirror images: second, points, how they were changed."""
    if isinstance(seen, ImageHashes):
        yield None, seen.points, ""
        yield None, seen.mirrored_points, "mirrored"
    else:
        for still in seen.stills:
            yield still.second, still.points, ""
            yield still.second, still.mirrored_points, "mirrored"


def digests(file: BinaryIO) -> dict[str, str]:
    """SHA-256, MD5, SHA-1 and SHA-512 of an open file's bytes from where it stands on, in hex, by name. Nothing is decoded."""
    sums = {name: hashlib.new(name, usedforsecurity=False) for name in ("sha256", "md5", "sha1", "sha512")}
    while chunk := file.read(CHUNK):
        for one in sums.values():
            one.update(chunk)
    return {name: one.hexdigest() for name, one in sums.items()}


class MediaError(BadInput):
    """A file that cannot be hashed; `where` names it, `what` says why."""


class FetchError(MediaError):
    """An address that could not be fetched. `temporary` is true where another try later may succeed."""

    def __init__(self, what: str, *, where: str = "", hint: str = "", temporary: bool = False) -> None:
        self.temporary = temporary
        super().__init__(what, where=where, hint=hint)
