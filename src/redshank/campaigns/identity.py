"""Says which campaign of before a group that was found now is: by its members, else by its objects on another network.

The idea: nobody leaves a campaign because of what is found. Whoever is in one stays there, whether a search put them there or a
person did; a group that was found is the campaign that holds most of its members, and brings it those who are in none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import msgspec

Account = tuple[str, str]
"""Network and account id."""
ENOUGH = 0.5
"""Share of the smaller of the two, group and campaign, that must be in both."""
OBJECTS = 3
"""Objects in common, at least, by which a group on another network is called the same campaign."""


class Group(msgspec.Struct, frozen=True):
    """Who is together: the members, the keys of the most shared objects, and what it looks like."""

    members: frozenset[Account]
    objects: frozenset[str]
    label: str

    @property
    def networks(self) -> set[str]:
        """Those that its members are on."""
        return {network for network, _ in self.members}


class Place(msgspec.Struct, frozen=True):
    """What becomes of a group. `campaign` is the one that it is; below 0, a new one that several groups may be.

    `fresh` are those who come to it, `elsewhere` the group's members who are, and stay, in other campaigns.
    """

    campaign: int
    fresh: frozenset[Account]
    elsewhere: Mapping[Account, int]


def places(
    groups: Sequence[Group],
    known: Mapping[int, Group],
    *,
    out: Collection[tuple[int, Account]] = (),
    smallest: int = 3,
) -> list[Place | None]:
    """For each of `groups`, in their order, its place; None where too few are left of it to be a campaign.

    `known` are the campaigns of before by number, with those whom a person took out (`out`) no longer in them: these come back
    neither there nor, with a group that is that campaign, anywhere else. A group on networks where a campaign has nobody, which
    shares most of its objects and looks the same, is that campaign: it moved, or acts on several networks.
    """
    campaigns = dict(known)
    home = {account: number for number, group in known.items() for account in group.members}
    gone = set(out)
    by_object: dict[str, list[int]] = {}
    for number, group in known.items():
        for key in group.objects:
            by_object.setdefault(key, []).append(number)
    found: list[Place | None] = []
    for at, group in enumerate(groups):
        same = _by_members(group, campaigns, home)
        same = _by_objects(group, campaigns, by_object) if same is None else same
        number = -1 - at if same is None else same
        fresh = frozenset(one for one in group.members if one not in home and (number, one) not in gone)
        if same is None and len(fresh) < smallest:
            found.append(None)
            continue
        elsewhere = {one: home[one] for one in group.members if home.get(one, number) != number}
        found.append(Place(number, fresh, elsewhere))
        home.update(dict.fromkeys(fresh, number))
        before = campaigns.get(number, Group(frozenset(), frozenset(), group.label))
        campaigns[number] = Group(before.members | fresh, before.objects | group.objects, before.label)
        for key in group.objects - before.objects:
            by_object.setdefault(key, []).append(number)
    return found


def _by_members(group: Group, campaigns: Mapping[int, Group], home: Mapping[Account, int]) -> int | None:
    tally = Counter(home[one] for one in group.members if one in home)
    if not tally:
        return None
    best = _most(tally)
    return best if tally[best] >= ENOUGH * min(len(group.members), len(campaigns[best].members)) else None


def _by_objects(group: Group, campaigns: Mapping[int, Group], by_object: Mapping[str, Sequence[int]]) -> int | None:
    common = Counter(
        number
        for key in group.objects
        for number in by_object.get(key, ())
        if campaigns[number].label == group.label and not campaigns[number].networks & group.networks
    )
    if not common:
        return None
    best = _most(common)
    smaller = min(len(group.objects), len(campaigns[best].objects))
    return best if common[best] >= max(OBJECTS, ENOUGH * smaller) else None


def _most(tally: Counter[int]) -> int:
    """The campaign counted most; among equals the older one."""
    return min(tally, key=lambda number: (-tally[number], number < 0, abs(number)))
