"""Who may do what: one table. Every page and route names one permission of it, and nothing else is asked."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """What somebody is here for. Each role may all that the one before it may."""

    MODERATOR = "moderator"
    LEAD = "lead"
    ADMIN = "admin"

    @property
    def label(self) -> str:
        """The role as a person reads it."""
        return self.value.capitalize()


_ALL = frozenset(role.value for role in Role)
_LEADS = frozenset((Role.LEAD.value, Role.ADMIN.value))
_ADMINS = frozenset((Role.ADMIN.value,))

PERMISSIONS: dict[str, frozenset[str]] = {
    "cases.view": _ALL,
    "cases.decide": _ALL,
    "accounts.view": _ALL,
    "media.view": _ALL,
    "campaigns.view": _ALL,
    "campaigns.change": _ALL,
    "ties.view": _ALL,
    "ties.decide": _ALL,
    "ties.except": _LEADS,
    "banks.view": _ALL,
    "banks.change": _LEADS,
    "exchanges.view": _LEADS,
    "exchanges.run": _LEADS,
    "exchanges.change": _ADMINS,
    "shares.give": _LEADS,
    "rules.view": _ALL,
    "rules.change": _LEADS,
    "rules.review": _LEADS,
    "archive.search": _LEADS,
    "audit.view": _LEADS,
    "overview.view": _LEADS,
    "system.view": _LEADS,
    "outbox.resend": _LEADS,
    "connectors.change": _ADMINS,
    "peers.view": _LEADS,
    "peers.ask": _LEADS,
    "peers.change": _ADMINS,
    "people.change": _ADMINS,
}
"""Permission to the roles that have it."""
