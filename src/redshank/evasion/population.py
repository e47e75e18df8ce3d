"""How many accounts of a network carry a key (follow somebody, link a page, bear a name), and never which accounts.

The one idea: an account is not listed under what it carries; it leaves a mark. Twelve small registers stand for a key, an account
lifts one of them to a height that its hash draws, and how high they stand tells how many came by (HyperLogLog). The same account
again lifts nothing, so that nothing is counted twice, however often it is told, sent again, or redone after a kill; and tables of
several workers are joined by taking the higher of each register. Keys share one table of a fixed size, two places each: what
others leave there is taken off as noise, and never grows with the network faster than the network does.
"""

# numba reads the bytecode of loops; its types are its own, so they are annotated only where Python calls them.
from __future__ import annotations

import math
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from redshank.compiled import kernel, mix
from redshank.evasion import kernels
from redshank.evasion.evidence import KINDS, Encoded

ROWS = 1 << 21
"""Places of the table: 16 MB. At 60 keys an account a place holds the marks of 6 accounts in 100,000 that have nothing to do with
its key, which is taken off; about a fifth of it is what remains uncertain."""
REGISTERS, BITS = 12, 5
"""A place is a uint64: so many registers of so many bits. One place errs by 30 percent, which is 0.4 bits."""
PARTS = 64
"""A network's totals are counted in so many places each, and so err by 4 percent."""
COUNTED = len(KINDS) + 2
"""Kinds that are counted: those of keys, then avatars (by their bands) and handles."""
AVATAR, HANDLE = range(len(KINDS), COUNTED)
_PROBES = 1024
"""Keys that nobody carries, by which the noise is measured."""
_PLACE = 21
_ANY, _EACH = 1 << 33, 1 << 34


@kernel
def _place_of(network: Any, kind: Any, key: Any) -> Any:
    """The hash under which a network's key is counted, uint64: its upper bits are the two places."""
    return mix(np.uint64(network) ^ mix((np.uint64(kind + 1) << np.uint64(36)) ^ np.uint64(key)))


@kernel
def _mark_of(place: Any, account: Any) -> Any:
    """What an account leaves at a place: the two places, a register and a height, in one uint64."""
    e = mix(np.uint64(account) ^ place)
    register = ((e >> np.uint64(40)) * np.uint64(REGISTERS)) >> np.uint64(24)
    height = np.uint64(1)
    while height < 31 and e & np.uint64(1) == 0:
        height += np.uint64(1)
        e = e >> np.uint64(1)
    both = place >> np.uint64(64 - 2 * _PLACE)
    return (both << np.uint64(9)) | (register << np.uint64(5)) | height


@kernel
def _marks(
    networks: Any, accounts: Any, starts: Any, keys: Any, kinds: Any, avatars: Any, handles: Any, counted: Any
) -> Any:
    """The marks of accounts, uint64: one a key and lookup key; one a kind that it has any of, and one a key of its kind."""
    n = len(starts) - 1
    out = np.empty(2 * (len(keys) + n * kernels.LOOKUPS) + n * counted, np.uint64)
    looked = np.empty(kernels.LOOKUPS, np.int64)
    has = np.zeros(counted, np.bool_)
    at = 0
    for i in range(n):
        has[:] = False
        kernels.lookup_keys(avatars[i], handles[i], looked)
        for j in range(starts[i], starts[i + 1] + kernels.LOOKUPS):
            own = j < starts[i + 1]
            key = np.int64(keys[j]) if own else looked[j - starts[i + 1]]
            if key < 0:
                continue
            kind = np.int64(kinds[j]) if own else counted - (1 if j - starts[i + 1] == kernels.LOOKUPS - 1 else 2)
            has[kind] = True
            place = _place_of(networks[i], kind, key)
            out[at] = _mark_of(place, accounts[i])
            pair = mix(place ^ np.uint64(accounts[i]))
            out[at + 1] = _mark_of(_place_of(networks[i], kind, _EACH + np.int64(pair % np.uint64(PARTS))), pair)
            at += 2
        for kind in range(counted):
            if has[kind]:
                part = np.int64(np.uint64(accounts[i]) % np.uint64(PARTS))
                out[at] = _mark_of(_place_of(networks[i], kind, _ANY + part), accounts[i])
                at += 1
    return out[:at].copy()


