"""Fits a model to accounts of which it is known whose they are; and the weights to start with where nothing is known yet.

The one idea: learn where it is hard. The pairs learned from are those that the search itself brings up, so that the
innocent among them are look-alikes: fans, families, namesakes, reporters, members of the same circle. Calibration and
bands come from pairs that the weights had not seen.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from redshank.core import BadInput
from redshank.evasion import kernels
from redshank.evasion.evidence import ADDRESS, DEVICE, MAIL, PHONE, Encoded, less, take
from redshank.evasion.index import SuspensionIndex
from redshank.evasion.model import MOST_FACTOR, Between, Card, Model, Point, Scorer, Term, layout_of
from redshank.evasion.population import Network
from redshank.evasion.trees import LN2, Tree, grow

FOLDS = 5
ROUNDS = 60
STEP = 0.5
RIDGE, PAIR_RIDGE = 6.0, 12.0
STATED_RATE = 0.02
"""Share of returned accounts among new ones at which the bands keep what they promise; an operator states another."""
LIKELY_PRECISION, POSSIBLE_PRECISION = 0.95, 0.7
LEAST_OF_PAIR = 20
"""So many right and so many wrong ties a pair of networks needs for weights of its own."""
TRUST_COMMON = 8.0
"""Ridge that holds a pair's weights to the common ones."""
NEAR, THINNED = 6, 8
"""Of each search the first `NEAR` pairs are learned from; of the rest every eighth, weighing eight."""
HIDDEN = 0.3
"""What a pair with kinds hidden weighs for trees, beside the same pair with all that is known."""


def _term(kind: str, name: str, *edges: float, rises: int = 1) -> Term:
    return Term(kind=kind, features=(name,), edges=(edges,), rises=rises)


def _pair(kind: str, one: str, cuts: tuple[float, ...], other: str, edges: tuple[float, ...]) -> Term:
    return Term(kind=kind, features=(one, other), edges=(cuts, edges))


