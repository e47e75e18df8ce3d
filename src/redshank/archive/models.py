from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q


class EventRecord(models.Model):
    """An event as it came, and what became of it. Its bytes of media stand in the blob store, under their SHA-256."""

    class State(models.TextChoices):
        WALKED = "walked"
        WAITING = "waiting"  # accepted and durable; a worker has yet to decode its media
        FAILED = "failed"  # could not be walked after several tries; `error` says why

    network = models.CharField(max_length=63)
    event_id = models.CharField(max_length=200)
    type = models.CharField(max_length=32)
    at = models.DateTimeField()
    received_at = models.DateTimeField()
    account_id = models.CharField(max_length=200, blank=True)
    subject_kind = models.CharField(max_length=16, blank=True)
    subject_id = models.CharField(max_length=200, blank=True)
    body = models.TextField(help_text="The event as JSON; media without their bytes.")
    blobs = models.TextField(blank=True, help_text="JSON: media id to SHA-256 of the kept bytes.")
    state = models.CharField(max_length=8, choices=State.choices, default=State.WALKED)
    verdict = models.TextField(blank=True, help_text="The verdict as JSON; empty where nothing was seen.")
    attempts = models.PositiveSmallIntegerField(default=0)
    due_at = models.DateTimeField(null=True, blank=True, help_text="When a waiting event may be tried (again).")
    error = models.TextField(blank=True)
    past_batch = models.BigIntegerField(null=True, blank=True, help_text="The batch of the past that it is part of.")

    class Meta:
        constraints = (models.UniqueConstraint(fields=("network", "event_id"), name="event_once"),)
        indexes = (
            models.Index(fields=("network", "account_id", "at"), name="event_account_at"),
            models.Index(fields=("network", "subject_id", "subject_kind"), name="event_subject"),
            models.Index(fields=("due_at",), condition=Q(state="waiting"), name="event_due"),
            models.Index(fields=("past_batch", "id"), name="event_past_batch"),
        )

    def __str__(self) -> str:
        return f"{self.network}/{self.event_id}"


class AccountRecord(models.Model):
    """What is known of an account now: the newest of each field that any event told, and its state on the platform."""

    class State(models.TextChoices):
        ACTIVE = "active"
        RESTRICTED = "restricted"
        SUSPENDED = "suspended"
        DELETED = "deleted"

    network = models.CharField(max_length=63)
    account_id = models.CharField(max_length=200)
    handle = models.CharField(max_length=1000, blank=True)
    display_name = models.CharField(max_length=1000, blank=True)
    bio = models.TextField(blank=True)
    url = models.TextField(blank=True)
    created_at = models.DateTimeField(null=True, blank=True)
    followers = models.BigIntegerField(null=True, blank=True)
    following = models.BigIntegerField(null=True, blank=True)
    posts = models.BigIntegerField(null=True, blank=True)
    automated = models.BooleanField(null=True, blank=True, help_text="It says of itself that a program runs it.")
    state = models.CharField(max_length=12, choices=State.choices, default=State.ACTIVE)
    labels = models.JSONField(default=list, help_text="Labels of ours, put by rules and people.")
    first_seen = models.DateTimeField()
    last_seen = models.DateTimeField()

    class Meta:
        constraints = (models.UniqueConstraint(fields=("network", "account_id"), name="account_once"),)
        indexes = (
            models.Index(fields=("network", "account_id"), condition=Q(automated=True), name="account_automated"),
        )

    def __str__(self) -> str:
        return self.handle or self.account_id


class Blob(models.Model):
    """Bytes kept in the blob store under their SHA-256. What no case and no evidence needs is deleted after its walk."""

    sha256 = models.CharField(max_length=64, primary_key=True)
    size = models.BigIntegerField()
    kind = models.CharField(max_length=8, blank=True, help_text="image or video, as decoded.")
    width = models.PositiveIntegerField(null=True, blank=True, help_text="In pixels, as shown.")
    height = models.PositiveIntegerField(null=True, blank=True)
    seconds = models.FloatField(null=True, blank=True, help_text="A video's length.")
    kept_for = models.CharField(max_length=16, blank=True, help_text="case or evidence; empty: only until its walk.")
    stored_at = models.DateTimeField()


class PastBatch(models.Model):
    """Events that are written to the past together. Which they are is settled before the first byte is written."""

    made_at = models.DateTimeField()
    written_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = (models.Index(fields=("id",), condition=Q(written_at=None), name="past_batch_unwritten"),)


class SavedSearch(models.Model):
    """A search that somebody kept, for themselves or for the team. `asked` is its address's query."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="searches")
    name = models.CharField(max_length=100)
    asked = models.TextField()
    shared = models.BooleanField(default=False)
    made_at = models.DateTimeField()

    class Meta:
        ordering = ("name", "id")
        constraints = (models.UniqueConstraint(fields=("owner", "name"), name="search_name_once"),)

    def __str__(self) -> str:
        return self.name


class Erasure(models.Model):
    """One account's data were asked to go. They are out of the store at once, out of the past when `done_at` is set."""

    network = models.CharField(max_length=63)
    account_id = models.CharField(max_length=200)
    asked_at = models.DateTimeField()
    done_at = models.DateTimeField(null=True, blank=True)
