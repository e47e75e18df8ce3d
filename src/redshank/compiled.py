"""What every room's compiled loops begin with: how numba compiles them, and the one mixing of bits.

They stand here so that rooms beside each other need not know one another.
"""

# numba reads these functions' bytecode; its types are its own, so the loops are annotated only where Python calls them.
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numba.extending import intrinsic


def kernel(function: Callable[..., Any]) -> Any:
    """`function` compiled without the GIL, kept on disk where numba finds a place for it, else compiled in each process."""
    try:
        return njit(cache=True, nogil=True)(function)
    except RuntimeError:  # Neither the package's folder nor the user's cache folder can be written.
        return njit(nogil=True)(function)


def instruction(function: Callable[..., Any]) -> Any:
    """`function` as a source of LLVM instructions for what numba has no name for."""
    return intrinsic(function)


@instruction
def popcount(_: Any, x: Any) -> Any:
    """Number of one bits."""

    def code(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return x(x), code


@kernel
def mix(x: Any) -> Any:
    """The finalizer of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014)."""
    x = np.uint64(x)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
