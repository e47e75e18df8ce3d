from __future__ import annotations

from django.db import models


class ApiKey(models.Model):
    """Opens named parts of the API. Only the SHA-256 of the key is stored."""

    name = models.CharField(max_length=100, unique=True)
    network = models.CharField(
        max_length=63, blank=True, help_text="The network it may speak for; empty: it speaks for none."
    )
    may = models.CharField(
        max_length=200,
        default="events",
        help_text="The parts it opens, with blanks between: see `intake.services.PARTS`.",
    )
    digest = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return self.name


class Report(models.Model):
    """Somebody told us. What they said stays as they said it."""

    network = models.CharField(max_length=63)
    report_id = models.CharField(max_length=200)
    event = models.CharField(max_length=300)
    subject_kind = models.CharField(max_length=16)
    subject_id = models.CharField(max_length=200)
    reason = models.CharField(max_length=1000)
    text = models.TextField(blank=True)
    reporter_kind = models.CharField(max_length=16)
    reporter_id = models.CharField(max_length=200, blank=True)
    reporter_name = models.CharField(max_length=1000, blank=True)
    received_at = models.DateTimeField()

    class Meta:
        constraints = (models.UniqueConstraint(fields=("network", "report_id"), name="report_once"),)


class IngestFile(models.Model):
    """How far a file was read, so that a run that was cut off goes on where it stopped."""

    fingerprint = models.CharField(max_length=64, unique=True, help_text="SHA-256 of its path and its first 64 KiB.")
    path = models.TextField()
    line = models.BigIntegerField(default=0)
    accepted = models.BigIntegerField(default=0)
    duplicates = models.BigIntegerField(default=0)
    rejected = models.BigIntegerField(default=0)
    rejects_size = models.BigIntegerField(default=0, help_text="Bytes of the file of rejected lines that are true.")
    finished_at = models.DateTimeField(null=True, blank=True)
