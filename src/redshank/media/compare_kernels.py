"""The loop that chains the seconds of two videos (`compare`), compiled.

The one idea: how long the best chain through a pair is, is what it is up to there and from there on; each is reckoned once,
row by row. A pair counts 4; a step that is not one second on in both takes away 1 to 3, so that of two chains through as many
pairs the straighter one is longer.
"""

# numba reads this function's bytecode; its types are its own, so the loop is annotated only where Python calls it.
from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from redshank.compiled import kernel

ENOUGH = 8
"""Two seconds in a row, or three with little between them: what seconds in any other order rarely come to."""


@kernel
def _cost(on: Any, known_on: Any) -> Any:
    return min(3.0, abs(on - 1.0) + abs(known_on - on))


@kernel
def _chain(matches: Any, times: Any, known_times: Any, apart: Any, least: Any) -> Any:
    rows, columns = matches.shape
    up_to = np.zeros((rows, columns), np.uint16)
    keep = int(apart) + 2
    for i in range(rows):
        for j in range(columns):
            if matches[i, j]:
                best = 0.0
                for a in range(i - 1, max(-1, i - keep), -1):
                    on = times[i] - times[a]
                    if on > apart:
                        break
                    for b in range(j - 1, -1, -1):
                        known_on = known_times[j] - known_times[b]
                        if known_on > apart or known_on > 2 * on:
                            break
                        if up_to[a, b] and on <= 2 * known_on:
                            best = max(best, up_to[a, b] - _cost(on, known_on))
                up_to[i, j] = np.uint16(min(best + 4.0, 65000.0))
    partners = np.full(rows, -1, np.int64)
    there = np.zeros(columns, np.uint8)
    onward = np.zeros((keep, columns), np.uint16)
    for i in range(rows - 1, -1, -1):
        here = i % keep
        longest = 0
        for j in range(columns):
            onward[here, j] = 0
            if matches[i, j]:
                best = 0.0
                for a in range(i + 1, min(rows, i + keep)):
                    on = times[a] - times[i]
                    if on > apart:
                        break
                    for b in range(j + 1, columns):
                        known_on = known_times[b] - known_times[j]
                        if known_on > apart or known_on > 2 * on:
                            break
                        if onward[a % keep, b] and on <= 2 * known_on:
                            best = max(best, onward[a % keep, b] - _cost(on, known_on))
                onward[here, j] = np.uint16(min(best + 4.0, 65000.0))
                whole = int(up_to[i, j]) + int(onward[here, j]) - 4
                if whole < least:
                    continue
                there[j] = 1
                nearer = longest == whole and abs(known_times[j] - times[i]) < abs(known_times[partners[i]] - times[i])
                if whole > longest or nearer:
                    longest = whole
                    partners[i] = j
    return partners, there


def chain(
    matches: npt.NDArray[np.uint8],
    times: npt.NDArray[np.float64],
    known_times: npt.NDArray[np.float64],
    apart: float,
    alone: bool,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """For each row of `matches`, uint8 (n, m), the column of its partner in the longest chain through it, or -1: int64 (n,); and
    for each column whether it is in a chain: uint8 (m,).

    `times` (n,) and `known_times` (m,) are the seconds of rows and columns, growing; a chain goes on within `apart` seconds,
    and counts from `ENOUGH` on. A pair by itself is one if it may stand `alone`.
    """
    found: tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]
    found = _chain(
        matches, times.astype(np.float64), known_times.astype(np.float64), float(apart), 4 if alone else ENOUGH
    )
    return found
