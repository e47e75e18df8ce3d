from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q

from redshank.jobs.models import Job


class ConsoleRule(models.Model):
    """A rule that is written in the console. Which of its versions are in force, if any; two at most, one in each mode."""

    rule_id = models.CharField(max_length=64, unique=True)
    live = models.ForeignKey("RuleVersion", null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    shadow = models.ForeignKey("RuleVersion", null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    made_at = models.DateTimeField()
    retired_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("rule_id",)
        indexes = (
            models.Index(
                fields=("id",), condition=Q(live__isnull=False) | Q(shadow__isnull=False), name="console_rule_in_force"
            ),
        )

    def __str__(self) -> str:
        return self.rule_id


class RuleVersion(models.Model):
    """One text of a rule, as somebody saved it. Its text never changes; what becomes of it does."""

    class State(models.TextChoices):
        DRAFT = "draft"
        REVIEW = "review"  # somebody asked for a second person's word
        APPROVED = "approved"
        RETURNED = "returned"  # the second person wants something changed

    rule = models.ForeignKey(ConsoleRule, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField(help_text="From 1, in the order of saving.")
    text = models.TextField(help_text="A rule file with one rule.")
    note = models.TextField(blank=True, help_text="What was changed and why, in the author's words.")
    fingerprint = models.CharField(
        max_length=12, blank=True, help_text="The version that verdicts name; empty while the text has errors."
    )
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    made_at = models.DateTimeField()
    state = models.CharField(max_length=8, choices=State.choices, default=State.DRAFT)
    asked_at = models.DateTimeField(null=True, blank=True)
    reviewer = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    reviewed_at = models.DateTimeField(null=True, blank=True)
    review_note = models.TextField(blank=True)
    reviewed_sha256 = models.CharField(
        max_length=64, blank=True, help_text="Of the text that the second person approved. No other text goes live."
    )
    live_at = models.DateTimeField(null=True, blank=True, help_text="When it first went live.")

    class Meta:
        ordering = ("rule", "number")
        constraints = (models.UniqueConstraint(fields=("rule", "number"), name="rule_version_once"),)
        indexes = (models.Index(fields=("asked_at",), condition=Q(state="review"), name="rule_version_in_review"),)

    def __str__(self) -> str:
        return f"{self.rule.rule_id}, version {self.number}"


class RuleRevision(models.Model):
    """One row whose number grows with every change of what is in force: readers see by it that they must load again.

    It grows by a random step, so that a store brought back from a backup does not meet a number that stood for more.
    """

    number = models.BigIntegerField(default=0)


class BacktestJob(Job):
    """Rules that are to be tried on a stretch of the past. What is done of it is counted in files."""

    rules = models.JSONField(
        help_text='A list of {"id", "version", "text"}; the latter two are null for rules of files.'
    )
    since = models.DateTimeField(null=True, blank=True)
    until = models.DateTimeField(null=True, blank=True)
    network = models.CharField(max_length=63, blank=True)
    result = models.TextField(blank=True, help_text="What came out, as JSON.")

    class Meta(Job.Meta):
        verbose_name = "backtest"
        indexes = (
            models.Index(fields=("id",), condition=Q(state__in=("waiting", "running")), name="backtest_job_due"),
        )


class CounterName(models.Model):
    """A counter that some rule asks, or asked: its expression, and what its series hold."""

    id = models.BigIntegerField(primary_key=True, help_text="64 bits that depend on the expression alone.")
    text = models.TextField()
    window = models.BigIntegerField(help_text="In microseconds.")
    distinct = models.BooleanField()

    def __str__(self) -> str:
        return self.text


class CounterErasure(models.Model):
    """An erasure that the archive was asked for and that is done here, too."""

    erasure = models.BigIntegerField(primary_key=True)


class CounterSeries(models.Model):
    """One key of one counter: the times of its newest events, packed. The key itself is not kept, only 64 bits of it."""

    id = models.BigIntegerField(primary_key=True)
    counter = models.BigIntegerField()
    until = models.BigIntegerField(help_text="The second, since 1970, after which it is of no use.")
    entries = models.BinaryField()


class Breaker(models.Model):
    """One kind of effect of one rule on one network. While `tripped_at` is set, what the rule asks for of it is held."""

    rule = models.CharField(max_length=64)
    effect = models.CharField(max_length=16)
    network = models.CharField(max_length=63)
    passed = models.BinaryField(default=b"", help_text="When effects went through, in the last hour; packed.")
    tripped_at = models.DateTimeField(null=True, blank=True)
    most = models.PositiveIntegerField(default=0, help_text="So many an hour were allowed when it tripped.")

    class Meta:
        constraints = (models.UniqueConstraint(fields=("rule", "effect", "network"), name="breaker_once"),)
        indexes = (models.Index(fields=("tripped_at",), condition=Q(tripped_at__isnull=False), name="breaker_tripped"),)

    def __str__(self) -> str:
        return f"{self.rule}: {self.effect} on {self.network}"


class HeldEffect(models.Model):
    """What a rule asked for and a breaker held back, until a person lets it go on or discards it."""

    class State(models.TextChoices):
        HELD = "held"
        RELEASED = "released"  # a person let it go on; it will be done at once
        DONE = "done"
        DISCARDED = "discarded"

    breaker = models.ForeignKey(Breaker, on_delete=models.PROTECT, related_name="held_effects")
    network = models.CharField(max_length=63)
    event_id = models.CharField(max_length=200)
    fired = models.TextField(help_text="The rule that fired and why, as JSON.")
    effect = models.TextField(help_text="What it asked for, as JSON.")
    evidence = models.CharField(max_length=64, blank=True)
    held_at = models.DateTimeField()
    state = models.CharField(max_length=9, choices=State.choices, default=State.HELD)
    settled_by = models.CharField(max_length=160, blank=True)
    settled_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = (
            models.Index(fields=("breaker", "state", "id"), name="held_effect_state"),
            models.Index(fields=("id",), condition=Q(state="released"), name="held_effect_released"),
        )

    def __str__(self) -> str:
        return f"{self.breaker_id}: {self.network}/{self.event_id}"
