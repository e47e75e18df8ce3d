"""What is usual on a network is counted about right, once, whatever comes twice; and what many share says little."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redshank.evasion import Profile, SuspensionIndex, encode
from redshank.evasion.evidence import DEVICE, FOLLOW, LINK, WORD, keys_of
from redshank.evasion.kernels import FEATURES, chance_of
from redshank.evasion.population import Population, join, lift, marks_of, number_of
from redshank.evasion.profiles import KeyedToken

MARSH, DUNES = number_of("marsh"), number_of("dunes")


def counted(profiles: list[Profile], *, network: int = MARSH) -> np.ndarray:
    encoded = encode(profiles)
    return marks_of(encoded, [network] * len(profiles), [number_of("", str(one.number)) for one in profiles])


def known(population: Population, kind: int, *values: str, network: int = MARSH) -> np.ndarray:
    """About how many accounts carry each of `values`."""
    kinds = np.full(len(values), kind, np.uint8)
    keys = keys_of(list(values), kinds).astype(np.int64)
    return population.network(network).usual(np.concatenate([keys, np.full(5, -1)]), kinds).known[: len(values)]


def crowd(many: int, first: int = 1) -> list[Profile]:
    """Accounts of which all follow `star`, a tenth `club`, and each somebody of its own."""
    return [
        Profile(
            number=number, handle=f"heron{number}x", bio=f"tea word{number}", links=("news.example",),
            follows=("star", *(("club",) if number % 10 == 0 else ()), *(f"{number}/{n}" for n in range(8))),
            tokens=(KeyedToken("device", "k1", f"d{number}"),),
        )
        for number in range(first, first + many)
    ]  # fmt: skip


@pytest.mark.parametrize("many", [40, 3_000])
def test_counts_are_about_right_from_one_to_all(many: int) -> None:
    population = Population()
    population.add(counted(crowd(many)))
    star, club, own, nobody = known(population, FOLLOW, "star", "club", "7/3", "nobody")
    assert star == pytest.approx(many, rel=0.7)
    assert club == pytest.approx(many / 10, rel=0.7)
    assert (own, nobody) == (pytest.approx(1, abs=0.1), 0)
    assert known(population, LINK, "news.example")[0] == pytest.approx(many, rel=0.7)
    assert known(population, WORD, "tea", "word5")[1] == pytest.approx(1, abs=0.1)
    usual = population.network(MARSH).usual(np.full(5, -1), np.zeros(0, np.uint8))
    assert usual.sampled[[FOLLOW, LINK, DEVICE]] == pytest.approx(many, rel=0.2)
    assert usual.carried[FOLLOW] == pytest.approx(9.1 * many, rel=0.2)
    # Another network is another crowd.
    assert not known(population, FOLLOW, "star", network=DUNES).any()


def test_what_others_leave_at_a_place_is_taken_off() -> None:
    population = Population()
    random = np.random.default_rng(3)
    for _ in range(8):  # As 160,000 accounts of 60 keys would.
        places = random.integers(0, 1 << 42, 1_200_000, dtype=np.uint64) << np.uint64(9)
        heights = np.minimum(random.geometric(0.5, 1_200_000), 31).astype(np.uint64)
        population.add(places | (random.integers(0, 12, 1_200_000, dtype=np.uint64) << np.uint64(5)) | heights)
    population.add(counted(crowd(3_000)))
    found = known(population, FOLLOW, *(f"{number}/{n}" for number in range(1, 300) for n in range(8)))
    assert np.median(found) < 5
    assert known(population, FOLLOW, "star")[0] == pytest.approx(3_000, rel=0.7)
    assert population.network(MARSH).usual(np.full(5, -1), np.zeros(0, np.uint8)).sampled[FOLLOW] == pytest.approx(
        3_000, rel=0.2
    )


@settings(max_examples=15, deadline=None)
@given(st.lists(st.lists(st.integers(0, 29), max_size=40), min_size=1, max_size=4), st.randoms())
def test_any_order_any_repetition_and_any_number_of_workers_make_one_table(
    parts: list[list[int]], random: object
) -> None:
    people = crowd(30)
    marks = [counted([one]) for one in people]
    whole = np.zeros(1 << 21, np.uint64)
    for number in sorted({number for part in parts for number in part}):
        lift(whole, marks[number])
    joined = np.zeros(1 << 21, np.uint64)
    for part in parts:
        table = np.zeros(1 << 21, np.uint64)
        random.shuffle(part)  # type: ignore[attr-defined]
        for number in part:
            lift(table, marks[number])
        for _ in range(2):
            join(joined, 0, table)
    assert (joined == whole).all()


def test_what_many_follow_says_little_in_a_small_installation() -> None:
    """Six suspended accounts; a stranger follows the stars that one of them follows, somebody else that one's own friends."""
    stars = tuple(f"star{n}" for n in range(8))
    friends = tuple(f"friend{n}" for n in range(8))
    old = Profile(number=1, handle="oldreed", follows=(*stars, *friends))
    others = [Profile(number=n, handle=f"o{n}", follows=tuple(f"{n}.{i}" for i in range(16))) for n in range(2, 7)]
    index = SuspensionIndex.build(encode([old, *others]))
    population = Population()
    people = [Profile(number=n, follows=(*stars, *(f"p{n}.{i}" for i in range(8)))) for n in range(100, 1_100)]
    fan = Profile(number=50, follows=(*stars, *(f"fan{i}" for i in range(8))))
    back = Profile(number=51, follows=(*friends, *(f"back{i}" for i in range(8))))
    population.add(counted([old, *others, fan, back, *people]))
    network = population.network(MARSH)
    names = ("follows", "follows_rare", "lead")

    def measured(profile: Profile, **ways: object) -> dict[str, float]:
        pairs = index.search(encode([profile]), **ways)  # type: ignore[arg-type]
        assert pairs.ids[:1].tolist() in ([], [1])
        return {name: float(pairs.features[0, FEATURES.index(name)]) for name in names} if len(pairs.ids) else {}

    alone = measured(fan), measured(back)
    assert alone[0] == alone[1]  # Among the suspended alone, nobody can tell them apart.
    of_fan, of_back = measured(fan, network=network), measured(back, network=network)
    assert of_fan == {} or (of_fan["follows"] < 3 and of_fan["follows_rare"] == 0)
    assert of_back["follows_rare"] == 8
    assert of_back["follows"] > alone[1]["follows"] + 20
    assert of_back["lead"] > 10


@settings(deadline=None)
@given(st.integers(0, 50), st.integers(0, 10**6), st.integers(0, 1_000), st.integers(1, 10**7))
def test_a_chance_is_a_chance_and_more_who_share_make_it_larger(
    others: int, total: int, known: int, sampled: int
) -> None:
    others, known = min(others, total), min(known, sampled)
    chance = chance_of(others, float(total), float(known), float(sampled))
    assert 0 < chance <= 1
    assert chance_of(others + 1, float(total + 1), float(known), float(sampled)) >= chance
    assert chance_of(others, float(total), known + 1.0, sampled + 1.0) >= chance
    assert chance >= known / (sampled + 64) * 0.99
    assert chance >= others / (total + 64) * 0.99
