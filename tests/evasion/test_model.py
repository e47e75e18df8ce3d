"""A tie's reasons add up to its score, copies of a face and a name never make one, and a model is one checked file."""

import math
from pathlib import Path

import msgspec
import numpy as np
import pytest

from redshank.core import BadInput, Problem
from redshank.evasion import (
    PURPOSES,
    KeyedToken,
    Model,
    Profile,
    Scorer,
    SuspensionIndex,
    Tie,
    default_model,
    encode,
    fit,
    load_model,
    save_model,
)
from redshank.evasion.kernels import FEATURES
from redshank.evasion.trees import Split, Tree
from tests.evasion.worlds import DAY, PEOPLE, START, again, hostile_copy, person


def tie_of(model: Model, index: SuspensionIndex, profile: Profile, number: int) -> Tie | None:
    ties = Scorer(model).ties(index.search(encode([profile])))
    return next((tie for tie in ties if tie.number == number), None)


def test_the_reasons_add_up_to_the_score(index: SuspensionIndex, fitted: Model) -> None:
    for model, rate in ((fitted, None), (fitted, 0.01), (default_model(), None)):
        scorer = Scorer(model, rate=rate)
        for old in PEOPLE[400:420]:
            pairs = index.search(encode([again(old, 200_000 + old.number)]))
            ties = scorer.ties(pairs)
            assert [tie.probability for tie in ties] == sorted((tie.probability for tie in ties), reverse=True)
            assert sorted(scorer.probabilities(pairs)) == pytest.approx(sorted(tie.probability for tie in ties))
            for tie in ties:
                bits = math.fsum(reason.bits for reason in tie.reasons)
                assert tie.probability == pytest.approx(1 / (1 + 2**-bits))


def test_returned_accounts_are_likely_ties_and_strangers_none(index: SuspensionIndex, fitted: Model) -> None:
    random = np.random.default_rng(12)
    backs = [tie_of(fitted, index, again(old, 300_000 + old.number), old.number) for old in PEOPLE[800:900]]
    assert sum(tie is not None and tie.band == "likely" for tie in backs) >= 90
    for number in range(100):
        ties = Scorer(fitted).ties(index.search(encode([person(random, 400_000 + number, number % 12)])))
        assert not any(tie.band == "likely" for tie in ties)


@pytest.mark.parametrize("bare", [True, False])
def test_a_hostile_copy_of_name_and_picture_stays_below_possible(
    index: SuspensionIndex, fitted: Model, bare: bool
) -> None:
    for model in (fitted, default_model()):
        for old in PEOPLE[1_000:1_050]:
            copy = hostile_copy(old, 500_000 + old.number)
            if bare:
                copy = Profile(number=copy.number, handle=old.handle, display_name=old.display_name, avatar=old.avatar)
            tie = tie_of(model, index, copy, old.number)
            assert tie is None or tie.band == ""


