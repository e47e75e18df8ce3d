"""A video's frames as a bank stores them: 37 bytes each, in the order of the video."""

from __future__ import annotations

import struct
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from redshank.banks.values import PDQ_BITS
from redshank.core import BadInput
from redshank.media import Frame

_FRAME = struct.Struct(">fB32s")  # Second, big-endian float32; quality, 0 to 100; PDQ, 32 bytes.
_TYPE = np.dtype([("second", ">f4"), ("quality", "u1"), ("pdq", "u1", 32)])  # The same.


def pack_frames(frames: Iterable[Frame]) -> bytes:
    """`frames` as bytes, 37 each. Raises `BadInput`, naming the frame, for what is no second, quality or hash."""
    out = []
    for number, frame in enumerate(frames):
        try:
            pdq = bytes.fromhex(frame.pdq)
        except ValueError:
            pdq = b""
        if len(pdq) != 32 or not 0 <= frame.quality <= 100 or not 0 <= frame.second < 1e7:
            raise BadInput("not a second, a quality of 0 to 100 and 64 hex digits", where=f"frame {number}")
        out.append(_FRAME.pack(frame.second, frame.quality, pdq))
    return b"".join(out)


def unpack_frames(packed: bytes) -> tuple[Frame, ...]:
    """What `pack_frames` packed. Seconds come back as the float32 that is nearest. Raises `BadInput` for other bytes."""
    if len(packed) % _FRAME.size:
        raise BadInput(f"{len(packed)} bytes are not whole frames of {_FRAME.size}")
    return tuple(Frame(second, pdq.hex(), quality) for second, quality, pdq in _FRAME.iter_unpack(packed))


def good_frames(packed: bytes, quality: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """Seconds, float32 (n,), and hashes, uint8 (n, 32), of the packed frames with at least `quality` that show something."""
    frames = np.frombuffer(packed[: len(packed) // _FRAME.size * _FRAME.size], _TYPE)
    hashes = np.ascontiguousarray(frames["pdq"])
    bits = np.bitwise_count(hashes).sum(axis=1, dtype=np.int64)
    good = (frames["quality"] >= quality) & (bits >= PDQ_BITS.start) & (bits < PDQ_BITS.stop)
    return frames["second"][good].astype(np.float32), hashes[good]
