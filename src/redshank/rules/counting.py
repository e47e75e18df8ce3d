"""How many events, or different values among them, came under one key within the last hour, day or week.

The one idea: a key keeps the times of its newest events, to the microsecond, and a count is what lies between two times.
So windows slide, an event that comes late stands where it belongs, and the same events in the same order always give the
same counts, live or in a backtest. A key keeps a bounded number of times, which is also as far as it counts.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_right, insort
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

HOUR = 3_600_000_000
"""In microseconds, as all times here, which count from 1970."""
WINDOWS = {"hour": HOUR, "day": 24 * HOUR, "week": 168 * HOUR}
LATE = 24 * HOUR
"""Times are kept so much longer than their window: for events that come late, and beside clocks that run ahead."""
MOST = 1_000
"""As far as a counter counts: from there on it stays there. A key's times beyond that are let go, the oldest first."""
_SLACK = MOST // 4
_MANY = 32
"""Values from which on the newest time of each is held."""
MAX_KEYS = 20
"""Keys of one event under which it counts; of a longer list, the first."""
MAX_VALUES = 100
"""Values that one event brings to a `distinct`; of a longer list, the first."""
_SHORT = 256
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Counter(NamedTuple):
    """What is counted. `text` is its expression in one spelling, `id` 64 bits that depend on that alone."""

    id: int
    text: str
    window: int
    distinct: bool


Ask = tuple[Counter, tuple[int, ...], bool, tuple[int, ...]]
"""One counter on one event: the series of its keys, whether the event counts itself, and the values it brings."""


class Series:
    """One key of one counter: the times of its newest events, ascending, and of a `distinct` the value at each.

    Of a `distinct` it can also hold the newest time of each value (`_newest`, ascending in `_fresh`), which makes the counts
    of events that come in their order quick however many there are.
    """

    __slots__ = ("_fresh", "_newest", "times", "values")

    def __init__(self, packed: bytes = b"", *, distinct: bool = False) -> None:
        half = len(packed) // 2 if distinct else len(packed)
        self.times = array("q", packed[:half])
        self.values = array("q", packed[half:]) if distinct else None
        self._newest: dict[int, int] | None = None
        self._fresh = self.times
        if sys.byteorder == "big":
            self._swap()

    def add(self, at: int, window: int) -> int:
        """One event at `at`; give what `read` then does."""
        times = self.times
        if times and at < times[-1]:
            insort(times, at)
            if len(times) > MOST + _SLACK:
                del times[:-MOST]
            return self.read(at, window)
        times.append(at)
        found = len(times)
        if found > MOST + _SLACK:
            del times[:-MOST]
            found = MOST
        if times[0] <= at - window:
            found -= bisect_right(times, at - window)
        return min(MOST, found)

    def add_values(self, at: int, values: Iterable[int]) -> None:
        """One event at `at` that brings `values`."""
        times, known, newest = self.times, self.values, self._newest
        assert known is not None
        for value in values:
            place = bisect_right(times, at)
            times.insert(place, at)
            known.insert(place, value)
            if newest is not None and (before := newest.get(value, -1)) < at:
                if before >= 0:
                    del self._fresh[bisect_right(self._fresh, before) - 1]
                insort(self._fresh, at)
                newest[value] = at
        if len(times) > MOST + _SLACK:
            # Only the newest of each value matters to what comes in its order; then the oldest go.
            kept = sorted((time, value) for value, time in dict(zip(known, times, strict=True)).items())[-MOST:]
            self._set(kept)

    def read(self, at: int, window: int) -> int:
        """How many there were after `at - window` and not after `at`."""
        times = self.times
        last = len(times) if not times or times[-1] <= at else bisect_right(times, at)
        first = bisect_right(times, at - window, 0, last)
        found = last - first
        if self.values is not None and found > 1:
            if last < len(times) or found < _MANY:
                found = len(set(self.values[first:last]))
            else:
                if self._newest is None:
                    self._newest = dict(zip(self.values, times, strict=True))
                    self._fresh = array("q", sorted(self._newest.values()))
                found = len(self._fresh) - bisect_right(self._fresh, at - window)
        return min(MOST, found)

    def packed(self, window: int) -> bytes:
        """As it is stored: 8 bytes a time, and 8 a value; what is too old to matter is left out."""
        times, values = self.times, self.values
        old = bisect_right(times, times[-1] - window - LATE) if times and times[0] <= times[-1] - window - LATE else 0
        if old:
            del times[:old]
            if values is not None:
                del values[:old]
                self._newest = None
        if sys.byteorder == "big":
            self._swap()
        out = times.tobytes() if values is None else times.tobytes() + values.tobytes()
        if sys.byteorder == "big":
            self._swap()
        return out

    def forget(self, value: int) -> bool:
        """Take a value out; whether it was there."""
        if self.values is None or value not in self.values:
            return False
        self._set([(time, other) for time, other in zip(self.times, self.values, strict=True) if other != value])
        return True

    def _set(self, kept: Sequence[tuple[int, int]]) -> None:
        self.times = self._fresh = array("q", [time for time, _ in kept])
        self.values = array("q", [value for _, value in kept])
        self._newest = None

    def _swap(self) -> None:
        self.times.byteswap()
        if self.values is not None:
            self.values.byteswap()


