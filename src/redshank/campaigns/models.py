from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q


class ShareBlock(models.Model):
    """What the events of one walk shared, packed. A worker turns blocks into files; then their rows go."""

    received_at = models.DateTimeField(db_index=True)
    body = models.BinaryField(help_text="In MessagePack: a list of `kept.Shared`.")
    batch = models.BigIntegerField(null=True, blank=True, help_text="The files that it is being written to.")

    class Meta:
        indexes = (models.Index(fields=("batch",), condition=Q(batch__isnull=False), name="share_block_batch"),)


class ShareDay(models.Model):
    """How much the files hold of one day (UTC, by the events' own time), and how much of it the last search saw."""

    day = models.DateField(unique=True)
    rows = models.BigIntegerField(default=0)
    seen = models.BigIntegerField(default=0)
    changed_at = models.DateTimeField()

    def __str__(self) -> str:
        return str(self.day)


class Run(models.Model):
    """One search for campaigns: over which days, what it found, what it took."""

    class Why(models.TextChoices):
        DAY = "day", "a day was over, or came late"
        HOT = "hot", "something was hot"
        DUE = "due", "it was time"
        ASKED = "asked", "somebody asked"

    why = models.CharField(max_length=8, choices=Why.choices)
    since = models.DateTimeField()
    until = models.DateTimeField()
    started_at = models.DateTimeField()
    seconds = models.FloatField()
    shares = models.BigIntegerField()
    accounts = models.BigIntegerField()
    tested = models.BigIntegerField(help_text="Pairs of accounts that the surprise is corrected for.")
    campaigns = models.PositiveIntegerField(help_text="Groups that were found, among them those of before.")
    narrowed = models.PositiveIntegerField(help_text="Objects so common that they were looked at in a narrower window.")

    class Meta:
        get_latest_by = "pk"


class Campaign(models.Model):
    """Accounts that act together, over the days. What a person said of it stays, whatever is found later."""

    class State(models.TextChoices):
        NEW = "new"  # nobody has looked at it
        OPEN = "open"  # somebody has, and it is not done with
        CLOSED = "closed"  # somebody said that nothing is left to do; it comes back if it grows
        MERGED = "merged"  # it is part of another one

    class Label(models.TextChoices):
        COORDINATED = "coordinated"
        AUTOMATION = "automation"
        FEED = "feed"
        AUDIENCE = "audience"

    name = models.CharField(max_length=120, blank=True)
    state = models.CharField(max_length=8, choices=State.choices, default=State.NEW)
    label = models.CharField(max_length=12, choices=Label.choices)
    labeled_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+",
        help_text="Who put the label; empty: the rule did.",
    )  # fmt: skip
    seen_label = models.CharField(max_length=12, choices=Label.choices, help_text="What the last search says of it.")
    signs = models.JSONField(default=list, help_text="The grounds of that, one sentence each.")
    networks = models.JSONField(default=list)
    moves = models.JSONField(default=list, help_text="Where its objects went on: source, target, objects, lag, …")
    begins = models.DateTimeField()
    ends = models.DateTimeField()
    found_at = models.DateTimeField(help_text="When it was first found.")
    seen_at = models.DateTimeField(help_text="When it was last found.")
    size = models.PositiveIntegerField(default=0)
    object_count = models.PositiveIntegerField(default=0)
    ties = models.PositiveIntegerField(default=0)
    bits = models.FloatField(default=0, help_text="Surprise of the median tie, corrected for all pairs.")
    met = models.PositiveIntegerField(default=0, help_text="Objects over which the median tie's accounts met.")
    tested = models.BigIntegerField(default=0, help_text="Pairs that the surprise is corrected for.")
    lag = models.FloatField(default=0, help_text="Seconds from one member's share to the next one's (median).")
    held_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="held_campaigns"
    )
    merged_into = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT, related_name="merged")
    version = models.PositiveIntegerField(default=0, help_text="Grows with each change by a person.")

    class Meta:
        indexes = (models.Index(fields=("state", "-seen_at"), name="campaign_state"),)

    def __str__(self) -> str:
        return f"K-{self.pk}"


