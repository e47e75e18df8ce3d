"""`redshank people`: who signs in to the console."""

from __future__ import annotations

import click

from redshank.cli._django import with_store
from redshank.people.roles import Role

_ROLES = click.Choice([role.value for role in Role])


@click.group()
def command() -> None:
    """Add, list and change the people who sign in to the console."""


@command.command()
@click.argument("name")
@click.option("--role", type=_ROLES, default=Role.MODERATOR.value, show_default=True)
@click.option("--full-name", default="", help="As others should read it.")
@with_store
def add(name: str, role: str, full_name: str) -> None:
    """Add NAME, and print their password: once, here, and never again."""
    from django.db import transaction
    from django.utils import timezone

    from redshank.people import services

    now = timezone.now()
    with transaction.atomic():
        _, password = services.add(name, role, now=now, full_name=full_name)
        _note("user.made", name, {"role": role})
    click.echo(password)
    click.echo(f"This is the password of {name} ({role}). It is shown this once; only its hash is kept.", err=True)


@command.command("list")
@with_store
def list_() -> None:
    """List everybody, with their role."""
    from redshank.people.models import User

    for user in User.objects.all():
        last = f"last signed in {user.last_login:%Y-%m-%d %H:%M} UTC" if user.last_login else "never signed in"
        click.echo(f"{user.username:<24} {user.role:<10} {last}{'' if user.is_active else '  (closed)'}")


@command.command()
@click.argument("name")
@with_store
def password(name: str) -> None:
    """Give NAME a new password, end their sessions, and print it once."""
    from django.db import transaction

    from redshank.people import services

    with transaction.atomic():
        _, fresh = services.reset_password(name)
        _note("user.password_reset", name, {})
    click.echo(fresh)
    click.echo(f"This is the new password of {name}. It is shown this once; only its hash is kept.", err=True)


@command.command("role")
@click.argument("name")
@click.argument("role", type=_ROLES)
@with_store
def change_role(name: str, role: str) -> None:
    """Give NAME another ROLE."""
    from django.db import transaction

    from redshank.people import services

    with transaction.atomic():
        services.set_role(name, role)
        _note("user.role_changed", name, {"role": role})
    click.echo(f"{name} is {role} now.")


@command.command()
@click.argument("name")
@click.option("--open", "again", is_flag=True, help="Let them sign in again.")
@with_store
def close(name: str, again: bool) -> None:
    """Let NAME sign in no more. What they decided stays."""
    from django.db import transaction

    from redshank.people import services

    with transaction.atomic():
        services.set_active(name, again)
        _note("user.activated" if again else "user.deactivated", name, {})
    click.echo(f"{name} may sign in {'again' if again else 'no more'}.")


def _note(step: str, name: str, body: dict[str, str]) -> None:
    from django.utils import timezone

    from redshank.audit.services import Step, record

    record([Step(actor="system", step=step, object=f"user:{name}", body=body)], now=timezone.now())
