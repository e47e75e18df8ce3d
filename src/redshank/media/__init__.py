"""From bytes to hashes: pictures and videos of strangers are fetched, decoded in bounds, and compared.

What needs numpy or an HTTP client is loaded when it is first asked for, so that a command starts at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redshank.media.hasher import Hasher
from redshank.media.hashes import (
    FetchError,
    Frame,
    ImageHashes,
    MediaError,
    MediaHashes,
    Variant,
    VideoHashes,
    VideoVariant,
    digests,
)

if TYPE_CHECKING:
    from redshank.media.compare import NEAR, VideoMatch, match_videos
    from redshank.media.fetching import fetch

__all__ = [
    "NEAR",
    "FetchError",
    "Frame",
    "Hasher",
    "ImageHashes",
    "MediaError",
    "MediaHashes",
    "Variant",
    "VideoHashes",
    "VideoMatch",
    "VideoVariant",
    "digests",
    "fetch",
    "match_videos",
]

_LATER = {"NEAR": "compare", "VideoMatch": "compare", "match_videos": "compare", "fetch": "fetching"}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(name)
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
