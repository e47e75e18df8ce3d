"""`redshank connect`: a platform's webhook, what it offers, its API key and its webhook secret."""

from __future__ import annotations

import click

from redshank.cli._django import with_store
from redshank.core import VERBS, Problem


@click.command()
@click.argument("network")
@click.option("--name", help="The platform's name as people call it. Default: the network.")
@click.option("--url", help="Where actions are sent; http or https, private addresses too.")
@click.option("--verb", "verbs", multiple=True, type=click.Choice(VERBS), help="What it can do; once for each.")
@click.option("--rotate-secret", is_flag=True, help="Make a new webhook secret for a connected platform.")
@with_store
def command(network: str, name: str | None, url: str | None, verbs: tuple[str, ...], rotate_secret: bool) -> None:
    """Connect NETWORK, or change how it is connected.

    Prints an API key, with which the platform sends its events, and a webhook secret, with which it checks what comes
    from here. Each is shown this once. Connecting again changes address and verbs, and prints no new key.
    """
    from django.db import transaction
    from django.utils import timezone

    from redshank.enforcement import services
    from redshank.enforcement.models import Connector
    from redshank.intake.models import ApiKey
    from redshank.intake.services import make_key

    now = timezone.now()
    if rotate_secret:
        if url or verbs or name:
            raise Problem("changes nothing but the secret", where="--rotate-secret", hint="Give it alone.")
        click.echo(f"Webhook secret  {services.rotate_secret(network, by='system', now=now)}")
        click.echo(
            "What is sent from now on is signed with this secret and with the one before it, so the platform may change over "
            "when it likes.\nIf the old one leaked, change it over there now, then run this once more: that ends the old one.",
            err=True,
        )
        return
    before = Connector.objects.filter(network=network).first()
    if before is None and not (url and verbs):
        raise Problem(
            "not connected yet", where=network, hint="Give --url and one --verb for each thing that it can do."
        )
    with transaction.atomic():
        connector = services.connect(
            network,
            name or (before.name if before else network),
            url or (before.url if before else ""),
            verbs or (before.verbs if before else ()),
            by="system",
            now=now,
        )
        key = None
        if not ApiKey.objects.filter(network=network, revoked_at=None).exists():
            key = make_key(
                _free_name(network, set(ApiKey.objects.values_list("name", flat=True))), network, by="system", now=now
            )
    if before is not None:
        click.echo(f"{connector.name} is connected at {connector.url}: {', '.join(connector.verbs)}.")
    if key:
        click.echo(f"API key         {key}")
    if before is None:
        click.echo(f"Webhook secret  {services.secret_of(connector)}")
        click.echo(
            f"\nBoth are shown this once. Next, at {connector.name}:\n"
            "  1. Send events to POST /api/v1/events with the header  Authorization: Bearer API-KEY\n"
            f"  2. Answer webhooks at {connector.url}, and check each with the secret.\n"
            "  3. Start  redshank worker  here: it sends what people decide.\n"
            "A whole platform to copy from is in examples/platform; docs/connect.md tells the rest.",
            err=True,
        )


def _free_name(network: str, taken: set[str]) -> str:
    return next(
        name
        for number in range(1, len(taken) + 2)
        if (name := network if number == 1 else f"{network}-{number}") not in taken
    )
