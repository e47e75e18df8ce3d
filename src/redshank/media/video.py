"""A video's picture at each second, decoding as few of its frames as its coding allows.

The frame of second k is the one that is on the screen then: the last whose own time stamp is not after k, whatever the
frame rate and however it varies. Packets are read ahead by a few seconds, so that it is known before decoding which of
them carry such a frame; other frames that nothing refers to are skipped, and so is the rest of a group of pictures
after its last wanted frame.

Runs in the child process of `hasher.py`; only tests and benches call it elsewhere.
"""

from __future__ import annotations

import bisect
from collections import deque
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any, BinaryIO

import av
import av.error
import msgspec
import numpy as np
from av.container import InputContainer

from redshank.core.settings import MediaSettings
from redshank.media.hashes import Frame, MediaError, Variant, VideoVariant
from redshank.media.pdq import SMALLEST, Gray, pdq_of, sample, stretched
from redshank.media.variants import frame_variants

if TYPE_CHECKING:
    from redshank.media.features import Stills

LOOK_AHEAD = 300
"""Packets read before the first of them is decoded: more than the 250 frames after which x264 sets a key frame."""
LOOK_AHEAD_BYTES = 32 * 1024 * 1024
REORDERED = 40
"""Packets after which the display order of a frame is settled; no coding in use reorders by more than 16."""

_PLANAR_8 = {
    *("yuv420p", "yuv422p", "yuv444p", "yuv440p", "yuv411p", "yuv410p", "nv12", "nv16", "nv21", "gray"),
    *("yuvj420p", "yuvj422p", "yuvj444p", "yuvj440p", "yuvj411p"),
}
_DEEP = {"10le": 2, "12le": 4, "14le": 6, "16le": 8}


