from __future__ import annotations

from django.conf import settings
from django.db import models


class Job(models.Model):
    """Something that takes long, done by whichever worker takes it up. It outlives its workers. Each kind is a model of its room."""

    class State(models.TextChoices):
        WAITING = "waiting"
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"
        CANCELED = "canceled"

    asked_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    asked_at = models.DateTimeField()
    state = models.CharField(max_length=8, choices=State.choices, default=State.WAITING)
    attempts = models.PositiveSmallIntegerField(default=0)
    leased_until = models.DateTimeField(null=True, blank=True, help_text="A worker is at it until then.")
    done = models.BigIntegerField(default=0, help_text="How much of `whole` is done.")
    whole = models.BigIntegerField(default=0, help_text="0: it is not known yet.")
    ended_at = models.DateTimeField(null=True, blank=True)
    error = models.TextField(blank=True)

    class Meta:
        abstract = True
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"{self._meta.verbose_name} {self.pk}"
