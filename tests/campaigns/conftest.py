"""A week of shares on two networks, as events; kept by the walk, or given to it whole."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from redshank.campaigns import runs
from redshank.core import Account, Post, PostCreated
from tests.campaigns.test_finding import Rows, crowd

START = datetime(2026, 7, 6, tzinfo=UTC)
"""A Monday."""
DAY = 86_400
NOW = START + timedelta(days=7, hours=1)


@pytest.fixture(autouse=True)
def _files_of_its_own(tmp_path: Any, settings: Any) -> None:
    settings.DATA_DIR = tmp_path


def events_of(rows: Rows, *, first: int = 0, start: datetime = START) -> list[PostCreated]:
    return [
        PostCreated(
            id=f"e{first + at}", network=network, at=start + timedelta(seconds=time), account=Account(id=account),
            post=Post(id=f"p{first + at}", links=(link if "." in link else f"https://{link}.example/",)),
        )
        for at, (network, account, link, time) in enumerate(rows)
    ]  # fmt: skip


def keep(events: Iterable[PostCreated], *, now: datetime = NOW) -> None:
    runs.keep(((event, {}) for event in events), now=now)


def search(until: datetime = NOW, *, now: datetime = NOW) -> Any:
    return runs.run(runs.Due("asked", until.date()), now=now)


@pytest.fixture(scope="session")
def people() -> Rows:
    """Who has nothing to do with each other; so many that a campaign is not most of what happens."""
    return crowd(np.random.default_rng(7))
