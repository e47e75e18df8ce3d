"""Finds accounts that act together: that share the same things at about the same time, again and again, beyond chance.

The one idea: had accounts nothing to do with each other, then whoever made a share could as well have made another one of
that kind and network. So what a pair met over is weighed against how often chance would have it, given how much each of the
two shares and how many others shared the same things then; and the surprise is corrected for all pairs there are.
Synchrony has innocent reasons, too: what looks like one is labelled, and shown with the rest. A person decides.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from redshank.campaigns import kernels
from redshank.campaigns.shares import GROUPS, KINDS, Ints, ObjectKind, Set, Shares
from redshank.core import BadInput

Floats = npt.NDArray[np.float64]
Label = Literal["coordinated", "automation", "feed", "audience"]

DISCLOSED = 0.8
"""Share of members that say they are automated, from which a campaign is labelled `automation`."""
PUBLIC = 1 / 3
"""Share of people in no campaign among those who shared an object (the median of all objects) from which it is the public's."""
ONE_OUTLET = 0.8
"""Share of its objects that come from one outlet, from which a campaign is about that outlet."""
MACHINE = 15.0
"""Seconds from one member's share to the next one's (the median) below which readers would not be as quick."""
SHOWN = 40
"""Objects that are named with a campaign."""
SHUFFLES = 1999
ROUNDS = 50


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """What counts as acting together.

    `window` seconds lie between two shares at most; two accounts meet over at least `least` objects; `alpha` is the chance
    that any pair at all is tied without reason; campaigns have at least `smallest` members; what appears on another network
    within `lag` seconds has moved there, if that would be chance no more often than `moved`.

    `affinity`: accounts of like interests meet more often than any two would, and that is no campaign; chance is taken to be
    so many times as likely as the null model says. With 16, a shared object says 4 bits less than it would. `pairs` bounds the work: about so many pairs of shares are looked
    at for each share there is, objects shared by very many within a narrower window than the others.
    """

    window: float = 1800.0
    least: int = 3
    alpha: float = 0.01
    smallest: int = 3
    lag: float = 6 * 3600.0
    moved: float = 0.001
    affinity: float = 16.0
    pairs: int = 16

    def __post_init__(self) -> None:
        for name, good, what in (
            ("window", 0 < self.window < math.inf, "seconds above 0"),
            ("least", 2 <= self.least <= 200, "from 2 to 200"),
            ("alpha", 0 < self.alpha < 1, "between 0 and 1"),
            ("smallest", self.smallest >= 2, "2 or more"),
            ("lag", 0 < self.lag < math.inf, "seconds above 0"),
            ("moved", 0 < self.moved < 1, "between 0 and 1"),
            ("affinity", 1 <= self.affinity < math.inf, "1 or more"),
            ("pairs", 1 <= self.pairs <= 1000, "from 1 to 1,000"),
        ):
            if not good:
                raise BadInput(f"{getattr(self, name)} will not do", where=name, hint=f"It is {what}.")


class Member(msgspec.Struct, frozen=True):
    """An account of a campaign: how many others it is tied to, and when it first shared one of the campaign's objects.

    `objects` is how many of the campaign's it shared, `after` the median of the seconds by which it came after the first
    member; `shared` says when it shared those that are named, by their place in `Campaign.objects`.
    """

    network: str
    account: str
    ties: int
    joined: datetime
    objects: int
    after: float
    shared: tuple[tuple[int, datetime], ...]


class SharedObject(msgspec.Struct, frozen=True):
    """What members met over: how many of them shared it, how many others did, and when a member first did."""

    kind: ObjectKind
    value: str
    members: int
    others: int
    first: datetime


class Day(msgspec.Struct, frozen=True):
    """One day (UTC) of a campaign's life: members that shared, members that did so for the first time, shares."""

    date: str
    active: int
    joined: int
    shares: int


