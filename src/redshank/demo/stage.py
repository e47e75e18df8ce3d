"""The demo's processes: a server, a worker, and one example platform a network, each a real child process.

None of them outlives us, however we end: they are told to stop on the way out, and the kernel tells them where we cannot.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import httpx

from redshank.core import Problem

PATIENCE = 60.0
"""Seconds that a process may take to answer, on a machine that is busy with something else too."""
_PR_SET_PDEATHSIG = 1


class Stage:
    """Child processes by name, their logs in `folder`. A context manager: at its end all of them are gone."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self.folder = folder
        self.environ = dict(environ)
        self._commands: dict[str, tuple[Sequence[str], Path | None]] = {}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._logs: list[IO[bytes]] = []
        self._aside: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        everything = [*self._running.values(), *self._aside]
        for process in everything:
            process.terminate()
        for process in everything:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(15)
            _kill(process)
        for log in self._logs:
            log.close()

    def start(self, name: str, command: Sequence[str] = (), *, cwd: Path | None = None) -> None:
        """Start `command` as `name`; without a command, as it was started before."""
        if command:
            self._commands[name] = (command, cwd)
        words, folder = self._commands[name]
        self._running[name] = self._open(name, words, folder)

    def aside(self, name: str, command: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start `command`, which ends by itself; give its process, to wait for."""
        process = self._open(name, command, None)
        self._aside.append(process)
        return process

    def _open(self, name: str, words: Sequence[str], folder: Path | None) -> subprocess.Popen[bytes]:
        log = (self.folder / f"{name}.log").open("ab")
        self._logs.append(log)
        return subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=self.environ, cwd=folder,
            start_new_session=True,  # Ctrl-C reaches us alone, and we stop them in order.
            preexec_fn=_ends_with(os.getpid()) if sys.platform == "linux" else None,  # noqa: PLW1509 - it takes no lock
        )  # fmt: skip

    def kill(self, name: str) -> None:
        """End it and all its children as a power cut would: no handler runs."""
        _kill(self._running.pop(name))

    def check(self) -> None:
        """Raises Problem, with the end of its log, where a process ended that should not have."""
        for name, process in self._running.items():
            if process.poll() is not None:
                log = self.folder / f"{name}.log"
                last = log.read_text(errors="replace").strip().splitlines()[-12:]
                raise Problem(
                    f"{name} ended by itself (exit code {process.returncode}).",
                    where=str(log),
                    hint="\n" + "\n".join(last),
                )

    def wait_for(self, name: str, url: str) -> None:
        """Wait until `url` answers with success. Raises Problem where that takes too long or the process ended."""

        def answers() -> bool:
            with contextlib.suppress(httpx.TransportError):
                return httpx.get(url, timeout=5, trust_env=False).is_success
            return False

        self.wait(answers, f"{name} did not answer at {url}")

    def wait(self, until: Callable[[], bool], otherwise: str, *, patience: float = PATIENCE) -> None:
        """Wait until `until()`; raises Problem(`otherwise`) after `patience` seconds, or when a process ended."""
        end = time.monotonic() + patience
        while not until():
            self.check()
            if time.monotonic() > end:
                raise Problem(otherwise, where=str(self.folder), hint="The logs are there.")
            time.sleep(0.1)


def free_ports(number: int) -> list[int]:
    """As many ports of the loopback that are free now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def is_free(port: int) -> bool:
    """Whether nothing listens on this port of the loopback."""
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) != 0


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _ends_with(parent: int) -> Callable[[], None]:
    libc = ctypes.CDLL(None)

    def run() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # It ended before we asked.
            os._exit(1)

    return run
