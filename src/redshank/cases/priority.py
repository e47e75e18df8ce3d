"""Where a case stands among the others: its queue, its priority, its deadline, and what moves it.

What asks for a case asks with a priority and a deadline. A case keeps the highest and the earliest of all that it
gathered, and the reason that goes with them; more of the same moves nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec

from redshank.core import Subject

ESCALATIONS = "escalations"
ESCALATED_PRIORITY = 90
ESCALATED_WITHIN = timedelta(hours=4)

BY_SOURCE: dict[str, timedelta] = {
    "authority": timedelta(hours=1),
    "trusted_flagger": timedelta(hours=24),
    "user": timedelta(hours=72),
    "third_party": timedelta(hours=72),
    "person": timedelta(hours=72),
}
"""How soon somebody must have looked, by who asks. An hour is what Regulation (EU) 2021/784, Article 3(3), gives for a
removal order; that trusted flaggers come before users is Regulation (EU) 2022/2065, Article 22(1). The rest is ours."""

BY_PRIORITY: tuple[tuple[int, timedelta], ...] = (
    (90, timedelta(hours=4)),
    (70, timedelta(hours=24)),
    (40, timedelta(hours=72)),
    (0, timedelta(days=7)),
)
"""The same for what a rule asks for, by the priority it gives: from so many of 100."""


class NewItem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing for a case to gather; `kind` says what `body` is. The same `key` again changes nothing."""

    key: str
    kind: Literal["finding", "fired", "report"]
    event: str
    body: dict[str, Any]
    at: datetime


class CaseRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody asks for a case on `subject`, or for the open one to be fed.

    `policy` is a policy's slug or None; `priority` runs from 0 to 100; `deadline` None means the source's own.
    """

    subject: Subject
    policy: str | None
    queue: str
    priority: int
    priority_reason: str
    source: str
    deadline: datetime | None
    items: tuple[NewItem, ...] = ()


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a case stands, under which policy, and why."""

    queue: str
    priority: int
    priority_reason: str
    deadline: datetime
    policy: str | None


def deadline_of(source: str, priority: int, now: datetime) -> datetime:
    """When a person must have looked at what `source` asks for at `now`."""
    within = BY_SOURCE.get(source)
    if within is None:
        within = next(within for least, within in BY_PRIORITY if priority >= least or least == 0)
    return now + within


def place_of(request: CaseRequest, now: datetime) -> Place:
    """Where a case would stand that was opened for `request` at `now`."""
    return Place(
        queue=request.queue[:40] or "review",
        priority=min(100, max(0, request.priority)),
        priority_reason=request.priority_reason,
        deadline=request.deadline or deadline_of(request.source, request.priority, now),
        policy=request.policy,
    )


def raised(place: Place, asked: Place) -> Place:
    """`place` after `asked` came on top. The same again, or less, leaves it as it is.

    The queue follows the earlier deadline, but nothing leaves the escalations by itself; the policy and the reason
    follow the higher priority.
    """
    sooner = asked.deadline < place.deadline
    higher = asked.priority > place.priority
    reason = asked.priority_reason if higher or (sooner and asked.priority == place.priority) else place.priority_reason
    return Place(
        queue=asked.queue if sooner and place.queue != ESCALATIONS else place.queue,
        priority=max(place.priority, asked.priority),
        priority_reason=reason,
        deadline=min(place.deadline, asked.deadline),
        policy=(asked.policy or place.policy) if higher else (place.policy or asked.policy),
    )


def escalated(place: Place, reason: str, now: datetime) -> Place:
    """`place` after a person asked for those who are there for the hardest."""
    return Place(
        queue=ESCALATIONS,
        priority=max(place.priority, ESCALATED_PRIORITY),
        priority_reason=reason,
        deadline=min(place.deadline, now + ESCALATED_WITHIN),
        policy=place.policy,
    )


class Gathered(msgspec.Struct, frozen=True, kw_only=True):
    """All that was asked for on one subject at once."""

    subject: Subject
    place: Place
    source: str
    items: tuple[NewItem, ...]


def merge(requests: Iterable[CaseRequest], now: datetime) -> list[Gathered]:
    """The requests by subject, in the subjects' order; items of the same key once."""
    merged: dict[tuple[str, str, str], Gathered] = {}
    for request in requests:
        subject = request.subject
        key = (subject.network, subject.kind, subject.id)
        before = merged.get(key)
        if before is None:
            items = tuple({item.key: item for item in request.items}.values())
            merged[key] = Gathered(subject=subject, place=place_of(request, now), source=request.source, items=items)
            continue
        merged[key] = Gathered(
            subject=before.subject if before.subject.account else subject,
            place=raised(before.place, place_of(request, now)),
            source=before.source,
            items=tuple({item.key: item for item in (*before.items, *request.items)}.values()),
        )
    return [merged[key] for key in sorted(merged)]
