"""Trees say what LightGBM said, rise with what agrees, and give each kind of evidence its exact share."""

import itertools
import math
import sys

import lightgbm
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redshank.core import Problem
from redshank.evasion import kernels
from redshank.evasion.fitting import RISES
from redshank.evasion.trees import Forest, Split, Tree, fault_of, grow, read_trees

KINDS = tuple(dict.fromkeys(kernels.KIND_OF.values()))
OF_FEATURE = np.array([KINDS.index(kernels.KIND_OF[name]) for name in kernels.FEATURES])
SOME = ["follows", "circle", "device", "handle", "known", "gap", "avatar"]


def pairs(seed: int, many: int, *, unknown: float = 0.3) -> npt.NDArray[np.float32]:
    """Features as of pairs: small whole numbers, so that they often stand at an edge, some of them unknown."""
    random = np.random.default_rng(seed)
    made = random.integers(-4, 5, (many, len(kernels.FEATURES))).astype(np.float32)
    made[random.random(made.shape) < unknown] = np.nan
    return made


def lessons(many: int = 3_000) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """Pairs, and labels that hang on pieces of evidence together."""
    made = pairs(5, many)
    known = np.nan_to_num(made)
    at = {name: known[:, kernels.FEATURES.index(name)] for name in SOME}
    score = at["follows"] + at["circle"] * (at["device"] > 0) - np.abs(at["gap"]) + at["handle"] * (at["follows"] > 1)
    return made, (score + np.random.default_rng(6).normal(0, 1, many) > 2).astype(np.float64)


@pytest.fixture(scope="module")
def grown() -> tuple[Tree, ...]:
    made, labels = lessons()
    return grow(made, labels, np.ones(len(labels)), RISES, rounds=60)[1]


@st.composite
def a_tree(draw: st.DrawFn) -> Tree:
    """Any sound tree of up to eight leaves."""
    splits: list[Split] = []
    leaves: list[float] = []

    def under(depth: int) -> int:
        if depth and (len(splits) > 6 or draw(st.booleans())):
            leaves.append(draw(st.integers(-40, 40)) / 8)
            return -len(leaves)
        place = len(splits)
        splits.append(Split("", 0, 0, 0, 0))
        below, above = under(depth + 1), under(depth + 1)
        feature, at = draw(st.sampled_from(SOME)), float(draw(st.integers(-3, 4)))
        splits[place] = Split(feature, at, below, above, draw(st.sampled_from([below, above])))
        return place

    under(0)
    return Tree(tuple(splits), tuple(leaves))


def shares_by_hand(forest: Forest, pair: npt.NDArray[np.float32]) -> dict[str, float]:
    """Shapley values from their definition: over all coalitions of kinds, what each adds to those there."""
    players = sorted({kernels.KIND_OF[name] for name in SOME})
    worth = {}
    for size in range(len(players) + 1):
        for there in itertools.combinations(players, size):
            hidden = [KINDS[kind] not in there for kind in OF_FEATURE]
            worth[frozenset(there)] = float(forest.bits(np.where(hidden, np.float32(np.nan), pair)[None])[0])
    n = len(players)
    out = dict.fromkeys(KINDS, 0.0)
    for kind in players:
        for there in (there for there in worth if kind not in there):
            weight = math.factorial(len(there)) * math.factorial(n - 1 - len(there)) / math.factorial(n)
            out[kind] += weight * (worth[there | {kind}] - worth[there])
    return out


@settings(max_examples=40, deadline=None)
@given(trees=st.lists(a_tree(), min_size=1, max_size=3), seed=st.integers(0, 1_000))
def test_each_kind_has_its_shapley_value(trees: list[Tree], seed: int) -> None:
    assert not any(map(fault_of, trees))
    forest = Forest(trees, KINDS)
    made = pairs(seed, 2)
    for pair, shares in zip(made, forest.by_kind(made), strict=True):
        assert dict(zip(KINDS, shares, strict=True)) == pytest.approx(shares_by_hand(forest, pair), abs=1e-9)


def test_shares_add_up_and_what_is_unknown_has_none(grown: tuple[Tree, ...]) -> None:
    forest, made = Forest(grown, KINDS), pairs(7, 500, unknown=0.5)
    nothing = np.full((1, made.shape[1]), np.nan, np.float32)
    assert forest.bits(nothing)[0] == pytest.approx(0, abs=1e-9)
    shares = forest.by_kind(made)
    assert shares.sum(axis=1) == pytest.approx(forest.bits(made), abs=1e-9)
    for place in range(len(KINDS)):
        unknown = np.isnan(made[:, place == OF_FEATURE]).all(axis=1)
        assert not shares[unknown, place].any()
    assert np.abs(shares).max() > 1


def test_more_agreement_never_counts_less_neither_in_the_score_nor_in_its_kind(grown: tuple[Tree, ...]) -> None:
    forest, made = Forest(grown, KINDS), pairs(8, 200)
    used = {split.feature for tree in grown for split in tree.splits}
    assert {"follows", "circle", "device", "handle"} <= used <= RISES.keys()
    moved = 0
    for name in used:
        place = kernels.FEATURES.index(name)
        before = None
        for value in range(-5, 6):
            raised = made.copy()
            raised[:, place] = value
            now = forest.bits(raised), forest.by_kind(raised)[:, OF_FEATURE[place]]
            if before is not None:
                for new, old in zip(now, before, strict=True):
                    moved += int((np.abs(new - old) > 1e-9).sum())
                    assert RISES[name] == 0 or (RISES[name] * (new - old) >= -1e-9).all()
            before = now
    assert moved > 1_000


@pytest.mark.parametrize("unknown", [0.0, 0.3])
def test_trees_say_what_lightgbm_says(unknown: float) -> None:
    made = pairs(9, 2_000, unknown=unknown) * np.float32(0.3)
    labels = np.nan_to_num(made[:, 0]) + np.nan_to_num(made[:, 4]) > 0.1
    booster = lightgbm.train(
        {"objective": "binary", "num_leaves": 9, "verbosity": -1, "num_threads": 1, "deterministic": True, "max_bin": 15},
        lightgbm.Dataset(made, labels.astype(np.float64)),
        30,
    )  # fmt: skip
    prior, trees = read_trees(booster.dump_model(), kernels.FEATURES)
    asked = np.concatenate((made[:500], pairs(10, 500, unknown=0.4) * np.float32(0.3)))
    theirs = booster.predict(asked, raw_score=True) / math.log(2)
    assert prior + Forest(trees, KINDS).bits(asked) == pytest.approx(theirs, abs=1e-5)
    assert len(trees) == 30


def test_without_lightgbm_growing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(Problem, match=r"redshank\[gbt\]"):
        grow(*lessons(50), np.ones(50), RISES)
