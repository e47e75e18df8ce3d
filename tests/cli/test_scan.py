"""`redshank scan` and `redshank hash`, on real files where they are there and on made ones elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from redshank.cli import main
from redshank.cli.scan import spread
from redshank.demo.pictures import encode, render
from tests.media.made import distance, encoded, picture, write_video

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "media"
needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason="needs the media of the shared data, ../shared/data/media"
)


def run(*args: object, code: int = 0) -> tuple[list[dict[str, Any]], str]:
    result = CliRunner().invoke(main, [str(arg) for arg in args])
    assert result.exit_code == code, result.output
    return [json.loads(line) for line in result.stdout.splitlines()], result.stderr


@needs_shared
def test_scan_finds_every_copy_of_the_bridge_but_the_letterboxed_one() -> None:
    images = SHARED / "images"
    lines, _ = run("scan", *sorted(images.glob("bridge-*.jpg")), "--known", images / "bridge-aaa-orig.jpg")
    found = {Path(line["file"]).name: line["distance"] for line in lines if line["found"]}
    missed = {Path(line["file"]).name: line["distance"] for line in lines if not line["found"]}
    assert set(missed) == {"bridge-letterboxed.jpg"}
    assert 130 <= missed["bridge-letterboxed.jpg"] <= 150
    assert found.pop("bridge-aaa-orig.jpg") == 0
    assert len(found) == 7
    assert all(1 <= moved <= 18 for moved in found.values())


@needs_shared
def test_scan_shows_how_much_of_each_chair_matches() -> None:
    lines, _ = run("scan", SHARED / "videos", "--known", SHARED / "videos" / "chair-orig-22-sd-bar.mp4")
    seen = {Path(line["file"]).stem: line for line in lines}
    for copy in ("chair-22-sd-grey-bar", "chair-22-sd-sepia-bar", "chair-22-with-small-logo-bar", "chair-20-sd-bar"):
        assert seen[copy]["found"]
        assert seen[copy]["share"] == 1
    assert seen["chair-20-sd-bar"]["ranges"] == [{"start": 0, "end": 21, "known_start": 2, "known_end": 23}]
    little = {
        name: (line["found"], line["matched"], line["seconds"]) for name, line in seen.items() if not line["found"]
    }
    assert little == {"chair-22-with-large-logo-bar": (False, 0, 23), "chair-19-sd-bar": (False, 0, 19)}


@needs_shared
def test_scan_with_variants_finds_the_letterboxed_the_turned_and_the_video_under_a_large_logo() -> None:
    images, videos = SHARED / "images", SHARED / "videos"
    changed = [images / "bridge-letterboxed.jpg", *sorted(images.glob("dih-*.jpg"))]
    known = (images / "bridge-aaa-orig.jpg", videos / "chair-orig-22-sd-bar.mp4")
    logo = videos / "chair-22-with-large-logo-bar.mp4"
    lines, _ = run("scan", *changed, logo, "--variants", "--known", *known)
    assert len(changed) == 8
    found = {line["file"]: line for line in lines if line["found"]}
    assert set(found) == {str(path) for path in (*changed, logo)}
    assert {found[str(path)]["known"] for path in changed} == {str(known[0])}
    assert all(found[str(path)]["how"] for path in changed)
    assert found[str(logo)]["known"] == str(known[1])


def test_scan_with_parts_finds_a_picture_within_a_video_and_a_video_within_a_picture(tmp_path: Path) -> None:
    scenes = [render(np.random.default_rng(seed), (640, 480)) for seed in range(3)]
    shown = scenes[1].copy()
    shown.paste(scenes[0].resize((352, 264)), (60, 140))
    scenes[0].save(tmp_path / "known.jpg")
    shown.save(tmp_path / "shown.jpg")
    (tmp_path / "seen.mp4").write_bytes(encode([scenes[2], scenes[2], shown, shown], quality=20, rate=1))
    (tmp_path / "film.mp4").write_bytes(encode([scenes[2], scenes[0], scenes[0]], quality=20, rate=1))
    lines, _ = run("scan", tmp_path / "seen.mp4", "--parts", "--known", tmp_path / "known.jpg")
    assert [(line["kind"], line["found"], line["second"]) for line in lines] == [("part", True, 2)]
    assert abs(lines[0]["region"]["left"] - 60 / 640) < 0.05
    lines, _ = run("scan", tmp_path / "shown.jpg", "--parts", "--known", tmp_path / "film.mp4")
    assert [(line["kind"], line["found"], line["known_second"]) for line in lines] == [("part", True, 1)]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "a.jpg").write_bytes(encoded(picture(1), "JPEG", quality=90))
    (tmp_path / "b.png").write_bytes(encoded(picture(1).resize((120, 90)), "PNG"))
    (tmp_path / "c.webp").write_bytes(encoded(picture(2), "WEBP"))
    (tmp_path / "broken.gif").write_bytes(encoded(picture(2), "GIF")[:300])
    write_video(tmp_path / "film.mp4", [(n / 10, 1 + n // 10) for n in range(30)], g="10")
    (tmp_path / ".hidden").write_bytes(b"not looked at")
    return tmp_path


def test_scan_goes_on_past_what_cannot_be_read(files: Path) -> None:
    lines, errors = run("scan", files, "--known", files / "a.jpg", code=3)
    seen = {Path(line["file"]).name: line for line in lines}
    assert {name: line["kind"] for name, line in seen.items() if line["found"]} == {
        "a.jpg": "sha256", "b.png": "pdq", "film.mp4": "frame",
    }  # fmt: skip
    assert seen["film.mp4"]["second"] == 0
    assert seen["c.webp"]["known"].endswith("a.jpg")
    assert seen["c.webp"]["distance"] > 31
    assert "broken.gif: the GIF picture is" in errors
    assert "4 files: 3 found, 1 not found, 1 unreadable." in errors


def test_scan_finds_a_picture_in_a_known_video(files: Path) -> None:
    lines, _ = run("scan", files / "c.webp", "--known", files / "film.mp4")
    assert [(line["kind"], line["found"], line["known_second"]) for line in lines] == [("frame", True, 1)]


def test_a_plain_picture_matches_nothing(files: Path) -> None:
    (files / "plain.png").write_bytes(encoded(picture(1).point(lambda _: 90), "PNG"))
    lines, _ = run("scan", files / "plain.png", "--known", files / "a.jpg")
    assert not lines[0]["found"]
    assert "too plain" in lines[0]["reason"]


def test_hash_prints_one_line_a_picture_and_one_a_second(files: Path) -> None:
    lines, errors = run("hash", files, code=3)
    assert {Path(line["path"]).name for line in lines} == {"a.jpg", "b.png", "c.webp", "film.mp4"}
    film = [line for line in lines if line["path"].endswith("film.mp4")]
    assert [set(line) for line in film] == [{"path", "second", "pdq", "quality"}] * 3
    assert [line["second"] for line in film] == [0, 1, 2]
    a, b = (next(line for line in lines if line["path"].endswith(name)) for name in ("a.jpg", "b.png"))
    assert 0 < distance(a["pdq"], b["pdq"]) <= 31
    assert "broken.gif" in errors


def test_hash_by_key_frames_says_how_far_off_they_are(files: Path) -> None:
    lines, errors = run("hash", "--key-frames", files / "film.mp4")
    assert [line["off"] for line in lines] == [0, 0, 0]
    assert "up to 0.0 s" in errors


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("a b --known k l", "a b --known k --known l"),
        ("--known k a b", "--known k a b"),
        ("a --known k l --limit 5 --known m", "a --known k --known l --limit 5 --known m"),
        ("--known k --known l a", "--known k --known l a"),
        ("--jobs 2 a --known k", "--jobs 2 a --known k"),
    ],
)
def test_known_takes_all_that_follow_the_files(given: str, meant: str) -> None:
    assert spread(given.split()) == meant.split()
