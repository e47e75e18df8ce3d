"""Hours of video an hour, 720p H.264 to one PDQ hash a second, on one core, beside decoding every frame as vpdq does.

    python -m bench.hash_video [--quick] [--seconds N] [--seed N]

The video is rendered here: shots of 3 to 9 seconds with pans, moving things and grain, coded by x264 at 25 frames a
second with its usual groups of pictures. Times are processor time, the best of some rounds. The peer vpdq has no wheel;
where it is not installed, a stand-in does what it does: decode every frame of the file, turn one a second into RGB, and
hand it to pdqhash. Its frame of a second is held against ours. For the seven videos of the shared data, where they are,
every second is held against vpdq's own list.

How many times real time depends on how much there is to decode: at 4 Mbit/s instead of 0.6, ours and the peer's figure
are both a third. The ratio between them stays, so it is printed too.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pdqhash

from bench._common import bar, machine, parser, processor_seconds
from bench._pictures import texture
from redshank.core.settings import MediaSettings
from redshank.media import Frame
from redshank.media.video import Video

WIDTH, HEIGHT, RATE = 1280, 720, 25
REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "media"


def shots(seconds: int, seed: int) -> Iterator[np.ndarray]:
    """Frames, (720, 1280, 3) uint8."""
    rng = np.random.default_rng(seed)
    grain = rng.normal(0, 2.5, (HEIGHT + 64, WIDTH + 64, 1)).astype(np.int8)
    left = seconds * RATE
    while left > 0:
        ground = texture(rng, 1920, 1080)
        things = [
            (texture(rng, int(size), int(size * 1.3)), rng.uniform(0, 900, 2), rng.normal(0, 3, 2))
            for size in rng.integers(60, 240, 4)
        ]
        corner, drift = rng.uniform(100, 200, 2), rng.normal(0, 1.2, 2)
        for step in range(min(left, int(rng.integers(3 * RATE, 9 * RATE)))):
            y, x = np.clip(corner + drift * step, 0, (1080 - HEIGHT, 1920 - WIDTH)).astype(int)
            frame = ground[y : y + HEIGHT, x : x + WIDTH].copy()
            for thing, at, speed in things:
                ty, tx = ((at + speed * step) % (HEIGHT - thing.shape[0], WIDTH - thing.shape[1])).astype(int)
                frame[ty : ty + thing.shape[0], tx : tx + thing.shape[1]] = thing
            gy, gx = rng.integers(0, 64, 2)
            noise = grain[gy : gy + HEIGHT, gx : gx + WIDTH]
            yield np.clip(frame.astype(np.int16) + noise, 0, 255).astype(np.uint8)
            left -= 1


def render(path: Path, seconds: int, seed: int) -> None:
    """Write the video to `path`."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"preset": "veryfast", "crf": "21"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for frame in shots(seconds, seed):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def ours(path: Path, *, key_frames: bool = False) -> tuple[Frame, ...]:
    """The frames as the child process hashes them."""
    with path.open("rb") as file:
        video = Video(file, "mov", MediaSettings())
        try:
            return video.frames(key_frames=key_frames)
        finally:
            video.close()


def every_frame(path: Path) -> list[str]:
    """What vpdq does, on one thread: decode all, keep frame 0, 25, 50, …, in RGB, for pdqhash."""
    hashes = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for number, frame in enumerate(container.decode(stream)):
            if number % RATE == 0:
                bits, _ = pdqhash.compute(frame.to_ndarray(format="rgb24"))
                hashes.append(np.packbits(bits).tobytes().hex())
    return hashes


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--seconds", type=int, help="length of the video (default: 180, quick: 30)")
    args = options.parse_args()
    seconds = args.seconds or (30 if args.quick else 180)
    rounds = 2 if args.quick else 3
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rendered.mp4"
        render(path, seconds, args.seed)
        megabits = path.stat().st_size * 8 / seconds / 1e6
        print(f"seed {args.seed}: {seconds} s of 720p H.264, {RATE} frames a second, {megabits:.1f} Mbit/s")

        full = seconds / _best(lambda: ours(path), rounds)
        keys = seconds / _best(lambda: ours(path, key_frames=True), rounds)
        peer: Callable[[], object] = lambda: every_frame(path)  # noqa: E731
        name = "decoding every frame, pdqhash"
        if importlib.util.find_spec("vpdq"):
            import vpdq

            peer, name = lambda: vpdq.computeHash(str(path), thread_count=1), "vpdq"
        beside = seconds / _best(peer, rounds)
        print(f"redshank, each second     {full:8.1f} times real time")
        print(f"redshank, key frames      {keys:8.1f}")
        print(f"{name:25} {beside:8.1f}, so ours is {full / beside:.1f} times as fast")
        moved = [_distance(f.pdq, h) for f, h in zip(ours(path), every_frame(path), strict=True)]
        print(f"distance to that, at the same seconds: mean {np.mean(moved):.2f}, max {max(moved)}")
        off = [abs(frame.off) for frame in ours(path, key_frames=True)]
        print(f"key frames lie off their seconds: {np.mean(off):.2f} s on average, {max(off):.2f} s at most")
    for line in real_videos():
        print(line)
    bar("hash_video_realtime", full)
    bar("hash_video_keyframe_realtime", keys)


def real_videos() -> Iterator[str]:
    """For each shared video, how far its seconds lie from vpdq's list."""
    for path in sorted((REAL / "videos").glob("*.mp4")):
        listed = {}
        for line in (REAL / "vpdq" / f"{path.stem}.txt").read_text().splitlines():
            _, _, hash_, second = line.strip().split(",")
            listed[second] = hash_
        moved = [_distance(frame.pdq, listed[f"{frame.second:.3f}"]) for frame in ours(path)]
        yield f"{path.name}: {len(moved)} seconds, {np.mean(moved):.2f} bits from vpdq on average, {max(moved)} at most"


def _best(function: Callable[[], object], rounds: int) -> float:
    return min(processor_seconds(function) for _ in range(rounds))


def _distance(one: str, other: str) -> int:
    return (int(one, 16) ^ int(other, 16)).bit_count()


if __name__ == "__main__":
    main()
