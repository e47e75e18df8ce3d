"""Keyed tokens under an agreement: made by the platform from what only it knows, under a key that changes each month.

A token reads `purpose:KEY:VALUE`; KEY is `p`, the agreement's code and the month; VALUE are 16 bytes of an HMAC-SHA256 in base64url.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import unicodedata
from datetime import UTC, datetime

MONTHS = 3
"""Months for which tokens are kept and compared: this one and those before."""


def code_of(secret: bytes) -> str:
    """An agreement's code: eight hex digits that both sides derive from their secret, and that tell nothing of it."""
    return hmac.digest(secret, b"redshank peers code", "sha256").hex()[:8]


def key_name(code: str, at: datetime, *, months: int = 0) -> str:
    """The name of the key of the month of `at`, or of so many months before."""
    at = at.astimezone(UTC)
    month = at.year * 12 + at.month - 1 - months
    return f"p{code}-{month // 12:04d}-{month % 12 + 1:02d}"


def key_names(code: str, at: datetime) -> list[str]:
    """The names of the keys that are live at `at`, the newest first; next month's too, as clocks differ."""
    return [key_name(code, at, months=months) for months in range(-1, MONTHS)]


def key_of(secret: bytes, name: str) -> bytes:
    """The key of that name, 32 bytes: for the platform alone, which makes tokens with it."""
    return hmac.digest(secret, f"redshank peers key\n{name}".encode(), "sha256")


def make_token(key: bytes, name: str, purpose: str, identifier: str) -> str:
    """The token of a raw identifier, to be made by the platform, as whose client this stands in `redshank.client` too.

    Both sides must write an identifier alike first: compatibility forms, without blanks, in lower case; of a phone number the digits
    alone, with the country's code.
    """
    plain = "".join(unicodedata.normalize("NFKC", identifier).split()).casefold()
    if purpose == "phone":
        plain = "".join(char for char in plain if char.isdigit()).lstrip("0")
    value = hmac.digest(key, f"{purpose}\0{plain}".encode(), hashlib.sha256)[:16]
    return f"{purpose}:{name}:{base64.urlsafe_b64encode(value).rstrip(b'=').decode()}"
