"""Turns profiles into columns of numbers that compare in microseconds: keys, skeletons, hashes, counts.

The one idea: whatever an account shares with another (whom it follows, a word, a domain, a token) becomes a key of 32
bits, and an account is a sorted run of such keys beside a few fixed fields. The index counts how many accounts have a
key, and that count is what sharing it is worth. Two different things have one key in four billion pairs; of the raw
values nothing is kept.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from redshank.core import BadInput
from redshank.evasion import kernels
from redshank.evasion.names import MAX_SKELETON, display_skeleton, handle_skeleton
from redshank.evasion.profiles import PURPOSES, Profile
from redshank.text import fold

KINDS = ("follow", "follower", "mention", "link", "declared", "word", "name", *PURPOSES, "banner", "habit")
"""What a key stands for; its place here is its number."""
FOLLOW, FOLLOWER, MENTION, LINK, DECLARED, WORD, NAME, DEVICE, ADDRESS, MAIL, PHONE, BANNER, HABIT = range(len(KINDS))
LIMITS = np.array([2000, 500, 500, 100, 20, 60, 12, 8, 8, 8, 8, 8, 24], np.int64)
"""Keys of a kind that are kept: those with the smallest numbers, so that two long lists keep the same part of themselves."""
MAX_READ = 50_000
"""Follows, followers, mentions that are read at all; whoever follows more follows everybody, which says nothing."""
MAX_BIO = 2_000
_WORD = re.compile(r"\w{2,40}")


class Accounts(NamedTuple):
    """`n` accounts as columns; `keys` of account i are `keys[starts[i]:starts[i + 1]]`, by kind, ascending
    within a kind, each once.

    ids int64 (n,); ended uint32 (n,), seconds; numbers uint32 (n,), from the handle; avatars uint64 (n, 4), 0 for none;
    hours uint8 (n, 24); handles and names uint8 (n, 24), ASCII padded with 0; languages uint16 (n,), 0 for unknown;
    counts uint16 (n, 13), how many of each kind there were before the limits; starts int64 (n + 1,); keys uint32.
    """

    ids: npt.NDArray[np.int64]
    ended: npt.NDArray[np.uint32]
    numbers: npt.NDArray[np.uint32]
    avatars: npt.NDArray[np.uint64]
    hours: npt.NDArray[np.uint8]
    handles: npt.NDArray[np.uint8]
    names: npt.NDArray[np.uint8]
    languages: npt.NDArray[np.uint16]
    counts: npt.NDArray[np.uint16]
    starts: npt.NDArray[np.int64]
    keys: npt.NDArray[np.uint32]


class Encoded(NamedTuple):
    """Accounts, with the kind of each key (uint8), and when they were made (int64 seconds, 0 for unknown)."""

    accounts: Accounts
    kinds: npt.NDArray[np.uint8]
    created: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.created)


class Raw(NamedTuple):
    """Columns before they are packed: what readers of files and `encode` have in common.

    `strings` belong to accounts in order, `string_counts` (int64) to each; `string_kinds` uint8. `more` are keys made
    elsewhere, all of kind follow, `more_starts` int64 (n + 1,).
    """

    ids: npt.NDArray[np.int64]
    created: npt.NDArray[np.int64]
    ended: npt.NDArray[np.int64]
    avatars: npt.NDArray[np.uint64]
    hours: npt.NDArray[np.int64]
    handles: Sequence[str]
    names: Sequence[str]
    bios: Sequence[str]
    languages: Sequence[str]
    strings: list[str]
    string_kinds: list[int]
    string_counts: list[int]
    more: npt.NDArray[np.uint32]
    more_starts: npt.NDArray[np.int64]


def encode(profiles: Iterable[Profile], *, live_keys: Collection[str] | None = None) -> Encoded:
    """The profiles as columns. Tokens under keys that are not in `live_keys` are left out; None takes all.

    Raises `BadInput` naming the account for what has the wrong shape; what is too long is cut, never refused.
    """
    listed = list(profiles)
    n = len(listed)
    avatars = np.zeros((n, 4), np.uint64)
    hours = np.zeros((n, 24), np.int64)
    strings: list[str] = []
    kinds: list[int] = []
    counts: list[int] = []
    for at, profile in enumerate(listed):
        _check(profile)
        if profile.avatar:
            avatars[at] = np.frombuffer(profile.avatar, ">u8")
        if profile.hours:
            hours[at] = profile.hours
        before = len(strings)
        for kind, values in (
            (FOLLOW, profile.follows),
            (FOLLOWER, profile.followers),
            (MENTION, profile.mentions),
            (LINK, profile.links),
            (DECLARED, _declared(profile)),
            (HABIT, profile.habits),
        ):
            if values:
                strings += values if len(values) <= MAX_READ else islice(values, MAX_READ)
                kinds += [kind] * (len(strings) - len(kinds))
        # A banner is known by its eighths, so that a changed corner leaves the others alike.
        for part in range(0, len(profile.banner), 4):
            strings.append(f"{part}:{profile.banner[part : part + 4].hex()}")
            kinds.append(BANNER)
        for token in profile.tokens[:100]:
            if live_keys is None or token.key in live_keys:
                strings.append(f"{token.key}\0{token.value}")
                kinds.append(KINDS.index(token.purpose))
        counts.append(len(strings) - before)
    return pack(
        Raw(
            ids=np.array([p.number for p in listed], np.int64),
            created=np.array([p.created_at for p in listed], np.int64),
            ended=np.array([p.ended_at for p in listed], np.int64),
            avatars=avatars,
            hours=hours,
            handles=[p.handle for p in listed],
            names=[p.display_name for p in listed],
            bios=[p.bio for p in listed],
            languages=[p.language for p in listed],
            strings=strings,
            string_kinds=kinds,
            string_counts=counts,
            more=np.empty(0, np.uint32),
            more_starts=np.zeros(n + 1, np.int64),
        )
    )


def _declared(profile: Profile) -> tuple[str, ...]:
    """What an account says of itself, to be compared: of a suspended one its addresses, of a new one those that it calls its own.

    What a suspended account says of others, or what both say of a third, does not count: it could name anybody.
    """
    if profile.ended_at:
        return profile.own
    return tuple(one for one in profile.declared if one not in profile.own)


def _check(profile: Profile) -> None:
    where = f"account {profile.number}"
    for name, picture in (("avatar", profile.avatar), ("banner", profile.banner)):
        if len(picture) not in {0, 32}:
            raise BadInput(f"{name}: a hash of {len(picture)} bytes", where=where, hint="It has 32, or none.")
    if len(profile.hours) not in {0, 24} or any(not 0 <= count < 2**31 for count in profile.hours):
        raise BadInput("hours are not 24 counts", where=where, hint="Posts by hour of the day in UTC, or none.")
    if not -(2**63) <= profile.number < 2**63:
        raise BadInput("a number that does not fit into 64 bits", where=where)
    for name, value in (("created_at", profile.created_at), ("ended_at", profile.ended_at)):
        if not 0 <= value < 2**32:
            raise BadInput(f"{name} is no time in seconds since 1970", where=where)
    for token in profile.tokens:
        if token.purpose not in PURPOSES:
            raise BadInput(f"a token for {token.purpose!r}", where=where, hint=f"Known: {', '.join(PURPOSES)}.")


def pack(raw: Raw) -> Encoded:
    """The columns of `raw`: names brought to skeletons, words cut, strings hashed, keys sorted."""
    n = len(raw.ids)
    handles, names = bytearray(n * MAX_SKELETON), bytearray(n * MAX_SKELETON)
    numbers = np.zeros(n, np.uint32)
    strings: list[str] = []
    kinds: list[int] = []
    sizes = np.zeros(n, np.int64)
    taken = 0
    for at in range(n):
        before = len(strings)
        step = raw.string_counts[at]
        if step:
            strings += raw.strings[taken : taken + step]
            kinds += raw.string_kinds[taken : taken + step]
            taken += step
        handle, name = handle_skeleton(raw.handles[at] or ""), display_skeleton(raw.names[at] or "")
        offset = at * MAX_SKELETON
        if handle.text:
            shown = handle.text.encode("ascii")
            handles[offset : offset + len(shown)] = shown
        if name.text:
            shown = name.text.encode("ascii")
            names[offset : offset + len(shown)] = shown
        numbers[at] = handle.number
        parts = {*handle.parts, *name.parts}
        strings += parts
        kinds += [NAME] * len(parts)
        if bio := raw.bios[at]:
            words = set(_WORD.findall(fold(bio[:MAX_BIO]).text))
            strings += words
            kinds += [WORD] * len(words)
        sizes[at] = len(strings) - before
    hashed = keys_of(strings, np.array(kinds, np.uint8))
    starts = np.zeros(n + 1, np.int64)
    np.cumsum(sizes, out=starts[1:])
    keys, key_kinds, key_starts, counts = kernels.merge_keys(
        starts, hashed, np.array(kinds, np.uint8), raw.more_starts, raw.more, LIMITS
    )
    top = np.maximum(raw.hours.max(axis=1, initial=0), 1)[:, None]
    hours = np.where(top > 255, raw.hours * 255 // top, raw.hours).astype(np.uint8)
    languages = keys_of([value or "" for value in raw.languages], np.full(n, 255, np.uint8)).astype(np.uint16)
    languages[[not value for value in raw.languages]] = 0
    accounts = Accounts(
        ids=raw.ids,
        ended=raw.ended.astype(np.uint32),
        numbers=numbers,
        avatars=raw.avatars,
        hours=hours,
        handles=np.frombuffer(bytes(handles), np.uint8).reshape(n, MAX_SKELETON),
        names=np.frombuffer(bytes(names), np.uint8).reshape(n, MAX_SKELETON),
        languages=languages,
        counts=counts,
        starts=key_starts,
        keys=keys,
    )
    return Encoded(accounts, key_kinds, raw.created)


def keys_of(strings: list[str], kinds: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint32]:
    """A key for each string of its kind, uint8; the same string of another kind has another key."""
    raw = [string.encode("utf-8", "surrogatepass") for string in strings]
    ends = np.cumsum(np.fromiter(map(len, raw), np.int64, len(raw)))
    return np.asarray(kernels.hash_spans(np.frombuffer(b"".join(raw), np.uint8), ends, kinds), np.uint32)


def take(encoded: Encoded, rows: npt.NDArray[np.int64]) -> Encoded:
    """The accounts at `rows`, int64, in that order."""
    old = encoded.accounts
    sizes = np.diff(old.starts)[rows]
    starts = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(sizes, out=starts[1:])
    places = kernels.spread(old.starts, rows, starts)
    columns = {name: getattr(old, name)[rows] for name in Accounts._fields if name not in {"starts", "keys"}}
    return Encoded(
        Accounts(**columns, starts=starts, keys=old.keys[places]), encoded.kinds[places], encoded.created[rows]
    )


def join(parts: Sequence[Encoded]) -> Encoded:
    """All the accounts, one part after the other."""
    if len(parts) < 2:
        return parts[0] if parts else encode([])
    columns = {
        name: np.concatenate([getattr(part.accounts, name) for part in parts])
        for name in Accounts._fields
        if name != "starts"
    }
    starts = np.zeros(len(columns["ids"]) + 1, np.int64)
    np.cumsum(np.concatenate([np.diff(part.accounts.starts) for part in parts]), out=starts[1:])
    return Encoded(
        Accounts(**columns, starts=starts),
        np.concatenate([part.kinds for part in parts]),
        np.concatenate([part.created for part in parts]),
    )


def less(
    encoded: Encoded, *, kinds: Collection[int] = (), follows: int | None = None, times: bool = True, seed: int = 1
) -> Encoded:
    """The accounts as they would be were less known of them: no keys of `kinds`, no more than so many follows, no times."""
    accounts, counts = encoded.accounts, encoded.accounts.counts.copy()
    keep = ~np.isin(encoded.kinds, list(kinds))
    counts[:, list(kinds)] = 0
    owner = np.repeat(np.arange(len(encoded)), np.diff(accounts.starts))
    if follows is not None:
        is_follow = encoded.kinds == FOLLOW
        order = np.lexsort((np.random.default_rng(seed).random(len(owner)), ~is_follow, owner))
        place = np.empty(len(owner), np.int64)
        place[order] = np.arange(len(owner)) - accounts.starts[:-1][owner[order]]
        keep &= ~is_follow | (place < follows)
        counts[:, FOLLOW] = np.minimum(counts[:, FOLLOW], follows)
    starts = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum(np.bincount(owner[keep], minlength=len(encoded)), out=starts[1:])
    created = encoded.created if times else np.zeros_like(encoded.created)
    changed = accounts._replace(counts=counts, starts=starts, keys=accounts.keys[keep])
    return Encoded(changed, encoded.kinds[keep], created)
