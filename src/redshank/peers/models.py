from __future__ import annotations

from django.db import models
from django.db.models import Q


class Agreement(models.Model):
    """A standing agreement with another installation. Without one, nothing is asked and nothing is answered."""

    name = models.SlugField(max_length=64, unique=True, help_text="What we call the other installation.")
    code = models.CharField(max_length=8, unique=True, help_text="The same on both sides; names the keys of tokens.")
    url = models.URLField(max_length=500, help_text="Where the other installation is served.")
    secret = models.BinaryField(help_text="The shared secret, sealed with a key of this installation.")
    daily = models.PositiveIntegerField(default=200, help_text="Tokens that they may ask about in a day.")
    made_at = models.DateTimeField()
    made_by = models.CharField(max_length=200)
    expires_at = models.DateTimeField(help_text="When it ends by itself.")
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class SharedToken(models.Model):
    """A keyed token, made under a key of an agreement, that a platform told of an account."""

    key = models.CharField(max_length=32)
    purpose = models.CharField(max_length=16)
    value = models.CharField(max_length=128)
    network = models.CharField(max_length=63)
    account_id = models.CharField(max_length=200)
    at = models.DateTimeField()
    mask = models.BinaryField(
        null=True, blank=True, help_text="What we answer with: eight bytes that we alone can make."
    )

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("network", "account_id", "key", "purpose", "value"), name="shared_token_once"
            ),
        )
        indexes = (
            models.Index(fields=("key", "network", "account_id"), name="shared_token_key"),
            models.Index(fields=("id",), condition=Q(mask__isnull=True), name="shared_token_unmasked"),
        )

    def __str__(self) -> str:
        return f"{self.purpose} of {self.network}/{self.account_id}"


class Question(models.Model):
    """A question that we asked or answered. It says who and how many, never which users of the other side."""

    agreement = models.ForeignKey(Agreement, on_delete=models.PROTECT, related_name="questions")
    ours = models.BooleanField(help_text="We asked; else they did.")
    number = models.CharField(max_length=64, help_text="The question's own id, the same on both sides.")
    at = models.DateTimeField()
    tokens = models.PositiveIntegerField(help_text="How many tokens it was about; 0: the masks alone were fetched.")
    by = models.CharField(max_length=200, blank=True, help_text="Who asked, where it is ours.")
    network = models.CharField(max_length=63, blank=True)
    account_id = models.CharField(max_length=200, blank=True)
    found = models.JSONField(default=list, help_text="Ours: the purposes of the tokens whose owner they suspended.")
    problem = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ("-id",)
        constraints = (models.UniqueConstraint(fields=("agreement", "ours", "number"), name="question_once"),)
        indexes = (
            models.Index(fields=("agreement", "ours", "at"), name="question_at"),
            models.Index(fields=("network", "account_id"), condition=~Q(account_id=""), name="question_account"),
        )

    def __str__(self) -> str:
        return self.number
