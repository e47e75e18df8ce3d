"""Reads what a platform answered to an action, and says what follows. Nothing a platform answers is taken on trust.

Only an answer that names the action counts as one about it, and nobody can have seen before what was never sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal

import msgspec

MAX_ANSWER = 64 * 1024
"""Bytes of an answer that are read; a longer one is no answer."""
MAX_REASON = 500
"""Characters of a platform's reason that are kept."""

RETRY_STATUS = frozenset((408, 409, 425, 429))
"""4xx that say "later", not "never": time-out, conflict, too early, too many (RFC 9110, 8470, 6585)."""

FIRST_DELAY = 5.0
LONGEST_DELAY = 3600.0
"""Seconds between tries: they double from the first to the longest, so that an hour after a platform is back at the
latest, everything that waited for it has been sent."""


class Outcome(msgspec.Struct, frozen=True):
    """What follows from one try.

    `confirmed`, `failed`: the platform said so. `taken`: it will say so later. `again`: try later, in `wait` seconds at
    the least. `dead`: trying again would not help. `lied`: as `again`, and no "duplicate" of it is believed any more.
    """

    what: Literal["confirmed", "failed", "taken", "again", "dead"]
    reason: str = ""
    status: int | None = None
    wait: float = 0.0
    lied: bool = False


class _Reply(msgspec.Struct):
    action: str
    state: str | None = None
    reason: str | None = None
    duplicate: bool = False


_decoder = msgspec.json.Decoder(_Reply)


def read_answer(
    action: str, status: int, headers: Mapping[str, str], body: bytes, *, sent_before: bool, now: datetime
) -> Outcome:
    """What follows from an answer to `action`.

    `headers` has lower-case names; `body` is what was read of it. `sent_before`: an earlier try may have reached the
    platform, so that it may rightly call this one a duplicate.
    """
    if 200 <= status < 300:
        return _read_success(action, status, body, sent_before=sent_before)
    said = _said(body)
    if 300 <= status < 400:
        where = headers.get("location", "")[:200]
        return Outcome("again", f"answered {status}, a redirect to {where or 'nowhere'}; none is followed", status)
    if 400 <= status < 500 and status not in RETRY_STATUS:
        return Outcome("dead", f"refused with {status}{said}", status)
    return Outcome("again", f"answered {status}{said}", status, wait=retry_after(headers.get("retry-after", ""), now))


def _read_success(action: str, status: int, body: bytes, *, sent_before: bool) -> Outcome:
    if status == 204 or not body.strip():
        return Outcome("taken", status=status)
    if len(body) > MAX_ANSWER:
        return Outcome("again", f"answered {status} with more than {MAX_ANSWER // 1024} KiB", status)
    try:
        reply = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        if status == 202:
            return Outcome("taken", status=status)
        return Outcome("again", f"answered {status} with what is no answer to an action{_said(body)}", status)
    if reply.action != action:
        return Outcome("again", f"answered about another action, {clean(reply.action)[:60]}", status, lied=True)
    if (reply.duplicate or reply.state == "duplicate") and not sent_before:
        return Outcome("again", "called it a duplicate, though it was never sent before", status, lied=True)
    reason = clean(reply.reason or "")
    if reply.state == "confirmed":
        return Outcome("confirmed", reason, status)
    if reply.state == "failed":
        return Outcome("failed", reason or "the platform gave no reason", status)
    if reply.state in (None, "sent", "requested", "duplicate"):
        return Outcome("taken", reason, status)
    return Outcome("again", f"answered with the unknown state {clean(reply.state)[:40]}", status)


def retry_after(value: str, now: datetime) -> float:
    """Seconds that a Retry-After header (RFC 9110, 10.2.3: seconds or a date) asks to wait; 0 where it says nothing."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(min(int(value[:10]), 10**9))
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):
        return 0.0
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - now).total_seconds())


def delay(attempts: int, chance: float) -> float:
    """Seconds to wait after try number `attempts` (from 1): doubling, and spread by `chance` (0 to 1) over its half.

    The spread keeps many actions that failed together from coming back together.
    """
    whole = min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(attempts - 1, 30))
    return whole * (0.5 + 0.5 * chance)


def clean(text: str) -> str:
    """A platform's words, as they may be stored and shown: printable, on one line, not too long."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:MAX_REASON]).strip()


def _said(body: bytes) -> str:
    text = clean(body[:400].decode("utf-8", "replace"))[:200]
    return f": {text}" if text else ""
