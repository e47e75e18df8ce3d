"""From what agrees to how sure: an additive score in bits, calibrated, explained, and cut into two bands.

The one idea: every piece of evidence adds or takes away bits (log2 of odds), and a person can add them up. The bits are
fitted on look-alikes that the same search brought up, never on random pairs, with a ridge that damps what depends on each
other; where two pieces only mean something together (whom one follows, and whether the rest fits), they share a term, or
are weighed by trees.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from redshank.core import Problem
from redshank.evasion import kernels
from redshank.evasion.index import Pairs
from redshank.evasion.trees import Forest, Tree, fault_of

FORMAT = 2
READ = (1, FORMAT)
"""Formats that are read; 1 knew no trees."""
STRONG = frozenset({"follows", "contacts", "links", "words", "declared"})
"""Kinds that tell a person. Names, avatars, devices, addresses, mail, phone, hours, language never suffice alone: others
share them, or can copy them."""
COPIED = frozenset({"name", "avatar", "banner", "words", "links", "language", "time", "likeness"})
"""Kinds that anybody who sees a profile can copy, or that say nothing about who somebody is: nothing follows from them
alone."""
STRUCTURE = frozenset({"follows", "contacts"})
"""Kinds that tell who is around an account. Between two networks they are never enough by themselves, not even for *possible*,
and count as one kind."""
PARALLEL = STRUCTURE | {"time"}
"""Kinds that between two networks never speak against: who is on both has other contacts on each, and no new account for an old one."""
SUPPORT_BITS = 1.0
"""A kind of evidence counts as such from so many bits on."""

Band = Literal["", "possible", "likely"]
Networks = tuple[str, Sequence[str]]
"""The network of a new account, and that of each suspended one that it is compared with."""


class Reason(msgspec.Struct, frozen=True):
    """One kind of evidence: how many bits it adds (or takes away), and what was seen."""

    kind: str
    bits: float
    detail: str = ""


class Tie(msgspec.Struct, frozen=True, kw_only=True):
    """How probable it is that a new account and a suspended one have one owner, and why.

    The reasons' bits add up to log2 of the odds of `probability`; `band` is empty below *possible*.
    """

    number: int
    probability: float
    band: Band
    reasons: tuple[Reason, ...]


class Term(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One or two features, cut at `edges` into bins, and the bits of each bin (of two: the second's bins within the first's).

    A value at an edge belongs to the bin above. Where a feature is unknown, the term is 0. `rises` says that the bits may
    never fall as the feature grows; -1 that they may never rise.
    """

    kind: str
    features: tuple[str, ...]
    edges: tuple[tuple[float, ...], ...]
    bits: tuple[float, ...] = ()
    rises: int = 0


