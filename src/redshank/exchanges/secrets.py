"""Secrets of exchanges, encrypted under the installation's key: whoever reads the store alone reads none of them."""

from __future__ import annotations

import hmac

from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

from redshank.core import Problem


def lock(key: str, secret: str) -> bytes:
    """`secret` encrypted under the installation's `key` (XSalsa20 and Poly1305, with a fresh nonce)."""
    return bytes(_box(key).encrypt(secret.encode()))


def unlock(key: str, locked: bytes) -> str:
    """What was locked. Raises `Problem` where it was locked under another key."""
    try:
        return _box(key).decrypt(locked).decode()
    except CryptoError:
        raise Problem(
            "its secret cannot be read: the installation's secret_key is another", hint="Give the secret again."
        ) from None


def hide(text: str, secret: str) -> str:
    """`text` without the secret or its parts, wherever a server repeated them."""
    parts = {secret, *(part for mark in ":|," for part in secret.split(mark))}
    for part in sorted(parts, key=len, reverse=True):
        if len(part) > 5:
            text = text.replace(part, "‹secret›")
    return text


def _box(key: str) -> SecretBox:
    return SecretBox(hmac.digest(key.encode(), b"redshank secrets of exchanges\n1", "sha256"))
