"""Accounts that act together: found by what they share at about the same time, beyond chance. A person decides what that means.

The way: what accounts did becomes `Shares`; `find_campaigns` ties pairs of them whose meetings chance does not explain, gathers
communities, and says of each what it looks like, innocent looks included.
"""

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
