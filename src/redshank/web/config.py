"""Where this installation's settings stand: the environment, and one TOML file beside it. Reading them makes nothing."""

from __future__ import annotations

import os
from pathlib import Path

from redshank.core import Problem, Settings, load_settings


def settings_text() -> tuple[str, str]:
    """The settings file's text, empty where there is none, and what to call it. Raises Problem where a named one is absent."""
    named = os.environ.get("REDSHANK_CONFIG")
    path = Path(named or "redshank.toml")
    if path.exists():
        return path.read_text(encoding="utf-8"), str(path)
    if named:
        raise Problem("no such file", where=named, hint="REDSHANK_CONFIG names it.")
    return "", "environment"


def read_settings() -> Settings:
    """The settings of this process. Raises Problem naming the file or the setting that is wrong."""
    text, where = settings_text()
    return load_settings(text, os.environ, where=where)