RICH = person(
    np.random.default_rng(77), 5_000, 3, handle="quietheron_7", display_name="Quiet Heron", bio="clay kilns over the estuary",
    language="de", avatar=bytes(range(32)), banner=bytes(range(64, 96)), links=("kilns.example",), own=("marsh/quietheron_7",),
    followers=("u1", "u2", "u3", "u4"), mentions=("w1", "w2", "w3"), habits=("#kilns", "p!!"), ended_at=START + 50 * DAY,
    tokens=tuple(KeyedToken(purpose, "k1", purpose * 3) for purpose in PURPOSES),
)  # fmt: skip
OTHER = person(
    np.random.default_rng(78), 900_001, 3, handle="marshbaker", display_name="Marsh Baker", bio="bread at noon", language="fr",
    avatar=bytes(range(100, 132)), banner=bytes(range(150, 182)), links=("bread.example",), declared=("dunes/someone",),
    followers=("v1", "v2", "v3", "v4"), mentions=("z1", "z2", "z3"), habits=("#bread", "p??"), created_at=RICH.ended_at + DAY,
    tokens=tuple(KeyedToken(purpose, "k1", f"not {purpose}") for purpose in PURPOSES),
    hours=tuple(np.roll(RICH.hours, 12).tolist()),
)  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "same"),
    [
        ("follows", {"follows": RICH.follows}),
        ("contacts", {"followers": RICH.followers}),
        ("contacts", {"mentions": RICH.mentions}),
        ("links", {"links": RICH.links}),
        ("declared", {"declared": RICH.own}),
        ("words", {"bio": RICH.bio}),
        ("name", {"handle": "quiet_heron_8"}),
        ("name", {"handle": "qu1eth3ron"}),
        ("name", {"display_name": "Quіеt Неrоn"}),  # Cyrillic letters that look alike.
        ("avatar", {"avatar": RICH.avatar[:30] + b"\xff\xff"}),
        ("banner", {"banner": RICH.banner[:28] + bytes(4)}),
        ("hours", {"hours": RICH.hours}),
        ("language", {"language": RICH.language}),
        ("style", {"habits": RICH.habits}),
        *(
            (
                purpose,
                {
                    "tokens": tuple(
                        KeyedToken(one, "k1", one * 3 if one == purpose else f"not {one}") for one in PURPOSES
                    )
                },
            )
            for purpose in PURPOSES
        ),
    ],
)
def test_each_kind_of_evidence_speaks_for_a_tie_where_it_agrees_and_not_where_it_differs(
    kind: str, same: dict[str, object]
) -> None:
    index = SuspensionIndex.build(encode([*PEOPLE, RICH]))

    def bits(profile: Profile) -> dict[str, float]:
        shared = msgspec.structs.replace(profile, follows=(*profile.follows, *RICH.follows[:6]))  # So that they meet.
        tie = tie_of(default_model(), index, shared, RICH.number)
        assert tie is not None
        return {reason.kind: reason.bits for reason in tie.reasons}

    apart, alike = bits(OTHER), bits(msgspec.structs.replace(OTHER, **same))  # type: ignore[arg-type]
    assert alike.get(kind, 0) > 0
    assert alike.get(kind, 0) > apart.get(kind, 0) + 0.3
    assert kind == "follows" or apart.get(kind, 0) <= 0
    others = {"likeness", "calibration", kind}
    assert {k: v for k, v in apart.items() if k not in others} == pytest.approx(
        {k: v for k, v in alike.items() if k not in others}, abs=0.6
    )


FACE = {"handle": RICH.handle, "display_name": RICH.display_name, "avatar": RICH.avatar, "banner": RICH.banner}


@pytest.mark.parametrize(
    ("same", "band"),
    [
        ({**FACE, "bio": RICH.bio, "language": RICH.language, "links": RICH.links}, ""),
        ({**FACE, "tokens": RICH.tokens}, "possible"),
        *(
            ({"tokens": tuple(one for one in RICH.tokens if one.purpose == purpose)}, "possible")
            for purpose in PURPOSES
        ),
        ({"follows": RICH.follows}, "possible"),
        ({"followers": RICH.followers, "mentions": RICH.mentions}, "possible"),
        ({"declared": RICH.own}, "possible"),
        ({"follows": RICH.follows, "tokens": RICH.tokens}, "likely"),
        ({"follows": RICH.follows, "bio": RICH.bio}, "likely"),
        ({"follows": RICH.follows, "followers": RICH.followers}, "likely"),
    ],
)
def test_what_anybody_can_copy_is_never_enough_and_one_kind_never_likely(same: dict[str, object], band: str) -> None:
    index = SuspensionIndex.build(encode([*PEOPLE, RICH]))
    sure = msgspec.structs.replace(default_model(), prior_bits=90.0)  # However sure the sum is.
    new = Profile(number=600_000, **same)  # type: ignore[arg-type]
    tie = tie_of(sure, index, new, RICH.number)
    assert tie is not None
    assert tie.probability > sure.likely
    assert tie.band == band


def test_a_number_that_follows_another_is_measured(index: SuspensionIndex) -> None:
    old = msgspec.structs.replace(PEOPLE[3], handle="reedsinger_7")
    there = SuspensionIndex.build(encode([*PEOPLE[:3], old]))
    pairs = there.search(encode([Profile(number=910_000, handle="Reed_Singer09", follows=old.follows)]))
    assert pairs.features[0, FEATURES.index("successor")] == 2


