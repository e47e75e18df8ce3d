"""What two videos share: how much, and which stretches."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redshank.core import TimeRange
from redshank.media import Frame, VideoHashes, match_videos
from redshank.media.compare import APART
from redshank.media.compare_kernels import ENOUGH

R = random.Random(4)
HASHES = [f"{R.getrandbits(256):064x}" for _ in range(200)]


def video(shown: list[int], quality: int = 100) -> VideoHashes:
    frames = tuple(Frame(float(second), HASHES[k], quality) for second, k in enumerate(shown))
    return VideoHashes(sha256="", md5="", frames=frames, seconds=float(len(shown)), width=1, height=1)


def test_a_stretch_is_found_where_it_lies() -> None:
    match = match_videos(video([30, 31, 5, 6, 7, 8, 32]), video(list(range(20))), 31)
    assert match.ranges == (TimeRange(2, 6, 5, 9),)
    assert (match.matched, match.seconds) == (4, 7)
    assert match.share == 4 / 7
    assert match.known_share == 4 / 20


def test_a_still_scene_does_not_scatter_a_stretch() -> None:
    match = match_videos(video([9, 1, 1, 1, 2, 3]), video([1, 1, 1, 1, 1, 2, 3, 4]), 31)
    assert match.ranges == (TimeRange(1, 6, 2, 7),)


def test_plain_frames_match_nothing() -> None:
    assert match_videos(video([1, 2, 3], quality=20), video([1, 2, 3]), 31).share == 0
    assert match_videos(video([]), video([1]), 31).ranges == ()


def test_the_limit_is_a_match_and_one_more_is_not() -> None:
    moved = f"{int(HASHES[0], 16) ^ ((1 << 31) - 1):064x}"
    seen = VideoHashes(sha256="", md5="", frames=(Frame(0.0, moved, 100),), seconds=1, width=1, height=1)
    assert match_videos(seen, video([0]), 31).share == 1
    assert match_videos(seen, video([0]), 30).share == 0


def scene(number: float, seed: int = 7) -> str:
    """The hash of a film that is cut every few seconds, at any moment of it; within a scene it moves by a few bits a second."""
    cuts = [0.0]
    cut = random.Random(seed)
    while cuts[-1] <= number:
        cuts.append(cuts[-1] + cut.uniform(2, 7))
    rng = random.Random(f"{seed}-{len(cuts)}")
    hash_ = rng.getrandbits(256)
    bits = rng.sample(range(256), 60)
    for bit in bits[: int(6 * (number - cuts[-2]))]:
        hash_ ^= 1 << bit
    return f"{hash_:064x}"


def film(start: float, seconds: int, speed: float = 1.0, seed: int = 7) -> tuple[Frame, ...]:
    return tuple(Frame(float(k), scene(start + k * speed, seed), 100) for k in range(seconds))


def of(*frames: Frame) -> VideoHashes:
    placed = tuple(Frame(float(k), frame.pdq, frame.quality) for k, frame in enumerate(frames))
    return VideoHashes(sha256="", md5="", frames=placed, seconds=float(len(frames)), width=1, height=1)


@pytest.mark.parametrize("speed", [0.6, 0.8, 0.95, 1.0, 1.1, 1.25, 1.5, 1.9])
def test_a_copy_at_another_speed_cut_at_both_ends_is_one_stretch_at_its_place(speed: float) -> None:
    known = of(*film(0, 300))
    match = match_videos(of(*film(40.4, 60, speed)), known, 31, near=64)
    assert match.share > 0.9
    longest = max(match.ranges, key=lambda one: one.end - one.start)
    assert longest.end - longest.start > 45
    assert abs(longest.known_start - (40.4 + longest.start * speed)) < 3
    assert abs(longest.known_end - (40.4 + longest.end * speed)) < 3


def test_the_same_seconds_in_another_order_are_no_copy() -> None:
    shown = list(range(200))
    random.Random(2).shuffle(shown)
    match = match_videos(video(shown), video(list(range(200))), 31)
    assert match.share < 0.3
    assert match_videos(video([*range(10, 20), *range(10)]), video(list(range(20))), 31).ranges == (
        TimeRange(0, 10, 10, 20), TimeRange(10, 20, 0, 10),
    )  # fmt: skip
    assert match_videos(video([5]), video([4, 5, 6]), 31).ranges == (TimeRange(0, 1, 1, 2),)


def test_a_known_minute_in_a_compilation_and_twelve_seconds_of_an_hour_half_are_found_at_their_place() -> None:
    minute = film(100, 60, seed=1)
    compilation = of(*film(0, 30, seed=2), *minute, *film(0, 30, seed=3))
    match = match_videos(compilation, of(*minute), 31, near=64)
    assert (match.known_share, match.ranges) == (1.0, (TimeRange(30, 90, 0, 60),))
    match = match_videos(of(*film(700, 12)), of(*film(0, 1500)), 31, near=64)
    assert (match.share, match.ranges) == (1.0, (TimeRange(0, 12, 700, 712),))


@given(st.lists(st.integers(0, 9), min_size=3, max_size=30), st.lists(st.integers(0, 9), min_size=3, max_size=30))
def test_shares_and_ranges_are_those_of_chains_and_of_nothing_else(seen: list[int], known: list[int]) -> None:
    match = match_videos(video(seen), video(known), 0)

    pairs = [(i, j) for i, k in enumerate(seen) for j, other in enumerate(known) if k == other]

    def longest(i: int, j: int, sign: int) -> float:
        out = 4.0
        for a, b in pairs:
            on, known_on = sign * (a - i), sign * (b - j)
            if 0 < on <= APART and 0 < known_on <= APART and on <= 2 * known_on and known_on <= 2 * on:
                if (a, b, sign) not in reckoned:
                    reckoned[a, b, sign] = longest(a, b, sign)
                out = max(out, 4 + reckoned[a, b, sign] - min(3, abs(on - 1) + abs(known_on - on)))
        return out

    reckoned: dict[tuple[int, int, int], float] = {}
    chained = {(i, j) for i, j in pairs if longest(i, j, 1) + longest(i, j, -1) - 4 >= ENOUGH}
    assert match.matched == len({i for i, _ in chained})
    assert match.known_share == len({j for _, j in chained}) / len(known)
    for r in match.ranges:
        assert seen[int(r.start)] == known[int(r.known_start)]
        assert seen[int(r.end) - 1] == known[int(r.known_end) - 1]
