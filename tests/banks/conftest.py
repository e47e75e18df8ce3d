from __future__ import annotations

from datetime import UTC, datetime

import pytest

from redshank.banks import services
from redshank.core import Account, Media, Post, PostCreated

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)


@pytest.fixture
def make(db):
    """Makes a bank with entries, and gives both."""

    def make(kind, *values, name="", severity=3, policy="terrorist-content", **more):
        bank = services.make_bank(
            name or f"known-{kind}", kind=kind, policy=policy, severity=severity, by="system", now=NOW, **more
        )
        new = [value if isinstance(value, services.NewEntry) else services.NewEntry(value=value) for value in values]
        return bank, services.add_entries(bank, new, by="system", now=NOW)

    return make


def post(text="", *, account=None, **more):
    """A post of an account about which nothing is said."""
    return PostCreated(
        id="e1", network="marsh", at=NOW, account=account or Account(id="a1"), post=Post(id="p1", text=text, **more)
    )


def posted(item: Media):
    return post(media=(item,))
