"""Hands files to a process that may be lost, and says of each what its hashes are or why it has none.

The parent never decodes. It opens the file, passes the open handle on, and waits for a bounded time; a child that
crashes, hangs or runs out of memory costs that one file, and the next file gets a new child.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from redshank.core.errors import Problem
from redshank.core.settings import MediaSettings
from redshank.media.child import LENGTH, Answer, Failed, HashJob, Job, Preview, PreviewJob
from redshank.media.hashes import ImageHashes, MediaError, MediaHashes, VideoHashes

WALL_FACTOR = 4
"""A job may take this many times its processor time on the wall, as other programs want the processor too."""
JOBS_A_CHILD = 2000
"""After so many files a child is replaced, so that what its libraries leak stays small."""


class Hasher:
    """A child process that hashes files, one at a time, within `limits`. A context manager; starts at the first need.

    Threads may share one: their jobs wait for each other. A process that forks must not use its parent's.
    """

    def __init__(self, limits: MediaSettings) -> None:
        self.limits = limits
        self._child: subprocess.Popen[bytes] | None = None
        self._pipe: socket.socket | None = None
        self._jobs = 0
        self._lock = threading.Lock()
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(Answer)

    def __enter__(self) -> Self:
        with self._lock:
            if self._child is None:
                self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the child. Another job would start a new one."""
        with self._lock:
            self._end()

    def hash(self, path: Path, *, key_frames: bool = False, points: bool = False) -> MediaHashes:
        """The hashes of the picture or video at `path`; what it is, its bytes say and not its name.

        With `key_frames` only those of a video are decoded, and each second has the nearest one (see `Frame.off`). With
        `points` a picture, and some frames of a video, have those by which a part of them is known again.
        Raises MediaError, naming the file and what is wrong with it.
        """
        answer = self._ask(path, HashJob(key_frames, points))
        assert isinstance(answer, ImageHashes | VideoHashes)
        return answer

    def preview(self, path: Path, *, second: float | None = None, width: int = 640) -> bytes:
        """A JPEG of the picture as it is shown, or of the video at `second`, at most `width` pixels wide.

        Raises MediaError, naming the file and what is wrong with it.
        """
        answer = self._ask(path, PreviewJob(second, width))
        assert isinstance(answer, Preview)
        return answer.jpeg

    @property
    def pid(self) -> int | None:
        """The child's process id, for who watches it; None where none runs."""
        return self._child.pid if self._child else None

    def _ask(self, path: Path, job: Job) -> Answer:
        handle = _open(path, self.limits)
        try:
            with self._lock:
                if self._child is None or self._child.poll() is not None or self._jobs >= JOBS_A_CHILD:
                    self._end()
                    self._start()
                answer = self._exchange(handle, job, str(path))
        finally:
            os.close(handle)
        if isinstance(answer, Failed):
            raise MediaError(answer.what, where=str(path), hint=answer.hint)
        return answer

    def _exchange(self, handle: int, job: Job, where: str) -> Answer:
        assert self._pipe is not None
        self._jobs += 1
        try:
            self._pipe.settimeout(WALL_FACTOR * self.limits.decode_seconds + 30)
            socket.send_fds(self._pipe, [self._encoder.encode(job)], [handle])
            (length,) = LENGTH.unpack(self._receive(LENGTH.size))
            answer: Answer = self._decoder.decode(self._receive(length))
        except TimeoutError:
            self._end()
            raise MediaError("decoding it did not end in time", where=where) from None
        except (OSError, EOFError, struct.error, msgspec.DecodeError):
            raise MediaError(self._cause_of_death(), where=where) from None
        except BaseException:  # Interrupted between question and answer: this child's next words would be the old ones.
            self._end()
            raise
        if isinstance(answer, Failed) and answer.ends:
            self._end()
        return answer

    def _receive(self, length: int) -> bytes:
        assert self._pipe is not None
        if length > self.limits.max_bytes:
            raise EOFError
        parts = bytearray()
        while len(parts) < length:
            part = self._pipe.recv(min(length - len(parts), 1 << 20))
            if not part:
                raise EOFError
            parts += part
        return bytes(parts)

    def _cause_of_death(self) -> str:
        child = self._child
        assert child is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(2)
        code = child.poll()
        self._end()
        if code == -signal.SIGXCPU:
            return f"decoding it takes more than {self.limits.decode_seconds} seconds of processor time"
        if code is not None and code < 0:
            return f"the process decoding it ended by {signal.Signals(-code).name}"
        if self._jobs <= 1 and code not in {0, None}:
            raise Problem(
                f"the decoding process does not start (exit code {code})",
                hint="Run `python -m redshank.media.child` to see why.",
            )
        return "the process decoding it ended without an answer"

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        # Nothing of our environment goes along but what finds Python: secrets of ours are in it.
        environment = {
            name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH") if name in os.environ
        }
        environment |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "LC_ALL": "C.UTF-8"}
        with theirs:
            self._child = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-m", "redshank.media.child"),
                    *(str(theirs.fileno()), msgspec.json.encode(self.limits).decode()),
                ],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,  # Ctrl-C is for us to handle.
            )
        self._pipe, self._jobs = ours, 0

    def _end(self) -> None:
        if self._pipe is not None:
            self._pipe.close()
        if self._child is not None:
            self._child.kill()
            self._child.wait()
        self._pipe = self._child = None


def _open(path: Path, limits: MediaSettings) -> int:
    """A handle on the regular file at `path`. Raises MediaError for anything else, and for files over the limit."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # A named pipe would else wait for a writer.
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError(f"cannot be opened: {reason}", where=str(path)) from None
    state = os.fstat(handle)
    if stat.S_ISREG(state.st_mode) and 0 < state.st_size <= limits.max_bytes:
        return handle
    os.close(handle)
    if not stat.S_ISREG(state.st_mode):
        raise MediaError("not a file", where=str(path))
    if not state.st_size:
        raise MediaError("an empty file", where=str(path))
    raise MediaError(
        f"{state.st_size:,} bytes are more than the {limits.max_bytes:,} allowed",
        where=str(path),
        hint="The setting media.max_bytes says how many are.",
    )
