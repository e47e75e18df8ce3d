"""`redshank settings`."""

from __future__ import annotations

import os
import tomllib
from typing import Any
from urllib.parse import urlsplit

import click
import msgspec

from redshank.core.settings import Settings, documented_settings, environment_name
from redshank.web.config import settings_text

_SECRET = ("secret_key", "metrics_token")


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """One setting as it stands here. `value` is masked where it is a secret."""

    name: str
    variable: str
    value: Any
    source: str
    default: Any
    sentence: str


@click.command()
@click.argument("words", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def command(words: tuple[str, ...], as_json: bool) -> None:
    """Show every setting: its value here, where that came from, and what it does.

    WORDS narrows the list to settings whose name or sentence has them all. A setting comes from its environment variable, else
    from the TOML file that REDSHANK_CONFIG names (else redshank.toml here), else it has its default.
    """
    from redshank.web import settings as ours

    toml, where = settings_text()
    shown = [
        setting
        for setting in settings_here(ours.REDSHANK, toml, where)
        if all(word.lower() in f"{setting.name} {setting.sentence}".lower() for word in words)
    ]
    if as_json:
        for setting in shown:
            click.echo(msgspec.json.encode(setting).decode())
        return
    click.echo(f"File: {where if toml else 'none'}. Data: {ours.DATA_DIR}")
    group = None
    for setting in shown:
        head, _, name = setting.name.rpartition(".")
        if head != group:
            group = head
            click.echo(f"\n[{head}]" if head else "")
        click.echo(f"{click.style(name, bold=True)} = {_toml(setting.value)}  ({setting.source})")
        click.echo(f"    {setting.sentence}")
        click.echo(f"    {setting.variable}; default: {_toml(setting.default)}")


def settings_here(settings: Settings, toml: str, where: str) -> list[Shown]:
    """Each setting as it stands, in the order in which they are documented. `toml` is the text of the file at `where`."""
    written = tomllib.loads(toml)
    shown = []
    for path, _, default, sentence in documented_settings():
        value: Any = settings
        in_file: Any = written
        for part in path.split("."):
            value = getattr(value, part)
            in_file = in_file.get(part) if isinstance(in_file, dict) else None
        source = "default"
        if environment_name(path) in os.environ:
            source = "environment"
        elif in_file is not None:
            source = where
        elif path == "secret_key":
            source = "kept in data_dir"
        shown.append(
            Shown(
                name=path,
                variable=environment_name(path),
                value=_masked(path, value),
                source=source,
                default=default,
                sentence=sentence,
            )
        )
    return shown


def _masked(path: str, value: Any) -> Any:
    if path in _SECRET and value:
        return f"… ({len(value)} characters)"
    if path == "database" and value and urlsplit(value).password:
        return value.replace(f":{urlsplit(value).password}@", ":…@", 1)
    return value


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return msgspec.json.encode(value).decode()
    if isinstance(value, tuple | list):
        return f"[{', '.join(_toml(item) for item in value)}]"
    return f"{value:_}" if isinstance(value, int) and value >= 10_000 else str(value)
