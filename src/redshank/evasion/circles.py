"""Finds the circles that suspended accounts come from, so that what is usual in a circle counts as usual.

The one idea: two members of one scene follow the same people by chance far more often than two strangers do. Taken
against everybody, that looks like one owner; taken against the circle, it looks like what it is. A circle is found by
whom its accounts follow, and is nothing but a table: how many of its accounts have which key, and when they post.
It names nobody, and being in a circle is never a reason for a tie.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from redshank.evasion import kernels
from redshank.evasion.evidence import FOLLOW, Encoded

SAMPLE = 40_000
"""Accounts on which circles are looked for; all others are then given to the circle that explains them best."""
MOST = 600
FEWEST = 200
"""Among fewer accounts than this no circle is looked for: all are everybody."""
LEAST = 8
"""Circles of fewer accounts of the sample are dissolved."""
ROUNDS = 2
STAGES = 2


class Circles(NamedTuple):
    """`c` circles. Circle 0 is everybody: those who fit into none.

    members uint16 (n,): each account's circle; sizes int64 (c,); starts int64 (c + 1,) into keys uint32, ascending within
    a circle, and counts uint32: how many of the circle's accounts have that key, where they are many for it;
    hours float32 (c, 24), each summing to 1.
    """

    members: npt.NDArray[np.uint16]
    sizes: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    keys: npt.NDArray[np.uint32]
    counts: npt.NDArray[np.uint32]
    hours: npt.NDArray[np.float32]


def find_circles(encoded: Encoded, *, seed: int = 1) -> Circles:
    """The circles of `encoded`; the same accounts and the same seed give the same circles."""
    accounts, kinds = encoded.accounts, encoded.kinds
    n = len(accounts.ids)
    if n < FEWEST:
        usual = (accounts.hours / np.maximum(accounts.hours.sum(axis=1, keepdims=True), 1)).sum(axis=0) + 1e-3
        nothing = np.zeros(0, np.uint32)
        return Circles(
            np.zeros(n, np.uint16), np.array([n], np.int64), np.zeros(2, np.int64), nothing, nothing,
            (usual / usual.sum())[None, :].astype(np.float32),
        )  # fmt: skip
    random = np.random.default_rng(seed)
    members = np.zeros(n, np.uint16)
    left = np.arange(n)
    found = 0
    for _ in range(STAGES):  # The great circles first; then, among those whom none explains, the small ones.
        rows = np.sort(random.permutation(left)[:SAMPLE]).astype(np.int64)
        starts, keys = kernels.keys_of_kind(accounts.starts, accounts.keys, kinds, rows, FOLLOW)
        known, terms, seen = np.unique(keys, return_inverse=True, return_counts=True)
        useful = (seen >= 3) & (seen <= max(0.05 * len(rows), 10))
        number = np.cumsum(useful) - 1
        number[~useful] = -1
        known, usual = known[useful], (seen[useful] / max(len(rows), 1)).astype(np.float32)
        order = random.permutation(len(rows)).astype(np.int64)
        table, sizes = kernels.cluster(starts, number[terms].astype(np.int64), order, usual, MOST, LEAST, ROUNDS)
        if len(sizes) == 1:
            break
        weights = kernels.circle_weights(table, sizes, usual)
        chosen = kernels.assign(
            accounts.starts, accounts.keys, kinds, left.astype(np.int64), known, kernels.build_directory(known), weights
        )
        members[left] = np.where(chosen > 0, chosen + found, 0)
        found += len(sizes) - 1
        left = left[chosen == 0]
    count = found + 1
    all_sizes = np.bincount(members, minlength=count).astype(np.int64)
    ordered = np.argsort(members, kind="stable").astype(np.int64)
    circle_starts, circle_keys, circle_counts = kernels.count_in_circles(
        accounts.starts, accounts.keys, ordered, all_sizes, max(4, round(4e-6 * n))
    )
    posts = np.zeros((count, 24))
    np.add.at(posts, members, accounts.hours / np.maximum(accounts.hours.sum(axis=1, keepdims=True), 1))
    everybody = posts.sum(axis=0) + 1e-3
    everybody /= everybody.sum()
    posts = posts + 20 * everybody
    posts[0] = everybody
    return Circles(
        members, all_sizes, circle_starts, circle_keys, circle_counts,
        (posts / posts.sum(axis=1, keepdims=True)).astype(np.float32),
    )  # fmt: skip
