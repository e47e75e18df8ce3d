"""A made-up platform whose suspended owners come back, to ask what Redshank changes: how soon they are known again, and after how
many posts, for so many reviewers.

The one idea: people and their accounts are drawn once, from a seed, and scored by the real index and scorer at each of their first
steps; what reviewers then do in what order is played over the same draws for each number of them, and without Redshank, so that only
that differs. Rates are planning figures: `Rates` says of each where it comes from. They are no promise about a platform.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Any, NamedTuple

import msgspec
import numpy as np

from redshank.evasion.evidence import encode
from redshank.evasion.index import SuspensionIndex
from redshank.evasion.model import Model, Scorer
from redshank.evasion.profiles import KeyedToken, Profile

HOUR, DAY = 3_600.0, 86_400.0
START = 1_700_000_000
STEPS = ((0.0, 0), (5 / 60, 5), (0.5, 10), (2.0, 20), (6.0, 10**9))
"""When an account is asked about: hours after its first step, and how many it follows by then; last, at its first posts."""
CIRCLES, NEAR, EVERYBODY, OWN = 60, 1_200, 2_000, 5_000_000
"""Circles of people, accounts that each of them tends to follow, accounts that everybody may follow, and all others."""
FIRST = 10**9
"""Numbers of new accounts begin here."""


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """How owners come back, and what is done about it. Shares run from 0 to 1.

    Where no source stands, the figure is an assumption of ours; change it with what you know of your platform.
    """

    returns: float = 0.5
    """Owners who come back after a suspension, on average: reports run from a third to two thirds. Wright and others (Resurgent
    Insurgents, Journal of Terrorism Research 7(2), 2016) find that it is common and quick."""
    spread: float = 3.0
    """How alike owners are in that: a and b of Beta(a, b) where `returns` is a half. With 3, chains have 2.5 accounts on average and
    a long tail, for the mean of 1 / (1 - p) is (a + b - 1) / (b - 1)."""
    within_a_day: float = 0.6
    """Of those who come back, the share that does within a day."""
    slowest: float = 1.8
    """Sigma of the logarithm of the time until they do: the tail is weeks long."""
    spare: float = 0.15
    """Returns to an account that was made before the suspension and kept."""
    greeted: float = 0.3
    """Returns that old contacts greet or announce on their own ("shout-outs", Berger and Perez, The Islamic State's Diminishing
    Returns on Twitter, George Washington University, 2016)."""
    hides: tuple[float, float, float] = (0.5, 0.33, 0.17)
    """Returns of which little, something and almost everything is changed, the first time."""
    learns: float = 0.35
    """Chance that an owner hides a step more after each time they were caught."""
    posts: float = 8.0
    """Posts a day of a returned account, the median; sigma of the logarithm is 1."""
    found_anyway: float = 0.02
    """Of returned accounts, the share that is found on a day without Redshank: fewer than 2 percent of known supporters' accounts
    were suspended on an average day (Berger and Perez, 2016)."""
    confirms: float = 0.95
    """Right ties that a reviewer confirms."""
    mistakes: float = 0.01
    """Wrong ties that a reviewer confirms all the same."""


class Newcomer(msgspec.Struct):
    """An account that appeared: at `steps` a tie was found, as (seconds after its first step, probability, right or wrong)."""

    owner: int
    kind: str
    delay: float
    posts_a_day: float
    found_anyway: float
    luck: float
    steps: list[tuple[float, float, bool]] = []


class Chain(msgspec.Struct, frozen=True):
    """An owner: when the first account was suspended, in seconds from the start, and the accounts that follow, in order."""

    suspended_at: float
    accounts: list[Newcomer]


class World(msgspec.Struct, frozen=True, kw_only=True):
    """All draws of one seed: the `chains` of owners who come back, and the `innocent` newcomers to whom a tie was found at all, each
    with the second of the arrival; `newcomers` counts all innocent ones."""

    rates: Rates
    days: int
    suspended: int
    newcomers: int
    chains: list[Chain]
    innocent: list[tuple[float, Newcomer]]


class Played(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one number of reviews a day (None: without Redshank). Times in seconds, `waits` of re-linked accounts alone.

    `posts` counts the posts of returned accounts until they were re-linked, or until the end; `wrong` are innocent accounts that were
    taken for returned ones; `reviews` the ties that reviewers looked at.
    """

    capacity: float | None
    accounts: int
    waits: tuple[float, ...]
    posts: tuple[float, ...]
    reviews: int
    wrong: int

    def share_within(self, seconds: float) -> float:
        """Of all returned accounts those that were re-linked within so many seconds."""
        return sum(wait <= seconds for wait in self.waits) / max(self.accounts, 1)

    @property
    def median_wait(self) -> float:
        """Seconds until half of all returned accounts were re-linked; infinite where fewer were."""
        ordered = sorted(self.waits)
        middle = (self.accounts + 1) // 2
        return ordered[middle - 1] if 0 < middle <= len(ordered) else math.inf


