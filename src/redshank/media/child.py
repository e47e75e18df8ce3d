"""The process that decodes what strangers sent, and does nothing else: `python -m redshank.media.child SOCKET`.

It takes one job at a time over its socket, with the file already opened for it, and answers it. It holds no secret, can
write no file, start no process and open no connection, and has bounds on memory and processor time. Whatever a file does
to it, the worst is that this process ends; `hasher.py` then says so and starts another.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import resource
import socket
import struct
import sys
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from redshank.core.settings import MediaSettings
from redshank.media import plugins
from redshank.media.hashes import ImageHashes, MediaError, MediaHashes, VideoHashes, digests
from redshank.media.sniff import HEAD, sniff

LATER = 400 * 1024 * 1024
"""Addresses that OpenCV takes when it is loaded, which is not before somebody asks for points. They are added to the bound then."""


class HashJob(msgspec.Struct, frozen=True, tag="hash"):
    """Hash the file; of a video every second, or only its key frames; with `points` or without."""

    key_frames: bool = False
    points: bool = False


class PreviewJob(msgspec.Struct, frozen=True, tag="preview"):
    """A JPEG of the picture, or of the video at `second`, at most `width` pixels wide."""

    second: float | None = None
    width: int = 640


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The job could not be done. `ends` says that the process ends itself, its memory being in doubt."""

    what: str
    hint: str = ""
    ends: bool = False


class Preview(msgspec.Struct, frozen=True, tag="preview"):
    """A JPEG."""

    jpeg: bytes


Job = HashJob | PreviewJob
Answer = ImageHashes | VideoHashes | Preview | Failed
LENGTH = struct.Struct("!I")


def main() -> None:
    """Serve jobs until the other end of the socket is closed."""
    pipe = socket.socket(fileno=int(sys.argv[1]))
    limits = msgspec.json.decode(sys.argv[2], type=MediaSettings)
    decoder, encoder = msgspec.msgpack.Decoder(Job), msgspec.msgpack.Encoder()
    _load()
    plugins.install(limits.plugins)
    _confine(limits)
    while True:
        message, handles, _, _ = socket.recv_fds(pipe, 64 * 1024, 1)
        if not message:
            return
        job = decoder.decode(message)
        _bound_time(limits)
        answer: Answer
        with os.fdopen(handles[0], "rb") as file:
            answer = _do(job, file, limits)
        body = encoder.encode(answer)
        pipe.sendall(LENGTH.pack(len(body)) + body)
        if isinstance(answer, Failed) and answer.ends:
            return


def _do(job: Job, file: BinaryIO, limits: MediaSettings) -> Answer:
    try:
        if isinstance(job, HashJob):
            return hash_file(file, limits, key_frames=job.key_frames, points=job.points)
        return Preview(preview_of(file, limits, second=job.second, width=job.width))
    except MediaError as error:
        return Failed(error.what, error.hint)
    except MemoryError:
        return Failed(
            f"decoding it takes more than {limits.decode_memory / 2**20:,.0f} MiB of memory",
            "The setting media.decode_memory says how much it may take.",
            ends=True,
        )
    except Exception as error:  # noqa: BLE001 - whatever a stranger's file makes a decoder raise is about that file.
        return Failed(f"it cannot be decoded ({type(error).__name__})", ends=True)


def hash_file(file: BinaryIO, limits: MediaSettings, *, key_frames: bool = False, points: bool = False) -> MediaHashes:
    """The hashes of an open file, and with `points` those of a picture or of some frames of a video. Raises MediaError; decodes in this process."""
    sums = digests(file)
    file.seek(0)
    kind, reader = sniff(file.read(HEAD))
    file.seek(0)
    if kind == "image":
        from redshank.media.pictures import hash_picture, read_gray

        picture = read_gray(file, reader, limits, longest=_points().LONGEST if points else 0)
        hash_, quality, variants = hash_picture(picture)
        plain, mirrored = _points().points_of(picture.gray) if points else (b"", b"")
        signals = plugins.signals_of(file, "photo")
        return ImageHashes(
            **sums, pdq=hash_, quality=quality, width=picture.width, height=picture.height, variants=variants,
            points=plain, mirrored_points=mirrored, signals=signals,
        )  # fmt: skip
    from redshank.media.video import Video

    stills = _points().Stills(limits.part_frames) if points else None
    with contextlib.closing(Video(file, reader, limits, stills)) as video:
        frames = video.frames(key_frames=key_frames)
        return VideoHashes(
            **sums, frames=frames, seconds=video.seconds, width=video.width, height=video.height,
            variants=video.variants(frames), signals=plugins.signals_of(file, "video"),
            stills=stills.described(frames) if stills else (),
        )  # fmt: skip


