from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q


class ProfileRecord(models.Model):
    """What is known of an account that is young enough to be asked about, or that was suspended. Its id is its number in
    the index, and never another account's."""

    network = models.CharField(max_length=63)
    account_id = models.CharField(max_length=200)
    evidence = models.BinaryField(default=b"", help_text="An Evidence, packed; empty where it was erased.")
    seen_at = models.DateTimeField(help_text="When we first gathered something of it.")
    target = models.BooleanField(default=False, help_text="It is suspended: new accounts are compared with it.")
    ended_at = models.DateTimeField(null=True, blank=True, help_text="When it was suspended.")
    target_changed_at = models.DateTimeField(
        null=True, blank=True, help_text="When it last became a target, changed as one, or ceased to be one."
    )
    due_at = models.DateTimeField(null=True, blank=True, help_text="When it is to be asked about (again).")
    why = models.CharField(max_length=40, blank=True, help_text="What made it due: sign-up, 5 follows, first posts, …")
    event = models.CharField(max_length=300, blank=True, help_text="The event of its own that did, as network/id.")
    version = models.PositiveIntegerField(default=0, help_text="Grows with its evidence.")
    owner = models.BigIntegerField(
        null=True, blank=True, help_text="The first account of its owner's chain, where a person confirmed one."
    )

    class Meta:
        constraints = (models.UniqueConstraint(fields=("network", "account_id"), name="profile_once"),)
        indexes = (
            models.Index(
                fields=("target_changed_at",), condition=Q(target_changed_at__isnull=False), name="target_changed"
            ),
            models.Index(fields=("due_at",), condition=Q(due_at__isnull=False), name="profile_due"),
            models.Index(fields=("owner",), condition=Q(owner__isnull=False), name="profile_owner"),
            models.Index(fields=("seen_at",), condition=Q(target=False), name="profile_watched"),
        )

    def __str__(self) -> str:
        return f"{self.network}/{self.account_id}"


class News(models.Model):
    """An event whose evidence has yet to be gathered, by the id of its row in the archive."""

    event_id = models.BigIntegerField(primary_key=True)
    pictures = models.BinaryField(default=b"", help_text="Hashes of its account's pictures, where they were made here.")


class Tally(models.Model):
    """Marks that accounts left when their evidence was gathered, until they are joined into pages. They name nobody."""

    season = models.IntegerField()
    marks = models.BinaryField(help_text="uint64 each, see population.py.")
    size = models.PositiveIntegerField(help_text="How many marks.")


class TallyPage(models.Model):
    """A part of a season's table of what is usual on each network."""

    season = models.IntegerField()
    page = models.IntegerField()
    version = models.PositiveIntegerField(default=0, help_text="Grows with each change.")
    places = models.BinaryField(default=b"", help_text="uint64 each, packed by zlib; empty: all 0.")

    class Meta:
        constraints = (models.UniqueConstraint(fields=("season", "page"), name="tally_page_once"),)


class TieRecord(models.Model):
    """A tie between a new account and a suspended one, with its reasons, and what became of it."""

    class Band(models.TextChoices):
        LIKELY = "likely", "likely"
        POSSIBLE = "possible", "possible"
        NONE = "", "below possible"

    class State(models.TextChoices):
        OPEN = "open", "waiting"
        CONFIRMED = "confirmed", "confirmed"
        REJECTED = "rejected", "rejected"
        WITHDRAWN = "withdrawn", "withdrawn"  # the suspension ended, or the evidence no longer bears it

    new = models.ForeignKey(ProfileRecord, on_delete=models.CASCADE, related_name="ties")
    old = models.ForeignKey(ProfileRecord, on_delete=models.CASCADE, related_name="tied")
    probability = models.FloatField()
    band = models.CharField(max_length=8, choices=Band.choices, blank=True)
    reasons = models.JSONField(help_text="Reasons: kind, bits, what was seen. They add up to log2 of the odds.")
    shared = models.JSONField(default=dict, help_text="What both had in common when it was scored last.")
    model = models.CharField(max_length=80, help_text="The model's version.")
    moments = models.JSONField(default=list, help_text="How the answer grew: time, occasion, probability, band.")
    state = models.CharField(max_length=9, choices=State.choices, default=State.OPEN)
    blind = models.BooleanField(default=False, help_text="Part of the audit: its score is hidden until it is decided.")
    labels = models.JSONField(default=list, help_text="Labels of ours that rules put on the new account because of it.")
    made_at = models.DateTimeField()
    changed_at = models.DateTimeField()
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    decided_at = models.DateTimeField(null=True, blank=True)
    reason = models.TextField(blank=True)
    independent = models.BooleanField(
        default=False, help_text="The person knew it from elsewhere: only then is anything learned from it."
    )

    class Meta:
        constraints = (models.UniqueConstraint(fields=("new", "old"), name="tie_once"),)
        indexes = (
            models.Index(fields=("-probability",), condition=Q(state="open"), name="tie_open"),
            models.Index(fields=("decided_at",), condition=Q(decided_at__isnull=False), name="tie_decided"),
        )

    def __str__(self) -> str:
        return f"{self.new} – {self.old}"


class NeverTie(models.Model):
    """Never tie: an account that is never asked about, or a pair that is never tied. What was undone stays, with its end."""

    class What(models.TextChoices):
        JOURNALIST = "journalist", "journalist"
        RESEARCHER = "researcher", "researcher"
        RELATIVE = "relative", "relative"
        FAN = "fan", "fan"
        OTHER = "other", "someone else"

    network = models.CharField(max_length=63)
    account_id = models.CharField(max_length=200)
    other_network = models.CharField(max_length=63, blank=True, help_text="Empty: it holds towards every account.")
    other_id = models.CharField(max_length=200, blank=True)
    what = models.CharField(max_length=12, choices=What.choices)
    reason = models.TextField()
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    at = models.DateTimeField()
    ended_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = (models.Index(fields=("network", "account_id"), name="never_tie_account"),)


class DayCount(models.Model):
    """What was asked and answered on one day under one model; counts alone, which outlive the accounts."""

    day = models.DateField()
    model = models.CharField(max_length=80)
    asked = models.PositiveIntegerField(default=0)
    likely = models.PositiveIntegerField(default=0, help_text="New ties that were likely when they were made.")
    possible = models.PositiveIntegerField(default=0)
    confirmed = models.PositiveIntegerField(default=0)
    rejected = models.PositiveIntegerField(default=0)
    expected = models.FloatField(default=0, help_text="Sum of the probabilities of what was decided.")
    blind_confirmed = models.PositiveIntegerField(default=0)
    blind_rejected = models.PositiveIntegerField(default=0)
    erased = models.PositiveIntegerField(default=0, help_text="Accounts whose data went because the law wanted it.")

    class Meta:
        constraints = (models.UniqueConstraint(fields=("day", "model"), name="evasion_day_once"),)
