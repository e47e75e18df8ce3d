"""What two videos share: how much, and which stretches."""

import random

from hypothesis import given
from hypothesis import strategies as st

from redshank.core import TimeRange
from redshank.media import Frame, VideoHashes, match_videos

R = random.Random(4)
HASHES = [f"{R.getrandbits(256):064x}" for _ in range(40)]


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


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30), st.lists(st.integers(0, 9), min_size=1, max_size=30))
def test_shares_and_ranges_agree_with_counting(seen: list[int], known: list[int]) -> None:
    match = match_videos(video(seen), video(known), 0)
    assert match.matched == sum(k in known for k in seen)
    assert match.known_share == sum(k in seen for k in known) / len(known)
    covered = [second for r in match.ranges for second in range(int(r.start), int(r.end))]
    assert covered == [second for second, k in enumerate(seen) if k in known]
    for r in match.ranges:
        assert r.end - r.start == r.known_end - r.known_start
        assert seen[int(r.start) : int(r.end)] == known[int(r.known_start) : int(r.known_end)]
