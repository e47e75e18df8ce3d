"""HMA's signal types, in our words: which content they are of, which kind of bank keeps them, and how they are written.

The one idea: a signal is a text that a client hands back as it got it, so each type has one way out of hashed media and
one way back into an entry of a bank.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgspec

from redshank.banks.services import NewEntry
from redshank.banks.values import canonical
from redshank.core import BadInput
from redshank.media import Frame, ImageHashes, MediaHashes, VideoHashes
from redshank.media.hashes import Signal
from redshank.media.plugins import INSTALLED

PHOTO, VIDEO = "photo", "video"
CONTENT_TYPES = (PHOTO, VIDEO)


class SignalType(msgspec.Struct, frozen=True):
    """A signal type: its name with HMA, the kind of bank that keeps it, and the content types that it is of."""

    name: str
    kind: str
    of: tuple[str, ...]


_OWN = {
    one.name: one
    for one in (
        SignalType("pdq", "pdq", (PHOTO,)),
        SignalType("video_md5", "md5", (VIDEO,)),
        SignalType("vpdq", "video", (VIDEO,)),
        SignalType("md5", "md5", (PHOTO,)),
        SignalType("sha1", "sha1", (PHOTO, VIDEO)),
        SignalType("sha256", "sha256", (PHOTO, VIDEO)),
        SignalType("sha512", "sha512", (PHOTO, VIDEO)),
        SignalType("url", "url", ()),
    )
}


def types() -> dict[str, SignalType]:
    """Every signal type there is, those of plug-ins as well. `hma.signal_types` says which of them are offered."""
    plugged = {one.name: SignalType(one.name, one.kind, tuple(sorted(one.of))) for one in INSTALLED.values()}
    return plugged | _OWN


ENOUGH = 50
"""Below this quality, of 100, a picture has no PDQ signal: HMA gives an empty one (PdqSignal.QUALITY_THRESHOLD)."""


def signal_of(hashes: MediaHashes, type_: SignalType) -> str:
    """The signal of hashed media; empty where it has none. Raises `BadInput` for media of the other content type."""
    if type_.name == "pdq":
        if not isinstance(hashes, ImageHashes):
            raise BadInput("a video, where a photo was announced")
        return hashes.pdq if hashes.quality >= ENOUGH else ""
    if type_.name == "vpdq":
        if not isinstance(hashes, VideoHashes):
            return ""
        return signal_of_frames(hashes.frames)
    if type_.kind in INSTALLED:
        return next((one.value for one in hashes.signals if one.kind == type_.kind), "")
    return str(getattr(hashes, type_.kind))


def signal_of_frames(frames: Iterable[Frame]) -> str:
    """A video's frames as a vpdq signal (threatexchange's `VpdqCompactFeature`)."""
    return msgspec.json.encode([f"{one.pdq},{one.quality},{one.second:.3f}" for one in frames]).decode()


def entry_of(type_: SignalType, signal: str, *, note: str = "") -> NewEntry:
    """What keeps a signal in a bank of the type's kind. Raises `BadInput` for what is no such signal."""
    if type_.name != "vpdq":
        return NewEntry(value=canonical(type_.kind, signal), note=note)
    frames = frames_of(signal)
    digest = hashlib.sha256("\n".join(f"{one.second:.3f} {one.pdq}" for one in frames).encode()).hexdigest()
    return NewEntry(value=digest, frames=frames, note=note)


def plugged_of(kind: str, signal: str) -> ImageHashes:
    """Something of which only a plug-in's signal is known."""
    nothing = "0" * 64
    return ImageHashes(
        sha256="", md5="", pdq=nothing, quality=0, width=0, height=0, signals=(Signal(kind, canonical(kind, signal)),)
    )  # fmt: skip


def video_of(signal: str) -> VideoHashes:
    """The video that a vpdq signal stands for, as far as it tells. Raises `BadInput` for what is no such signal."""
    frames = frames_of(signal)
    return VideoHashes(sha256="", md5="", frames=frames, seconds=frames[-1].second + 1, width=0, height=0)


def frames_of(signal: str) -> tuple[Frame, ...]:
    """The frames that a vpdq signal lists: a JSON array of `HASH,QUALITY,SECOND`, by time. Raises `BadInput`."""
    try:
        rows = msgspec.json.decode(signal, type=list[str])
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise BadInput(f"not a JSON array of texts: {error}") from None
    frames = []
    for number, row in enumerate(rows, 1):
        parts = row.split(",")
        try:
            pdq, quality, second = canonical("pdq", parts[0]), int(parts[1]), float(parts[2])
        except (BadInput, IndexError, ValueError) as error:
            raise BadInput(f"frame {number} is not HASH,QUALITY,SECOND: {error}") from None
        if len(parts) != 3 or not 0 <= quality <= 100 or not 0 <= second < 1e6:
            raise BadInput(f"frame {number} is out of range")
        frames.append(Frame(second, pdq, quality))
    if not frames:
        raise BadInput("a video without frames")
    return tuple(sorted(frames, key=lambda one: one.second))
