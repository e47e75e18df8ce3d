from __future__ import annotations

from django.db import models
from django.db.models import Q


class Bank(models.Model):
    """A list of known content of one kind, with its source, policy and severity."""

    class Kind(models.TextChoices):
        PDQ = "pdq", "picture (PDQ)"
        VIDEO = "video", "video (PDQ of frames)"
        MD5 = "md5", "file (MD5)"
        SHA256 = "sha256", "file (SHA-256)"
        URL = "url", "link"
        DOMAIN = "domain", "domain"
        TERM = "term", "term"

    name = models.SlugField(unique=True, max_length=64)
    kind = models.CharField(max_length=16, choices=Kind.choices)
    description = models.TextField(blank=True)
    policy = models.ForeignKey("policies.Policy", on_delete=models.PROTECT, related_name="banks")
    severity = models.PositiveSmallIntegerField(default=3, help_text="1 (context) to 5 (calls for instant attention).")
    source = models.CharField(max_length=200, blank=True, help_text="Where its entries come from.")
    limit = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="Hamming distance within which a PDQ hash matches; empty: the installation's."
    )
    active = models.BooleanField(default=True)
    created_at = models.DateTimeField()

    class Meta:
        ordering = ("name",)
        constraints = (models.CheckConstraint(condition=Q(severity__range=(1, 5)), name="bank_severity_1_to_5"),)

    def __str__(self) -> str:
        return self.name


class Entry(models.Model):
    """One known thing. A withdrawn entry stays, so that it is known why it once matched."""

    bank = models.ForeignKey(Bank, on_delete=models.PROTECT, related_name="entries")
    value = models.CharField(
        max_length=2048,
        help_text="Canonical: hex in lower case, a normalized link, a folded term; a video: its SHA-256.",
    )
    frames = models.BinaryField(
        null=True, blank=True, help_text="A video's frames: 37 bytes each: second (big-endian float32), quality, PDQ."
    )
    weak = models.CharField(
        max_length=100, blank=True, help_text="Why it matches nothing by itself: all-zero, low quality; mostly empty."
    )
    label = models.CharField(max_length=200, blank=True)
    note = models.TextField(blank=True)
    source = models.CharField(max_length=200, blank=True)
    added_by = models.CharField(max_length=200)
    added_at = models.DateTimeField()
    withdrawn_at = models.DateTimeField(null=True, blank=True)
    withdrawn_by = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ("-id",)
        verbose_name_plural = "entries"
        constraints = (models.UniqueConstraint(fields=("bank", "value"), name="entry_once_in_bank"),)

    def __str__(self) -> str:
        return self.label or self.value[:40]


class BankRevision(models.Model):
    """One row whose number grows with every change to any bank: readers see by it that they must load again.

    It grows by a random step, so that a store brought back from a backup does not meet a number that stood for more.
    """

    number = models.BigIntegerField(default=0)