class Between(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is different between two networks, or within one: `bits` that are added to each score, and factors of kinds' bits, from
    0 to `MOST_FACTOR`; 1 where a kind is not named."""

    bits: float = 0.0
    factors: dict[str, float] = {}


MOST_FACTOR = 3.0
ACROSS = Between(factors={"declared": 1.5, **dict.fromkeys(sorted(STRUCTURE), 0.5)})
"""Weights to start with between two networks, set by judgment: what people say themselves weighs most, who is around them half."""
WITHIN = Between()


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """What a person must know before trusting a model: from which data, when, how good, and on whom it errs.

    `false_ties` are the shares of innocent accounts that are called possible or likely, `found` those of returned ones
    that are rightly called so, by what they are and by the script of their name.
    """

    data: str
    date: str
    suspended: int
    new: int
    returned: int
    rate: float
    stated_rate: float
    metrics: dict[str, float] = {}
    false_ties: dict[str, float] = {}
    false_ties_by_script: dict[str, float] = {}
    found: dict[str, float] = {}
    found_by_script: dict[str, float] = {}


class Point(msgspec.Struct, frozen=True, array_like=True):
    """From the probability `at` on: the share of returned accounts tied rightly, of those tied wrongly, of others tied."""

    at: float
    right: float
    wrong: float
    others: float


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A whole scorer: one JSON file. What terms and trees say of a pair is added to the bits of the prior.

    Scorer 1 is terms alone; scorer 2 is trees, and terms to start with for what no account had when they were grown.
    `calibration` are points (raw bits, bits) between which straight lines run. `card.rate` is the share of returned accounts
    among those that it was fitted on. `likely` and `possible` are the probabilities, at that rate, from which a tie is
    called so; they were chosen so that the bands are as precise as promised where `card.stated_rate` of all new accounts are
    returned ones. `curve` says what other thresholds would give, for those who want another precision or state another rate.
    `between` are the weights of pairs of networks, as `new>old`, of which enough was known; others have `ACROSS`, or `WITHIN`.
    """

    format: int = FORMAT
    prior_bits: float
    terms: tuple[Term, ...] = ()
    trees: tuple[Tree, ...] = ()
    calibration: tuple[tuple[float, float], ...]
    possible: float
    likely: float
    card: Card
    curve: tuple[Point, ...] = ()
    between: dict[str, Between] = {}


def save_model(model: Model, path: Path) -> None:
    """Write `model` to `path` as JSON, whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(msgspec.json.format(msgspec.json.encode(model), indent=1) + b"\n")
    part.replace(path)


def load_model(path: Path) -> Model:
    """The model at `path`. Raises `Problem` saying what is wrong with the file."""
    try:
        model = msgspec.json.decode(path.read_bytes(), type=Model)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(f"is no model: {error}", where=str(path), hint="Make one: redshank evasion fit.") from None
    if model.format not in READ:
        raise Problem(f"is a model of format {model.format}, this program reads {FORMAT}", where=str(path))
    if not model.terms and not model.trees:
        raise Problem("has neither terms nor trees", where=str(path), hint="Make one: redshank evasion fit.")
    for term in model.terms:
        if any(name not in kernels.FEATURES for name in term.features) or len(term.features) not in {1, 2}:
            raise Problem(
                f"has a term of {', '.join(term.features)}, which this program does not measure", where=str(path)
            )
        if len(term.edges) != len(term.features) or len(term.bits) != math.prod(len(e) + 1 for e in term.edges):
            raise Problem(f"the term of {', '.join(term.features)} has too few or too many bits", where=str(path))
        if any(list(edges) != sorted(set(edges)) for edges in term.edges):
            raise Problem(f"the edges of {', '.join(term.features)} do not rise", where=str(path))
    for at, tree in enumerate(model.trees):
        if fault := fault_of(tree):
            raise Problem(f"tree {at} {fault}", where=str(path))
    points = model.calibration
    if len(points) < 2 or any(b[0] <= a[0] or b[1] < a[1] for a, b in itertools.pairwise(points)):
        raise Problem("its calibration does not rise", where=str(path))
    for pair, weights in model.between.items():
        if not math.isfinite(weights.bits) or any(not 0 <= one <= MOST_FACTOR for one in weights.factors.values()):
            raise Problem(f"the weights of {pair} are not between 0 and {MOST_FACTOR:g}", where=str(path))
    return model


def bands(model: Model, *, rate: float, likely: float, possible: float) -> tuple[float, float]:
    """The probabilities (possible, likely) from which on so large a share of ties is right, were `rate` of all new accounts
    returned ones; the model's own where it was never measured, 1 where no threshold is that precise."""
    if not model.curve:
        return model.possible, model.likely

    def least(precision: float) -> float:
        good = (
            point.at
            for point in model.curve
            if rate * point.right >= precision * (rate * (point.right + point.wrong) + (1 - rate) * point.others)
        )
        return min(good, default=1.0)

    lower = least(possible)
    return lower, max(lower, least(likely))


class Scorer:
    """A model made ready: scores the pairs of one search in some microseconds. Threads may share it.

    `rate` is the share of returned accounts among those to be scored, by which probabilities are shifted, None for the rate
    that the model was fitted at. Bands do not depend on it; `cuts` are the probabilities, at the model's rate, from which
    a tie is possible and likely, where they are not to be the model's own.
    """

    def __init__(self, model: Model, *, rate: float | None = None, cuts: tuple[float, float] | None = None) -> None:
        self.model = model
        self._possible, self._likely = cuts or (model.possible, model.likely)
        self._layout = layout_of(model.terms)
        self._bits = np.array([value for term in model.terms for value in term.bits], np.float64)
        self._x = np.array([point[0] for point in model.calibration])
        self._y = np.array([point[1] for point in model.calibration])
        self._kinds = tuple(dict.fromkeys([*(term.kind for term in model.terms), *kernels.KIND_OF.values()]))
        self._forest = Forest(model.trees, self._kinds) if model.trees else None
        self._of_kind = np.zeros((len(model.terms), len(self._kinds)))
        for at, term in enumerate(model.terms):
            self._of_kind[at, self._kinds.index(term.kind)] = 1
        fitted = model.card.rate
        self._shift = 0.0 if rate is None else math.log2(rate / (1 - rate)) - math.log2(fitted / (1 - fitted))

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of evidence that are weighed, in the order of `weighed`'s columns."""
        return self._kinds

    def raw_bits(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Bits of each pair of one network before calibration, float64 (m,)."""
        raw = self.model.prior_bits + kernels.term_bits(features, *self._layout, self._bits).sum(axis=1)
        return np.asarray(raw if self._forest is None else raw + self._forest.bits(features))

    def weighed(self, features: npt.NDArray[np.float32], across: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        """Each kind's bits for each pair, float64 (m, kinds), before weights of pairs of networks; `across` bool (m,) says which
        pairs are of two networks. With the prior they add up to the raw bits."""
        by_kind = np.asarray(kernels.term_bits(features, *self._layout, self._bits) @ self._of_kind)
        if self._forest is not None:
            by_kind += self._forest.by_kind(features)
        if across.any():
            parallel = np.array([kind in PARALLEL for kind in self._kinds])
            by_kind[np.ix_(across, parallel)] = np.maximum(by_kind[np.ix_(across, parallel)], 0)
        return by_kind

    def _between(self, networks: Networks | None, count: int) -> tuple[npt.NDArray[np.bool_], list[Between]]:
        if networks is None:
            return np.zeros(count, np.bool_), [WITHIN] * count
        new, olds = networks
        across = np.array([old != new for old in olds], np.bool_)
        there = self.model.between
        return across, [there.get(f"{new}>{old}", WITHIN if old == new else ACROSS) for old in olds]

    def _parts(
        self, features: npt.NDArray[np.float32], across: npt.NDArray[np.bool_], between: Sequence[Between]
    ) -> npt.NDArray[np.float64]:
        """Each kind's bits for each pair, with the weights of its networks."""
        by_kind = self.weighed(features, across)
        for at, weights in enumerate(between):
            if weights is not WITHIN:
                by_kind[at] *= [weights.factors.get(kind, 1.0) for kind in self._kinds]
        return by_kind

    def _scored(
        self, features: npt.NDArray[np.float32], across: npt.NDArray[np.bool_], between: Sequence[Between]
    ) -> npt.NDArray[np.float64]:
        """Bits of each pair; told apart by kind only where kinds count differently, since that is what takes time."""
        raw = self.raw_bits(features)
        special = [at for at, weights in enumerate(between) if across[at] or weights is not WITHIN]
        if special:
            weights = [between[at] for at in special]
            parts = self._parts(features[special], across[special], weights)
            raw[special] = self.model.prior_bits + parts.sum(axis=1) + [one.bits for one in weights]
        return self.in_bits(raw)

    def calibrated(self, raw: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Probabilities of raw bits."""
        return np.asarray(1 / (1 + np.exp2(-self.in_bits(raw))))

    def in_bits(self, raw: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Raw bits after calibration; outside of the points at a third of the slope, so that order is kept."""
        inside = np.interp(raw, self._x, self._y)
        over, under = np.maximum(raw - self._x[-1], 0), np.maximum(self._x[0] - raw, 0)
        return np.asarray(inside + (over - under) / 3 + self._shift)

    def probabilities(self, pairs: Pairs, *, networks: Networks | None = None) -> npt.NDArray[np.float64]:
        """How probable each pair is, float64 (m,)."""
        return np.asarray(1 / (1 + np.exp2(-self._scored(pairs.features, *self._between(networks, len(pairs.ids))))))

    def ties(
        self, pairs: Pairs, *, networks: Networks | None = None, least: float = 0.0, most: int | None = None
    ) -> tuple[Tie, ...]:
        """The pairs of at least that probability, the `most` surest of them, the surest first, each with its reasons.

        `networks` are the new account's and those of the pairs' suspended ones; all are taken to be of one where it is None.
        """
        if not len(pairs.ids):
            return ()
        across, between = self._between(networks, len(pairs.ids))
        bits = self._scored(pairs.features, across, between)
        chances = 1 / (1 + np.exp2(-bits))
        order = np.argsort(-bits, kind="stable")[:most]
        shown = order[chances[order] >= least]
        out = []
        parts = self._parts(pairs.features[shown], across[shown], [between[at] for at in shown.tolist()])
        for at, by_kind in zip(shown.tolist(), parts, strict=True):
            seen = {
                name: value
                for name, value in zip(kernels.FEATURES, pairs.features[at].tolist(), strict=True)
                if not math.isnan(value)
            }
            known = dict(zip(self._kinds, by_kind.tolist(), strict=True))
            reasons = [
                Reason(kind, value, _detail(kind, seen, between[at].factors.get(kind, 1.0)))
                for kind, value in sorted(known.items(), key=lambda item: -abs(item[1]))
                if value
            ]
            if between[at].bits:
                reasons.append(Reason("networks", between[at].bits))
            reasons.append(Reason("before any evidence", self.model.prior_bits + self._shift))
            reasons.append(Reason("calibration", float(bits[at]) - math.fsum(reason.bits for reason in reasons)))
            band = self._band(1 / (1 + 2.0 ** -(bits[at] - self._shift)), known, across=bool(across[at]))
            chance = float(chances[at])
            out.append(Tie(number=int(pairs.ids[at]), probability=chance, band=band, reasons=tuple(reasons)))
        return tuple(out)

    def _band(self, chance: float, bits: dict[str, float], *, across: bool) -> Band:
        """*likely* needs two kinds of evidence, a strong one among them; *possible* needs one that cannot be copied, and between
        two networks one that is not structure."""
        support = {kind for kind, value in bits.items() if value >= SUPPORT_BITS}
        if chance < self._possible or not support - COPIED or (across and not support - COPIED - STRUCTURE):
            return ""
        kinds = {"structure" if across and kind in STRUCTURE else kind for kind in support - {"time", "likeness"}}
        if chance >= self._likely and support & STRONG and len(kinds) > 1:
            return "likely"
        return "possible"


def layout_of(terms: tuple[Term, ...]) -> tuple[Any, ...]:
    """The terms as arrays for `kernels.term_bits`: features int64 (t, 2), edges float32 (t, 2, e), their numbers, offsets."""
    widest = max((len(edges) for term in terms for edges in term.edges), default=1)
    which = np.full((len(terms), 2), -1, np.int64)
    edges = np.full((len(terms), 2, widest), np.inf, np.float32)
    many = np.zeros((len(terms), 2), np.int64)
    offsets = np.zeros(len(terms) + 1, np.int64)
    for at, term in enumerate(terms):
        size = 1
        for side, (name, cuts) in enumerate(zip(term.features, term.edges, strict=True)):
            which[at, side] = kernels.FEATURES.index(name)
            edges[at, side, : len(cuts)] = cuts
            many[at, side] = len(cuts)
            size *= len(cuts) + 1
        offsets[at + 1] = offsets[at] + size
    return which, edges, many, offsets


def _detail(kind: str, known: dict[str, float], factor: float) -> str:
    """What was seen, in words, of the features that are known; and by what it counts more or less between these networks."""
    words: list[str] = []

    def say(name: str, text: str) -> None:
        if name in known:
            words.append(text.format(known[name]))

    match kind:
        case "follows":
            say("follows_rare", "{:.0f} rarely followed accounts in common")
            say("follows", "{:+.0f} bits against chance in their circle")
            if "circle" in known:
                words.append(f"of the rest, {known['circle']:.0%} fits the circle")
        case "name":
            say("handle", "handles alike to {:.0%}")
            say("display_name", "names alike to {:.0%}")
            say("name_parts", "{:+.0f} bits in words of the name")
            say("successor", "number at the end differs by {:+.0f}")
        case "avatar":
            say("avatar", "pictures differ in {:.0f} of 256 bits")
            if known.get("avatar_common", 99) < 10:
                words.append("a common picture")
        case "banner":
            say("banner", "{:.0f} bits in parts of the picture at the top")
        case "style":
            say("habits", "{:+.0f} bits in ways of writing")
        case "hours":
            say("hours", "{:+.1f} bits against the circle's usual hours")
        case "time":
            say("gap", "made {:.1f} days after the suspension")
        case "words":
            say("words", "{:+.0f} bits in words of the bio")
        case "links" | "declared" | "device" | "address" | "mail" | "phone":
            if kind in known:
                words.append("the same" if known[kind] > 0 else "nothing in common")
        case "contacts":
            say("followers", "{:+.0f} bits in followers")
            say("mentions", "{:+.0f} bits in mentions")
        case "language":
            if "language" in known:
                words.append("the same" if known["language"] else "another")
        case "likeness":
            say("lead", "{:.0f} bits ahead of other look-alikes")
        case _:
            pass
    if factor != 1:
        words.append(f"counts {factor:.1f} times between these networks")
    return "; ".join(words)
