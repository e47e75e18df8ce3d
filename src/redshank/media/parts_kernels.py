"""The loops of `parts`, compiled: which points of two pictures are alike, and how the one is to be laid on the other.

The one idea: nearly every pair of pictures shows nothing of each other, and is to be given up as soon as that is sure.
"""

# numba reads these functions' bytecode; its types are its own, so the loops are annotated only where Python calls them.
from __future__ import annotations

import math
from typing import Any

import numpy as np

from redshank.compiled import kernel, popcount


@kernel
def alike(seen: Any, known: Any, most: Any) -> Any:
    """Points that are each other's likest, of `seen` uint64 (n, 4) and `known` (m, 4), differing by `most` bits at most.

    Places in either, and by how much they differ, the likest first: three int64 arrays.
    """
    n, m = len(seen), len(known)
    words = np.ascontiguousarray(known.T)
    mine = np.empty(n, np.int64)  # The least of all bits << 20 | place.
    theirs = np.full(m, 1 << 30, np.int64)
    for i in range(n):
        least = np.int64(1 << 30)
        for j in range(m):
            bits = np.int64(
                popcount(seen[i, 0] ^ words[0, j]) + popcount(seen[i, 1] ^ words[1, j])
                + popcount(seen[i, 2] ^ words[2, j]) + popcount(seen[i, 3] ^ words[3, j])
            )  # fmt: skip
            theirs[j] = min(theirs[j], bits << 20 | i)
            least = min(least, bits << 20 | j)
        mine[i] = least
    there = mine & 0xFFFFF
    mutual = (theirs[there] & 0xFFFFF == np.arange(n)) & (mine >> 20 <= most)
    order = np.argsort(np.where(mutual, (mine >> 20) << 20 | np.arange(n), 1 << 30))[: mutual.sum()]
    return order, there[order], mine[order] >> 20


@kernel
def _wrapped(angle: Any) -> Any:
    return (angle + math.pi) % (2 * math.pi) - math.pi


@kernel
def _fitted(there: Any, here: Any, agree: Any, laying: Any) -> Any:
    """Write the affine laying (2, 3) of least squares that takes `there` to `here`, of those that agree; False where they lie
    on one line, to a pixel."""
    count = 0
    x = y = u = v = 0.0
    for i in range(len(agree)):
        if agree[i]:
            count += 1
            x += there[i, 0]
            y += there[i, 1]
            u += here[i, 0]
            v += here[i, 1]
    x, y, u, v = x / count, y / count, u / count, v / count
    xx = xy = yy = ux = uy = vx = vy = 0.0
    for i in range(len(agree)):
        if agree[i]:
            a, b = there[i, 0] - x, there[i, 1] - y
            xx += a * a
            xy += a * b
            yy += b * b
            ux += (here[i, 0] - u) * a
            uy += (here[i, 0] - u) * b
            vx += (here[i, 1] - v) * a
            vy += (here[i, 1] - v) * b
    determinant = xx * yy - xy * xy
    if determinant <= count * (xx + yy):  # The lesser of the two spreads is a square pixel, or less.
        return False
    laying[0, 0] = (ux * yy - uy * xy) / determinant
    laying[0, 1] = (uy * xx - ux * xy) / determinant
    laying[1, 0] = (vx * yy - vy * xy) / determinant
    laying[1, 1] = (vy * xx - vx * xy) / determinant
    laying[0, 2] = u - laying[0, 0] * x - laying[0, 1] * y
    laying[1, 2] = v - laying[1, 0] * x - laying[1, 1] * y
    return True


@kernel
def _is_sound(laying: Any, stretch: Any) -> Any:
    """Whether it neither turns the picture over nor crushes it: by its singular values."""
    a, b, c, d = laying[0, 0], laying[0, 1], laying[1, 0], laying[1, 1]
    one, other = math.hypot(a + d, b - c) / 2, math.hypot(a - d, b + c) / 2
    low, high = one - other, one + other  # Below zero where the determinant is.
    return low > 0.1 and high < 10 and high <= stretch * low


@kernel
def laid(
    here: Any, there: Any, turn: Any, size: Any, tried: Any, apart: Any, turn_off: Any, size_off: Any, within: Any,
    stretch: Any, enough: Any,
) -> Any:  # fmt: skip
    """The laying that most pairs of points agree to, of those that any two of the `tried` first pairs give, fitted.

    `here`, `there` float64 (n, 2) are the places of each pair; `turn`, `size` (n,) what its own points say of the whole;
    `within` the pixels by which a place may be off, before and after each fitting. Gives the laying (2, 3) and which pairs
    agree to it, bool (n,): none where there is no sound laying to which `enough` do.
    """
    n = len(here)
    best = np.zeros(n, np.bool_)
    fits = np.zeros(n, np.bool_)
    nobody = np.zeros(n, np.bool_)
    laying = np.zeros((2, 3))
    most = 0
    for i in range(min(tried, n)):
        for j in range(i + 1, min(tried, n)):
            a, b = here[j, 0] - here[i, 0], here[j, 1] - here[i, 1]
            c, d = there[j, 0] - there[i, 0], there[j, 1] - there[i, 1]
            step, known_step = math.hypot(a, b), math.hypot(c, d)
            if step < apart / 2 or known_step < apart / 2 or step + known_step < 2 * apart:
                continue
            by = math.log(step / known_step)
            turned = math.atan2(b * c - a * d, a * c + b * d)
            if (
                abs(by - size[i]) > size_off or abs(by - size[j]) > size_off
                or abs(_wrapped(turned - turn[i])) > turn_off or abs(_wrapped(turned - turn[j])) > turn_off
            ):  # fmt: skip
                continue
            square = known_step * known_step
            real, imaginary = (a * c + b * d) / square, (b * c - a * d) / square
            x = here[i, 0] - real * there[i, 0] + imaginary * there[i, 1]
            y = here[i, 1] - imaginary * there[i, 0] - real * there[i, 1]
            count = 0
            for k in range(n):
                off_x = real * there[k, 0] - imaginary * there[k, 1] + x - here[k, 0]
                off_y = imaginary * there[k, 0] + real * there[k, 1] + y - here[k, 1]
                if (
                    off_x * off_x + off_y * off_y <= within[0] * within[0] and abs(by - size[k]) <= size_off
                    and abs(_wrapped(turned - turn[k])) <= turn_off
                ):  # fmt: skip
                    count += 1
            if count <= most:
                continue
            most = count
            for k in range(n):
                fits[k] = abs(by - size[k]) <= size_off and abs(_wrapped(turned - turn[k])) <= turn_off
                off_x = real * there[k, 0] - imaginary * there[k, 1] + x - here[k, 0]
                off_y = imaginary * there[k, 0] + real * there[k, 1] + y - here[k, 1]
                best[k] = fits[k] and off_x * off_x + off_y * off_y <= within[0] * within[0]
    for limit in within:
        if best.sum() < enough or not _fitted(there, here, best, laying) or not _is_sound(laying, stretch):
            return laying, nobody
        for k in range(n):
            off_x = laying[0, 0] * there[k, 0] + laying[0, 1] * there[k, 1] + laying[0, 2] - here[k, 0]
            off_y = laying[1, 0] * there[k, 0] + laying[1, 1] * there[k, 1] + laying[1, 2] - here[k, 1]
            best[k] = fits[k] and off_x * off_x + off_y * off_y <= limit * limit
    return laying, best