@kernel
def _lifts(table: Any, marks: Any) -> Any:
    """Which marks would lift a register of `table`, bool."""
    out = np.empty(len(marks), np.bool_)
    for i in range(len(marks)):
        height = marks[i] & np.uint64(31)
        shift = ((marks[i] >> np.uint64(5)) & np.uint64(15)) * np.uint64(BITS)
        a = marks[i] >> np.uint64(9 + _PLACE)
        b = (marks[i] >> np.uint64(9)) & np.uint64((1 << _PLACE) - 1)
        out[i] = (table[a] >> shift) & np.uint64(31) < height or (table[b] >> shift) & np.uint64(31) < height
    return out


@kernel
def lift(table: Any, marks: Any) -> Any:
    """Lift the registers of `table` that stand lower than `marks` say."""
    for i in range(len(marks)):
        height = marks[i] & np.uint64(31)
        register = (marks[i] >> np.uint64(5)) & np.uint64(15)
        if register >= REGISTERS:
            continue
        shift = register * np.uint64(BITS)
        a = (marks[i] >> np.uint64(9 + _PLACE)) & np.uint64((1 << _PLACE) - 1)
        b = (marks[i] >> np.uint64(9)) & np.uint64((1 << _PLACE) - 1)
        for place in (a, b):
            if (table[place] >> shift) & np.uint64(31) < height:
                table[place] = (table[place] & ~(np.uint64(31) << shift)) | (height << shift)


@kernel
def join(table: Any, first: Any, rows: Any) -> Any:
    """Lift the registers of `table` from place `first` on to those of `rows`, where these stand higher."""
    for i in range(len(rows)):
        ours, theirs = table[first + i], rows[i]
        if ours == theirs:
            continue
        joined = np.uint64(0)
        for register in range(REGISTERS):
            shift = np.uint64(register * BITS)
            joined |= max((ours >> shift) & np.uint64(31), (theirs >> shift) & np.uint64(31)) << shift
        table[first + i] = joined
    return table


@kernel
def _estimate(one: Any, other: Any) -> Any:
    """About how many accounts lifted the registers of two places, taken as one, float64.

    Ertl's estimator without thresholds (New cardinality estimation algorithms for HyperLogLog sketches, 2017, equation 18),
    for heights that none reaches the last of.
    """
    total = 0.0
    zeros = 0
    for register in range(REGISTERS):
        shift = np.uint64(register * BITS)
        height = max((one >> shift) & np.uint64(31), (other >> shift) & np.uint64(31))
        if height == 0:
            zeros += 1
        else:
            total += 2.0 ** -np.float64(height)
    if zeros == REGISTERS:
        return 0.0
    x = zeros / REGISTERS
    sigma, y = x, 1.0
    while x > 1e-9:
        x *= x
        sigma += x * y
        y += y
    return REGISTERS * REGISTERS / (2 * math.log(2.0)) / (REGISTERS * sigma + total)


@kernel
def _seen(now: Any, before: Any, hashes: Any) -> Any:
    """About how many accounts left a mark at each hash, the others that met there among them: the lower of its two places."""
    out = np.empty(len(hashes), np.float64)
    for i in range(len(hashes)):
        both = hashes[i] >> np.uint64(64 - 2 * _PLACE)
        a, b = both >> np.uint64(_PLACE), both & np.uint64((1 << _PLACE) - 1)
        out[i] = min(_estimate(now[a], before[a]), _estimate(now[b], before[b]))
    return out


@kernel
def _mixed(count: Any) -> Any:
    """Hashes that stand for no key, uint64 (count,)."""
    out = np.empty(count, np.uint64)
    for i in range(count):
        out[i] = mix(np.uint64(i) + np.uint64(1 << 50))
    return out


@kernel
def _places(network: Any, wanted: Any, kinds: Any, avatar: Any, handle: Any) -> Any:
    """The hashes of wanted keys of `kinds`, and of the lookup keys after them, uint64."""
    out = np.zeros(len(wanted), np.uint64)
    m = len(kinds)
    for i in range(len(wanted)):
        if wanted[i] >= 0:
            kind = np.int64(kinds[i]) if i < m else (handle if i == len(wanted) - 1 else avatar)
            out[i] = _place_of(network, kind, wanted[i])
    return out