class Member(models.Model):
    """An account of a campaign. One that a person took out stays out."""

    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, related_name="members")
    network = models.CharField(max_length=63)
    account_id = models.CharField(max_length=200)
    out = models.BooleanField(default=False, help_text="A person said that it does not belong.")
    ties = models.PositiveIntegerField(default=0)
    objects_shared = models.PositiveIntegerField(default=0)
    after = models.FloatField(default=0, help_text="Seconds after the first member, in the median.")
    shared = models.JSONField(default=list, help_text="[[object key, ISO time], …] of the most shared objects.")
    joined_at = models.DateTimeField()
    found_at = models.DateTimeField()
    seen_at = models.DateTimeField()

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("campaign", "network", "account_id"), name="member_once_in_campaign"),
        )
        indexes = (models.Index(fields=("network", "account_id"), name="member_account"),)

    def __str__(self) -> str:
        return f"{self.network}/{self.account_id}"


class SharedObject(models.Model):
    """What members met over. The most shared ones are kept."""

    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, related_name="shared_objects")
    key = models.CharField(max_length=24)
    kind = models.CharField(max_length=10)
    value = models.CharField(max_length=500)
    members = models.PositiveIntegerField()
    others = models.PositiveIntegerField()
    first_at = models.DateTimeField()
    seen_at = models.DateTimeField()

    class Meta:
        constraints = (models.UniqueConstraint(fields=("campaign", "key"), name="object_once_in_campaign"),)
        indexes = (models.Index(fields=("key",), name="object_key"),)

    def __str__(self) -> str:
        return self.value


class CampaignDay(models.Model):
    """One day (UTC) of a campaign's life."""

    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, related_name="days")
    day = models.DateField()
    active = models.PositiveIntegerField()
    joined = models.PositiveIntegerField()
    shares = models.PositiveIntegerField()

    class Meta:
        ordering = ("day",)
        constraints = (models.UniqueConstraint(fields=("campaign", "day"), name="day_once_in_campaign"),)

    def __str__(self) -> str:
        return f"{self.day}: {self.active}"


class HotObject(models.Model):
    """What so many accounts shared within the window that it was looked into at once."""

    key = models.CharField(max_length=24, unique=True)
    kind = models.CharField(max_length=10)
    value = models.CharField(max_length=500)
    networks = models.JSONField(default=list)
    accounts = models.PositiveIntegerField(help_text="The most within one window.")
    noticed_at = models.DateTimeField()
    grew_at = models.DateTimeField(help_text="When it was noticed, or had grown by half since.")
    seen_at = models.DateTimeField(help_text="When it was hot last.")

    class Meta:
        indexes = (models.Index(fields=("-seen_at",), name="hot_seen"),)

    def __str__(self) -> str:
        return self.value


class Change(models.Model):
    """Members that a person moved, by a merge, a split, or taking them out. It can be undone while they are where it put them."""

    class Kind(models.TextChoices):
        MERGE = "merge"
        SPLIT = "split"
        OUT = "out"

    kind = models.CharField(max_length=8, choices=Kind.choices)
    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, related_name="changes")
    other = models.ForeignKey(Campaign, null=True, blank=True, on_delete=models.CASCADE, related_name="+")
    members = models.JSONField(default=list, help_text="Primary keys of the members that moved.")
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    reason = models.TextField(blank=True)
    at = models.DateTimeField()
    undone_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-pk",)


class Proposal(models.Model):
    """What a person wants to decide on members of a campaign. Where they are many, another person has to agree."""

    class State(models.TextChoices):
        WAITING = "waiting"
        DONE = "done"
        REFUSED = "refused"
        UNDONE = "undone"

    campaign = models.ForeignKey(Campaign, on_delete=models.PROTECT, related_name="proposals")
    state = models.CharField(max_length=8, choices=State.choices, default=State.WAITING)
    members = models.JSONField(help_text="[[network, account id], …]")
    policy = models.CharField(max_length=64)
    reason = models.TextField()
    asks = models.JSONField(help_text="Verbs, with label and duration.")
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    at = models.DateTimeField()
    second = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    settled_at = models.DateTimeField(null=True, blank=True)
    note = models.TextField(blank=True)
    decisions = models.JSONField(default=list, help_text="Ids of the decisions that came of it, one a member.")

    class Meta:
        ordering = ("-pk",)


class Note(models.Model):
    """What people say to each other about a campaign."""

    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, related_name="notes")
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    text = models.TextField()
    at = models.DateTimeField()

    class Meta:
        ordering = ("pk",)


class Erased(models.Model):
    """An erasure of the archive that is done here, too."""

    erasure = models.BigIntegerField(unique=True)
    at = models.DateTimeField()
