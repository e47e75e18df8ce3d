"""`redshank keys`: the API keys with which platforms send events."""

from __future__ import annotations

import click

from redshank.cli._django import with_store


@click.group()
def command() -> None:
    """Make, list and revoke the API keys with which platforms send their events."""


@command.command()
@click.argument("name")
@click.option("--network", required=True, help="The network that the key speaks for, and the only one.")
@with_store
def add(name: str, network: str) -> None:
    """Make a key called NAME, and print it: once, here, and never again."""
    from django.utils import timezone

    from redshank.intake.services import make_key

    click.echo(make_key(name, network, by="system", now=timezone.now()))
    click.echo(f"This is the key {name} for {network}. It is shown this once; only its hash is kept.", err=True)


@command.command("list")
@with_store
def list_() -> None:
    """List the keys, by name."""
    from redshank.intake.models import ApiKey

    for key in ApiKey.objects.order_by("name"):
        used = f"last used {key.last_used_at:%Y-%m-%d %H:%M} UTC" if key.last_used_at else "never used"
        gone = f"  (revoked {key.revoked_at:%Y-%m-%d})" if key.revoked_at else ""
        click.echo(f"{key.name:<24} {key.network:<24} {used}{gone}")


@command.command()
@click.argument("name")
@with_store
def revoke(name: str) -> None:
    """From now on the key called NAME opens nothing."""
    from django.utils import timezone

    from redshank.intake.services import revoke_key

    revoke_key(name, by="system", now=timezone.now())
    click.echo(f"{name} opens nothing any more.")