class Video:
    """An open video. `width` and `height` are of its frames as they are shown, once one was decoded."""

    def __init__(self, file: BinaryIO, format_: str, limits: MediaSettings, stills: Stills | None = None) -> None:
        """Open `file`, which `format_` (a name of FFmpeg's demuxers) reads; nothing else that it might be is tried.

        Each frame that is hashed is offered to `stills`.

        Raises MediaError where that fails or there is no picture in it.
        """
        self.limits = limits
        self.stills = stills
        self.width = self.height = 0
        self.seconds = 0.0
        self._variants: dict[str, tuple[Variant, ...]] = {}
        try:  # From an open file and with one demuxer: no play list can name another file or an address.
            container = av.open(file, format=format_, metadata_errors="replace")
        except (av.error.FFmpegError, ValueError, OverflowError) as error:
            raise MediaError(f"a damaged or truncated video ({_reason(error)})") from None
        assert isinstance(container, InputContainer)
        self.container = container
        streams = [s for s in container.streams.video if not s.disposition & s.disposition.attached_pic]
        if not streams:
            raise MediaError("there is no picture in this video, only sound or data")
        self.stream = max(streams, key=lambda s: s.width * s.height)
        context = self.stream.codec_context
        if context is None:
            raise MediaError("its coding is unknown here")
        self._check_size(context.width, context.height)
        context.thread_count = 1
        # Blocks of B frames stay unsmoothed: moves a hash by 0.3 bits on average and 4 at most, and saves a tenth.
        context.options = {"max_pixels": str(limits.max_pixels), "skip_loop_filter": "bidir"}
        self.context = context
        self.time_base = self.stream.time_base or Fraction(1, 1000)

    def close(self) -> None:
        """Give back what the decoder holds."""
        self.container.close()

    def frames(self, *, key_frames: bool = False) -> tuple[Frame, ...]:
        """The hash of each second of the video, in order; at most `max_video_seconds` of them.

        With `key_frames` only those are decoded, and each second has the one that lies nearest to it.
        Raises MediaError where no frame can be decoded.
        """
        found = self._key_frames() if key_frames else self._every_second()
        if not found:
            self._rewind()
            found = self._plain()
        if not found:
            raise MediaError("no frame of this video can be decoded")
        return tuple(found)

    def variants(self, frames: Sequence[Frame]) -> tuple[VideoVariant, ...]:
        """The other hashes of `frames`, which `frames()` gave: of the whole video mirrored, and within its bars.

        What is found in less than half of its seconds is left out: bars stay where they are.
        """
        by_how: dict[str, list[Frame]] = {}
        for frame in frames:
            for variant in self._variants.get(frame.pdq, ()):
                changed = msgspec.structs.replace(frame, pdq=variant.pdq, quality=variant.quality)
                by_how.setdefault(variant.how, []).append(changed)
        return tuple(VideoVariant(how, tuple(kept)) for how, kept in by_how.items() if 2 * len(kept) >= len(frames))

    def frame_at(self, second: float) -> Any:
        """The decoded frame (an `av.VideoFrame`) that is shown at `second`; the last one where the video ends before."""
        start = self.stream.start_time or 0
        try:
            self.container.seek(start + int(max(second, 0.0) / self.time_base), stream=self.stream)
        except av.error.FFmpegError:
            self._rewind()
        kept = None
        for frame in self._decoded(packet for packet in self.container.demux(self.stream)):
            if kept is not None and frame.pts is not None and (frame.pts - start) * self.time_base > second:
                break
            kept = frame
        if kept is None:
            raise MediaError("no frame of this video can be decoded")
        return kept

    def _every_second(self) -> list[Frame]:
        clock = _Clock(self.time_base, self.limits.max_video_seconds)
        wanted: dict[int, range] = {}
        found: dict[int, Frame] = {}
        drop = 0
        for packet, ahead in self._ahead(clock):
            if drop:
                drop -= 1
                continue
            seconds = clock.shown(packet.pts)
            if seconds:
                wanted[packet.pts] = seconds
            self.context.skip_frame = "DEFAULT" if seconds or packet.is_keyframe else "NONREF"
            self._take(packet, wanted, found, clock)
            if clock.is_over(packet.pts):
                break
            if seconds:
                drop = self._idle(ahead, clock)
        self.context.skip_frame = "DEFAULT"
        self._take(None, wanted, found, clock)
        self.seconds = clock.length()
        return [found[second] for second in sorted(found)]

    def _take(self, packet: Any, wanted: dict[int, range], found: dict[int, Frame], clock: _Clock) -> None:
        """Decode `packet` (None: what the decoder still holds) and hash each frame that comes out and is wanted."""
        try:
            frames = self.context.decode(packet)
        except (av.error.FFmpegError, ValueError):
            return  # Damage: what can be decoded before and after it still counts.
        for frame in frames:
            if frame.pts is None or frame.pts not in wanted:
                continue
            seconds = wanted.pop(frame.pts)
            hash_, quality = self._hash(frame)
            time = clock.time(frame.pts)
            for second in seconds:
                found.setdefault(second, Frame(float(second), hash_, quality, round(time - second, 6)))

    def _idle(self, ahead: deque[Any], clock: _Clock) -> int:
        """How many of the packets ahead carry nothing that is wanted, up to the next key frame; 0 where unsure."""
        key = None
        for place, packet in enumerate(ahead):
            if key is None:
                if packet.is_keyframe:
                    key = place
                    stamp = packet.pts
                elif clock.shown(packet.pts):
                    return 0
            elif place > key + REORDERED:
                break
            elif packet.pts < stamp and clock.shown(packet.pts):
                return 0  # Decoded after the key frame, shown before it: it refers to what would be dropped.
        return key or 0

    def _key_frames(self) -> list[Frame]:
        clock = _Clock(self.time_base, self.limits.max_video_seconds)
        self.context.skip_frame = "NONKEY"
        hashes: dict[int, tuple[str, int]] = {}

        def take(packet: Any) -> None:
            try:
                frames = self.context.decode(packet)
            except (av.error.FFmpegError, ValueError):
                return
            for frame in frames:
                if frame.pts is not None:
                    hashes.setdefault(frame.pts, self._hash(frame))

        for packet, _ in self._ahead(clock):
            if packet.is_keyframe and clock.is_nearest_key(packet.pts):
                take(packet)
            if clock.is_over(packet.pts):
                break
        take(None)
        self.seconds = clock.length()
        stamps = sorted(hashes)
        if not stamps:
            return []
        found = []
        for second in range(clock.count()):
            place = bisect.bisect(stamps, clock.stamp(second))
            near = min(stamps[max(place - 1, 0) : place + 1], key=lambda s: abs(clock.time(s) - second))
            found.append(Frame(float(second), *hashes[near], round(clock.time(near) - second, 6)))
        return found

    def _plain(self) -> list[Frame]:
        """Every frame decoded in turn: for containers whose packets do not say when they are shown."""
        limit = self.limits.max_video_seconds
        found: list[Frame] = []
        previous: tuple[Any, float] | None = None
        rate = float(self.stream.average_rate or 25)
        start: float | None = None
        time = -1.0
        for number, frame in enumerate(self._decoded(packet for packet in self.container.demux(self.stream))):
            stamp = frame.pts if frame.pts is not None else frame.dts
            at = float(stamp * self.time_base) if stamp is not None else number / rate
            start = at if start is None else start
            time = max(at - start, time)
            if previous is not None:
                self._fill(found, *previous, min(time, limit))
            if time >= limit:
                previous = None
                break
            previous = (frame, time)
        if previous is not None:
            self._fill(found, *previous, min(time + 1 / rate, limit))
            time += 1 / rate
        self.seconds = round(max(time, 0.0), 6)
        return found

    def _fill(self, found: list[Frame], frame: Any, time: float, until: float) -> None:
        hashed = None
        while len(found) < until:
            hashed = hashed or self._hash(frame)
            found.append(Frame(float(len(found)), *hashed, round(time - len(found), 6)))

    def _decoded(self, packets: Iterator[Any]) -> Iterator[Any]:
        self.context.skip_frame = "DEFAULT"
        for packet in packets:
            try:
                yield from self.context.decode(packet if packet.size else None)
            except (av.error.FFmpegError, ValueError):
                continue

    def _ahead(self, clock: _Clock) -> Iterator[tuple[Any, deque[Any]]]:
        """Each packet that says when it is shown, in order of decoding, with those after it that were read ahead.

        Nothing at all where the first packets do not say it.
        """
        ahead: deque[Any] = deque()
        held = 0
        for packet in self._packets():
            if packet.pts is None:
                if not clock:
                    return
                continue
            clock.see(packet)
            ahead.append(packet)
            held += packet.size
            while len(ahead) > LOOK_AHEAD or (held > LOOK_AHEAD_BYTES and len(ahead) > REORDERED):
                head = ahead.popleft()
                held -= head.size
                yield head, ahead
        clock.end()
        while ahead:
            yield ahead.popleft(), ahead

    def _packets(self) -> Iterator[Any]:
        packets = self.container.demux(self.stream)
        while True:
            try:
                packet = next(packets)
            except (StopIteration, av.error.FFmpegError, OSError):
                return
            if packet.size:
                yield packet

    def _rewind(self) -> None:
        try:
            self.container.seek(self.stream.start_time or 0, stream=self.stream)
        except av.error.FFmpegError:
            raise MediaError("no frame of this video can be decoded") from None
        self.context.flush_buffers()

    def _hash(self, frame: Any) -> tuple[str, int]:
        self._check_size(frame.width, frame.height)
        gray, limited = luminance(frame)
        turns = round(frame.rotation / 90) % 4
        gray = np.rot90(gray, turns)
        self.height, self.width = gray.shape
        if min(gray.shape) < SMALLEST:
            return "0" * 64, 0
        points = stretched(sample(gray), limited)
        hash_, quality = pdq_of(points)
        self._variants[hash_] = frame_variants(gray, points, limited=limited)
        if self.stills is not None:
            self.stills.offer(hash_, gray)
        return hash_, quality

    def _check_size(self, width: int, height: int) -> None:
        if width * height > self.limits.max_pixels:
            raise MediaError(
                f"frames of {width:,} x {height:,} pixels are more than the {self.limits.max_pixels:,} allowed",
                hint="The setting media.max_pixels says how many are.",
            )


