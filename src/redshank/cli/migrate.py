"""`redshank migrate`."""

from __future__ import annotations

import click

from redshank.cli._django import with_store


@click.command()
@with_store
def command() -> None:
    """Bring the store to this version's shape. Safe to run again."""
    from django.core.management import call_command

    call_command("migrate", interactive=False, verbosity=0)
    click.echo("The store is up to date.")
