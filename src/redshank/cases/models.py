from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q


class Case(models.Model):
    """What a person looks at: one subject, all its findings and reports, a deadline."""

    class State(models.TextChoices):
        OPEN = "open"
        DECIDED = "decided"

    network = models.CharField(max_length=63)
    subject_kind = models.CharField(max_length=16)
    subject_id = models.CharField(max_length=200)
    account_id = models.CharField(max_length=200, blank=True, help_text="Who owns the subject, where it is known.")
    policy = models.ForeignKey("policies.Policy", null=True, on_delete=models.PROTECT, related_name="cases")
    queue = models.CharField(max_length=40, default="review")
    priority = models.PositiveSmallIntegerField(default=50, help_text="0 to 100; the highest that anything asked for.")
    priority_reason = models.TextField(help_text="Why it stands where it stands, in one sentence.")
    source = models.CharField(
        max_length=16, help_text="Who asked first: rule, user, trusted_flagger, third_party, authority, person."
    )
    state = models.CharField(max_length=8, choices=State.choices, default=State.OPEN)
    opened_at = models.DateTimeField()
    deadline = models.DateTimeField()
    held_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="held_cases"
    )
    held_until = models.DateTimeField(null=True, blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)
    version = models.PositiveIntegerField(default=0, help_text="Grows with each change: two people cannot both decide.")

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("network", "subject_kind", "subject_id"),
                condition=Q(state="open"),
                name="one_open_case_a_subject",
            ),
        )
        indexes = (
            models.Index(fields=("deadline", "-priority"), condition=Q(state="open"), name="case_waiting"),
            models.Index(fields=("network", "account_id"), name="case_account"),
            models.Index(fields=("network", "subject_kind", "subject_id"), name="case_subject"),
        )

    def __str__(self) -> str:
        return f"C-{self.pk}"


class Item(models.Model):
    """One thing that a case gathered: a finding with the rules that it fired, or a report."""

    class Kind(models.TextChoices):
        FINDING = "finding"  # body: a Finding
        FIRED = "fired"  # body: a Fired rule
        REPORT = "report"  # body: a Report

    case = models.ForeignKey(Case, on_delete=models.CASCADE, related_name="items")
    key = models.CharField(max_length=64, help_text="The same thing again has the same key, and is kept once.")
    kind = models.CharField(max_length=8, choices=Kind.choices)
    event = models.CharField(max_length=300, help_text="The event it came with, as network/id.")
    body = models.JSONField()
    entry = models.BigIntegerField(null=True, blank=True, help_text="The bank's entry that a finding matched.")
    at = models.DateTimeField()

    class Meta:
        ordering = ("id",)
        constraints = (models.UniqueConstraint(fields=("case", "key"), name="item_once_in_case"),)
        indexes = (models.Index(fields=("entry",), condition=Q(entry__isnull=False), name="item_entry"),)


class Decision(models.Model):
    """What a person decided on a case, under which policy and why. Undoing it is a decision of its own."""

    class Outcome(models.TextChoices):
        ACT = "act", "acted"
        NO_VIOLATION = "no_violation", "no violation"
        ESCALATE = "escalate", "escalated"
        UNDO = "undo", "undone"

    case = models.ForeignKey(Case, on_delete=models.PROTECT, related_name="decisions")
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="decisions")
    outcome = models.CharField(max_length=16, choices=Outcome.choices)
    policy = models.ForeignKey("policies.Policy", null=True, blank=True, on_delete=models.PROTECT)
    reason = models.TextField(blank=True)
    undoes = models.OneToOneField("self", null=True, blank=True, on_delete=models.PROTECT, related_name="undone_by")
    at = models.DateTimeField()

    class Meta:
        ordering = ("id",)


class Comment(models.Model):
    """What people say to each other about a case."""

    case = models.ForeignKey(Case, on_delete=models.PROTECT, related_name="comments")
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    text = models.TextField()
    at = models.DateTimeField()

    class Meta:
        ordering = ("id",)