class Ledger:
    """Series in memory, by their numbers. `changed` are those that were added to, each with its counter."""

    def __init__(self, series: dict[int, Series] | None = None) -> None:
        self.series: dict[int, Series] = {} if series is None else series
        self.changed: dict[int, Counter] = {}

    def count(self, asks: Sequence[Ask], at: int, *, again: bool = False) -> dict[int, int]:
        """Add an event that happened at `at` to what it counts in; give what each counter then says, by its number.

        Of several keys, the highest. With `again`, the event was counted before and is not added.
        """
        said: dict[int, int] = {}
        held, changed = self.series, self.changed
        for counter, numbers, hit, values in asks:
            most = 0
            for number in numbers:
                series = held.get(number)
                if series is None:
                    if again or not hit:
                        continue
                    series = held[number] = Series(distinct=counter.distinct)
                if hit and not again:
                    changed[number] = counter
                    if counter.distinct:
                        series.add_values(at, values)
                        found = series.read(at, counter.window)
                    else:
                        found = series.add(at, counter.window)
                else:
                    found = series.read(at, counter.window)
                most = max(most, found)
            said[counter.id] = most
        return said

    def sweep(self, before: int) -> None:
        """Let go of what is of no use to events from `before` on."""
        for number in [number for number, counter in self.changed.items() if self._last(number) <= before - counter.window - LATE]:  # fmt: skip
            del self.series[number], self.changed[number]

    def _last(self, number: int) -> int:
        return self.series[number].times[-1]


def moment(at: datetime) -> int:
    """A time as it is counted here: whole microseconds since 1970."""
    return (at - _EPOCH) // _MICROSECOND


def number_of(network: str, text: str) -> int:
    """64 bits, signed, that stand for a text on a network: as a counter's key, and as a value."""
    return _number(network, text) if len(text) <= _SHORT else _hash(network, text)


def _hash(network: str, text: str) -> int:
    raw = f"{network}\0{text}".encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(raw, digest_size=8).digest(), "little", signed=True)


_number = lru_cache(maxsize=65_536)(_hash)


def counter_of(text: str, *, over: str, distinct: bool) -> Counter:
    """The counter that the expression `text` names."""
    return Counter(_hash("", text), text, WINDOWS[over], distinct)


def numbers_of(network: str, texts: str | Sequence[str] | None, most: int) -> tuple[int, ...] | None:
    """The numbers of a text, or of each of the first `most` of a list once; None where they are missing."""
    if texts is None:
        return None
    if texts.__class__ is str:
        return (number_of(network, texts),)
    if len(texts) < 2:
        return (number_of(network, texts[0]),) if texts else ()
    return tuple(dict.fromkeys([number_of(network, one) for one in texts[:most]]))


def ask(counter: Counter, keys: tuple[int, ...], hit: bool, values: tuple[int, ...] | None) -> Ask:
    """What `counter` asks of an event with keys of these numbers; `values` is None for a `count`, and where they are missing.

    An event that brings no value to a `distinct` does not count.
    """
    number = counter.id
    series = (keys[0] ^ number,) if len(keys) == 1 else tuple([key ^ number for key in keys])
    if counter.distinct:
        return (counter, series, hit, values) if values else (counter, series, False, ())
    return (counter, series, hit, ())


def alone(asks: Sequence[Ask]) -> Mapping[int, int]:
    """What counters say of an event before which there was none."""
    return Ledger().count(asks, 0)
