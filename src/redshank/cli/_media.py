"""What `redshank hash` and `redshank scan` share: finding files, hashing them with a progress bar, naming the unreadable."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

import click

from redshank.core.settings import MediaSettings
from redshank.media import Hasher, MediaError, MediaHashes

SOME_UNREADABLE = 3
"""Exit code where everything was done but for files that could not be read, each named on stderr."""


def files_in(paths: Sequence[Path]) -> list[Path]:
    """Each file of `paths`, folders with all they hold in order of name, hidden ones left out; each file once."""
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            for folder, folders, names in os.walk(path):
                folders[:] = sorted(name for name in folders if not name.startswith("."))
                found |= dict.fromkeys(Path(folder, name) for name in sorted(names) if not name.startswith("."))
        else:
            found[path] = None
    return list(found)


class Reading:
    """Hashes many files, several at a time, in order; what cannot be read is named on stderr and counted."""

    def __init__(self, limits: MediaSettings, *, jobs: int, key_frames: bool, points: bool = False) -> None:
        self.unreadable = 0
        self._limits = limits
        self._jobs = jobs
        self._key_frames = key_frames
        self._points = points

    def hashes(self, files: Sequence[Path], what: str) -> Iterator[tuple[Path, MediaHashes]]:
        """Each readable file with its hashes, in the order given, with a progress bar called `what` on a terminal."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        jobs = max(1, min(self._jobs, len(files)))
        hashers = [Hasher(self._limits) for _ in range(jobs)]
        free: SimpleQueue[Hasher] = SimpleQueue()

        def one(path: Path) -> MediaHashes | MediaError:
            hasher = free.get()
            try:
                return hasher.hash(path, key_frames=self._key_frames, points=self._points)
            except MediaError as error:
                return error
            finally:
                free.put(hasher)

        pool = ThreadPoolExecutor(jobs)
        try:
            for hasher in hashers:
                free.put(hasher.__enter__())
            with Progress(
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
                console=console, disable=not console.is_terminal,
            ) as progress:  # fmt: skip
                task = progress.add_task(what, total=len(files))
                for path, answer in zip(files, pool.map(one, files), strict=True):
                    if isinstance(answer, MediaError):
                        self.unreadable += 1
                        progress.console.print(str(answer), markup=False, highlight=False, soft_wrap=True)
                    else:
                        yield path, answer
                    progress.advance(task)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for hasher in hashers:
                hasher.close()

    def finish(self) -> None:
        """Exit with `SOME_UNREADABLE` where files were left out."""
        if self.unreadable:
            raise SystemExit(SOME_UNREADABLE)


def jobs_here() -> int:
    """One child for each core that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


jobs_option = click.option(
    "--jobs", type=click.IntRange(min=1), default=jobs_here, show_default="one a core", help="Files hashed at a time."
)
key_frames_option = click.option(
    "--key-frames", is_flag=True,
    help="Of videos decode only key frames: several times as fast, and each second has the nearest one.",
)  # fmt: skip
