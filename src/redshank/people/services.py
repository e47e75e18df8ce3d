"""The door of the people room: make accounts, change what they may do, count what they uncovered.

Accounts are made by an administrator; a password is generated, given once, and kept only as Django keeps it.
"""

from __future__ import annotations

import re
import secrets
from datetime import datetime

from django.contrib.auth.hashers import make_password
from django.db import transaction
from django.db.models import F

from redshank.core import BadInput
from redshank.people.models import Exposure, User
from redshank.people.roles import Role

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # none that a reader mistakes for another
_GROUPS = 5


def generate_password() -> str:
    """Five groups of four letters and digits (about 99 bits), easy to read out."""
    return "-".join("".join(secrets.choice(_LETTERS) for _ in range(4)) for _ in range(_GROUPS))


def add(username: str, role: str, *, now: datetime, full_name: str = "") -> tuple[User, str]:
    """A new account and its password, which is given this once. Raises BadInput for a bad or taken name, a wrong role."""
    username = username.strip()
    if not NAME.fullmatch(username):
        raise BadInput(
            "not a name to sign in with", where="name", hint="Use up to 64 letters, digits, dots, hyphens, underscores."
        )
    _check_role(role)
    password = generate_password()
    with transaction.atomic():
        if User.objects.filter(username__iexact=username).exists():
            raise BadInput(f"{username} exists already", where="name")
        first, _space, last = full_name.strip()[:150].partition(" ")
        user = User.objects.create(
            username=username,
            role=role,
            first_name=first,
            last_name=last,
            password=make_password(password),
            date_joined=now,
        )
    return user, password


def set_role(username: str, role: str) -> User:
    """Change what somebody may do. Raises BadInput where that leaves no active admin, or for a wrong name or role."""
    _check_role(role)
    with transaction.atomic():
        user = _locked(username)
        if role != Role.ADMIN:
            _check_not_last(user)
        user.role = role
        user.save(update_fields=["role"])
    return user


def set_active(username: str, active: bool) -> User:
    """Switch an account on or off; one that is off is signed out by its next request. Raises BadInput as `set_role` does."""
    with transaction.atomic():
        user = _locked(username)
        if not active:
            _check_not_last(user)
        user.is_active = active
        user.save(update_fields=["is_active"])
    return user


def reset_password(username: str) -> tuple[User, str]:
    """A new generated password, given this once; whoever is signed in with the old one is signed out. Raises BadInput."""
    password = generate_password()
    with transaction.atomic():
        user = _locked(username)
        user.set_password(password)
        user.save(update_fields=["password"])
    return user, password


def exposure_today(user: User, now: datetime) -> Exposure:
    """What somebody uncovered today; unsaved where it was nothing yet."""
    return Exposure.objects.filter(user=user, day=now.date()).first() or Exposure(user=user, day=now.date())


def count_reveal(user: User, seconds: float, *, now: datetime) -> None:
    """One more reveal, of `seconds`."""
    Exposure.objects.get_or_create(user=user, day=now.date())
    Exposure.objects.filter(user=user, day=now.date()).update(reveals=F("reveals") + 1, seconds=F("seconds") + seconds)


def _locked(username: str) -> User:
    user = User.objects.select_for_update().filter(username=username).first()
    if user is None:
        raise BadInput("no such person", where=username[:64])
    return user


def _check_role(role: str) -> None:
    if role not in set(Role):
        raise BadInput("no such role", where=role[:20], hint=f"Roles are {', '.join(Role)}.")


def _check_not_last(user: User) -> None:
    others = User.objects.filter(role=Role.ADMIN.value, is_active=True).exclude(pk=user.pk)
    if user.role == Role.ADMIN and user.is_active and not others.exists():
        raise BadInput("this is the last admin who can sign in", where=user.username, hint="Make another admin first.")
