"""The command line: one thin file a command, each loaded only when it is called."""

from __future__ import annotations

import importlib
import importlib.util
import os
import pkgutil

import click

import redshank
from redshank.core.errors import Problem


class _Commands(click.Group):
    """Finds `redshank NAME` in `redshank/cli/NAME.py`, whose `command` it is."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(module.name.rstrip("_") for module in pkgutil.iter_modules(__path__) if module.name[0] != "_")

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        for name in (cmd_name, cmd_name + "_"):
            if importlib.util.find_spec(f"{__name__}.{name}"):
                command: click.Command = importlib.import_module(f"{__name__}.{name}").command
                return command
        return None

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except Problem as problem:
            raise click.ClickException(str(problem)) from None


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(redshank.__version__, prog_name="redshank")
def main() -> None:
    """Finds violent extremism on a platform, puts it before people who decide, acts reversibly, accounts for it."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "redshank.web.settings")
