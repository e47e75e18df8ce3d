"""`redshank settings`: each has a sentence, each can be set from the environment, secrets stay secret."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from redshank.cli import main
from redshank.cli.settings import settings_here
from redshank.core import Problem, load_settings
from redshank.core.settings import documented_settings, environment_name

TRIED: dict[Any, tuple[tuple[str, Any], ...]] = {
    bool: (("yes", True), ("0", False)),
    int: (("1025", 1025), ("30", 30), ("5", 5), (str(1 << 30), 1 << 30)),
    float: (("0.25", 0.25),),
    str: (("x" * 40, "x" * 40), ("json", "json"), ("debug", "debug")),
    tuple[str, ...]: (("a.example, b.example", ("a.example", "b.example")),),
}
"""For each type texts that a setting of it could take; bounds and patterns leave at least one of them."""


def test_every_setting_has_a_sentence() -> None:
    documented = documented_settings()
    assert len(documented) > 20
    for path, _, _, sentence in documented:
        assert sentence.endswith("."), path
        assert len(sentence) > 20, path


@pytest.mark.parametrize(("path", "type_"), [(path, type_) for path, type_, _, _ in documented_settings()])
def test_every_setting_can_be_set_from_the_environment(path: str, type_: Any) -> None:
    taken = []
    for text, expected in TRIED[type_]:
        with contextlib.suppress(Problem):
            value: Any = load_settings("", {environment_name(path): text})
            for part in path.split("."):
                value = getattr(value, part)
            taken.append(value == expected)
    assert taken
    assert all(taken)


def test_it_says_where_each_value_came_from_and_masks_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    toml = 'port = 9000\nhost = "0.0.0.0"\n[media]\nmax_pixels = 5000000\n'
    environ = {
        "REDSHANK_PORT": "9001",
        "REDSHANK_DATABASE": "postgresql://me:hunter2@db.example/redshank",
        "REDSHANK_SECRET_KEY": "s" * 40,
    }
    for name in list(os.environ):
        if name.startswith("REDSHANK_"):
            monkeypatch.delenv(name)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    shown = {one.name: one for one in settings_here(load_settings(toml, environ), toml, "redshank.toml")}
    assert (shown["port"].value, shown["port"].source) == (9001, "environment")
    assert (shown["host"].value, shown["host"].source) == ("0.0.0.0", "redshank.toml")
    assert (shown["media.max_pixels"].value, shown["media.max_pixels"].source) == (5_000_000, "redshank.toml")
    assert shown["workers"].source == "default"
    assert shown["database"].value == "postgresql://me:…@db.example/redshank"
    assert shown["secret_key"].value == "… (40 characters)"


def test_the_command_lists_them_all_and_narrows_by_words(tmp_path: Path) -> None:
    everything = CliRunner().invoke(main, ["settings"])
    assert everything.exit_code == 0, everything.output
    for path, _, _, sentence in documented_settings():
        assert environment_name(path) in everything.output
        assert sentence in everything.output
    some = CliRunner().invoke(main, ["settings", "--json", "video"])
    names = {json.loads(line)["name"] for line in some.output.splitlines()}
    assert {"media.video_share", "media.max_video_seconds"} <= names
    assert "port" not in names
