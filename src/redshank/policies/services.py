"""The door of the policies room: which policies cases are decided under."""

from __future__ import annotations

import difflib

from redshank.core import Problem
from redshank.policies.models import Policy


def active() -> list[Policy]:
    """The policies in force, in the order of their places in lists."""
    return list(Policy.objects.filter(retired_at=None))


def get(slug: str) -> Policy:
    """The policy in force of that name. Raises `Problem`, with the nearest name there is."""
    policy = Policy.objects.filter(pk=slug, retired_at=None).first()
    if policy is None:
        slugs = [one.slug for one in active()]
        near = difflib.get_close_matches(slug, slugs, n=1)
        raise Problem(
            "no such policy in force",
            where=slug,
            hint=f"Did you mean {near[0]}?" if near else f"There are {', '.join(slugs)}.",
        )
    return policy