class Move(msgspec.Struct, frozen=True):
    """Objects went from one network to another: `objects` within the lag, where `expected` would have by chance.

    `lag` is their median, in seconds. `probability` is the larger of two shares of 1,999 shuffles: those in which as many
    arrive in time, and those in which the source is first as often though both act at once.
    """

    source: str
    target: str
    objects: int
    expected: float
    lag: float
    probability: float


class Campaign(msgspec.Struct, frozen=True, kw_only=True):
    """Accounts that act together. `bits` is the surprise of the median tie, after correction for all pairs; `met` is over how
    many objects that one's accounts met.

    `objects` are the most shared of `object_count`; `lag` is the median time in seconds from one member's share of an object
    to the next one's; `signs` are the grounds of the label, each one sentence.
    """

    number: int
    members: tuple[Member, ...]
    objects: tuple[SharedObject, ...]
    object_count: int
    networks: tuple[str, ...]
    begins: datetime
    ends: datetime
    ties: int
    bits: float
    met: int
    lag: float
    label: Label
    signs: tuple[str, ...]
    days: tuple[Day, ...]
    moves: tuple[Move, ...]


class Ties(NamedTuple):
    """Pairs of accounts that met beyond chance, as columns: accounts int64, objects int64, bits float64 after correction.

    `meeting_tie`, `meeting_object` int64 say which tie met over which object. `tested` is the number of pairs corrected for,
    `narrowed` the number of objects that so many shared that they were looked at within a narrower window.
    """

    first: Ints
    second: Ints
    objects: Ints
    bits: Floats
    meeting_tie: Ints
    meeting_object: Ints
    tested: int
    narrowed: int


class Found(NamedTuple):
    """Campaigns, the largest first; the ties within them; rows set aside."""

    campaigns: tuple[Campaign, ...]
    ties: Ties
    aside: tuple[Set, ...]


def find_campaigns(
    shares: Shares, search: Search | None = None, *, seed: int = 0, progress: Callable[[str], None] | None = None
) -> Found:
    """The campaigns in `shares`. The same shares in any order give the same; `seed` is of the shuffles that test moves.

    `progress` is told, in a few words, what is being done.
    """
    search = search or Search()
    say = progress or (lambda words: None)
    ties = find_ties(shares, search, progress=say)
    say(f"{len(ties.first):,} ties; gathering communities")
    n = len(shares.names)
    labels = _communities(ties, n)
    inside = labels[ties.first] == labels[ties.second]
    members = np.zeros(n, np.bool_)
    members[ties.first[inside]] = members[ties.second[inside]] = True
    _, community = np.unique(np.where(members, labels, -1), return_inverse=True)
    community = community - int(not members.all()) if n else community
    sizes = np.bincount(community[members])
    ranked = np.lexsort((np.arange(len(sizes)), -sizes))
    ranked = ranked[sizes[ranked] >= search.smallest]
    place = np.full(len(sizes) + 1, -1, np.int64)
    place[ranked] = np.arange(len(ranked))
    community = place[np.where(members, community, len(sizes))]
    kept = _within(ties, inside & (community[ties.first] >= 0))
    say(f"{len(ranked):,} communities; describing them")
    random = np.random.default_rng(seed)
    campaigns = _describe(shares, search, kept, community, len(ranked), random)
    return Found(campaigns, kept, shares.aside)


