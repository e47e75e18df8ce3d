"""How much speaks for a part of a known picture: fits the weights of `media.parts`, and counts what they find.

    python -m bench.parts [--quick] [--pictures N] [--strangers N] [--seed N]

Copies are what `bench.copies` makes of originals: cut to a part, in another picture, on a player's page, with something over
or around it, at three strengths. Strangers are its pictures that have nothing in common; of these, pairs of which `FEWEST` points agree count.
Prints the weights that logistic regression gives, and, by the weights as they are, the evidence that copies and strangers
reach. Weights are to be fitted with one seed, and copies and strangers to be counted with others.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bench._common import bar, machine, parser
from bench.copies import EDITS, PARTIAL, crowd, hashed, indexed, originals, saved
from redshank.media.parts import LEAST, WEIGHTS, PartMatch, agreement, poverty, telling, unpack_points

KINDS = (
    *PARTIAL,
    "logo on it",
    "caption over it",
    "captions on both sides",
    "edges cut",
    "tilted",
    "bars of its own blur",
)
"""Edits whose copies weights are fitted by: of parts, and of wholes that something is laid over or around."""
Array = np.ndarray[Any, np.dtype[np.float64]]
Copies = list[tuple[str, int, PartMatch | None]]
"""Of each copy its edit, how strong that is, 0 to 2, and what agrees with the original."""


def copies_of(count: int, seed: int) -> Copies:
    """What agrees with each of `count` originals in each of its copies."""
    sources, rng = originals(count, seed), np.random.default_rng(seed + 1)
    kept = [telling(hashed(saved(image, 90)).points) for image in sources]
    out: Copies = []
    for number, (image, packed) in enumerate(zip(sources, kept, strict=True)):
        known = unpack_points(packed)
        for name in KINDS:
            for level in range(3):
                copy = EDITS[name](image, level, rng, sources[(number + 1) % count])
                seen = unpack_points(hashed(saved(copy, int(rng.integers(70, 92)))).points)
                out.append((name, level, None if poverty(packed) else agreement(seen, known)))
    return out


def strangers(count: int, seed: int) -> tuple[int, list[PartMatch]]:
    """How many pairs there are of pictures with nothing in common, and what agrees of those of which anything does."""
    numbers, seen = zip(*crowd(count, seed), strict=True)
    of = np.array(numbers)
    index = indexed(list(seen))
    rich = np.array([not poverty(telling(one.points)) for one in seen])
    pairs, out = 0, []
    for number, one in enumerate(seen):
        pairs += int((rich & (of != of[number])).sum())
        for packed in (one.points, one.mirrored_points):
            out += [match for entry, _, match in index.agreements(packed) if of[entry] != of[number]]
    return pairs, out


def fitted(copies: Array, others: Array, ridge: float = 0.1) -> Array:
    """The weights, and the constant first, of a logistic regression: Newton's method, with a ridge on what is scaled alike."""
    x = np.concatenate([copies, others])
    y = np.concatenate([np.ones(len(copies)), np.zeros(len(others))])
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    mean[0], deviation[0] = 0, 1
    x = (x - mean) / deviation
    weights = np.zeros(x.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-x @ weights))
        slope = x.T @ (p - y) + ridge * weights
        weights -= np.linalg.solve((x * (p * (1 - p))[:, None]).T @ x + ridge * np.eye(len(weights)), slope)
    out = weights / deviation
    out[0] -= float(out[1:] @ mean[1:])
    return out


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--pictures", type=int, help="originals (default: 80, quick: 12)")
    options.add_argument("--strangers", type=int, help="pictures with nothing in common (default: 2400, quick: 300)")
    args = options.parse_args()
    print(machine())
    copies = copies_of(args.pictures or (12 if args.quick else 80), args.seed)
    pairs, others = strangers(args.strangers or (300 if args.quick else 2400), args.seed)
    weights = fitted(
        np.array([match.measures() for *_, match in copies if match]), np.array([match.measures() for match in others])
    )
    print(
        f"\nseed {args.seed}: {len(copies):,} copies, {pairs:,} pairs of strangers, {len(others):,} of which points agree"
    )
    for name, given in (("as they are", WEIGHTS), ("fitted", weights)):
        print(f"weights {name:12}", " ".join(f"{weight:.3g}" for weight in given))
        reached = np.sort([float(np.dot(given, match.measures())) for match in others])[::-1]
        print(f"{'':10} strangers reach {', '.join(f'{one:.2f}' for one in reached[:8])}")
        for least in (LEAST, *(reached[0] + more for more in range(0, 8, 2))):
            shares = {
                (edit, level): np.mean([
                    match is not None and float(np.dot(given, match.measures())) >= least
                    for what, strength, match in copies if (what, strength) == (edit, level)
                ])
                for edit in KINDS for level in range(3)
            }  # fmt: skip
            found = "; ".join(
                f"{edit} {' / '.join(f'{shares[edit, level]:.3f}' for level in range(3))}" for edit in PARTIAL
            )
            print(
                f"{'':10} from {least:5.2f}: {found}; all at 30 % {np.mean([shares[edit, 2] for edit in PARTIAL]):.3f}"
            )
    bar("parts_recall", float(np.mean([match is not None and match.evidence >= LEAST for *_, match in copies])))
    bar("parts_false_matches", sum(match.evidence >= LEAST for match in others))


if __name__ == "__main__":
    main()