def preview_of(file: BinaryIO, limits: MediaSettings, *, second: float | None, width: int) -> bytes:
    """A JPEG of an open file, as it is shown. Raises MediaError; decodes in this process."""
    kind, reader = sniff(file.read(HEAD))
    file.seek(0)
    from redshank.media import pictures

    if kind == "image":
        return pictures.read_preview(file, reader, limits, width)
    from redshank.media.video import Video

    with contextlib.closing(Video(file, reader, limits)) as video:
        frame = video.frame_at(second or 0.0)
        image = frame.to_image()
        return pictures.to_jpeg(image.rotate(frame.rotation, expand=True) if frame.rotation else image, width)


def _points() -> Any:
    """OpenCV takes 0.2 s and 60 MB, for who asks for points alone."""
    if "redshank.media.features" not in sys.modules:
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    from redshank.media import features

    return features


def _load() -> None:
    """Load every reader before writing is shut off and memory is counted."""
    for name in ("Avif", "Bmp", "Gif", "Jpeg", "Png", "Tiff", "WebP"):
        importlib.import_module(f"PIL.{name}ImagePlugin")
    for name in ("pdq", "pictures", "variants", "video"):
        importlib.import_module(f"redshank.media.{name}")


def _bound_time(limits: MediaSettings) -> None:
    """From now on, as much processor time as one job may take; past it the kernel ends this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime) + limits.decode_seconds + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))


def _confine(limits: MediaSettings) -> None:
    mapped = 0
    status = Path("/proc/self/statm")
    if status.exists():
        mapped = int(status.read_text().split()[0]) * resource.getpagesize()
    memory = mapped + limits.decode_memory
    for what, bound, most in (
        (resource.RLIMIT_AS, memory, memory + LATER),
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_FSIZE, 0, 0),
    ):
        with contextlib.suppress(ValueError, OSError):  # A system that knows no such bound, or has a lower one.
            resource.setrlimit(what, (bound, most))
    if sys.platform == "linux":
        _forbid_calls()


# Numbers of system calls that a decoder never needs: new sockets, connections and programs, signals to and memory of
# other processes, io_uring (which could do all of it unseen), and everything that changes a file.
_AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_FORBIDDEN = {
    "x86_64": "41 42 43 49 50 57 58 59 62 76 77 82 83 84 85 86 87 88 101 200 234 258 263 264 265 266 310 311 316 322 425 426 427 437",
    "aarch64": "33 34 35 36 37 38 45 46 117 129 130 131 198 200 201 202 203 221 270 271 276 281 425 426 427 437",
}
_OPENS = {"x86_64": ((2, 1), (257, 2)), "aarch64": ((56, 2),)}  # open and openat, and which argument holds the flags.
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_LOAD, _EQUALS, _AT_LEAST, _HAS_BITS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # Of classic BPF, on 32-bit words.
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050001  # SECCOMP_RET_ALLOW; SECCOMP_RET_ERRNO with EPERM.
_NUMBER_AT, _MACHINE_AT, _ARGUMENTS_AT = 0, 4, 16  # In struct seccomp_data.


def _forbid_calls() -> None:
    """Let the kernel refuse this process what decoding never needs (seccomp, see prctl(2)).

    Where the kernel or the machine does not know it, the bounds above are what there is.
    """
    machine = os.uname().machine
    if machine not in _AUDIT:
        return
    refuse = (_RETURN, 0, 0, _REFUSE)
    steps = [(_LOAD, 0, 0, _MACHINE_AT), (_EQUALS, 1, 0, _AUDIT[machine]), refuse, (_LOAD, 0, 0, _NUMBER_AT)]
    steps += [(_AT_LEAST, 0, 1, 0x40000000), refuse]  # The same calls under the numbers of another binary interface.
    for call in map(int, _FORBIDDEN[machine].split()):
        steps += [(_EQUALS, 0, 1, call), refuse]
    for call, argument in _OPENS[machine]:
        flags = (_LOAD, 0, 0, _ARGUMENTS_AT + 8 * argument)
        steps += [(_EQUALS, 0, 4, call), flags, (_HAS_BITS, 0, 1, _WRITING), refuse, (_RETURN, 0, 0, _ALLOW)]
    steps += [(_RETURN, 0, 0, _ALLOW)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]

    program = Program(len(steps), ctypes.addressof(code))
    libc: Any = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0)


if __name__ == "__main__":
    main()