def test_what_is_unknown_says_nothing(index: SuspensionIndex, fitted: Model) -> None:
    old = PEOPLE[42]
    full = again(old, 700_000)
    for field, kind in (("avatar", "avatar"), ("bio", "words"), ("hours", "hours"), ("tokens", "device")):
        empty = type(getattr(full, field))()
        tie = tie_of(fitted, index, msgspec.structs.replace(full, **{field: empty}), old.number)
        assert tie is not None
        assert kind not in {reason.kind for reason in tie.reasons}


def test_a_lower_stated_rate_makes_every_tie_less_probable(index: SuspensionIndex, fitted: Model) -> None:
    pairs = index.search(encode([again(PEOPLE[7], 800_000, share=0.2)]))
    assert (Scorer(fitted, rate=0.001).probabilities(pairs) < Scorer(fitted, rate=0.3).probabilities(pairs)).all()


def test_between_networks_who_is_around_somebody_is_never_enough(index: SuspensionIndex, fitted: Model) -> None:
    sure = msgspec.structs.replace(fitted, prior_bits=60.0)  # However sure the sum is.
    for old in PEOPLE[:20]:
        twin = Profile(number=600_000, follows=old.follows, followers=old.followers)
        pairs = index.search(encode([twin]))
        here, there = ("dune", ["dune"] * len(pairs.ids)), ("dune", ["marsh"] * len(pairs.ids))
        within = next(tie for tie in Scorer(sure).ties(pairs, networks=here) if tie.number == old.number)
        across = next(tie for tie in Scorer(sure).ties(pairs, networks=there) if tie.number == old.number)
        bits = [{one.kind: one.bits for one in tie.reasons} for tie in (within, across)]
        assert bits[1]["follows"] == pytest.approx(bits[0]["follows"] / 2)
        assert (within.band, across.band) == ("possible", "")
        assert math.fsum(bits[1].values()) == pytest.approx(
            math.log2(across.probability / (1 - across.probability)), abs=0.1
        )


def test_another_circle_on_another_network_does_not_speak_against(index: SuspensionIndex, fitted: Model) -> None:
    old = PEOPLE[5]
    fresh = person(np.random.default_rng(2), 1, 3)
    twin = msgspec.structs.replace(
        old, number=600_001, follows=fresh.follows, created_at=old.ended_at - 90 * DAY, ended_at=0
    )
    pairs = index.search(encode([twin]))

    def against(network: str) -> set[str]:
        ties = Scorer(fitted).ties(pairs, networks=("dune", [network] * len(pairs.ids)))
        tie = next(tie for tie in ties if tie.number == old.number)
        return {one.kind for one in tie.reasons if one.bits < 0} & {"follows", "contacts", "time"}

    assert "follows" in against("dune")
    assert against("marsh") == set()


def test_each_pair_of_networks_learns_its_own_weights(index: SuspensionIndex, tmp_path: Path) -> None:
    """On `dune` whoever bears a suspended account's name and picture is its owner, on `marsh` they are somebody who copied them."""
    random = np.random.default_rng(8)
    new: list[Profile] = []
    truth: dict[int, tuple[str, int]] = {}
    networks = {old.number: "marsh" for old in PEOPLE}

    def come(number: int, old: Profile) -> Profile:
        if networks[number] == "dune":
            return hostile_copy(old, number)
        return again(old, number, share=float(random.uniform(0.1, 0.6)))

    for at in range(640):
        number = 100_000 + at
        networks[number] = "dune" if at % 2 else "marsh"
        if at < 240:
            new.append(come(number, PEOPLE[at]))
            truth[number] = "returned", PEOPLE[at].number
        else:
            copies = networks[number] == "marsh"
            new.append(hostile_copy(PEOPLE[at], number) if copies else person(random, number, at % 12))
            truth[number] = "other", -1
    owners = {one.number: one.number for one in PEOPLE}
    model = fit(index, encode(new), owners, truth, data="made up", date="2026-07-01", networks=networks)
    save_model(model, tmp_path / "model.json")
    assert load_model(tmp_path / "model.json") == model
    assert set(model.between) == {"dune>marsh", "marsh>marsh"}
    common = msgspec.structs.replace(model, between={})

    def told(model: Model, network: str, old: Profile, profile: Profile) -> float:
        pairs = index.search(encode([profile]))
        ties = Scorer(model).ties(pairs, networks=(network, ["marsh"] * len(pairs.ids)))
        return next((tie.probability for tie in ties if tie.number == old.number), 0.0)

    networks |= dict.fromkeys(range(300_000, 300_060), "dune")
    backs = [(old, come(300_000 + at, old)) for at, old in enumerate(PEOPLE[900:960])]
    learned, before = (np.mean([told(m, "dune", old, one) for old, one in backs]) for m in (model, common))
    assert learned > before + 0.15
    copies = [(old, hostile_copy(old, 400_000 + old.number)) for old in PEOPLE[1_000:1_060]]
    assert np.mean([told(model, "marsh", old, one) > 0.5 for old, one in copies]) < 0.05


