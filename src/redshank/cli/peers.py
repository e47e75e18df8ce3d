"""`redshank peers`: agreements with other installations, and asking them about one account."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from redshank.cli._django import with_store


@click.group()
def command() -> None:
    """Other installations: was the owner of a token suspended there? Neither side shows the other its users."""


@command.command()
@click.argument("name")
@click.option("--url", required=True, help="Where the other installation is served.")
@click.option("--secret", default="", help="Its secret, where it agreed first. Without it, one is made and printed.")
@click.option(
    "--daily", default=200, show_default=True, type=click.IntRange(1), help="Tokens they may ask about in a day."
)
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), help="When it ends by itself (default: in a year).")
@with_store
def add(name: str, url: str, secret: str, daily: int, until: datetime | None) -> None:
    """Agree with the installation that we call NAME."""
    from django.utils import timezone

    from redshank.peers.services import agree

    ends = until.replace(tzinfo=UTC) if until else None
    made = agree(name, url, secret=secret, daily=daily, until=ends, by="system", now=timezone.now())
    if secret:
        click.echo(f"{name} may ask, and may be asked.")
    else:
        click.echo(made)
        click.echo(f"Hand this secret to {name}, who agrees with it; it is shown this once.", err=True)
    click.echo(f"The platform's keys: redshank peers key {name}", err=True)


@command.command("list")
@with_store
def list_() -> None:
    """List the agreements, with how often each was asked."""
    from django.utils import timezone

    from redshank.peers.models import Agreement

    now = timezone.now()
    for one in Agreement.objects.all():
        state = "ended" if one.ended_at else "expired" if one.expires_at <= now else f"until {one.expires_at:%Y-%m-%d}"
        ours, theirs = (one.questions.filter(ours=ours).count() for ours in (True, False))
        click.echo(f"{one.name:<24} {one.url:<40} {state:<18} we asked {ours:,}, they asked {theirs:,}")


@command.command()
@click.argument("name")
@with_store
def key(name: str) -> None:
    """Print the keys with which the platform makes tokens for NAME: this month's and the next."""
    from django.utils import timezone

    from redshank.peers.services import platform_keys

    for one, value in platform_keys(name, now=timezone.now()):
        click.echo(f"{one} {value}")
    click.echo("For your platform alone: see docs/peers.md. A new one is due each month.", err=True)


@command.command()
@click.argument("network")
@click.argument("account")
@click.option("--peer", default="", help="Ask this one alone.")
@with_store
def ask(network: str, account: str, peer: str) -> None:
    """Ask the peers about one ACCOUNT of NETWORK."""
    from django.utils import timezone

    from redshank.peers.services import ask as ask_peers

    for one in ask_peers(network, account, by="system", now=timezone.now(), only=peer):
        if one.problem:
            said = f"not answered: {one.problem}"
        elif one.found:
            said = f"suspended there, by {', '.join(one.found)}. A reason to look, none to act."
        else:
            said = "nobody with a token of this account"
        click.echo(f"{one.peer:<24} {said}")


@command.command()
@click.argument("name")
@with_store
def end(name: str) -> None:
    """End the agreement with NAME; its tokens go at once."""
    from django.utils import timezone

    from redshank.peers.services import end as end_agreement

    end_agreement(name, by="system", now=timezone.now())
    click.echo(f"Nothing is asked of {name} and nothing is answered any more.")
