"""Accounts that act together: found by what they share at about the same time, beyond chance. A person decides what that means.

The way: what accounts did becomes `Shares`; `find_campaigns` ties pairs of them whose meetings chance does not explain, gathers
communities, and says of each what it looks like, innocent looks included. The finder needs numba, which takes half a second
to load; that is done when it is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from redshank.campaigns.finding import Campaign, Found, Move, Search, find_campaigns, find_ties, shuffled
    from redshank.campaigns.shares import Shares, read_shares, shares_of

__all__ = [
    "Campaign",
    "Found",
    "Move",
    "Search",
    "Shares",
    "find_campaigns",
    "find_ties",
    "read_shares",
    "shares_of",
    "shuffled",
]
_OF_SHARES = ("Shares", "read_shares", "shares_of")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(name)
    from redshank.campaigns import finding, shares

    return getattr(shares if name in _OF_SHARES else finding, name)