# Drawing people


class _People:
    def __init__(self, random: np.random.Generator) -> None:
        self.random = random
        letters = np.array(list("aeiou")), np.array(list("bdfgklmnprstvz"))
        self.syllables = ["".join((c, v)) for c in letters[1] for v in letters[0]]
        self.words = [self._word(2, 4) for _ in range(4_000)]
        self.circle_words = random.integers(0, len(self.words), (CIRCLES, 120))
        self.circle_links = [[f"{self._word(2, 3)}.example" for _ in range(20)] for _ in range(CIRCLES)]
        self.serial = itertools.count(1)

    def _word(self, least: int, most: int) -> str:
        return "".join(self.random.choice(self.syllables, self.random.integers(least, most + 1)))

    def follows(self, circle: int, count: int) -> tuple[str, ...]:
        random = self.random
        near = (
            10_000 + circle * NEAR + np.minimum(random.exponential(NEAR / 6, int(count * 0.45)).astype(int), NEAR - 1)
        )
        everybody = np.minimum(random.exponential(EVERYBODY / 8, int(count * 0.25)).astype(int), EVERYBODY - 1)
        own = 1_000_000 + random.integers(0, OWN, count - len(near) - len(everybody))
        return tuple(dict.fromkeys(map(str, random.permutation(np.concatenate([near, everybody, own])).tolist())))

    def bio(self, circle: int, count: int) -> list[str]:
        return [self.words[self.random.choice(self.circle_words[circle])] for _ in range(count)]

    def rhythm(self) -> Any:
        hour = np.arange(24)
        peak, width = self.random.uniform(0, 24), self.random.uniform(1.5, 4)
        away = (hour - peak + 12) % 24 - 12
        shape = 0.15 + np.exp(-away * away / (2 * width * width))
        shape = shape * self.random.dirichlet(np.full(24, 6.0)) * 24
        return shape / shape.sum()

    def person(self, number: int, circle: int | None = None, **fields: Any) -> tuple[Profile, dict[str, Any]]:
        """An account, and what of its owner stays when the account goes."""
        random = self.random
        circle = int(random.integers(CIRCLES)) if circle is None else circle
        first, last = self._word(2, 3), self._word(2, 3)
        owner = {
            "circle": circle,
            "first": first,
            "last": last,
            "rhythm": self.rhythm(),
            "device": self._token("device"),
        }
        made = {
            "handle": f"{first}{random.choice(['', '_', '.'])}{last}{random.choice(['', str(random.integers(2, 9999))])}"[
                :30
            ],
            "display_name": f"{first.title()} {last.title()}",
            "bio": " ".join(self.bio(circle, int(random.integers(0, 15)))),
            "avatar": random.bytes(32) if random.random() < 0.85 else b"",
            "follows": self.follows(circle, int(20 * 10 ** random.random())),
            "links": tuple(
                dict.fromkeys(random.choice(self.circle_links[circle], int(random.integers(0, 3))).tolist())
            ),
            "tokens": (owner["device"], self._token("address")),
            "hours": tuple(random.multinomial(int(random.integers(30, 300)), owner["rhythm"]).tolist()),
        }
        return Profile(number=number, **(made | fields)), owner

    def _token(self, purpose: str) -> KeyedToken:
        return KeyedToken(purpose, "k", f"{next(self.serial):016x}")

    def again(self, old: Profile, owner: dict[str, Any], level: int, greeted: bool, **fields: Any) -> Profile:
        """The owner's next account, of which little (0), something (1) or almost everything (2) is changed."""
        random = self.random
        fresh, other = self.person(0, owner["circle"])

        def same(*shares: float) -> bool:
            return bool(random.random() < shares[level])

        kept = [
            one
            for one in old.follows
            if random.random() < random.uniform(*((0.4, 0.8), (0.2, 0.5), (0.05, 0.2))[level])
        ]
        words = [word for word in old.bio.split() if same(0.9, 0.5, 0.1)]
        avatar = bytes(old.avatar) if old.avatar and same(0.8, 0.3, 0.05) else fresh.avatar
        rhythm = owner["rhythm"] if level < 2 else 0.6 * owner["rhythm"] + 0.4 * other["rhythm"]
        made = {
            "handle": f"{old.handle[:24]}{random.integers(2, 99)}" if same(0.8, 0.3, 0.05) else fresh.handle,
            "display_name": old.display_name if same(0.8, 0.35, 0.05) else fresh.display_name,
            "bio": " ".join([*words, *fresh.bio.split()[: level * 3]]),
            "avatar": avatar,
            "follows": tuple(dict.fromkeys(random.permutation([*kept, *fresh.follows[: max(10, len(kept))]]).tolist())),
            "followers": tuple(random.choice(old.follows, min(4, len(old.follows)), replace=False).tolist()) if greeted else (),
            "links": tuple(link for link in old.links if same(0.8, 0.5, 0.2)) or fresh.links,
            "tokens": (
                owner["device"] if same(0.75, 0.35, 0.05) else fresh.tokens[0],
                old.tokens[1] if same(0.6, 0.3, 0.05) else fresh.tokens[1],
            ),
            "hours": tuple(random.multinomial(int(random.integers(10, 90)), rhythm / rhythm.sum()).tolist()),
        }  # fmt: skip
        return msgspec.structs.replace(fresh, **(made | fields))

    def lookalike(self, old: Profile, owner: dict[str, Any], kind: str, **fields: Any) -> Profile:
        """Somebody else who has something of a suspended account about them."""
        random = self.random
        circle = owner["circle"] if kind in {"fan", "same circle"} else None
        fresh, _ = self.person(0, circle)
        if kind == "fan":
            made: dict[str, Any] = {
                "handle": f"{old.handle[:24]}_fan",
                "display_name": old.display_name,
                "avatar": old.avatar,
            }
        elif kind == "relative":
            contacts = random.choice(old.follows, max(1, len(old.follows) // 10), replace=False).tolist()
            made = {"tokens": old.tokens, "follows": (*fresh.follows, *contacts)}
        elif kind == "journalist":
            watched = random.choice(old.follows, max(1, len(old.follows) // 4), replace=False).tolist()
            made = {"follows": tuple(dict.fromkeys((*watched, *fresh.follows))), "links": old.links}
        elif kind == "namesake":
            made = {"display_name": old.display_name}
        else:
            made = {}
        return msgspec.structs.replace(fresh, **(made | fields))


INNOCENT = (
    ("stranger", 0.6),
    ("same circle", 0.18),
    ("namesake", 0.08),
    ("fan", 0.06),
    ("relative", 0.04),
    ("journalist", 0.04),
)
"""Who else comes, and in which shares."""


def draw(
    model: Model,
    *,
    owners: int = 400,
    others: int = 2_000,
    innocent: int = 3_000,
    days: int = 60,
    rates: Rates = Rates(),  # noqa: B008 - frozen
    seed: int = 1,
    tell: Callable[[int, int], None] = lambda done, of: None,
) -> World:
    """A platform of that seed: `owners` and `others` were suspended (of `others` nobody comes back), `innocent` newcomers arrive
    within `days`. `tell` hears how many of how many accounts were scored. The same arguments give the same world."""
    random = np.random.default_rng(seed)
    people = _People(random)
    numbers = itertools.count(1)
    old: list[tuple[Profile, dict[str, Any]]] = []
    for at in range(owners + others):
        # Owners who may come back are suspended as the clock starts or soon after, the others before it.
        ended = (
            START + int(random.uniform(0, days / 3) * DAY) if at < owners else START - int(random.uniform(1, 300) * DAY)
        )
        old.append(people.person(next(numbers), created_at=ended - int(random.uniform(5, 300) * DAY), ended_at=ended))
    index = SuspensionIndex.build(encode(profile for profile, _ in old), note="simulated", seed=seed)
    coming = owners * rates.returns / (1 - rates.returns)
    scorer = Scorer(model, rate=min(max(coming / (coming + innocent + 1), 1e-4), 0.5))
    owner_of = {profile.number: at for at, (profile, _) in enumerate(old)}

    fresh = itertools.count(FIRST)
    chains: list[list[Newcomer]] = [[] for _ in range(owners)]
    living = []
    for at in range(owners):
        persistent = random.beta(rates.spread, rates.spread * (1 - rates.returns) / rates.returns)
        length = int(min(random.geometric(max(1 - persistent, 1e-3)) - 1, 25))
        if length:
            living.append((at, length, *old[at]))
    expected = sum(length for _, length, *_ in living) + innocent
    done = 0
    caught = 0
    while living:  # One generation after the other: the next one's earlier accounts are targets by then.
        caught += 1
        going = []
        for at, length, before, owner in living:
            level = int(random.choice(3, p=rates.hides))
            level = min(2, level + int(random.binomial(caught - 1, rates.learns)))
            spare, greeted = random.random() < rates.spare, random.random() < rates.greeted
            delay = DAY * float(np.exp(rates.slowest * (random.normal() - NormalDist().inv_cdf(rates.within_a_day))))
            created = (
                before.ended_at + int(delay) if not spare else before.ended_at - int(random.uniform(10, 200) * DAY)
            )
            number = next(fresh)
            account = people.again(before, owner, level, greeted, number=number, created_at=created, ended_at=0)
            person = Newcomer(
                owner=at, kind=("little", "something", "almost all")[level] + (", spare" if spare else ""), delay=delay,
                posts_a_day=float(rates.posts * np.exp(random.normal())),
                found_anyway=float(random.exponential(1 / -math.log1p(-rates.found_anyway))) * DAY, luck=float(random.random()),
            )  # fmt: skip
            person.steps = _steps(index, scorer, account, owner_of, at, spare=spare)
            chains[at].append(person)
            ended = before.ended_at + int(delay) + int(3 * DAY)
            gone = msgspec.structs.replace(account, ended_at=max(ended, created + 60))
            index.add(encode([gone]))
            owner_of[number] = at
            done += 1
            if not done % 200:
                tell(done, expected)
            if length > 1:
                going.append((at, length - 1, gone, owner))
        living = going

    strangers: list[tuple[float, Newcomer]] = []
    kinds = random.choice(len(INNOCENT), innocent, p=[share for _, share in INNOCENT])
    for kind in (INNOCENT[one][0] for one in kinds):
        arrives = float(random.uniform(0, days) * DAY)
        profile, owner = old[int(random.integers(len(old)))]
        account = people.lookalike(
            profile, owner, kind, number=next(fresh), created_at=START + int(arrives), ended_at=0
        )
        person = Newcomer(
            owner=-1, kind=kind, delay=0, posts_a_day=0, found_anyway=math.inf, luck=float(random.random())
        )
        person.steps = _steps(index, scorer, account, owner_of, -1)
        if person.steps:
            strangers.append((arrives, person))
        done += 1
        if not done % 200:
            tell(done, expected)
    began = [old[at][0].ended_at - START for at in range(owners)]
    return World(
        rates=rates, days=days, suspended=owners + others, newcomers=innocent, innocent=strangers,
        chains=[Chain(float(began[at]), chain) for at, chain in enumerate(chains) if chain],
    )  # fmt: skip


def _steps(
    index: SuspensionIndex,
    scorer: Scorer,
    account: Profile,
    owner_of: dict[int, int],
    owner: int,
    *,
    spare: bool = False,
) -> list[tuple[float, float, bool]]:
    """The steps at which a tie is shown that was not, or is surer: seconds, probability, and whether it is of the right owner."""
    shown: list[tuple[float, float, bool]] = []
    for hours, follows in STEPS[-1:] if spare else STEPS:
        last = follows > len(account.follows) or (hours, follows) == STEPS[-1]
        seen = account
        if not last:  # By then it has a name, a face and tokens, no posts, and follows so many.
            seen = msgspec.structs.replace(account, follows=account.follows[:follows], hours=(), followers=())
        ties = scorer.ties(index.search(encode([seen])), least=1e-3)
        if ties and ties[0].band and (not shown or ties[0].probability > shown[-1][1]):
            shown.append((hours * HOUR, ties[0].probability, owner >= 0 and owner_of.get(ties[0].number) == owner))
        if last:
            break
    return shown


# Playing it


class Tied(NamedTuple):
    """A tie that waits for a reviewer: the surest first, then the oldest."""

    unlikely: float
    number: int
    account: Newcomer
    right: bool


def play(world: World, capacity: float | None) -> Played:
    """What comes of it where reviewers look at `capacity` ties a day, the surest first; None: without Redshank at all.

    Whoever is re-linked is suspended at once, and comes back as their chain says; who is never found goes on to the end. A reviewer
    who has rejected an account is not asked about it again.
    """
    end = world.days * DAY
    place_of = {id(account): (chain, place) for chain in world.chains for place, account in enumerate(chain.accounts)}
    number = itertools.count()
    events: list[tuple[float, int, Newcomer, float, bool]] = []
    waiting: list[Tied] = []
    born: dict[int, tuple[float, Newcomer]] = {}
    waits: dict[int, float] = {}
    settled: set[int] = set()
    reviews = wrong = 0
    free_at = 0.0

    def appear(account: Newcomer, when: float) -> None:
        if account.owner >= 0:
            born[id(account)] = when, account
            heapq.heappush(events, (when + account.found_anyway, next(number), account, 0.0, False))
        if capacity is not None:
            for after, chance, right in account.steps:
                heapq.heappush(events, (when + after, next(number), account, chance, right))

    def come_back(chain: Chain, place: int, when: float) -> None:
        if place < len(chain.accounts) and when + chain.accounts[place].delay < end:
            appear(chain.accounts[place], when + chain.accounts[place].delay)

    def relink(account: Newcomer, when: float) -> None:
        settled.add(id(account))
        waits[id(account)] = when - born[id(account)][0]
        chain, place = place_of[id(account)]
        come_back(chain, place + 1, when)

    for chain in world.chains:
        come_back(chain, 0, chain.suspended_at)
    for arrives, person in world.innocent:
        appear(person, arrives)
    while True:
        soonest = events[0][0] if events else math.inf
        now = min(soonest, free_at if waiting else math.inf)
        if now >= end:
            break
        if now == soonest:
            when, at, account, chance, right = heapq.heappop(events)
            if id(account) in settled:
                continue
            if chance:
                heapq.heappush(waiting, Tied(-chance, at, account, right))
                free_at = max(free_at, when)
            else:
                relink(account, when)
            continue
        tied = heapq.heappop(waiting)
        if id(tied.account) in settled:
            continue  # Found or rejected meanwhile: it takes nobody's time.
        assert capacity
        free_at, reviews = now + DAY / capacity, reviews + 1
        if tied.right and tied.account.luck < world.rates.confirms:
            relink(tied.account, now)
        elif tied.right or tied.account.owner < 0:
            settled.add(id(tied.account))
            wrong += not tied.right and tied.account.luck < world.rates.mistakes
    posts = tuple(one.posts_a_day * waits.get(key, end - when) / DAY for key, (when, one) in born.items())
    return Played(
        capacity=capacity, accounts=len(born), waits=tuple(waits.values()), posts=posts, reviews=reviews, wrong=wrong
    )  # fmt: skip
