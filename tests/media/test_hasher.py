"""Whatever a file does to the process that decodes it, the file is named, and the next one is hashed."""

from __future__ import annotations

import io
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from redshank.media import Hasher, ImageHashes, MediaError, MediaHashes, VideoHashes
from tests.media.made import LIMITS, bomb, encoded, picture, write_video


@pytest.fixture(scope="module")
def hasher() -> Iterator[Hasher]:
    with Hasher(LIMITS) as made:
        yield made


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("good") / "good.jpg"
    path.write_bytes(encoded(picture(), "JPEG"))
    return path


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video whose index lies before its frames, so that its beginning can be read without its end."""
    stamps = [(n / 10, 1 + n // 10) for n in range(40)]
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    return write_video(path, stamps, g="10")


def attempt(hasher: Hasher, path: Path) -> MediaHashes | MediaError:
    try:
        return hasher.hash(path)
    except MediaError as error:
        return error


def test_a_picture_has_its_hashes(hasher: Hasher, good: Path) -> None:
    found = hasher.hash(good)
    assert isinstance(found, ImageHashes)
    assert (found.width, found.height, found.quality) == (240, 180, 100)
    assert len(bytes.fromhex(found.pdq)) == len(bytes.fromhex(found.sha256)) == 32


def test_a_video_has_a_frame_for_each_second(hasher: Hasher, film: Path) -> None:
    found = hasher.hash(film)
    assert isinstance(found, VideoHashes)
    assert [frame.second for frame in found.frames] == [0, 1, 2, 3]
    assert (found.width, found.height) == (240, 176)


def broken(whole: bytes) -> dict[str, bytes]:
    hole = bytearray(whole)
    hole[len(whole) // 4 : len(whole) // 2] = bytes(len(whole) // 2 - len(whole) // 4)
    return {"cut in half": whole[: len(whole) // 2], "cut after the head": whole[:40], "with a hole": bytes(hole)}


BAD = {
    f"{format_} {how}": data
    for format_, whole in {
        "JPEG": encoded(picture(), "JPEG"),
        "PNG": encoded(picture(), "PNG"),
        "WEBP": encoded(picture(), "WEBP"),
        "GIF": encoded(picture(), "GIF"),
        "AVIF": encoded(picture(), "AVIF"),
        "TIFF": encoded(picture(), "TIFF", compression="tiff_lzw"),
        "BMP": encoded(picture(), "BMP"),
    }.items()
    for how, data in broken(whole).items()
}
SHOWN_ALL_THE_SAME = {"JPEG with a hole", "GIF with a hole", "WEBP with a hole", "BMP with a hole", "AVIF with a hole"}
"""Damage that viewers show through: a hash or an error will do, but an answer there must be."""


@pytest.mark.parametrize("name", BAD)
def test_a_broken_picture_is_named(hasher: Hasher, good: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / "broken"
    path.write_bytes(BAD[name])
    found = attempt(hasher, path)
    if isinstance(found, MediaError):
        assert found.where == str(path)
        assert "damaged" in found.what or "cut short" in found.what
    else:
        assert name in SHOWN_ALL_THE_SAME
        assert isinstance(found, ImageHashes)
    assert hasher.hash(good)


@pytest.mark.parametrize("how", ["cut in half", "cut after the head", "with a hole"])
def test_a_broken_video_is_named_or_hashed_as_far_as_it_goes(
    hasher: Hasher, good: Path, film: Path, tmp_path: Path, how: str
) -> None:
    path = tmp_path / "broken.mp4"
    path.write_bytes(broken(film.read_bytes())[how])
    found = attempt(hasher, path)
    if isinstance(found, MediaError):
        assert found.where == str(path)
        assert "video" in found.what
    else:
        assert how == "with a hole"
        assert isinstance(found, VideoHashes)
    assert hasher.hash(good)


def test_a_false_duration_is_not_believed(hasher: Hasher, film: Path, tmp_path: Path) -> None:
    """What the headers say of the duration is replaced by years; what is hashed is what is there."""
    data = bytearray(film.read_bytes())
    for box, offset in ((b"mvhd", 20), (b"tkhd", 24), (b"mdhd", 20)):
        at = data.index(box) + offset
        data[at : at + 4] = b"\x7f\xff\xff\xff"
    path = tmp_path / "long.mp4"
    path.write_bytes(data)
    found = hasher.hash(path)
    assert isinstance(found, VideoHashes)
    assert len(found.frames) == 4


def test_a_long_video_is_hashed_up_to_the_limit(tmp_path: Path) -> None:
    path = write_video(tmp_path / "long.mp4", [(0, 1), (30, 2), (60, 3)], end=3600 * 24)
    with Hasher(msgspec.structs.replace(LIMITS, max_video_seconds=40)) as hasher:
        found = hasher.hash(path)
        assert isinstance(found, VideoHashes)
        assert len(found.frames) == 40


def test_a_bomb_is_refused_by_its_head(hasher: Hasher, tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb())
    assert path.stat().st_size < 5_000
    with pytest.raises(MediaError, match="50,000 x 50,000 pixels, more than the 100,000,000 allowed"):
        hasher.hash(path)


def test_a_zip_is_a_zip_whatever_its_name(hasher: Hasher, tmp_path: Path) -> None:
    path = tmp_path / "holiday.jpg"
    path.write_bytes(b"PK\x03\x04" + bytes(200))
    with pytest.raises(MediaError, match=r"holiday\.jpg: a ZIP archive"):
        hasher.hash(path)


def test_a_picture_is_a_picture_whatever_its_name(hasher: Hasher, good: Path, tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(good.read_bytes())
    assert hasher.hash(path) == hasher.hash(good)


def test_what_is_no_file_is_named(hasher: Hasher, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    empty = tmp_path / "empty.png"
    empty.touch()
    for path, words in (
        (pipe, "not a file"),
        (tmp_path, "not a file"),
        (empty, "an empty file"),
        (tmp_path / "x", "No such file"),
    ):
        with pytest.raises(MediaError, match=words):
            hasher.hash(path)


def test_a_file_over_the_limit_is_not_opened(good: Path) -> None:
    with Hasher(msgspec.structs.replace(LIMITS, max_bytes=1024)) as hasher, pytest.raises(MediaError, match="bytes"):
        hasher.hash(good)


def test_a_killed_child_costs_one_file(good: Path) -> None:
    with Hasher(LIMITS) as hasher:
        hasher.hash(good)
        first = hasher.pid
        assert first is not None
        os.kill(first, signal.SIGSTOP)
        threading.Timer(0.3, os.kill, (first, signal.SIGKILL)).start()
        with pytest.raises(MediaError, match=r"good\.jpg: the process decoding it ended by SIGKILL"):
            hasher.hash(good)
        assert hasher.hash(good)
        assert hasher.pid != first


def test_too_much_memory_costs_one_file(good: Path, tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(encoded(Image.new("RGB", (8000, 8000)), "PNG"))
    with Hasher(msgspec.structs.replace(LIMITS, decode_memory=64 * 1024 * 1024)) as hasher:
        with pytest.raises(MediaError, match=r"large\.png: decoding it takes more than 64 MiB"):
            hasher.hash(path)
        assert hasher.hash(good)


def test_processor_time_is_bounded_anew_for_each_file(good: Path) -> None:
    """The kernel ends a child past the bound; what no sample promises is a decoder that spins, so the child is sent it."""
    with Hasher(LIMITS) as hasher:
        for _ in range(3):
            hasher.hash(good)
        assert hasher.pid is not None
        limits = Path(f"/proc/{hasher.pid}/limits").read_text().splitlines()
        bound = int(next(line for line in limits if "cpu time" in line).split()[3])
        assert LIMITS.decode_seconds < bound <= LIMITS.decode_seconds + 4
        first = hasher.pid
        os.kill(first, signal.SIGSTOP)
        os.kill(first, signal.SIGXCPU)
        threading.Timer(0.2, os.kill, (first, signal.SIGCONT)).start()
        with pytest.raises(MediaError, match="takes more than 20 seconds of processor time"):
            hasher.hash(good)
        assert hasher.hash(good)


def test_the_child_can_reach_nothing(hasher: Hasher, good: Path) -> None:
    """Seen from outside: seccomp is on, no privilege can be gained, and nothing of our environment went along."""
    hasher.hash(good)
    status = Path(f"/proc/{hasher.pid}/status").read_text()
    assert "Seccomp:\t2" in status
    assert "NoNewPrivs:\t1" in status
    environment = Path(f"/proc/{hasher.pid}/environ").read_bytes()
    assert b"REDSHANK" not in environment


def test_a_preview_is_a_jpeg_as_it_is_shown(hasher: Hasher, film: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "turned.jpg"
    path.write_bytes(encoded(picture(1, 1200, 800), "JPEG", exif=exif))
    with Image.open(io.BytesIO(hasher.preview(path, width=300))) as shown:
        assert (shown.format, shown.size) == ("JPEG", (300, 450))
    with Image.open(io.BytesIO(hasher.preview(film, second=2.5, width=120))) as shown:
        assert shown.size == (120, 88)
    with pytest.raises(MediaError, match="nowhere"):
        hasher.preview(tmp_path / "nowhere")


def test_threads_may_share_one(hasher: Hasher, good: Path, film: Path) -> None:
    found: list[object] = []
    threads = [threading.Thread(target=lambda p=p: found.append(hasher.hash(p))) for p in [good, film] * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(one, ImageHashes) for one in found) == sum(isinstance(one, VideoHashes) for one in found) == 4


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_nothing_that_is_sent_ends_more_than_its_own_job(
    hasher: Hasher, good: Path, film: Path, tmp_path: Path, data: st.DataObject
) -> None:
    """Flipped bytes anywhere in any kind of file: an answer or a MediaError, and the next file is fine."""
    whole = bytearray(data.draw(st.sampled_from([*WHOLE, film.read_bytes()])))
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), max_size=30)):
        whole[at] = value
    path = tmp_path / "mutant"
    path.write_bytes(bytes(whole[: data.draw(st.integers(1, len(whole)))]))
    found = attempt(hasher, path)
    if isinstance(found, MediaError):
        assert found.where == str(path)
        assert "ended by" not in found.what
    assert hasher.hash(good)


WHOLE = [
    encoded(picture(), "JPEG", quality=50), encoded(picture(1, 80, 60), "PNG"), encoded(picture(1, 80, 60), "WEBP"),
    encoded(picture(1, 80, 60), "GIF"), encoded(picture(1, 80, 60), "TIFF", compression="tiff_lzw"),
    encoded(picture(1, 80, 60), "AVIF"), encoded(picture(1, 80, 60).convert("CMYK"), "JPEG", progressive=True),
]  # fmt: skip
