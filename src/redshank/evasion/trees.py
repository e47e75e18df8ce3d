"""Gradient-boosted trees over what was measured of a pair: grown by LightGBM, read and explained by loops of our own.

The one idea: a tree may weigh all kinds of evidence together, and still each kind gets its exact share of the score: its
Shapley value, where evidence that is left out is unknown. Shares add up to the score, what is unknown has none, and a
kind never loses by agreeing more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from redshank.core import Problem
from redshank.evasion import kernels

LN2 = math.log(2)
ROUNDS = 400
"""Many small trees: chosen, as `PARAMETERS`, by cross-validation within the generator's seed 99, the ridge (`lambda_l2`) by how what was fitted
on that seed does on seed 8. Each split may ask of only
some of the features, so that no single one carries the surest scores: that alone halves what is lost at 1 in 10,000."""
PARAMETERS: dict[str, Any] = {
    "objective": "binary", "learning_rate": 0.1, "num_leaves": 7, "min_data_in_leaf": 40, "lambda_l2": 100.0,
    "feature_fraction_bynode": 0.4, "monotone_constraints_method": "intermediate", "deterministic": True, "force_row_wise": True,
    "seed": 1, "num_threads": 1, "verbosity": -1,
}  # fmt: skip


_MOST = float(np.finfo(np.float32).max)


class Split(msgspec.Struct, frozen=True, array_like=True):
    """Pairs go on to `below` where the feature is less than `at`, else to `above`; where it is unknown, to `unknown`.

    From 0 on it is the split of that place, always a later one; -1, -2, … are the leaves 0, 1, …
    """

    feature: str
    at: float
    below: int
    above: int
    unknown: int


class Tree(msgspec.Struct, frozen=True):
    """Splits, the first of them the root, and the bits of each leaf; 0 bits where nothing is known."""

    splits: tuple[Split, ...]
    bits: tuple[float, ...]


def fault_of(tree: Tree) -> str:
    """What is wrong with a tree; empty if nothing is."""
    reached = [0] * len(tree.splits), [0] * len(tree.bits)
    for place, split in enumerate(tree.splits):
        if split.feature not in kernels.FEATURES:
            return f"asks of {split.feature}, which this program does not measure"
        if split.unknown not in (split.below, split.above):
            return "sends what is unknown elsewhere than what is known"
        for child in (split.below, split.above):
            if not (place < child < len(tree.splits) or 0 <= -1 - child < len(tree.bits)):
                return f"leads to {child}, which is no later split and no leaf"
            reached[child < 0][child if child >= 0 else -1 - child] += 1
    if not tree.splits or reached[0][1:] != [1] * (len(tree.splits) - 1) or reached[1] != [1] * len(tree.bits):
        return "has splits or leaves that are not reached once"
    return ""


class Forest:
    """Trees made ready: what they say together, and what each of `kinds` has in it. Threads may share it."""

    def __init__(self, trees: Sequence[Tree], kinds: Sequence[str]) -> None:
        roots: list[int] = []
        which: list[int] = []
        edges: list[float] = []
        children: list[list[int]] = []
        leaves: list[float] = []
        for tree in trees:
            first, leaf = len(which), len(leaves)
            roots.append(first)
            for split in tree.splits:
                which.append(kernels.FEATURES.index(split.feature))
                edges.append(split.at)
                children.append(
                    [to + first if to >= 0 else to - leaf for to in (split.below, split.above, split.unknown)]
                )
            leaves += tree.bits
        self._nodes = (
            np.array(roots, np.int64), np.array(which, np.int64), np.array(edges, np.float32),
            *np.array(children, np.int64).reshape(-1, 3).T.copy(), np.array(leaves, np.float64),
        )  # fmt: skip
        self._kinds = np.array([kinds.index(kernels.KIND_OF[name]) for name in kernels.FEATURES], np.int64)
        self._many = len(kinds)
        self._shares = np.array(
            [[math.exp(math.lgamma(a) + math.lgamma(b + 1) - math.lgamma(a + b + 1)) if a else 0 for b in range(self._many + 1)]
            for a in range(self._many + 1)]
        )  # fmt: skip

    def bits(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """What the trees say of each pair, float64 (m,); features are float32 (m, len(FEATURES))."""
        return np.asarray(kernels.tree_bits(features, *self._nodes))

    def by_kind(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """The part of each kind in it, float64 (m, kinds)."""
        out = np.zeros((len(features), self._many))
        kernels.tree_reasons(features, *self._nodes, self._kinds, self._shares, out)
        return out


def grow(
    features: npt.NDArray[np.float32], labels: npt.NDArray[np.float64], weights: npt.NDArray[np.float64],
    rises: Mapping[str, int], *, rounds: int = ROUNDS,
) -> tuple[float, tuple[Tree, ...]]:  # fmt: skip
    """The bits where nothing is known, and trees, fitted to pairs: float32 (n, len(FEATURES)), labels and weights (n,).

    Only features named in `rises` are used; 1 there says that the score may never fall as the feature grows, -1 that it
    may never rise. Raises `Problem` where LightGBM is not installed.
    """
    try:
        import lightgbm
    except (ImportError, OSError) as missing:
        raise Problem(
            f"trees are grown by LightGBM, which cannot be loaded: {missing}",
            hint="pip install 'redshank[gbt]'; it also needs the system's libgomp (Debian: libgomp1). Scoring needs neither.",
        ) from None
    used = [name for name in kernels.FEATURES if name in rises]
    columns = features[:, [kernels.FEATURES.index(name) for name in used]]
    parameters = PARAMETERS | {"monotone_constraints": [rises[name] for name in used]}
    data = lightgbm.Dataset(columns, labels, weight=weights, params=parameters)
    booster = lightgbm.train(parameters, data, rounds)
    return read_trees(booster.dump_model(), used)


def read_trees(dump: Mapping[str, Any], names: Sequence[str]) -> tuple[float, tuple[Tree, ...]]:
    """What LightGBM's `Booster.dump_model` gives, for columns of those names: the bits where nothing is known, and trees."""
    prior, trees = 0.0, []
    for info in dump["tree_info"]:
        splits: list[Split] = []
        leaves: list[float] = []
        _read(info["tree_structure"], names, splits, leaves)
        node = 0 if splits else -1
        while node >= 0:
            node = splits[node].unknown
        nothing = leaves[-1 - node]
        prior += nothing
        if splits:
            trees.append(Tree(splits=tuple(splits), bits=tuple(round((leaf - nothing) / LN2, 7) for leaf in leaves)))
    return round(prior / LN2, 7), tuple(trees)


def _read(node: Mapping[str, Any], names: Sequence[str], splits: list[Split], leaves: list[float]) -> int:
    """Put a node and all under it into `splits` and `leaves`; gives its place as a child's."""
    if "split_feature" not in node:
        leaves.append(float(node["leaf_value"]))
        return -len(leaves)
    place = len(splits)
    splits.append(Split("", 0.0, 0, 0, 0))
    below = _read(node["left_child"], names, splits, leaves)
    above = _read(node["right_child"], names, splits, leaves)
    # LightGBM goes left up to the threshold, and takes NaN for 0 in a column that had none when it was fitted.
    threshold = float(node["threshold"])
    at = np.float32(min(threshold, _MOST))
    if float(at) <= threshold < _MOST:
        at = np.nextafter(at, np.float32(np.inf))
    left = node["default_left"] if node["missing_type"] == "NaN" else threshold >= 0
    splits[place] = Split(names[node["split_feature"]], float(str(at)), below, above, below if left else above)
    return place
