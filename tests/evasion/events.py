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


def scene(*, others: int = 60, owners: int = 1, now: datetime = NOW) -> None:
    """Suspended accounts, each with people of its own whom it follows; `old`, `old1`, … also talk and have a bio."""
    start = now - timedelta(days=20)
    events: list[bytes] = []
    names = [f"s{number}" for number in range(others)]
    for number, name in enumerate(names):
        events += [sign_up(name, at=start), *follows(name, circle(10_000 + 40 * number, 25), at=start)]
    for number in range(owners):
        name = owner(number)
        page = f"https://reed{number}.example"
        events += [sign_up(name, at=start, bio=f"reed{number or ''} songs{number or ''} at dawn {page}/club")]
        events += follows(name, circle(100 * number, 30), at=start)
        events += posts(name, 8, at=start, mentions=[f"m{number}", f"w{number}"], links=[f"{page}/songs"])
        names.append(name)
    take(events, now=now)
    work(now=now)
    take([event("account.suspended", name, at=now - timedelta(days=2)) for name in names], now=now)
    work(now=now)


def owner(number: int) -> str:
    return f"old{number or ''}"


def come_back(account_id: str = "new", *, of: int = 0, many: int = 20, at: datetime = NOW - timedelta(hours=1)) -> None:
    """The owner of that number signs up again, and follows those whom they followed before."""
    take(
        [
            sign_up(
                account_id,
                at=at,
                handle=f"dawnsinger{account_id}",
                bio=f"songs{of or ''} of the reed{of or ''}, at dawn",
            ),
            *follows(account_id, circle(100 * of, many), at=at),
        ]
    )
    take(posts(account_id, 8, at=at, mentions=[f"m{of}", f"w{of}"], links=[f"https://reed{of}.example/songs"]))
