from __future__ import annotations

from django.db import models
from django.db.models import Q


class Exchange(models.Model):
    """A source of other organizations' lists: how it is asked, into which banks its entries go, and how far it was read."""

    name = models.SlugField(unique=True, max_length=64)
    kind = models.CharField(max_length=20)
    address = models.CharField(max_length=2000, blank=True, help_text="Holds no secret, ever.")
    options = models.JSONField(default=dict, blank=True)
    secret = models.BinaryField(null=True, blank=True, help_text="Encrypted under the installation's key.")
    banks = models.ManyToManyField("banks.Bank", related_name="exchanges", blank=True)
    license = models.CharField(
        max_length=200, blank=True, help_text="Under what its entries may be handed on by us; empty: they may not."
    )
    every_minutes = models.PositiveIntegerField(default=60)
    full_days = models.PositiveIntegerField(
        null=True, blank=True, help_text="All of it is fetched anew after so many days; empty: never."
    )
    tells = models.BooleanField(default=False, help_text="It is told what we saw, and what people here think of it.")
    told_until = models.DateTimeField(null=True, blank=True)
    checkpoint = models.JSONField(null=True, blank=True, help_text="From where to go on; of the entries that are in.")
    checkpoint_at = models.DateTimeField(null=True, blank=True)
    reached = models.CharField(max_length=200, blank=True, help_text="The same in the source's own time, for people.")
    full_at = models.DateTimeField(null=True, blank=True, help_text="When all of it was last taken over.")
    noticed = models.TextField(blank=True, help_text="What was odd about its last answers.")
    noticed_at = models.DateTimeField(null=True, blank=True)
    failures = models.PositiveIntegerField(default=0)
    last_error = models.TextField(blank=True)
    due_at = models.DateTimeField(null=True, blank=True)
    asked_full = models.BooleanField(default=False)
    asked_look = models.BooleanField(default=False, help_text="The next run waits for a person, whatever it brings.")
    lease = models.CharField(max_length=32, blank=True)
    leased_until = models.DateTimeField(null=True, blank=True)
    paused_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField()

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class Run(models.Model):
    """One time that a source was asked, and what became of it. What it fetched lies in files until it is taken over."""

    class State(models.TextChoices):
        FETCHING = "fetching"
        HELD = "held"  # Waits for a person.
        APPLYING = "applying"
        DONE = "done"
        FAILED = "failed"
        DISCARDED = "discarded"

    exchange = models.ForeignKey(Exchange, on_delete=models.CASCADE, related_name="runs")
    state = models.CharField(max_length=10, choices=State.choices, default=State.FETCHING)
    full = models.BooleanField(default=False, help_text="What it does not name is withdrawn.")
    look = models.BooleanField(default=False, help_text="It waits for a person, whatever it brings.")
    cut = models.BooleanField(default=False, help_text="The source broke off; what was complete stands.")
    pieces = models.PositiveIntegerField(default=0)
    applied = models.PositiveIntegerField(default=0)
    checkpoint = models.JSONField(null=True, blank=True, help_text="After the last piece.")
    reached = models.CharField(max_length=200, blank=True)
    noticed = models.TextField(blank=True)
    counts = models.JSONField(default=dict)
    diff = models.JSONField(default=dict, help_text="What it would change: counts, and the first of each.")
    reason = models.TextField(blank=True, help_text="Why it is held or failed.")
    released_by = models.CharField(max_length=200, blank=True)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(
                fields=("exchange",), condition=Q(state__in=("fetching", "held", "applying")), name="one_run_at_a_time"
            ),
        )

    def __str__(self) -> str:
        return f"{self.exchange_id}/{self.pk} {self.state}"


class Claim(models.Model):
    """That a source lists a thing, by the source's own key. An entry stays in force while anybody lists it, or a person holds it."""

    exchange = models.ForeignKey(Exchange, on_delete=models.CASCADE, related_name="claims", db_index=False)
    key = models.CharField(max_length=200)
    entry = models.ForeignKey("banks.Entry", on_delete=models.CASCADE, related_name="claims")
    digest = models.BigIntegerField(help_text="Of all that the source said: the same again changes nothing.")
    ref = models.CharField(max_length=300, blank=True, help_text="How answers to the source name it.")
    voices = models.TextField(
        blank=True, help_text="Who gave an opinion with it, one a line; an empty line is the source."
    )
    at = models.DateTimeField(help_text="Since when it is listed.")
    gone_at = models.DateTimeField(null=True, blank=True, help_text="When the source withdrew it.")

    class Meta:
        constraints = (models.UniqueConstraint(fields=("exchange", "key"), name="claim_once"),)

    def __str__(self) -> str:
        return self.key


class SetAside(models.Model):
    """What of a source's answer was not taken, and why."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="set_aside")
    place = models.CharField(max_length=200, blank=True)
    value = models.CharField(max_length=200, blank=True)
    reason = models.CharField(max_length=300)

    class Meta:
        ordering = ("id",)

    def __str__(self) -> str:
        return self.reason


class Telling(models.Model):
    """Something to tell a source about an entry of its: the outbox of answers."""

    class State(models.TextChoices):
        PENDING = "pending"
        SENT = "sent"
        DEAD = "dead"
        CANCELED = "canceled"

    claim = models.ForeignKey(Claim, on_delete=models.CASCADE, related_name="tellings")
    says = models.CharField(max_length=12)
    count = models.BigIntegerField(default=0, help_text="Events that it matched, where it was seen.")
    state = models.CharField(max_length=10, choices=State.choices, default=State.PENDING)
    attempts = models.PositiveIntegerField(default=0)
    made_at = models.DateTimeField()
    due_at = models.DateTimeField()
    leased_until = models.DateTimeField(null=True, blank=True)
    last_error = models.TextField(blank=True)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("claim", "says"), name="told_once"),)
        indexes = (models.Index(fields=("due_at",), condition=Q(state="pending"), name="telling_due"),)

    def __str__(self) -> str:
        return f"{self.claim_id} {self.says}"


class Share(models.Model):
    """A collection of reviewed entries for one circle of others, as it is given to them."""

    name = models.SlugField(unique=True, max_length=64)
    collection = models.UUIDField(unique=True)
    description = models.TextField(blank=True)
    banks = models.ManyToManyField("banks.Bank", related_name="shares", blank=True)
    readers = models.JSONField(default=list, blank=True, help_text="Names of the API keys that may read it.")
    last_at = models.DateTimeField(null=True, blank=True, help_text="The time of the last change in it.")
    published_at = models.DateTimeField(null=True, blank=True)
    closed_at = models.DateTimeField(null=True, blank=True, help_text="Since when all of it is given as withdrawn.")
    created_at = models.DateTimeField()

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class Shared(models.Model):
    """An entry in a share. One that is shared no more stays as withdrawn: whoever has it learns of it."""

    share = models.ForeignKey(Share, on_delete=models.CASCADE, related_name="shared", db_index=False)
    entry = models.ForeignKey("banks.Entry", on_delete=models.PROTECT, related_name="shared")
    name = models.UUIDField(help_text="Its id for others, the same for ever.")
    first_at = models.DateTimeField()
    changed_at = models.DateTimeField(help_text="Different for every row of a share, growing.")
    withdrawn = models.BooleanField(default=False)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("share", "entry"), name="shared_once"),)
        indexes = (
            models.Index(fields=("share", "changed_at"), name="shared_changed"),
            models.Index(fields=("share", "name"), name="shared_name"),
        )

    def __str__(self) -> str:
        return f"{self.share_id}/{self.entry_id}"
