"""A plug-in of the threatexchange package, as somebody outside would write one: a type of photos, one of texts, one that breaks."""

from __future__ import annotations

import hashlib
from typing import Any

from threatexchange.content_type.photo import PhotoContent
from threatexchange.content_type.text import TextContent
from threatexchange.extensions.manifest import ThreatExchangeExtensionManifest
from threatexchange.signal_type import signal_base


class ShadeSignal(signal_base.SimpleSignalType, signal_base.BytesHasher):
    """How long a file is and how it begins, in eight digits; two are alike that differ in two at most."""

    @classmethod
    def get_content_types(cls) -> list[Any]:
        return [PhotoContent]

    @classmethod
    def get_index_cls(cls) -> Any:
        return _ShadeIndex

    @classmethod
    def validate_signal_str(cls, signal_str: str) -> str:
        if len(signal_str) != 8 or not signal_str.isdigit():
            raise ValueError("eight digits")
        return signal_str

    @classmethod
    def compare_hash(cls, hash1: str, hash2: str) -> Any:
        far = sum(a != b for a, b in zip(hash1, hash2, strict=True))
        return signal_base.SignalComparisonResult.from_simple_dist(far, 2)

    @classmethod
    def hash_from_bytes(cls, bytes_: bytes) -> str:
        return f"{int(hashlib.sha256(bytes_).hexdigest(), 16) % 10**8:08d}"

    @staticmethod
    def get_examples() -> list[str]:
        return ["12345678"]


class _ShadeIndex(signal_base.TrivialLinearSearchHashIndex):
    _SIGNAL_TYPE = ShadeSignal


class VowelsSignal(signal_base.SimpleSignalType, signal_base.TextHasher):
    """The vowels of a text."""

    @classmethod
    def get_content_types(cls) -> list[Any]:
        return [TextContent]

    @classmethod
    def get_index_cls(cls) -> Any:
        return signal_base.TrivialSignalTypeIndex

    @classmethod
    def hash_from_str(cls, text: str) -> str:
        return "".join(char for char in text.lower() if char in "aeiou")

    @staticmethod
    def get_examples() -> list[str]:
        return ["aeiou"]


class BrokenSignal(ShadeSignal):
    """Whatever it is given, it raises."""

    @classmethod
    def hash_from_bytes(cls, bytes_: bytes) -> str:
        raise RuntimeError("never mind")


TX_MANIFEST = ThreatExchangeExtensionManifest(signal_types=(ShadeSignal, VowelsSignal, BrokenSignal))
