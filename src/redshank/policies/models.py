from __future__ import annotations

from django.db import models


class Policy(models.Model):
    """A rule of the platform, with its ground; a case is decided under one."""

    slug = models.SlugField(primary_key=True, max_length=64)
    name = models.CharField(max_length=200)
    summary = models.TextField(help_text="One or two sentences: what is not allowed.")
    ground = models.TextField(help_text="The article of the law, or the clause of the terms, that it rests on.")
    legal = models.BooleanField(default=False, help_text="The ground is in law, not in the terms alone.")
    message = models.TextField(help_text="What the person is told; {action}, {subject} and {reason} are filled in.")
    position = models.PositiveSmallIntegerField(default=0, help_text="Its place in lists, and its number key.")
    retired_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("position", "slug")
        verbose_name_plural = "policies"

    def __str__(self) -> str:
        return self.name
