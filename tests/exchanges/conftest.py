from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from redshank.banks import services as banks
from redshank.exchanges import services
from redshank.exchanges.models import Exchange
from tests.exchanges.servers import Server

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)


class Clock:
    """The time, which only moves when it is told to."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def pass_(self, **length: float) -> None:
        self.now += timedelta(**length)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limits(settings: Any, tmp_path: Any) -> Callable[..., None]:
    """Changes the settings of exchanges."""
    settings.DATA_DIR = tmp_path

    def change(**changes: Any) -> None:
        one = msgspec.structs.replace(settings.REDSHANK.exchanges, **changes)
        settings.REDSHANK = msgspec.structs.replace(settings.REDSHANK, exchanges=one)

    return change


@pytest.fixture
def serve(limits: Callable[..., None]) -> Iterator[Callable[[Any], Server]]:
    """Serves an answering function, and lets exchanges ask there."""
    servers: list[Server] = []

    def start(answer: Any) -> Server:
        server = Server(answer)
        servers.append(server)
        limits(private=tuple(one.host for one in servers))
        return server

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def make_banks(db: None) -> dict[str, Any]:
    """A bank of each kind that sources send, by kind."""
    return {
        kind: banks.make_bank(f"from-{kind}", kind=kind, policy="terrorist-content", severity=3, by="system", now=NOW)
        for kind in ("pdq", "md5", "url", "sha256", "domain", "term", "name")
    }


@pytest.fixture
def exchange(make_banks: dict[str, Any]) -> Callable[..., Exchange]:
    def add(kind: str, address: str, *, name: str = "made-up", **more: Any) -> Exchange:
        return services.add_exchange(
            name,
            kind=kind,
            address=address,
            banks=[bank.name for bank in make_banks.values()],
            by="user:ada",
            now=NOW,
            **more,
        )

    return add


def md5(number: int) -> str:
    return f"{number:032x}"


def pdq(number: int) -> str:
    """A hash that shows something: half of its bits are set."""
    return f"{(number * 0x9E3779B97F4A7C15F39CC0605CEDC834) % 2**128:032x}" + "0f" * 16