def test_a_model_is_one_file_with_its_card(fitted: Model, tmp_path: Path) -> None:
    save_model(fitted, tmp_path / "model.json")
    assert load_model(tmp_path / "model.json") == fitted
    card = fitted.card
    assert (card.data, card.date, card.new, card.returned) == ("made up", "2026-07-01", 750, 150)
    assert set(card.false_ties) == {"copy", "stranger"}
    assert set(card.false_ties_by_script) == set(card.found_by_script) == {"latin"}
    assert card.found["returned"] > 0.8
    assert card.metrics["recall_fpr0.01"] > 0.9


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('"format": 2', '"format": 3', "format 3"),
        ('"prior_bits"', '"prior"', "no model"),
        ("{", "", "no model"),
        ('"between": {}', '"between": {"a>b": {"factors": {"name": -1}}}', "weights of a>b"),
    ],
)
def test_a_file_that_is_no_model_is_refused(fitted: Model, tmp_path: Path, old: str, new: str, complaint: str) -> None:
    path = tmp_path / "model.json"
    save_model(fitted, path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(Problem, match=complaint):
        load_model(path)


def test_terms_and_trees_that_do_not_hang_together_are_refused(fitted: Model, tmp_path: Path) -> None:
    def complaint(**changed: object) -> str:
        save_model(msgspec.structs.replace(fitted, **changed), tmp_path / "model.json")
        with pytest.raises(Problem) as raised:
            load_model(tmp_path / "model.json")
        assert "model.json" in str(raised.value)
        return str(raised.value)

    term = msgspec.structs.replace(fitted.terms[0], edges=((0.4, 0.5),), bits=(0.0, 1.0))
    assert "too few or too many bits" in complaint(terms=(term,))
    assert "shoe_size" in complaint(terms=(msgspec.structs.replace(term, features=("shoe_size",)),))
    assert "neither terms nor trees" in complaint(terms=(), trees=())
    root = Split("follows", 3.0, -1, -2, -1)
    for tree, words in (
        (Tree((root,), (0.0, 1.0, 2.0)), "not reached once"),
        (Tree((msgspec.structs.replace(root, feature="shoe_size"),), (0.0, 1.0)), "shoe_size"),
        (Tree((Split("follows", 3.0, 0, -1, 0),), (0.0,)), "no later split"),
        (Tree((Split("follows", 3.0, -1, -3, -1),), (0.0, 1.0)), "leads to -3"),
        (Tree((Split("follows", 3.0, -1, -2, 7),), (0.0, 1.0)), "what is unknown"),
        (Tree((), (0.0,)), "not reached once"),
    ):
        assert words in complaint(trees=(tree,))


@pytest.mark.parametrize("scorer", ["additive", "gbt"])
def test_there_must_be_something_to_learn_from(index: SuspensionIndex, scorer: str) -> None:
    strangers = encode([person(np.random.default_rng(1), 900_000 + at, at % 12) for at in range(20)])
    with pytest.raises(BadInput, match="nothing to learn from"):
        fit(index, strangers, {}, {}, data="", date="", scorer=scorer)
