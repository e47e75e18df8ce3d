from __future__ import annotations

from django.contrib.auth.models import AbstractUser
from django.db import models

from redshank.people.roles import PERMISSIONS, Role


class User(AbstractUser):
    """Somebody who signs in. What they may do follows from their role alone."""

    role = models.CharField(
        max_length=12, choices=[(role.value, role.label) for role in Role], default=Role.MODERATOR.value
    )

    class Meta:
        ordering = ("username",)

    def may(self, permission: str) -> bool:
        """Whether this person's role has `permission`; KeyError where no such permission exists."""
        return self.is_active and self.role in PERMISSIONS[permission]


class Exposure(models.Model):
    """How much somebody uncovered on one day (UTC): how often, and for how long. Its owner sees it; nobody is ranked by it."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="exposures")
    day = models.DateField()
    reveals = models.PositiveIntegerField(default=0)
    seconds = models.FloatField(default=0)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("user", "day"), name="exposure_once_a_day"),)
