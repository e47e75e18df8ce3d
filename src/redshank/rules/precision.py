"""How often people agreed with a rule, and how sure one can be of that from so many of their decisions."""

from __future__ import annotations

from math import sqrt

import msgspec

Z = 1.959964
"""The normal distribution's quantile for 95 %."""


class Precision(msgspec.Struct, frozen=True):
    """Of the subjects that a rule fired on and people decided on: on how many they acted, and how many they cleared."""

    agreed: int = 0
    cleared: int = 0

    @property
    def decided(self) -> int:
        """Subjects that people decided on."""
        return self.agreed + self.cleared

    @property
    def share(self) -> float:
        """The share, from 0 to 1, on which people acted; 0 where nothing was decided."""
        return self.agreed / self.decided if self.decided else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Within what the share lies at 95 %, from 0 to 1: the score interval of Wilson (1927).

        It keeps its promise with few decisions and near 0 and 1, where the textbook one does not (Brown, Cai and
        DasGupta, Interval Estimation for a Binomial Proportion, 2001). Without decisions it is all of 0 to 1.
        """
        number = self.decided
        if not number:
            return 0.0, 1.0
        weight = Z * Z / number
        middle = (self.share + weight / 2) / (1 + weight)
        reach = Z * sqrt(self.share * (1 - self.share) / number + weight / (4 * number)) / (1 + weight)
        return max(0.0, middle - reach), min(1.0, middle + reach)
