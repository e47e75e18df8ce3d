"""Signs what leaves, so that a platform knows that it came from us, unchanged and just now.

The format is that of Standard Webhooks (standardwebhooks.com, version 1): three headers, and HMAC-SHA256 over
`id.timestamp.body`. Secrets are derived from the installation's key and never stored: there is none to steal from the
store, and raising a connector's secret version changes its secret.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from redshank.core import BadInput

TOLERANCE = timedelta(minutes=5)
"""How old or early a signed message may be: against one that was recorded and is played again later."""

PREFIX = "whsec_"


def derive_secret(key: str, network: str, version: int) -> str:
    """The webhook secret of `network`: `whsec_` and 32 bytes in base64, as HMAC-SHA256 of `key` gives them."""
    purpose = f"redshank webhook secret\n{network}\n{version}".encode()
    return PREFIX + base64.b64encode(hmac.digest(key.encode(), purpose, "sha256")).decode()


def sign(secrets: Sequence[str], message_id: str, at: datetime, body: bytes) -> dict[str, str]:
    """The three headers for `body`: signed under each of `secrets`, so that a receiver may hold an old or a new one.

    `at` is an aware time; the header holds its seconds since 1970.
    """
    stamp = str(int(at.timestamp()))
    return {
        "webhook-id": message_id,
        "webhook-timestamp": stamp,
        "webhook-signature": " ".join(f"v1,{_signature(secret, message_id, stamp, body)}" for secret in secrets),
    }


def verify(secret: str, headers: Mapping[str, str], body: bytes, *, now: datetime) -> str:
    """The id of a message that was signed under `secret` within five minutes of `now`.

    `headers` has lower-case names. Raises BadInput for anything else; the comparison takes the same time either way.
    """
    message_id = headers.get("webhook-id", "")
    stamp = headers.get("webhook-timestamp", "")
    if not message_id or "." in message_id:
        raise BadInput("missing, or with a dot in it", where="webhook-id")
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 12):
        raise BadInput("not a number of seconds", where="webhook-timestamp")
    if abs(now.timestamp() - int(stamp)) > TOLERANCE.total_seconds():
        raise BadInput("more than five minutes from our clock", where="webhook-timestamp")
    right = _signature(secret, message_id, stamp, body).encode()
    given = [part[3:].encode() for part in headers.get("webhook-signature", "").split(" ") if part.startswith("v1,")]
    if not any([hmac.compare_digest(right, one) for one in given]):  # noqa: C419 - a list: all are compared.
        raise BadInput("does not fit", where="webhook-signature")
    return message_id


def _signature(secret: str, message_id: str, stamp: str, body: bytes) -> str:
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except ValueError:
        raise BadInput("not a webhook secret", where=secret[:6]) from None
    signed = b".".join((message_id.encode(), stamp.encode(), body))
    return base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
