"""Signal types of the `threatexchange` package's plug-ins, as kinds of banks.

The one idea: a plug-in is a module with a `TX_MANIFEST`, as that package has it; each signal type in it becomes a kind `tx-NAME`. It is
named in the settings by whoever runs this installation, so its code is trusted; what strangers send it is not, so it hashes media in the
bounded child process, and whatever it raises is about that one file or text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from redshank.core import BadInput, Problem
from redshank.media.hashes import Signal

PREFIX = "tx-"
MAX_TEXT = 20_000
"""Characters of a text that a plug-in is given."""
MAX_VALUE = 2048
"""Characters of a signal; a longer one is not compared."""


class Plugin(msgspec.Struct, frozen=True):
    """A signal type: the kind it is here, its own name, its class, and what it is of: photo, video, text."""

    kind: str
    name: str
    type: Any
    of: frozenset[str]

    def canonical(self, value: str) -> str:
        """A signal as it is kept. Raises `BadInput` for what is none."""
        try:
            signal = str(self.type.validate_signal_str(value.strip()))
        except Exception as error:  # noqa: BLE001 - a plug-in may raise what it likes.
            raise BadInput(f"no signal of {self.name}: {error}"[:300]) from None
        if not signal or len(signal) > MAX_VALUE:
            raise BadInput(f"a signal of {len(signal):,} characters; 1 to {MAX_VALUE:,} are kept")
        return signal

    def compare(self, one: str, other: str) -> tuple[bool, dict[str, int]]:
        """Whether two signals match, and how far apart they are where that is a whole number."""
        found = self.type.compare_hash(one, other)
        distance = getattr(found.distance, "distance", None)
        return bool(found.match), {"distance": distance} if isinstance(distance, int) else {}

    def of_text(self, text: str) -> str:
        """The signal of a text: for a type that matches texts themselves, the text; empty where there is none."""
        if hasattr(self.type, "matches_str"):
            return text[:MAX_TEXT]
        return _quietly(self.type.hash_from_str, text[:MAX_TEXT])


INSTALLED: dict[str, Plugin] = {}
"""The kinds there are, by kind. Filled when a process starts."""


def install(modules: Sequence[str]) -> None:
    """Make the signal types of these modules kinds of banks. Raises `Problem` for a module that is not there or has none."""
    INSTALLED.clear()
    if not modules:
        return
    try:
        from threatexchange.extensions.manifest import ThreatExchangeExtensionManifest as Manifest
    except ImportError:
        hint = "Install it: pip install 'redshank[plugins]'."
        raise Problem("the package threatexchange is not installed", where="media.plugins", hint=hint) from None
    for module in modules:
        try:
            manifest = Manifest.load_from_module_name(module)
        except Exception as error:  # noqa: BLE001 - importing it may raise what it likes.
            raise Problem(f"{module} is no plug-in: {error}", where="media.plugins") from None
        for signal_type in manifest.signal_types:
            name = str(signal_type.get_name())
            of = frozenset(one.get_name() for one in signal_type.get_content_types())
            INSTALLED[PREFIX + name] = Plugin(PREFIX + name, name, signal_type, of)


def signals_of(file: BinaryIO, content: str) -> tuple[Signal, ...]:
    """The signals of an open file that is a `photo` or a `video`, of each type that takes it."""
    found = []
    for plugin in INSTALLED.values():
        if plugin.of.isdisjoint((content, "file")):
            continue
        if hasattr(plugin.type, "hash_from_bytes"):
            file.seek(0)
            value = _quietly(plugin.type.hash_from_bytes, file.read())
        else:
            value = _quietly(plugin.type.hash_from_file, Path(f"/proc/self/fd/{file.fileno()}"))
        if value and len(value) <= MAX_VALUE:
            found.append(Signal(plugin.kind, value))
    return tuple(found)


class PluginIndex:
    """Known signals of one kind, in the plug-in's own index. Built whole; for banks of some ten thousand entries."""

    def __init__(self, plugin: Plugin, entries: Iterable[tuple[int, str]]) -> None:
        """`entries` are ids with canonical values."""
        self.plugin = plugin
        self._index = plugin.type.get_index_cls().build([(value, entry) for entry, value in entries])

    def find(self, signal: str) -> list[tuple[int, int | None]]:
        """(entry, distance as a whole number if it has one), the nearest first."""
        try:
            found = self._index.query(signal)
        except Exception:  # noqa: BLE001 - what a plug-in cannot compare, it does not find.
            return []
        hits: list[tuple[int, int | None]] = []
        for one in found:
            distance = getattr(one.similarity_info, "distance", None)
            hits.append((int(one.metadata), distance if isinstance(distance, int) else None))
        return sorted(hits, key=lambda hit: (hit[1] or 0, hit[0]))


def indexes(entries: Mapping[str, Iterable[tuple[int, str]]]) -> dict[str, PluginIndex]:
    """An index for each kind of `entries` whose plug-in is installed."""
    return {kind: PluginIndex(INSTALLED[kind], some) for kind, some in entries.items() if kind in INSTALLED}


def _quietly(make: Callable[[Any], object], given: object) -> str:
    try:
        return str(make(given) or "").strip()
    except Exception:  # noqa: BLE001 - whatever a stranger's file or text makes a plug-in raise is about that one.
        return ""
