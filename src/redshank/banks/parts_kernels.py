"""The loops of `parts`: known points are chained by some of their bits, and a seen point looks along the chains that it would be in.

The one idea: points that look alike have most bits in common, so they are in one chain of some table (bit sampling: Indyk
and Motwani, "Approximate nearest neighbors", STOC 1998). Not every pair is met, and need not be: several votes are enough.
"""

# numba reads these functions' bytecode; its types are its own, so the loops are annotated only where Python calls them.
from __future__ import annotations

from typing import Any

import numpy as np

from redshank.compiled import kernel, popcount


@kernel
def _chain(words: Any, chosen: Any, width: Any) -> Any:
    """The number that the first `width` of the `chosen` bits make."""
    out: Any = 0
    for i in range(width):
        bit = chosen[i]
        out = out << 1 | np.int64(words[bit >> 6] >> np.uint64(bit & 63) & np.uint64(1))
    return out


@kernel
def link(bits: Any, first: Any, end: Any, chosen: Any, heads: Any, following: Any, width: Any) -> None:
    """Put the points `first` to `end` of `bits`, uint64 (n, 4), before all others of their chains, one in each table."""
    for table in range(len(chosen)):
        for point in range(first, end):
            chain = _chain(bits[point], chosen[table], width)
            following[point, table] = heads[table, chain]
            heads[table, chain] = point


@kernel
def meet(
    seen: Any, bits: Any, numbers: Any, chosen: Any, heads: Any, following: Any, width: Any, radius: Any, common: Any,
    rows: Any, found: Any,
) -> Any:  # fmt: skip
    """Write which of `seen`, uint64 (n, 4), meets which known point within `radius` bits: its row, and the point's number.

    A pair may come once for each table. A chain is left after `common` points. Gives how many there are, which may be
    more than there is room for.
    """
    count = 0
    for row in range(len(seen)):
        for table in range(len(chosen)):
            point = heads[table, _chain(seen[row], chosen[table], width)]
            walked = 0
            while point >= 0 and walked < common:
                walked += 1
                apart = (
                    popcount(seen[row, 0] ^ bits[point, 0]) + popcount(seen[row, 1] ^ bits[point, 1])
                    + popcount(seen[row, 2] ^ bits[point, 2]) + popcount(seen[row, 3] ^ bits[point, 3])
                )  # fmt: skip
                if apart <= radius and numbers[point] >= 0:
                    if count < len(rows):
                        rows[count] = row
                        found[count] = numbers[point]
                    count += 1
                point = following[point, table]
    return count
