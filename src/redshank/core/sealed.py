"""Secrets sealed under the installation's key: whoever reads the store alone reads none of them.

The one idea: each use has a label, and each label a key of its own, so that what was sealed for one use opens for no other.
"""

from __future__ import annotations

import hmac

from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

from redshank.core.errors import Problem


def seal(key: str, secret: bytes, *, label: str) -> bytes:
    """`secret` encrypted under the installation's `key` for the use `label` (XSalsa20 and Poly1305, with a fresh nonce)."""
    return bytes(_box(key, label).encrypt(secret))


def unseal(key: str, sealed: bytes, *, label: str, where: str = "") -> bytes:
    """What was sealed. Raises `Problem`, naming `where`, if that was under another key or for another use, or is damaged."""
    try:
        return bytes(_box(key, label).decrypt(sealed))
    except (CryptoError, ValueError):
        what = "its secret cannot be read: the installation's secret_key is another"
        raise Problem(what, where=where, hint="It has to be given, or agreed on, anew.") from None


def _box(key: str, label: str) -> SecretBox:
    return SecretBox(hmac.digest(key.encode(), f"redshank sealed\n{label}".encode(), "sha256"))
