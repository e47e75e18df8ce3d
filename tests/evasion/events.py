"""A small platform's events, for the tests of returning accounts online: people who follow, post, are suspended, come back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from redshank.evasion import services as evasion
from redshank.pipeline import accept, ask_due

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
SERIAL = iter(range(10**9))


def event(
    kind: str, account: dict[str, Any] | str, *, at: datetime = NOW, network: str = "marsh", **more: Any
) -> bytes:
    who = {"id": account} if isinstance(account, str) else account
    body = {"id": f"e{next(SERIAL)}", "type": kind, "network": network, "at": at.isoformat(), "account": who, **more}
    return json.dumps(body).encode()


def sign_up(account_id: str, *, at: datetime = NOW, network: str = "marsh", **profile: Any) -> bytes:
    account = {"id": account_id, "handle": account_id, "created_at": at.isoformat(), **profile}
    return event("account.created", account, at=at, network=network)


def follows(account_id: str, followed: Sequence[str], *, at: datetime = NOW, network: str = "marsh") -> list[bytes]:
    return [event("follow.created", account_id, at=at, network=network, followed={"id": one}) for one in followed]


def posts(account_id: str, count: int, *, at: datetime = NOW, network: str = "marsh", **post: Any) -> list[bytes]:
    body = {"text": "good morning", **post}
    return [
        event("post.created", account_id, at=at, network=network, post={"id": f"p{next(SERIAL)}", **body})
        for _ in range(count)
    ]


def circle(first: int, count: int) -> list[str]:
    return [f"f{number}" for number in range(first, first + count)]


def take(events: Sequence[bytes], *, now: datetime = NOW) -> None:
    answers = accept(events, now=now, actor="key:marsh")
    assert {answer.status for answer in answers} <= {"accepted"}, answers


def work(*, now: datetime = NOW) -> None:
    """What a worker does until nothing is left."""
    while evasion.gather_news(now=now) + ask_due(now=now, limit=50):
        pass


def scene(*, others: int = 60, now: datetime = NOW) -> None:
    """Suspended accounts, each with people of its own whom it follows; `old` is one of them."""
    start = now - timedelta(days=20)
    events: list[bytes] = []
    for number in range(others):
        name = f"s{number}"
        events += [sign_up(name, at=start), *follows(name, circle(10_000 + 40 * number, 25), at=start)]
    events += [
        sign_up("old", at=start, bio="reed songs at dawn https://reed.example/club"),
        *follows("old", circle(0, 30), at=start),
    ]
    events += posts("old", 8, at=start, mentions=["m1", "m2"], links=["https://reed.example/songs"])
    take(events, now=now)
    work(now=now)
    take(
        [
            event("account.suspended", name, at=now - timedelta(days=2))
            for name in ("old", *(f"s{n}" for n in range(others)))
        ],
        now=now,
    )
    work(now=now)


def come_back(account_id: str = "new", *, many: int = 20, at: datetime = NOW - timedelta(hours=1)) -> None:
    """The owner of `old` signs up again, and follows those whom they followed before."""
    take(
        [
            sign_up(account_id, at=at, handle="dawnsinger", bio="songs of the reed, at dawn"),
            *follows(account_id, circle(0, many), at=at),
        ]
    )
    take(posts(account_id, 8, at=at, mentions=["m1", "m2"], links=["https://reed.example/songs"]))
