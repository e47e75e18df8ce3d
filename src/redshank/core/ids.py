"""Ids that make a repeat harmless: the same thing always gets the same id, so doing it twice changes nothing."""

from __future__ import annotations

import hashlib

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u to misread.


def stable_id(prefix: str, *parts: str) -> str:
    """`prefix` and 26 base-32 characters (130 bits of BLAKE2b) that depend on `parts` alone.

    The parts are length-prefixed, so ("ab", "c") and ("a", "bc") differ.
    """
    digest = hashlib.blake2b(digest_size=17)
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(4, "big"))
        digest.update(raw)
    number = int.from_bytes(digest.digest(), "big") >> 6
    return f"{prefix}_{''.join(_ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5))}"


def event_key(network: str, event_id: str) -> str:
    """The name of an event across networks, as it stands in logs and in the audit log: `network/event_id`."""
    return f"{network}/{event_id}"


def short_id(value: str) -> str:
    """The first 8 characters after the prefix: enough for a person to tell two apart on one page."""
    return value.rpartition("_")[2][:8]