@kernel
def _totals(now: Any, before: Any, network: Any, counted: Any, noise: Any) -> Any:
    """How many accounts have anything of each kind, and how many keys of it they have together, float64 (counted,) both."""
    sampled, carried = np.zeros(counted), np.zeros(counted)
    hashes = np.empty(PARTS, np.uint64)
    for kind in range(counted):
        for which, out in ((_ANY, sampled), (_EACH, carried)):
            for part in range(PARTS):
                hashes[part] = _place_of(network, kind, which + part)
            for value in _seen(now, before, hashes):
                out[kind] += max(value - noise, 0.0)
    return sampled, carried


class Usual(NamedTuple):
    """What is usual on one network, for the keys of one search.

    `known` float64 (m + LOOKUPS,): about how many accounts carry each key; `sampled` float64 (COUNTED,): how many carry any of the
    kind; `carried` float64 (COUNTED,): how many keys of the kind these carry together.
    """

    known: npt.NDArray[np.float64]
    sampled: npt.NDArray[np.float64]
    carried: npt.NDArray[np.float64]


def unknown(wanted: int) -> Usual:
    """Where nobody was counted: frequencies of so many keys are then those of the suspended accounts alone."""
    return Usual(np.zeros(wanted), np.zeros(COUNTED), np.zeros(COUNTED))


def number_of(network: str, account_id: str = "") -> int:
    """The 64-bit number by which marks are drawn for an account, or for a network."""
    named = f"{network}\0{account_id}".encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(named, digest_size=8).digest(), "little")


def marks_of(encoded: Encoded, networks: Sequence[int], accounts: Sequence[int]) -> npt.NDArray[np.uint64]:
    """The marks that accounts leave, uint64, each once: two places in the table, a register, a height.

    `networks` and `accounts` are numbers of `number_of`, one for each row of `encoded`.
    """
    columns = encoded.accounts
    return np.unique(
        _marks(
            np.array(networks, np.uint64), np.array(accounts, np.uint64), columns.starts, columns.keys, encoded.kinds,
            columns.avatars, columns.handles, COUNTED,
        )
    )  # fmt: skip


class Population:
    """The table of one installation, of this season and the one before. Threads may look while one of them adds."""

    def __init__(self) -> None:
        self._now = np.zeros(ROWS, np.uint64)
        self._before = np.zeros(ROWS, np.uint64)

    def fresh(self, marks: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        """Those of `marks` that would change what this season has counted."""
        return np.asarray(marks[_lifts(self._now, marks)])

    def add(self, marks: npt.NDArray[np.uint64], *, before: bool = False) -> None:
        """Count what `marks` stand for, in this season or the one before; those counted already change nothing."""
        lift(self._before if before else self._now, marks)

    def join(self, first: int, places: npt.NDArray[np.uint64], *, before: bool = False) -> None:
        """Take in what another table has at the places from `first` on."""
        join(self._before if before else self._now, first, places)

    def network(self, number: int) -> Network:
        """What is usual on the network of that number (see `number_of`)."""
        return Network(self._now, self._before, number)


class Network:
    """One network's share of a population, with totals as they are when it is made."""

    def __init__(self, now: npt.NDArray[np.uint64], before: npt.NDArray[np.uint64], number: int) -> None:
        self._now, self._before, self._number = now, before, np.uint64(number)
        # What keys seem to count that nobody carries.
        self._noise = float(np.median(_seen(now, before, _mixed(_PROBES))))
        self._sampled, self._carried = _totals(now, before, self._number, COUNTED, self._noise)

    def usual(self, wanted: npt.NDArray[np.int64], kinds: npt.NDArray[np.uint8]) -> Usual:
        """What is usual of these keys, of kinds `kinds`, and the lookup keys after them; -1 stands for no key."""
        seen = _seen(self._now, self._before, _places(self._number, wanted, kinds, AVATAR, HANDLE))
        return Usual(np.where(wanted < 0, 0.0, np.maximum(seen - self._noise, 0.0)), self._sampled, self._carried)