def find_ties(shares: Shares, search: Search, *, progress: Callable[[str], None] | None = None) -> Ties:
    """All pairs of accounts that met over at least `search.least` objects more surprisingly than chance allows.

    The null model: the accounts of all shares that met another one, of one kind and on one network, change places at random;
    when which object was shared stays as it is. A pair is then expected to meet as often as the parts of these shares that
    are theirs, times the meetings there were; the tail of the Poisson distribution gives the surprise. This is asked of
    objects of all popularities, of all but the most popular, and so on, shares of much more popular ones always left out; the
    most surprising answer counts. The correction is
    Bonferroni's, for these questions and for all pairs. A campaign that makes most of the shares of its kind and network is
    its own chance, and is not seen: give more of what else was shared there.
    """
    say = progress or (lambda words: None)
    order = np.lexsort((shares.post, shares.time, shares.account, shares.object))
    account, objects, time = shares.account[order], shares.object[order], shares.time[order]
    order = order[kernels.thin(objects, account, time, search.window)]
    order = order[np.lexsort((shares.account[order], shares.time[order], shares.object[order]))]
    account, objects, time, post = (
        column[order] for column in (shares.account, shares.object, shares.time, shares.post)
    )
    n, n_objects = len(shares.names), len(shares.kind)
    starts = np.searchsorted(objects, np.arange(n_objects + 1))
    counts = kernels.meetings(starts, time, search.window)
    cap = _cap(counts, search.pairs * len(order))
    narrowed = int((counts > cap).sum())
    windows, reach = kernels.narrow(starts, time, search.window, counts, cap)

    group = _groups(shares)
    used, kind = np.unique(shares.kind, return_inverse=True)
    acts = kernels.acts_of(objects, account, time, windows, counts, kind, (len(used), n))
    totals = np.zeros((int(group.max(initial=0)) + 1, len(used), kernels.LEVELS), np.float64)
    np.add.at(totals, group, np.moveaxis(acts, 2, 0))
    totals = np.ascontiguousarray(np.moveaxis(totals, 0, 2))
    met = kernels.chances(starts, time, windows, counts, kind, group[account], (len(used), totals.shape[2]))
    able = int((acts[:, -1].sum(axis=0) >= search.least).sum())
    tested = max(1, able * (able - 1) // 2)
    levels = len({int(kernels.level_of(count)) for count in np.unique(counts[counts > 0])})
    correction = math.log2(tested) + math.log2(max(1, levels))

    keep = kernels.promising(objects, account, time, windows, n, search.least)
    account, objects, time, post = account[keep], objects[keep], time[keep], post[keep]
    say(f"{len(order):,} shares by {n:,} accounts, {len(account):,} of which could tie somebody; counting who met whom")
    total = int(np.minimum(counts, cap).sum())
    table = np.zeros(max(2**16, min(2**28, 1 << max(0, 4 * total - 1).bit_length())), np.uint8)
    kernels.tally(objects, account, time, windows, reach, n, table)
    arguments = (objects, account, time, windows, reach, n, table, search.least)
    nothing = np.empty(0, np.uint64), np.empty(0, np.int32), np.empty(0, np.int32)
    size = kernels.frequent(*arguments, nothing)
    keys, firsts, seconds = np.empty(size, np.uint64), np.empty(size, np.int32), np.empty(size, np.int32)
    if size:
        kernels.frequent(*arguments, (keys, firsts, seconds))
    del table, arguments
    say(f"{size:,} meetings; weighing them against chance")
    by_key = np.argsort(keys, kind="stable")
    room = size // search.least + 1
    first, second, number, begin, end = (np.empty(room, np.int64) for _ in range(5))
    bits = np.empty(room, np.float64)
    limit = correction - math.log2(search.alpha)
    found = kernels.weigh(
        by_key, keys, firsts, seconds, objects, account, post, counts, acts, totals, group, search.affinity * met, n,
        search.least, limit, (first, second, number, bits, begin, end),
    )  # fmt: skip
    lengths = end[:found] - begin[:found]
    tie = np.repeat(np.arange(found), lengths)
    at = np.arange(lengths.sum()) + np.repeat(begin[:found] - (np.cumsum(lengths) - lengths), lengths)
    # Of a pair's meetings over one object, one is enough.
    seen = np.unique(tie * n_objects + objects[firsts[by_key[at]]])
    return Ties(
        first[:found].copy(), second[:found].copy(), number[:found].copy(), bits[:found] - correction,
        seen // n_objects, seen % n_objects, tested, narrowed,
    )  # fmt: skip


def shuffled(shares: Shares, seed: int) -> Shares:
    """The same shares with the times of all posts changed among those of one network: a control in which nobody acts together."""
    random = np.random.default_rng(seed)
    posts = int(shares.post.max(initial=-1)) + 1
    time, network = np.zeros(posts), np.zeros(posts, np.int64)
    time[shares.post] = shares.time
    network[shares.post] = shares.network[shares.account]
    for number in range(len(shares.networks)):
        some = np.flatnonzero(network == number)
        time[some] = random.permutation(time[some])
    return shares._replace(time=time[shares.post])


def _cap(counts: Ints, pairs: int) -> int:
    """The most pairs of one object, so that of all objects they are no more than `pairs`; water is filled so high."""
    rising = np.sort(counts)
    below = np.cumsum(rising) - rising
    high = below + rising * (len(rising) - np.arange(len(rising)))
    at = int(np.searchsorted(high, pairs, side="right"))
    if at == len(rising):
        return int(rising[-1]) if len(rising) else 0
    return max(1, (pairs - int(below[at])) // (len(rising) - at))


def _groups(shares: Shares) -> Ints:
    """The group in which each account is weighed, int64: its network, where that is one of the larger ones."""
    often = np.bincount(shares.network[shares.account], minlength=len(shares.networks))
    ranked = np.lexsort((np.arange(len(often)), -often))
    group = np.empty(len(often), np.int64)
    group[ranked] = np.minimum(np.arange(len(often)), GROUPS - 1)
    return group[shares.network]


def _communities(ties: Ties, n: int) -> Ints:
    ends = np.concatenate([ties.first, ties.second])
    others = np.concatenate([ties.second, ties.first])
    order = np.lexsort((others, ends))
    starts = np.searchsorted(ends[order], np.arange(n + 1))
    weights = np.concatenate([ties.bits, ties.bits])[order]
    return np.asarray(kernels.propagate(starts, others[order], weights, ROUNDS))


def _within(ties: Ties, keep: npt.NDArray[np.bool_]) -> Ties:
    place = np.cumsum(keep) - 1
    kept = keep[ties.meeting_tie]
    return ties._replace(
        first=ties.first[keep], second=ties.second[keep], objects=ties.objects[keep], bits=ties.bits[keep],
        meeting_tie=place[ties.meeting_tie[kept]], meeting_object=ties.meeting_object[kept],
    )  # fmt: skip


def _describe(
    shares: Shares, search: Search, ties: Ties, community: Ints, count: int, random: np.random.Generator
) -> tuple[Campaign, ...]:
    if not count:
        return ()
    n_objects = len(shares.kind)
    of_tie = community[ties.first]
    theirs = np.unique(of_tie[ties.meeting_tie] * n_objects + ties.meeting_object)  # campaign and object
    # Every share of an object that some campaign met over, once for each such campaign.
    known = np.sort(np.unique(theirs % n_objects))
    touched = np.flatnonzero(np.isin(shares.object, known))
    by_object = touched[np.lexsort((shares.account[touched], shares.time[touched], shares.object[touched]))]
    starts = np.searchsorted(shares.object[by_object], np.arange(n_objects + 1))
    bounds = np.searchsorted(theirs // n_objects, np.arange(count + 1))
    tie_order = np.argsort(of_tie, kind="stable")
    tie_bounds = np.searchsorted(of_tie[tie_order], np.arange(count + 1))
    degree = np.bincount(np.concatenate([ties.first, ties.second]), minlength=len(shares.names))
    out = []
    for number in range(count):
        mine = theirs[bounds[number] : bounds[number + 1]] % n_objects
        rows = by_object[np.concatenate([np.arange(starts[o], starts[o + 1]) for o in mine])]
        own = tie_order[tie_bounds[number] : tie_bounds[number + 1]]
        out.append(
            _campaign(shares, search, number, community, mine, rows, ties.bits[own], ties.objects[own], degree, random)
        )
    return tuple(out)


def _campaign(
    shares: Shares, search: Search, number: int, community: Ints, objects: Ints, rows: Ints, bits: Floats,
    met: Ints, degree: Ints, random: np.random.Generator,
) -> Campaign:  # fmt: skip
    """One campaign of `objects`; `rows` are all shares of these, by members and others, in the order of object and time."""
    member = community[shares.account[rows]] == number
    inner = rows[member]
    account, time, at = shares.account[inner], shares.time[inner], np.searchsorted(objects, shares.object[inner])
    sharers = np.unique(at * len(shares.names) + account) // len(shares.names)
    by_members = np.bincount(sharers, minlength=len(objects))
    by_others = _sharers(shares, objects, rows[~member])
    # Another half of it, on another network or at another time, is not the public.
    by_public = _sharers(shares, objects, rows[community[shares.account[rows]] < 0])
    firsts = np.full(len(objects), np.inf)
    np.minimum.at(firsts, at, time)
    lag = _lag(at, account, time)
    accounts = np.flatnonzero(community == number)
    joined = np.full(len(accounts), np.inf)
    np.minimum.at(joined, np.searchsorted(accounts, account), time)
    label, signs = _label(shares, accounts, objects, by_members, by_public, lag)
    networks = np.unique(shares.network[accounts])
    ranked = np.lexsort((objects, by_others, -by_members))[:SHOWN]
    place = np.full(len(objects), -1, np.int64)
    place[ranked] = np.arange(len(ranked))
    once = _firsts(at, account)
    order = np.lexsort((place[at[once]], account[once]))
    whose, which, when = account[once][order], at[once][order], time[once][order]
    bounds = np.searchsorted(whose, np.append(accounts, len(shares.names)))
    members = []
    for number_of, (one, since) in enumerate(zip(accounts.tolist(), joined.tolist(), strict=True)):
        mine = slice(bounds[number_of], bounds[number_of + 1])
        after = float(np.median(when[mine] - firsts[which[mine]])) if bounds[number_of + 1] > bounds[number_of] else 0.0
        shared = zip(place[which[mine]].tolist(), when[mine].tolist(), strict=True)
        members.append(
            Member(
                shares.networks[shares.network[one]], shares.name_of(one), int(degree[one]), _date(since),
                len(which[mine]), round(after, 1), tuple((spot, _date(moment)) for spot, moment in shared if spot >= 0),
            )
        )  # fmt: skip
    return Campaign(
        number=number + 1,
        members=tuple(members),
        objects=tuple(
            SharedObject(
                KINDS[shares.kind[objects[o]]], shares.value_of(int(objects[o])),
                int(by_members[o]), int(by_others[o]), _date(firsts[o]),
            )
            for o in ranked.tolist()
        ),
        object_count=len(objects),
        networks=tuple(shares.networks[network] for network in networks),
        begins=_date(time.min()),
        ends=_date(time.max()),
        ties=len(bits),
        bits=round(float(np.median(bits)), 1),
        met=int(np.median(met)),
        lag=round(lag, 3),
        label=label,
        signs=signs,
        days=_days(account, time),
        moves=_moves(shares, search, networks, objects, rows, random),
    )  # fmt: skip


def _sharers(shares: Shares, objects: Ints, rows: Ints) -> Ints:
    """How many accounts of these rows shared each of `objects`, int64."""
    pairs = np.unique(np.searchsorted(objects, shares.object[rows]) * len(shares.names) + shares.account[rows])
    return np.bincount(pairs // len(shares.names), minlength=len(objects))


def _firsts(objects: Ints, accounts: Ints) -> Ints:
    """The rows of each account's first share of each object; rows are in the order of object and time."""
    key = objects * (int(accounts.max(initial=0)) + 1) + accounts
    return np.asarray(np.sort(np.unique(key, return_index=True)[1]))


def _lag(objects: Ints, accounts: Ints, times: Floats) -> float:
    """Median seconds from a member's first share of an object to the next member's; rows are in order of object and time."""
    first = _firsts(objects, accounts)
    objects, times = objects[first], times[first]
    gaps = np.diff(times)[objects[1:] == objects[:-1]]
    return float(np.median(gaps)) if len(gaps) else 0.0


def _label(
    shares: Shares, accounts: Ints, objects: Ints, by_members: Ints, by_public: Ints, lag: float
) -> tuple[Label, tuple[str, ...]]:
    """What the synchrony looks like, and why. Innocent looks are no proof of innocence; nor are others of guilt."""
    disclosed = float(shares.automated[accounts].mean())
    strangers = float(np.median(by_public / (by_members + by_public)))
    sources = shares.source[objects]
    told = np.bincount(sources[sources >= 0])
    of_one = float(told.max() / len(objects)) if len(told) else 0.0
    signs = []
    if disclosed:
        signs.append(f"{disclosed:.0%} of the members say that they are automated.")
    signs.append(f"Of those who shared one of its objects, {strangers:.0%} are in no campaign (median).")
    if len(told):
        signs.append(f"{of_one:.0%} of the objects come from one outlet: {shares.sources[int(told.argmax())]}.")
    else:
        signs.append("Which outlets the objects come from is not known.")
    signs.append(f"From one member's share to the next one's it takes {_span(lag)} (median).")
    if disclosed >= DISCLOSED:
        return "automation", tuple(signs)
    if strangers >= PUBLIC and (of_one >= ONE_OUTLET or not len(told)):
        return ("feed" if lag <= MACHINE else "audience"), tuple(signs)
    return "coordinated", tuple(signs)


def _days(accounts: Ints, times: Floats) -> tuple[Day, ...]:
    day = np.floor(times / 86_400).astype(np.int64)
    order = np.lexsort((day, accounts))
    first = order[np.append(True, accounts[order][1:] != accounts[order][:-1])]
    out = []
    for number in np.unique(day).tolist():
        some = day == number
        date = datetime.fromtimestamp(number * 86_400, UTC).date().isoformat()
        out.append(Day(date, len(np.unique(accounts[some])), int((day[first] == number).sum()), int(some.sum())))
    return tuple(out)


def _moves(
    shares: Shares, search: Search, networks: Ints, objects: Ints, rows: Ints, random: np.random.Generator
) -> tuple[Move, ...]:
    """Where the campaign's objects went on from its networks. Two hypotheses must fall, each by as many shuffles as it takes.

    That objects arrived whenever they did: each is given the time of arrival of another, so that busy days and busy networks
    explain nothing away. And that both networks only act at once: each object's shares are put in any order, so that the
    network with more of them is the first one more often.
    """
    network = shares.network[shares.account[rows]]
    at = np.searchsorted(objects, shares.object[rows])
    arrival: dict[int, Floats] = {}
    shared: dict[int, Ints] = {}
    for number in np.unique(network).tolist():
        some = network == number
        arrival[number] = np.full(len(objects), np.inf)
        np.minimum.at(arrival[number], at[some], shares.time[rows[some]])
        shared[number] = np.bincount(at[some], minlength=len(objects))
    out = []
    for source in networks.tolist():
        for target, arrived in arrival.items():
            if source == target:
                continue
            both = np.isfinite(arrival[source]) & np.isfinite(arrived)
            left, came = arrival[source][both], arrived[both]
            late = came - left
            hits = (late > 0) & (late <= search.lag)
            number = int(hits.sum())
            if number < search.least:
                continue
            near = np.abs(late) <= search.lag
            first = (shared[source] / np.maximum(1, shared[source] + shared[target]))[both][near]
            leading = sum(int((random.random(len(first)) < first).sum()) >= number for _ in range(SHUFFLES))
            at_once = (1 + leading) / (1 + SHUFFLES)
            if at_once > search.moved:
                continue
            by_chance = np.empty(SHUFFLES)
            for turn in range(SHUFFLES):
                again = random.permutation(came) - left
                by_chance[turn] = ((again > 0) & (again <= search.lag)).sum()
            chance = float(max(at_once, (1 + (by_chance >= number).sum()) / (1 + SHUFFLES)))
            if chance <= search.moved:
                out.append(
                    Move(
                        shares.networks[source], shares.networks[target], number, round(float(by_chance.mean()), 2),
                        round(float(np.median(late[hits])), 1), chance,
                    )
                )  # fmt: skip
    return tuple(out)


def _date(seconds: Any) -> datetime:
    return datetime.fromtimestamp(float(seconds), UTC)


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
