"""What is said about an action: the message to the person it concerns, and the JSON that goes to the platform."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from redshank.core import Subject, Verb

SCHEMA_VERSION = 1

_DONE = {
    "remove": "removed",
    "restrict": "restricted",
    "suspend": "suspended",
    "label": "labeled",
    "restore": "restored",
}
_YOURS = {"account": "your account", "post": "your post", "media": "your picture or video"}

_encoder = msgspec.json.Encoder()


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to ask of a platform. `label` goes with the verb `label`, `duration_hours` with restrict and suspend."""

    verb: Verb
    subject: Subject
    label: str | None = None
    duration_hours: int | None = None


def duration(hours: int | None) -> str:
    """`for 3 days`, `for 5 hours`; empty for what holds until it is restored."""
    if not hours:
        return ""
    number, unit = (hours // 24, "day") if hours % 24 == 0 else (hours, "hour")
    return f"for {number} {unit}" + ("" if number == 1 else "s")


def fill(template: str, ask: Ask, reason: str) -> str:
    """The message to the person: {action}, {subject} and {reason} of a policy's template filled in, and nothing else.

    What a moderator or a stranger wrote is put in as it is: braces in it mean nothing.
    """
    action = " ".join(part for part in (_DONE[ask.verb], duration(ask.duration_hours)) if part)
    parts = {"{action}": action, "{subject}": _YOURS.get(ask.subject.kind, ask.subject.kind), "{reason}": reason}
    out, rest = [], template
    while rest:
        found = [(place, mark) for mark in parts if (place := rest.find(mark)) >= 0]
        if not found:
            break
        place, mark = min(found)
        out += [rest[:place], parts[mark]]
        rest = rest[place + len(mark) :]
    return "".join([*out, rest]).strip()


def compose(
    action: str,
    ask: Ask,
    *,
    policy: str,
    reason: str,
    message: str,
    automated: bool,
    undoes: str | None,
    at: datetime,
) -> str:
    """The body of the webhook: one JSON object in the envelope of Standard Webhooks (type, timestamp, data).

    Who decided is not named to the platform; whether a rule did alone is, since the person must be told
    (Regulation (EU) 2022/2065, Article 17(3)(c)).
    """
    subject: dict[str, Any] = {"kind": ask.subject.kind, "id": ask.subject.id}
    if ask.subject.account:
        subject["account"] = ask.subject.account
    return _encoder.encode(
        {
            "type": "action.requested",
            "timestamp": at,
            "schema": SCHEMA_VERSION,
            "data": {
                "action": action,
                "network": ask.subject.network,
                "verb": ask.verb,
                "subject": subject,
                "label": ask.label,
                "duration_hours": ask.duration_hours,
                "policy": policy,
                "reason": reason,
                "message": message,
                "automated": automated,
                "undoes": undoes,
            },
        }
    ).decode()
