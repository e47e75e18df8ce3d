from __future__ import annotations

from django.db import models
from django.db.models import Q


class Connector(models.Model):
    """Speaks to one network: where its webhook is, and what it can do there."""

    network = models.CharField(max_length=63, unique=True)
    name = models.CharField(max_length=100, help_text="As people call the platform.")
    url = models.URLField(max_length=2000, help_text="Where actions are sent.")
    verbs = models.JSONField(
        default=list, help_text="What the platform offers: remove, restrict, suspend, label, restore."
    )
    secret_version = models.PositiveIntegerField(default=1, help_text="Raise it to change the webhook's secret.")
    paused_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name


class Action(models.Model):
    """What is asked of a platform, once. Its id is also the idempotency key under which it is sent."""

    class State(models.TextChoices):
        REQUESTED = "requested"
        SENT = "sent"
        CONFIRMED = "confirmed"
        FAILED = "failed"
        CANCELED = "canceled"

    id = models.CharField(primary_key=True, max_length=40)
    network = models.CharField(max_length=63)
    verb = models.CharField(max_length=12)
    subject_kind = models.CharField(max_length=16)
    subject_id = models.CharField(max_length=200)
    account_id = models.CharField(max_length=200, blank=True)
    label = models.CharField(max_length=100, blank=True)
    duration_hours = models.PositiveIntegerField(null=True, blank=True)
    policy = models.CharField(max_length=64)
    reason = models.TextField(blank=True)
    message = models.TextField(blank=True, help_text="What the person is told.")
    asked_by = models.CharField(max_length=200, help_text="user:NAME or rule:ID@VERSION.")
    case_id = models.BigIntegerField(null=True, blank=True)
    decision_id = models.BigIntegerField(null=True, blank=True)
    evidence = models.JSONField(default=list, help_text="SHA-256 of what was preserved before.")
    undoes = models.OneToOneField("self", null=True, blank=True, on_delete=models.PROTECT, related_name="undone_by")
    state = models.CharField(max_length=10, choices=State.choices, default=State.REQUESTED)
    state_reason = models.TextField(blank=True)
    requested_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True, blank=True)
    settled_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = (
            models.Index(fields=("case_id",), name="action_case"),
            models.Index(fields=("network", "account_id"), name="action_account"),
            models.Index(fields=("network", "subject_kind", "subject_id"), name="action_subject"),
            models.Index(fields=("network", "sent_at"), condition=Q(state="sent"), name="action_unconfirmed"),
        )

    def __str__(self) -> str:
        return f"{self.verb} {self.subject_kind} {self.subject_id}"


class Delivery(models.Model):
    """The outbox: one row an action, written in the transaction that asked for it, gone over until taken or dead."""

    class State(models.TextChoices):
        PENDING = "pending"
        DELIVERED = "delivered"
        DEAD = "dead"
        CANCELED = "canceled"

    action = models.OneToOneField(Action, on_delete=models.PROTECT, related_name="delivery", primary_key=True)
    network = models.CharField(max_length=63)
    subject = models.CharField(max_length=40, help_text="Stands for the action's network, subject kind and subject id.")
    position = models.PositiveIntegerField(help_text="Its turn among the letters about one subject, from 1.")
    body = models.TextField(help_text="The exact JSON that is signed and sent, the same at every try.")
    state = models.CharField(max_length=10, choices=State.choices, default=State.PENDING)
    attempts = models.PositiveIntegerField(default=0)
    due_at = models.DateTimeField()
    leased_until = models.DateTimeField(null=True, blank=True, help_text="A worker is at it until then.")
    distrusted = models.BooleanField(
        default=False, help_text="The platform answered untruly: that it calls this a duplicate is not believed."
    )
    last_status = models.PositiveSmallIntegerField(null=True, blank=True)
    last_error = models.TextField(blank=True)
    give_up_at = models.DateTimeField()

    class Meta:
        indexes = (
            models.Index(fields=("network", "due_at"), condition=Q(state="pending"), name="delivery_due"),
            models.Index(fields=("network",), condition=Q(state="dead"), name="delivery_dead"),
            models.Index(fields=("subject", "position"), name="delivery_turn"),
        )
