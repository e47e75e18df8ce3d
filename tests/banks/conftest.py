from __future__ import annotations

from datetime import UTC, datetime

import pytest

from redshank.banks import services
from redshank.banks.base import Row
from redshank.banks.catalog import Catalog
from redshank.banks.detect import Known
from redshank.core import Account, Media, Post, PostCreated
from redshank.core.settings import MediaSettings
from redshank.matching import TermIndex

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)


class Listed:
    """A shelf of entries that stand in a list: (entry, its packed frames)."""

    def __init__(self, entries):
        self._entries = {entry.id: entry for entry, _ in entries}
        self._frames = {entry.id: frames for entry, frames in entries}

    def entries(self, ids):
        return {pk: self._entries[pk] for pk in ids if pk in self._entries}

    def frames(self, entry):
        return self._frames.get(entry, b"")


def known_of(*entries, settings=MediaSettings()):  # noqa: B008 - it is frozen
    """All that is known, of (entry, its packed frames), without a store."""
    catalog = Catalog(quality=settings.pdq_quality)
    catalog.add(Row(entry.id, entry.bank.kind, entry.value, frames) for entry, frames in entries)
    banks = {entry.bank.name: entry.bank for entry, _ in entries}
    terms = TermIndex((entry.id, entry.value) for entry, _ in entries if entry.bank.kind == "term")
    return Known(catalog, Listed(entries), banks.values(), settings, terms=terms)


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
