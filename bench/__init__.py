"""Side by side with peers: each bench prints a table, the machine, sizes and seed, and ends with BAR lines.

One core each: what would start threads of its own is told here, before any bench imports it, to use one.
"""

import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"
