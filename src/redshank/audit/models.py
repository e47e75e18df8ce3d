from __future__ import annotations

from django.db import models


class Entry(models.Model):
    """One step of the walk, written once: the store itself refuses to change or delete it."""

    at = models.DateTimeField()
    actor = models.CharField(
        max_length=200, help_text="user:NAME, rule:ID@VERSION, key:NAME, platform:NETWORK or system."
    )
    step = models.CharField(
        max_length=40, help_text="events.accepted, verdict, case.opened, decision.made, action.sent, …"
    )
    object = models.CharField(
        max_length=300, help_text="What it was done to: event:NET/ID, case:7, action:ID, bank:NAME, …"
    )
    reason = models.TextField(blank=True)
    evidence = models.JSONField(default=list, help_text="Event keys and SHA-256 of preserved evidence it rests on.")
    body = models.JSONField(default=dict)

    class Meta:
        ordering = ("id",)
        indexes = (models.Index(fields=("object", "id"), name="audit_object"),)
        verbose_name_plural = "entries"

    def __str__(self) -> str:
        return f"{self.step} {self.object}"


class Evidence(models.Model):
    """What was preserved before anything changed on the platform: the event, its findings, and the media's bytes.

    `sha256` is of `body`, the canonical JSON of the event and verdict; `blobs` lists the SHA-256 of its media.
    """

    sha256 = models.CharField(max_length=64, unique=True)
    event = models.CharField(max_length=300)
    body = models.TextField()
    blobs = models.JSONField(default=list)
    preserved_at = models.DateTimeField()
