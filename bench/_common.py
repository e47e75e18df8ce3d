"""What benches share: a line about the machine, processor time, `BAR name=value` lines, `--quick` and `--seed`."""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path


def parser(doc: str | None) -> argparse.ArgumentParser:
    """A parser with `--quick` and `--seed`; `doc` is the bench's docstring."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--quick", action="store_true", help="smaller sizes, under 50 seconds, the same names")
    made.add_argument("--seed", type=int, default=1, help="of all that is made up here (default: 1)")
    return made


def machine() -> str:
    """One line: processor, cores, memory, Python, and how busy the machine is with other things."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}, Python {platform.python_version()}, "
        f"load {os.getloadavg()[0]:.1f}"
    )


def processor_seconds(function: Callable[[], object], *, times: int = 1) -> float:
    """Processor time of this process, all threads, for one of `times` calls: other load on the machine stays out of it."""
    start = time.process_time()
    for _ in range(times):
        function()
    return (time.process_time() - start) / times


def bar(name: str, value: float) -> None:
    """Print a result as a script reads it."""
    shown = f"{float(f'{value:.4g}'):.10g}" if isinstance(value, float) else value  # four digits, no exponent
    print(f"BAR {name}={shown}", flush=True)