TERMS: tuple[Term, ...] = (
    _term("follows", "follows", -4, -2, 0, 2, 4, 7, 10, 14, 18, 24, 32, 45, 60, 90, 140),
    _term("follows", "follows_rare", 1, 2, 3, 4, 6, 9, 14),
    _term("follows", "follows_rare_share", 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75),
    _term("follows", "follows_common", -1, -0.5, 0, 0.5, 1, 2, 3, 4.5, 6, 8),
    _term("follows", "circle", 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    _pair("follows", "follows", (0, 7, 14, 24, 45, 90), "circle", (0.1, 0.2, 0.35, 0.5, 0.7)),
    _pair("follows", "follows_rare", (1, 2, 3, 5, 8), "follows_common", (-0.5, 0, 1, 2, 4)),
    _term("contacts", "followers", 0, 5, 10, 15, 20, 30),
    _term("contacts", "mentions", 0, 5, 10, 15, 20, 30),
    _term("links", "links", 0, 2, 5, 9, 14),
    _term("declared", "declared", 1, 10),
    _term("words", "words", -2, -1, 0, 2, 5, 9, 14, 20, 30, 45),
    _term("words", "words_share", 0.001, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9),
    _term("name", "handle", 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
    _term("name", "display_name", 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
    _term("name", "name_parts", -1, 0, 4, 8, 12, 16, 20),
    _term("name", "successor", -10, 0, 1, 2, 4, 10, rises=0),
    _term("avatar", "avatar", 5, 9, 13, 20, 32, 45, 60, 100, rises=-1),
    _pair("avatar", "avatar", (13, 32, 61), "avatar_common", (6, 10)),
    _term("hours", "hours", -20, -12, -8, -5, -3, -1, 0, 1, 2, 3.5, 5, 7, 10, 14),
    _term("time", "gap", -30, -1, 0, 1, 2, 4, 7, 10, 14, 21, 30, 45, 60, 90, 180, 365, rises=0),
    _term("language", "language", 0.5),
    _term("device", "device", 1, 10),
    _term("address", "address", 1, 6, 10, 13),
    _term("mail", "mail", 1, 10),
    _term("phone", "phone", 1, 10),
    _term("banner", "banner", 1, 20, 60),
    _term("style", "habits", -2, 0, 5, 12, 24),
    _term("likeness", "lead", 0, 2, 4, 7, 11, 16, 24, 35, 50, 80, 120),
    _term("likeness", "known", 1, 6, 11, 21, 41, rises=0),
    # How much each says depends on how much is known besides.
    _pair("follows", "known", (11, 21, 41), "follows", (0, 7, 14, 24, 45, 90)),
    _pair("device", "known", (6, 21), "device", (1,)),
    _pair("words", "known", (6, 21), "words", (0, 9, 20, 30)),
    _pair("name", "known", (6, 21), "display_name", (0.5, 0.75, 0.95)),
    _pair("likeness", "known", (1, 6, 11, 21), "lead", (2, 7, 16, 35)),
    _pair("device", "device", (1,), "follows", (0, 7, 14, 24, 45)),
    _pair("name", "display_name", (0.5, 0.75, 0.95), "follows", (0, 7, 14, 24, 45)),
    _pair("hours", "hours", (-8, -3, 0, 3, 7), "follows", (0, 7, 14, 24, 45)),
    _pair("time", "gap", (0, 5, 14, 30, 90), "follows", (0, 7, 14, 24, 45)),
)
"""What is fitted. Edges and pairs were chosen on worlds of the generator's seeds 99 and 8; they are part of a model's file."""


RISES = {term.features[0]: term.rises for term in TERMS if len(term.features) == 1} | {"avatar_common": 0, "lead": 0}
"""What trees may ask of, and how the score may go with it: what scorer 1 measures, and as its terms do. A lead over other
look-alikes is no agreement; what it says depends on what it comes from."""
_TOKENS = (DEVICE, ADDRESS, MAIL, PHONE)
EARLY: tuple[tuple[int | None, tuple[int, ...], bool], ...] = (
    (0, (), True), (5, (), True), (10, (), True), (20, (), True), (None, _TOKENS, True), (None, (), False),
    (10, _TOKENS, False),
)  # fmt: skip
"""How much of an account is known when it is young or discreet: follows at most, kinds left out, whether times are known."""


class Pool(NamedTuple):
    """Pairs to learn from: features float32 (m, f), labels bool (m,), which search each came from int64 (m,), its place there,
    and the suspended account's number int64 (m,)."""

    features: npt.NDArray[np.float32]
    labels: npt.NDArray[np.bool_]
    searches: npt.NDArray[np.int64]
    ranks: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int64]


def gather_pool(
    index: SuspensionIndex, new: Encoded, owners: Mapping[int, int], truth: Mapping[int, int],
    usual: Mapping[int, Network] = {},
) -> Pool:  # fmt: skip
    """Search for each of `new`; a pair is right where `owners` of the suspended id is `truth` of the new one, and not -1.

    `usual` is what is usual where each of `new` is, by its id; nothing is known of others.
    """
    features, labels, searches, ranks, ids = [], [], [], [], []
    for row in range(len(new)):
        pairs = index.search(new, row, network=usual.get(int(new.accounts.ids[row])))
        owner = truth.get(int(new.accounts.ids[row]), -1)
        features.append(pairs.features)
        labels.append(np.array([owner >= 0 and owners.get(int(number)) == owner for number in pairs.ids], np.bool_))
        searches.append(np.full(len(pairs.ids), row, np.int64))
        ranks.append(np.arange(len(pairs.ids)))
        ids.append(pairs.ids)
    return Pool(
        np.concatenate(features), np.concatenate(labels), np.concatenate(searches), np.concatenate(ranks), np.concatenate(ids)
    )  # fmt: skip


def gather_early(
    index: SuspensionIndex, new: Encoded, owners: Mapping[int, int], truth: Mapping[int, int],
    usual: Mapping[int, Network] = {},
) -> Pool:  # fmt: skip
    """Each of `new` once more, as it was early: after so few follows as `EARLY` says, some without tokens or times."""
    random = np.random.default_rng(2)
    drawn = random.integers(0, len(EARLY), len(new))
    pools = []
    for number, (follows, kinds, times) in enumerate(EARLY):
        rows = np.flatnonzero(drawn == number).astype(np.int64)
        if len(rows):
            some = less(take(new, rows), kinds=kinds, follows=follows, times=times)
            part = gather_pool(index, some, owners, truth, usual)
            pools.append(part._replace(searches=rows[part.searches]))
    return Pool(*(np.concatenate(columns) for columns in zip(*pools, strict=True)))


def _both(one: Pool, some: npt.NDArray[np.bool_], other: Pool, more: npt.NDArray[np.bool_]) -> Pool:
    return Pool(
        np.concatenate((one.features[some], other.features[more])),
        np.concatenate((one.labels[some], other.labels[more])),
        np.concatenate((one.searches[some], other.searches[more])),
        np.concatenate((one.ranks[some], other.ranks[more])),
        np.concatenate((one.ids[some], other.ids[more])),
    )


def _lessons(pool: Pool) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """What is learned from: features, labels and weights of pairs."""
    keep = (pool.ranks < NEAR) | pool.labels | ((pool.ranks + pool.searches) % THINNED == 0)
    labels = pool.labels[keep].astype(np.float64)
    if not labels.any() or labels.all():
        raise BadInput("nothing to learn from", hint="There must be returned accounts and innocent ones among the new.")
    weights = np.where((pool.ranks[keep] < NEAR) | pool.labels[keep], 1.0, float(THINNED))
    return pool.features[keep], labels, weights


def _uncalibrated(prior: float, terms: tuple[Term, ...], trees: tuple[Tree, ...] = ()) -> Model:
    card = Card(data="", date="", suspended=0, new=0, returned=0, rate=0.5, stated_rate=STATED_RATE)
    straight = ((-1.0, -1.0), (1.0, 1.0))
    return Model(prior_bits=prior, terms=terms, trees=trees, calibration=straight, possible=1.0, likely=1.0, card=card)


def fit_terms(pool: Pool) -> Model:
    """Scorer 1: the terms fitted on the pairs of `pool`; not yet calibrated."""
    features, labels, weights = _lessons(pool)
    terms = TERMS
    layout = layout_of(terms)
    offsets = layout[3]
    bins = np.ascontiguousarray(kernels.bins_of(features, *layout).T)
    bits = np.zeros(int(offsets[-1]))
    rises = np.array([term.rises for term in terms], np.int64)
    ridge = np.array([RIDGE if len(term.features) == 1 else PAIR_RIDGE for term in terms])
    share = float((labels * weights).sum() / weights.sum())
    prior = kernels.boost(
        bins, offsets, labels, weights, rises, ROUNDS, STEP, ridge, bits, math.log(share / (1 - share))
    )
    seen = _seen(features)
    fitted = []
    for term, a, b in zip(terms, offsets[:-1], offsets[1:], strict=True):
        learned = msgspec.structs.replace(term, bits=tuple((bits[a:b] / LN2).round(4).tolist()))
        # Evidence that these accounts never had keeps the weight to start with: that none was seen is no lesson.
        unseen = not seen.issuperset(term.features)
        fitted.append(started if unseen and (started := _started(term)).bits else learned)
    return _uncalibrated(round(prior / LN2, 4), tuple(fitted))


def fit_trees(pool: Pool) -> Model:
    """Scorer 2: trees grown on the pairs of `pool`, with terms to start with for what none of them had; not yet calibrated.

    Each pair is there once more with some kinds of evidence hidden, from none to all, so that what the trees say of a part
    of the evidence is what they would say if no more were known: a kind's share of the score is measured against that.
    """
    features, labels, weights = _lessons(pool)
    random = np.random.default_rng(3)
    kinds = sorted(set(kernels.KIND_OF.values()))
    of_feature = np.array([kinds.index(kernels.KIND_OF[name]) for name in kernels.FEATURES])
    hidden = random.random((len(features), len(kinds))) < random.random((len(features), 1))
    partly = np.where(hidden[:, of_feature], np.float32(np.nan), features)
    prior, trees = grow(
        np.concatenate((features, partly)), np.concatenate((labels, labels)), np.concatenate((weights, HIDDEN * weights)),
        RISES,
    )  # fmt: skip
    seen = _seen(features)
    started = (_started(term) for term in TERMS if not seen.issuperset(term.features))
    return _uncalibrated(prior, tuple(term for term in started if term.bits), trees)


def _seen(features: npt.NDArray[np.float32]) -> set[str]:
    """The features that at least one pair has."""
    return {name for at, name in enumerate(kernels.FEATURES) if not np.isnan(features[:, at]).all()}


SCORERS: dict[str, Callable[[Pool], Model]] = {"additive": fit_terms, "gbt": fit_trees}
"""The two ways to learn, by name."""


def fit_between(
    pool: Pool, model: Model, new: npt.NDArray[np.int64], networks: Mapping[int, str]
) -> dict[str, Between]:
    """Weights of each pair of networks of which enough is known; `new` are the searches' accounts, `networks` those of all accounts.

    A logistic regression on the kinds' bits after calibration, with a ridge that holds it to the common weights. Of each search
    the surest pair counts, and the right ones.
    """
    scorer = Scorer(model)
    pairs = np.array(
        [f"{networks[int(new[at])]}>{networks[int(old)]}" for at, old in zip(pool.searches, pool.ids, strict=True)]
    )
    across = np.array([one.partition(">")[0] != one.partition(">")[2] for one in pairs], np.bool_)
    kinds = scorer.weighed(pool.features, across)
    scores = kinds.sum(axis=1)
    first = np.lexsort((-scores, pool.searches))
    first = first[np.append(True, pool.searches[first][1:] != pool.searches[first][:-1])]
    counts = pool.labels.copy()
    counts[first] = True
    found = {}
    for pair in np.unique(pairs).tolist():
        rows = np.flatnonzero(counts & (pairs == pair))
        right = pool.labels[rows].astype(np.float64)
        if min(right.sum(), (1 - right).sum()) < LEAST_OF_PAIR:
            continue
        x = np.column_stack((kinds[rows], np.ones(len(rows))))
        common = np.append(np.ones(len(scorer.kinds)), 0.0)
        weights = common.copy()
        for _ in range(ROUNDS):
            raw = model.prior_bits + x @ weights
            bits, slope = scorer.in_bits(raw), (scorer.in_bits(raw + 0.5) - scorer.in_bits(raw - 0.5)) * LN2
            chance = 1 / (1 + np.exp2(-bits))
            pull = x.T @ ((right - chance) * slope) - TRUST_COMMON * (weights - common)
            curve = (x * (chance * (1 - chance) * slope * slope)[:, None]).T @ x + TRUST_COMMON * np.eye(len(weights))
            weights += STEP * np.linalg.solve(curve, pull)
            weights[:-1] = weights[:-1].clip(0, MOST_FACTOR)
        factors = {kind: round(float(one), 2) for kind, one in zip(scorer.kinds, weights, strict=False)}
        found[pair] = Between(
            bits=round(float(weights[-1]), 2), factors={kind: one for kind, one in factors.items() if one != 1}
        )
    return found


def tops(
    pool: Pool, rows: npt.NDArray[np.bool_], scores: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """For each search among `rows`: its number, its best score, and whether that pair is right."""
    order = np.lexsort((-scores, pool.searches[rows]))
    searches = pool.searches[rows][order]
    first = np.ones(len(order), np.bool_)
    first[1:] = searches[1:] != searches[:-1]
    return searches[first], scores[order][first], pool.labels[rows][order][first]


def calibrate(scores: npt.NDArray[np.float64], right: npt.NDArray[np.bool_]) -> tuple[tuple[float, float], ...]:
    """Points (raw bits, bits) of a rising line, by isotonic regression of blocks of searches, smoothed by half a count."""
    order = np.argsort(scores, kind="stable")
    scores, right = scores[order], right[order]
    blocks = [block for block in np.array_split(np.arange(len(scores)), max(8, len(scores) // 50)) if len(block)]
    x = np.array([scores[block].mean() for block in blocks])
    share = np.array([right[block].mean() for block in blocks])
    mass = np.array([float(len(block)) for block in blocks])
    kernels.rise(share, mass, 1)
    points: list[tuple[float, float]] = []
    at = 0
    while at < len(share):
        end = at
        while end < len(share) and share[end] == share[at]:
            end += 1
        size = mass[at:end].sum()
        p = (share[at] * size + 0.5 * min(max(share[at], 0.02), 0.98)) / (size + 0.5)
        p = min(max(p, 0.5 / (size + 1)), 1 - 0.5 / (size + 1))
        points.append((float(np.average(x[at:end], weights=mass[at:end])), math.log2(p / (1 - p))))
        at = end
    rising = [points[0]]
    for point in points[1:]:
        if point[0] > rising[-1][0] + 1e-6 and point[1] > rising[-1][1] + 1e-6:
            rising.append(point)
    if len(rising) < 2:
        rising = [(-1.0, -1.0), (1.0, 1.0)]
    return tuple((round(a, 4), round(b, 4)) for a, b in rising)


def fit(
    index: SuspensionIndex, new: Encoded, owners: Mapping[int, int], truth: Mapping[int, tuple[str, int]], *,
    data: str, date: str, scorer: str = "additive", scripts: Mapping[int, str] | None = None,
    stated_rate: float = STATED_RATE, networks: Mapping[int, str] | None = None, usual: Mapping[int, Network] = {},
) -> Model:  # fmt: skip
    """A model fitted on the accounts `new` against the suspended of `index`; `scorer` is one of `SCORERS`.

    `owners` gives the owner of each suspended account, `truth` what each new one is (a name for its group) and its owner,
    -1 for nobody known, `scripts` the script of its name. `data` and `date` go on the card. `networks` are those of all
    accounts, where they are of several, `usual` what is usual on that of each new one, by its id. The bands are cut for a
    world in which `stated_rate` of all new accounts are returned ones. Raises `BadInput` where there is nothing to learn
    from, `Problem` where the scorer needs a library that is not there.
    """
    learn = SCORERS[scorer]
    ids = new.accounts.ids
    owner_of = {number: owner for number, (_, owner) in truth.items()}
    pool = gather_pool(index, new, owners, owner_of, usual)
    fold = np.random.default_rng(1).integers(0, FOLDS, len(new))
    early = gather_early(index, new, owners, owner_of, usual)
    returned = np.array([truth.get(int(number), ("", -1))[1] >= 0 for number in ids])
    everything = np.ones(len(pool.labels), np.bool_)
    scores = np.zeros(len(pool.labels))
    for number in range(FOLDS):
        held = fold[pool.searches] == number
        if not held.any():
            continue
        part = learn(_both(pool, ~held, early, fold[early.searches] != number))
        scores[held] = Scorer(part).raw_bits(pool.features[held])
    learned = learn(_both(pool, everything, early, np.ones(len(early.labels), np.bool_)))
    searches, best, right = tops(pool, everything, scores)
    draft = msgspec.structs.replace(
        learned, calibration=calibrate(best, right),
        card=Card(
            data=data, date=date, suspended=len(index), new=len(new), returned=int(returned.sum()),
            rate=round(float(returned.mean()), 6), stated_rate=stated_rate,
        ),
    )  # fmt: skip
    if networks is not None and len(set(networks.values())) > 1:
        draft = msgspec.structs.replace(draft, between=fit_between(pool, draft, ids, networks))
    chances = np.zeros(len(new))
    correct = np.zeros(len(new), np.bool_)
    chances[searches] = Scorer(draft).calibrated(best)
    correct[searches] = right
    possible = threshold(chances, correct, returned, POSSIBLE_PRECISION, stated_rate)
    likely = max(threshold(chances, correct, returned, LIKELY_PRECISION, stated_rate), possible)
    metrics = {f"recall_fpr{fpr:g}": recall_at(chances, correct, returned, fpr) for fpr in (1e-2, 1e-3)}
    metrics["ece"] = calibration_error(chances, correct)
    tied = chances >= possible
    groups = [truth.get(number, ("", -1))[0] for number in ids.tolist()]
    written = [(scripts or {}).get(number, "") for number in ids.tolist()]
    card = msgspec.structs.replace(
        draft.card, metrics={name: round(value, 4) for name, value in metrics.items()},
        false_ties=_shares(groups, ~returned, tied), false_ties_by_script=_shares(written, ~returned, tied),
        found=_shares(groups, returned, tied & correct), found_by_script=_shares(written, returned, tied & correct),
    )  # fmt: skip
    return msgspec.structs.replace(
        draft, possible=round(possible, 6), likely=round(likely, 6), card=card, curve=_curve(chances, correct, returned)
    )


def _shares(names: list[str], of: npt.NDArray[np.bool_], such: npt.NDArray[np.bool_]) -> dict[str, float]:
    """For each name, which share of those `of` it are `such`; the nameless are left out."""
    out = {}
    for name in sorted({name for name, counts in zip(names, of, strict=True) if counts and name}):
        some = of & np.array([one == name for one in names])
        out[name] = round(float(such[some].mean()), 6)
    return out


def _curve(
    chances: npt.NDArray[np.float64], correct: npt.NDArray[np.bool_], returned: npt.NDArray[np.bool_]
) -> tuple[Point, ...]:
    """What thresholds give, some 200 of them; one false tie more than was seen is reckoned with."""
    values = np.unique(chances[chances > 0])
    points = []
    for value in values[:: max(1, len(values) // 200)]:
        called = chances >= value
        back, others = max(int(returned.sum()), 1), max(int((~returned).sum()), 1)
        points.append(
            Point(
                round(float(value), 6),
                round(float((called & correct & returned).sum() / back), 6),
                round(float((called & ~correct & returned).sum() / back), 6),
                round(float(((called & ~returned).sum() + 1) / others), 6),
            )
        )
    return tuple(points)


def threshold(
    chances: npt.NDArray[np.float64], correct: npt.NDArray[np.bool_], returned: npt.NDArray[np.bool_],
    precision: float, rate: float,
) -> float:  # fmt: skip
    """The least probability from which on that share of ties is right, were `rate` of all new accounts returned ones.

    One false tie more than was seen is reckoned with, since none seen in some thousands is not none.
    """
    least = 1.0
    for value in np.unique(chances)[::-1]:
        called = chances >= value
        true = rate * (called & correct & returned).sum() / max(returned.sum(), 1)
        false = (1 - rate) * ((called & ~returned).sum() + 1) / max((~returned).sum(), 1)
        wrong = rate * (called & ~correct & returned).sum() / max(returned.sum(), 1)
        if true / (true + false + wrong) >= precision:
            least = float(value)
        elif (called & ~returned).sum() > 100 + 0.05 * len(chances):
            break
    return least


def recall_at(
    chances: npt.NDArray[np.float64], correct: npt.NDArray[np.bool_], returned: npt.NDArray[np.bool_], fpr: float
) -> float:
    """The share of returned accounts tied rightly, at a threshold that ties at most `fpr` of the others."""
    others = np.sort(chances[~returned])[::-1]
    at = int(fpr * len(others))
    limit = others[at] if at < len(others) else -1.0
    return float(((chances > limit) & correct & returned).sum() / max(returned.sum(), 1))


def calibration_error(chances: npt.NDArray[np.float64], correct: npt.NDArray[np.bool_]) -> float:
    """The expected calibration error of best ties above .01, in ten bins of equal mass."""
    shown = chances > 0.01
    p, y = chances[shown], correct[shown].astype(np.float64)
    bins = np.array_split(np.argsort(p, kind="stable"), 10)
    return float(sum(len(b) * abs(p[b].mean() - y[b].mean()) for b in bins if len(b)) / max(len(p), 1))


_START: dict[str, tuple[tuple[float, float], ...]] = {
    "follows": ((-4, -3), (0, -2), (10, 1), (24, 5), (60, 9), (140, 11)),
    "circle": ((0.1, -4), (0.4, -1), (0.7, 0.5)),
    "followers": ((-2, -0.5), (10, 1), (30, 3)),
    "mentions": ((-2, -0.5), (10, 1), (30, 3)),
    "links": ((-1, -0.3), (5, 0.7), (14, 2)),
    "declared": ((0.999, 0), (1, 5), (10, 6)),
    "words": ((-2, -0.7), (0, -0.2), (14, 1.5), (45, 4)),
    "handle": ((0.2, -0.5), (0.5, 0), (0.8, 0.5), (1, 1)),
    "display_name": ((0.2, -0.5), (0.5, 0), (0.8, 0.5), (1, 1)),
    "avatar": ((5, 1.2), (20, 1), (45, 0.4), (100, -0.3)),
    "hours": ((-20, -4), (-5, -2), (0, 0), (7, 1.5), (14, 2.5)),
    "gap": ((-1, -5), (-0.9, -5), (0, 2), (7, 2), (30, 0), (180, -2)),
    "language": ((0, -1.5), (1, 0.2)),
    "device": ((0, -0.3), (1, 2), (15, 2.5)),
    "address": ((0, -0.3), (1, 0.3), (13, 1.2)),
    "mail": ((0, -0.2), (10, 3)),
    "phone": ((0, -0.2), (10, 3)),
    "banner": ((0, -0.1), (20, 0.5), (60, 1)),
    "habits": ((-2, -0.5), (0, 0), (12, 1), (24, 2)),
    "lead": ((0, -2), (11, 0), (35, 1.5), (120, 2.5)),
}
"""Weights to start with, (value, bits) with straight lines between, the first and the last for all beyond: judgment, not measurement. Shared rare follows weigh
most, since a circle's usual ones are already taken off; whatever a stranger can copy weighs little; devices and addresses
are shared by families. All are a fraction of what each would weigh alone, since evidence hangs together."""


def _started(term: Term) -> Term:
    """`term` with the bits to start with; without any where there are none for it."""
    name = term.features[0]
    if len(term.features) != 1 or name not in _START:
        return term
    cuts = term.edges[0]
    x, y = zip(*_START[name], strict=True)
    middles = [x[0], *((a + b) / 2 for a, b in itertools.pairwise(cuts)), x[-1]]
    bits = tuple(round(float(np.interp(middle, x, y)), 2) for middle in middles)
    return msgspec.structs.replace(term, bits=bits)


def default_model() -> Model:
    """The model to start with where no one has confirmed a single tie: documented weights, bands that promise little."""
    terms = [_started(term) for term in TERMS]
    return Model(
        prior_bits=-7.0, terms=tuple(term for term in terms if term.bits), calibration=((-20.0, -14.0), (0.0, -1.0), (20.0, 9.0)),
        possible=0.7, likely=0.95,
        card=Card(
            data="none: weights to start with, set by judgment", date="", suspended=0, new=0, returned=0, rate=0.02, stated_rate=0.02
        ),
    )  # fmt: skip
