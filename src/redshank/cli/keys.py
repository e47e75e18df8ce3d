"""`redshank keys`: the API keys with which platforms send events, and others ask."""

from __future__ import annotations

import click

from redshank.cli._django import with_store


@click.group()
def command() -> None:
    """Make, list and revoke the API keys with which platforms send their events, and others ask."""


@command.command()
@click.argument("name")
@click.option("--network", default="", help="The network that the key speaks for, and the only one.")
@click.option("--may", multiple=True, default=("events",), show_default=True, help="A part of the API that it opens.")
@with_store
def add(name: str, network: str, may: tuple[str, ...]) -> None:
    """Make a key called NAME, and print it: once, here, and never again."""
    from django.utils import timezone

    from redshank.intake.services import make_key

    click.echo(make_key(name, network, may=may, by="system", now=timezone.now()))
    whose = f" for {network}" if network else ""
    opens = ", ".join(may)
    click.echo(
        f"This is the key {name}{whose}; it opens {opens}. It is shown this once; only its hash is kept.", err=True
    )


@command.command("list")
@with_store
def list_() -> None:
    """List the keys, by name."""
    from redshank.intake.models import ApiKey

    for key in ApiKey.objects.order_by("name"):
        used = f"last used {key.last_used_at:%Y-%m-%d %H:%M} UTC" if key.last_used_at else "never used"
        gone = f"  (revoked {key.revoked_at:%Y-%m-%d})" if key.revoked_at else ""
        click.echo(f"{key.name:<24} {key.network or '-':<24} {key.may:<16} {used}{gone}")


@command.command()
@click.argument("name")
@with_store
def revoke(name: str) -> None:
    """From now on the key called NAME opens nothing."""
    from django.utils import timezone

    from redshank.intake.services import revoke_key

    revoke_key(name, by="system", now=timezone.now())
    click.echo(f"{name} opens nothing any more.")
