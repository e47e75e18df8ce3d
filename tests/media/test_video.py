"""A video's seconds are the frames on the screen then, by the stream's own time stamps."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from redshank.media import Frame
from redshank.media.pdq import pdq
from redshank.media.video import Video
from tests.media.made import LIMITS, distance, picture, write_video

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "media"


def read(path: Path, format_: str = "mov", *, key_frames: bool = False) -> tuple[Video, tuple[Frame, ...]]:
    with path.open("rb") as file:
        video = Video(file, format_, LIMITS)
        frames = video.frames(key_frames=key_frames)
        video.close()
        return video, frames


def hash_of(seed: int) -> str:
    return pdq(np.asarray(picture(seed, 240, 176).convert("L")))[0]


def shows(frames: tuple[Frame, ...]) -> list[int]:
    """For each frame, the seed of the picture it shows."""
    known = {seed: hash_of(seed) for seed in range(1, 9)}
    return [min(known, key=lambda seed: distance(known[seed], frame.pdq)) for frame in frames]


@pytest.mark.parametrize("group", ["1", "5", "250"])
def test_a_frame_is_shown_until_the_next_one(tmp_path: Path, group: str) -> None:
    stamps = [(0.0, 1), (0.98, 2), (1.5, 3), (4.0, 4), (4.01, 5), (6.2, 6)]
    video, frames = read(write_video(tmp_path / "v.mp4", stamps, end=7.5, g=group))
    assert [frame.second for frame in frames] == [0, 1, 2, 3, 4, 5, 6, 7]
    assert shows(frames) == [1, 2, 3, 3, 4, 5, 5, 6]
    assert [round(frame.off, 2) for frame in frames] == [0, -0.02, -0.5, -1.5, 0, -0.99, -1.99, -0.8]
    assert video.seconds == pytest.approx(7.5, abs=0.1)


@pytest.mark.parametrize(
    "options", [{"bf": "3", "g": "50"}, {"bf": "0", "g": "12"}, {"x264-params": "open-gop=1:keyint=20:bframes=3"}]
)
def test_frames_that_are_skipped_change_nothing(tmp_path: Path, options: dict[str, str]) -> None:
    stamps = [(n / 25, 1 + n // 7 % 8) for n in range(210)]
    path = write_video(tmp_path / "v.mp4", stamps, **options)
    _, frames = read(path)
    assert shows(frames) == [1 + (second * 25) // 7 % 8 for second in range(9)]
    with path.open("rb") as file:
        whole = Video(file, "mov", LIMITS)
        assert [distance(a.pdq, b.pdq) <= 6 for a, b in zip(whole._plain(), frames, strict=True)] == [True] * 9


def test_a_video_without_stamps_is_read_in_turn(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.avi", [(n / 30, 1 + n // 30) for n in range(120)], codec="mpeg4", bf="2")
    _, frames = read(path, "avi")
    assert shows(frames) == [1, 2, 3, 4]


def test_key_frames_say_how_far_they_lie(tmp_path: Path) -> None:
    stamps = [(n / 10, 1 + n // 25) for n in range(100)]
    path = write_video(tmp_path / "v.mp4", stamps, g="25", sc_threshold="0", keyint_min="25")
    _, frames = read(path, key_frames=True)
    assert [frame.off for frame in frames] == pytest.approx([0, -1, 0.5, -0.5, 1, 0, -1, 0.5, -0.5, -1.5])
    assert shows(frames) == [1, 1, 2, 2, 3, 3, 3, 4, 4, 4]


def test_a_frame_for_a_look(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", [(n / 10, 1 + n // 10) for n in range(50)], g="20")
    with path.open("rb") as file:
        video = Video(file, "mov", LIMITS)
        for second, seed in ((3.4, 4), (0, 1), (99, 5)):
            gray = np.asarray(video.frame_at(second).to_image().convert("L"))
            assert distance(pdq(gray)[0], hash_of(seed)) < 20, second


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the media of the shared data, ../shared/data/media")
@pytest.mark.parametrize("name", sorted(path.stem for path in (SHARED / "videos").glob("*.mp4")))
def test_it_agrees_with_vpdq_at_the_same_seconds(name: str) -> None:
    listed = {}
    for line in (SHARED / "vpdq" / f"{name}.txt").read_text().splitlines():
        _, quality, hash_, second = line.strip().split(",")
        listed[second] = (hash_, int(quality))
    _, frames = read(SHARED / "videos" / f"{name}.mp4")
    near = [distance(frame.pdq, listed[f"{frame.second:.3f}"][0]) <= 10 for frame in frames]
    assert len(frames) == int(float(max(listed, key=float))) + 1
    assert sum(near) >= 0.95 * len(near)
    assert all(abs(frame.quality - listed[f"{frame.second:.3f}"][1]) <= 3 for frame in frames)


def test_a_film_from_a_phone_is_turned_as_it_is_shown(tmp_path: Path) -> None:
    """The track's matrix, of what a phone held upright writes: a quarter turn clockwise."""
    path = write_video(tmp_path / "v.mp4", [(n / 10, 1) for n in range(12)])
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    assert data[at : at + 4] == b"\x00\x01\x00\x00"
    for place, value in enumerate((0, 0x10000, 0, 0xFFFF0000, 0)):
        data[at + 4 * place : at + 4 * place + 4] = value.to_bytes(4, "big")
    path.write_bytes(data)
    video, frames = read(path)
    upright = np.asarray(picture(1, 240, 176).transpose(Image.Transpose.ROTATE_270).convert("L"))
    assert (video.width, video.height) == (176, 240)
    assert distance(frames[0].pdq, pdq(upright)[0]) < 20
