from __future__ import annotations

from django.db import models


class HmaBank(models.Model):
    """A bank that an HMA client made: a name over one bank of ours for each signal type in it."""

    name = models.CharField(max_length=255, unique=True)
    ratio = models.FloatField(default=1.0, help_text="Share of lookups in which it takes part, 0 to 1.")

    def __str__(self) -> str:
        return self.name


class HmaPart(models.Model):
    """One bank of ours that belongs to an HMA bank, or to none any more: its clients do not see it then."""

    whole = models.ForeignKey(HmaBank, null=True, blank=True, on_delete=models.SET_NULL, related_name="parts")
    signal_type = models.CharField(max_length=64)
    bank = models.OneToOneField("banks.Bank", on_delete=models.CASCADE, related_name="hma_part")

    class Meta:
        constraints = (models.UniqueConstraint(fields=("whole", "signal_type"), name="hma_part_once"),)

    def __str__(self) -> str:
        return f"{self.whole_id} {self.signal_type}"


class HmaContent(models.Model):
    """One thing that was put into an HMA bank, with all its signals. The same thing twice is two contents."""

    whole = models.ForeignKey(HmaBank, on_delete=models.CASCADE, related_name="contents")
    disable_until = models.BigIntegerField(default=1, help_text="1: in force; 0: not; else not before these seconds.")
    note = models.CharField(max_length=255, blank=True)
    metadata = models.JSONField(default=dict, blank=True)

    class Meta:
        indexes = (
            models.Index(fields=("disable_until",), condition=models.Q(disable_until__gt=1), name="hma_content_until"),
        )

    def __str__(self) -> str:
        return str(self.pk)


class HmaSignal(models.Model):
    """A signal of a content: the entry of ours that holds it. Contents with the same signal share the entry."""

    content = models.ForeignKey(HmaContent, on_delete=models.CASCADE, related_name="signals")
    signal_type = models.CharField(max_length=64)
    entry = models.ForeignKey("banks.Entry", on_delete=models.CASCADE, related_name="hma_signals")

    class Meta:
        constraints = (models.UniqueConstraint(fields=("content", "signal_type"), name="hma_signal_once"),)

    def __str__(self) -> str:
        return f"{self.content_id} {self.signal_type}"


class HmaApi(models.Model):
    """The credentials that a client set for one kind of exchange: HMA has them once for all exchanges of that kind."""

    name = models.CharField(max_length=64, primary_key=True)
    secret = models.BinaryField(help_text="Encrypted under the installation's key.")
    address = models.CharField(max_length=2000, blank=True)

    def __str__(self) -> str:
        return self.name


class HmaExchange(models.Model):
    """An exchange that a client made, and the HMA bank that it fills: of the same name, until that is renamed."""

    name = models.CharField(max_length=255, unique=True)
    exchange = models.OneToOneField("exchanges.Exchange", on_delete=models.CASCADE, related_name="hma")
    whole = models.OneToOneField(HmaBank, on_delete=models.CASCADE, related_name="exchange")
    api = models.CharField(max_length=64)
    config = models.JSONField(default=dict, help_text="As the client gave it.")

    def __str__(self) -> str:
        return self.name


class HmaSignalType(models.Model):
    """What a client set for a signal type: 0 switches it off."""

    name = models.CharField(max_length=64, primary_key=True)
    ratio = models.FloatField()

    def __str__(self) -> str:
        return self.name
