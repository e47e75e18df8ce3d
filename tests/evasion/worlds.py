"""A small made-up world of accounts, for the tests of returning accounts: circles, owners, and strangers who look alike."""

from __future__ import annotations

import numpy as np

from redshank.evasion import KeyedToken, Model, Profile, SuspensionIndex, encode, fit
from redshank.evasion.names import script_of

NAMES = [
    "heron",
    "marsh",
    "reed",
    "otter",
    "plover",
    "sedge",
    "willow",
    "alder",
    "kestrel",
    "linnet",
    "siskin",
    "dunlin",
    "godwit",
    "avocet",
    "curlew",
]
WORDS = [
    "tea",
    "rain",
    "boats",
    "maps",
    "bread",
    "stone",
    "light",
    "birds",
    "clocks",
    "paper",
    "wool",
    "glass",
    "amber",
    "cedar",
    "harbor",
    "lantern",
    "meadow",
]
DAY = 86_400
START = 1_700_000_000


def person(random: np.random.Generator, number: int, circle: int, **fields: object) -> Profile:
    """An account of a circle, which follows that circle's people, everybody's, and its own."""
    near = 10_000 + circle * 1_000 + np.minimum(random.exponential(60, 25).astype(int), 999)
    own = 10**6 + random.integers(0, 10**6, 12)
    hours = np.roll([9, 7, 4, 2, 1, 0, 0, 0, 0, 1, 2, 3, 3, 2, 2, 3, 4, 5, 6, 8, 9, 9, 9, 9], random.integers(24))
    made = {
        "handle": f"{random.choice(NAMES)}_{random.choice(WORDS)}{random.integers(99)}",
        "display_name": f"{random.choice(NAMES).title()} {random.choice(WORDS).title()}",
        "bio": " ".join(random.choice(WORDS, 5)),
        "avatar": random.bytes(32),
        "follows": tuple(map(str, {*near, *own, *random.integers(0, 50, 6)})),
        "tokens": (KeyedToken("device", "k1", f"{random.integers(2**60):x}"),),
        "hours": tuple(int(x) for x in random.poisson(hours * 1.5)),
        "created_at": START + int(random.integers(0, 300 * DAY)),
    }
    return Profile(number=number, **(made | fields))  # type: ignore[arg-type]


def suspended(count: int = 1_500, *, circles: int = 12, seed: int = 1) -> list[Profile]:
    """Suspended accounts, each of another owner, numbered from 1."""
    random = np.random.default_rng(seed)
    made = []
    for number in range(1, count + 1):
        ended = START + int(random.integers(0, 300 * DAY))
        made.append(person(random, number, int(random.integers(circles)), ended_at=ended))
    return made


def again(old: Profile, number: int, *, share: float = 0.5, seed: int = 1, **fields: object) -> Profile:
    """The owner of `old` under a new name, three days later, following a share of the same accounts."""
    random = np.random.default_rng(seed + number)
    fresh = person(random, number, 0)
    kept = [followed for followed in old.follows if random.random() < share]
    made = {
        "handle": fresh.handle,
        "display_name": fresh.display_name,
        "bio": old.bio,
        "avatar": fresh.avatar,
        "follows": tuple({*kept, *fresh.follows[:5]}),
        "tokens": fresh.tokens,
        "hours": old.hours,
        "created_at": old.ended_at + 3 * DAY,
    }
    return Profile(number=number, **(made | fields))  # type: ignore[arg-type]


def hostile_copy(old: Profile, number: int) -> Profile:
    """Somebody else who took the name, the picture and the handle, and follows others of the same circle."""
    random = np.random.default_rng(number)
    circle = (int(old.follows[0]) - 10_000) // 1_000 if old.follows[0].startswith("1") else 3
    return person(
        random, number, circle % 12, handle=old.handle + "2", display_name=old.display_name, avatar=old.avatar,
        created_at=old.ended_at + DAY,
    )  # fmt: skip


PEOPLE = suspended()


def fitted_on(index: SuspensionIndex, scorer: str) -> Model:
    """A model fitted on 150 returned accounts of `PEOPLE` and 600 others, a third of whom copy a face and a name."""
    random = np.random.default_rng(8)
    new: list[Profile] = []
    truth: dict[int, tuple[str, int]] = {}
    for at in range(750):
        number, old = 100_000 + at, PEOPLE[at]
        if at < 150:
            new.append(again(old, number, share=float(random.uniform(0.1, 0.6))))
            truth[number] = "returned", old.number
        elif at < 350:
            new.append(hostile_copy(old, number))
            truth[number] = "copy", -1
        else:
            new.append(person(random, number, int(random.integers(12))))
            truth[number] = "stranger", -1
    return fit(
        index,
        encode(new),
        {p.number: p.number for p in PEOPLE},
        truth,
        data="made up",
        date="2026-07-01",
        scorer=scorer,
        scripts={p.number: script_of(p.display_name) for p in new},
        stated_rate=0.1,
    )
