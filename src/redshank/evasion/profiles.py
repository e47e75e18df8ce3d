"""What may be known of an account when we ask whether its owner was here before. Every field may be absent.

The one idea: an absent field says nothing, neither for nor against. Raw addresses, devices, mail and phone numbers have
no field here: they come as keyed tokens, each under a named key, and are compared only as long as that key is live.
"""

from __future__ import annotations

import msgspec

PURPOSES = ("device", "address", "mail", "phone")


class KeyedToken(msgspec.Struct, frozen=True):
    """An HMAC of an identifier: what it stands for (one of `PURPOSES`), the name of the key it was made with, and it."""

    purpose: str
    key: str
    value: str


class Profile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An account as evidence.

    `number` is the installation's own, an int64 that is never used for another account. `avatar` and `banner` are
    perceptual hashes of 32 bytes. `hours` counts posts by hour of the day in UTC: 24 numbers, or none. Times are in whole seconds since 1970;
    `ended_at` is when the account was suspended, 0 for an account that still lives. `follows`, `followers` (and those who
    greeted it), `mentions` hold accounts, each by a name that no other network has for another one, `links` normalized links or domains, `declared` accounts that
    the profile names as its own, `own` the addresses of the account itself, in the same form. `habits` are ways of writing that its posts show more than once.
    """

    number: int
    handle: str = ""
    display_name: str = ""
    bio: str = ""
    language: str = ""
    avatar: bytes = b""
    banner: bytes = b""
    links: tuple[str, ...] = ()
    declared: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    follows: tuple[str, ...] = ()
    followers: tuple[str, ...] = ()
    mentions: tuple[str, ...] = ()
    habits: tuple[str, ...] = ()
    tokens: tuple[KeyedToken, ...] = ()
    hours: tuple[int, ...] = ()
    created_at: int = 0
    ended_at: int = 0