class _Clock:
    """Which seconds each packet's frame is shown at, from the stamps seen so far.

    Stamps are counted in `time_base` from the first key frame's. A frame is shown from its stamp to the next one.
    """

    def __init__(self, time_base: Fraction, limit: int) -> None:
        self._base = time_base
        self._limit = limit
        self._start: int | None = None
        self._stamps: list[int] = []
        self._keys: list[int] = []
        self._last = 0
        self._ended = False

    def __bool__(self) -> bool:
        return self._start is not None

    def see(self, packet: Any) -> None:
        """Note when `packet` is shown."""
        if self._start is None:
            if packet.is_discard:  # Before the edit list's beginning: decoded, never shown.
                return
            self._start = packet.pts
        if packet.is_discard or packet.pts < self._start:
            return
        if not self._stamps or packet.pts > self._stamps[-1]:
            self._stamps.append(packet.pts)
        else:
            bisect.insort(self._stamps, packet.pts)
        if packet.is_keyframe:
            bisect.insort(self._keys, packet.pts)
        self._last = max(self._last, packet.pts + max(packet.duration or 0, 1))
        if len(self._stamps) > 8 * LOOK_AHEAD:
            del self._stamps[: 4 * LOOK_AHEAD]
        if len(self._keys) > 8 * LOOK_AHEAD:
            del self._keys[: 4 * LOOK_AHEAD]

    def end(self) -> None:
        """There are no more packets: the last frame is shown until its own duration is over."""
        self._ended = True

    def time(self, stamp: int) -> float:
        """Seconds from the first frame to `stamp`."""
        return float((stamp - (self._start or 0)) * self._base)

    def stamp(self, second: int) -> int:
        """The stamp at `second`, rounded down."""
        return (self._start or 0) + int(second / self._base)

    def shown(self, stamp: int) -> range:
        """The whole seconds at which the frame of `stamp` is on the screen; empty for most frames."""
        place = bisect.bisect_right(self._stamps, stamp)
        if self._start is None or stamp < self._start or not place or self._stamps[place - 1] != stamp:
            return range(0)
        until = self._stamps[place] if place < len(self._stamps) else self._last
        return self._whole(stamp, until)

    def is_nearest_key(self, stamp: int) -> bool:
        """Whether a key frame at `stamp` is the nearest one to any whole second."""
        place = bisect.bisect_left(self._keys, stamp)
        if place == len(self._keys) or self._keys[place] != stamp or place in (0, len(self._keys) - 1):
            return True
        low, high = (self._keys[place - 1] + stamp) // 2, (stamp + self._keys[place + 1]) // 2 + 1
        return bool(self._whole(low, high))

    def is_over(self, stamp: int) -> bool:
        """Whether everything shown within the limit was decoded by the time of `stamp`."""
        return self._start is not None and self.time(stamp) > self._limit + 2

    def length(self) -> float:
        """Seconds from the first frame to the end of the last."""
        return round(self.time(self._last), 6) if self._stamps else 0.0

    def count(self) -> int:
        """How many whole seconds there are to hash."""
        return len(self._whole(self._start or 0, self._last))

    def _whole(self, start: int, end: int) -> range:
        first = -((-(start - (self._start or 0)) * self._base.numerator) // self._base.denominator)
        last = -((-(end - (self._start or 0)) * self._base.numerator) // self._base.denominator)
        return range(min(first, self._limit), min(last, self._limit))


def luminance(frame: Any) -> tuple[Gray, bool]:
    """The luminance of a decoded frame, (height, width) uint8 without a copy where there is a plane of it.

    The second value says whether it lies in 16 to 235 (`limited`) instead of 0 to 255.
    """
    name: str = frame.format.name
    plane = frame.planes[0]
    if name in _PLANAR_8:
        gray = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: frame.height, : frame.width]
        return gray, not (name.startswith(("yuvj", "gray")) or frame.color_range == 2)
    for ending, extra in _DEEP.items():
        if name.startswith("yuv") and name.endswith("p" + ending):
            deep = np.frombuffer(plane, "<u2").reshape(-1, plane.line_size // 2)[: frame.height, : frame.width]
            return (deep >> extra).astype(np.uint8), frame.color_range != 2
    colors = frame.to_ndarray(format="rgb24")
    return (colors @ np.array([0.299, 0.587, 0.114], np.float32)).astype(np.uint8), False


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return str(text).split("'")[0].strip().rstrip(":").lower() or type(error).__name__
