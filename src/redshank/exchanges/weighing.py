"""Whether what a source sends is too much to be taken over unseen.

The one idea: a source that was broken into, or that broke, sends ten times the usual or withdraws all. Both are rare, both do
harm at once, and a person sees in a minute which it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from redshank.core.settings import ExchangeSettings

FEW = 10
"""Of a source that lists fewer things, a withdrawal of most is nothing strange; of all it is."""


class Diff(msgspec.Struct, kw_only=True):
    """What a run would change: how many things it reads, and of these are new, changed, the same, or withdrawn by name.

    `missing`: withdrawn because a whole list no longer names them. `listed`: what the source lists now, before the run.
    `skipped`: of kinds for which no bank is named; `words`: opinions alone; `aside`: not taken. The first few of each as
    (kind, value) or (value, reason).
    """

    read: int = 0
    new: int = 0
    changed: int = 0
    same: int = 0
    gone: int = 0
    missing: int = 0
    listed: int = 0
    skipped: int = 0
    words: int = 0
    aside: int = 0
    skipped_kinds: dict[str, int] = {}
    first_new: list[tuple[str, str]] = []
    first_gone: list[tuple[str, str]] = []
    first_aside: list[tuple[str, str]] = []

    @property
    def leaving(self) -> int:
        """What the source would list no more."""
        return self.gone + self.missing

    @property
    def nothing(self) -> bool:
        """Whether it would change nothing."""
        return not (self.new or self.changed or self.leaving or self.words)


def too_much(diff: Diff, before: Sequence[int], limits: ExchangeSettings) -> str:
    """Why a person should see this first; empty where there is no reason.

    `before` are the numbers of new things in its past runs but the first; the usual is their median over those that brought any.
    """
    reasons = []
    if diff.listed and diff.new > limits.hold_floor:
        past = sorted(number for number in before if number)
        if past:
            usual = past[len(past) // 2]
            if diff.new > limits.hold_factor * usual:
                reasons.append(f"It brings {diff.new:,} new things; {usual:,} are usual.")
        elif diff.new > diff.listed:
            reasons.append(f"It brings {diff.new:,} new things, more than the {diff.listed:,} that it listed so far.")
    if diff.leaving:
        if diff.leaving >= diff.listed >= 3:
            reasons.append(f"It withdraws all {diff.listed:,} things that it listed.")
        elif diff.listed >= FEW and diff.leaving > limits.hold_share * diff.listed:
            reasons.append(f"It withdraws {diff.leaving:,} of the {diff.listed:,} things that it listed.")
    return " ".join(reasons)
