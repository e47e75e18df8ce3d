from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q

from redshank.jobs.models import Job


class Bank(models.Model):
    """A list of known content of one kind, with its source, policy and severity."""

    class Kind(models.TextChoices):
        PDQ = "pdq", "picture (PDQ)"
        VIDEO = "video", "video (PDQ of frames)"
        MD5 = "md5", "file (MD5)"
        SHA1 = "sha1", "file (SHA-1)"
        SHA256 = "sha256", "file (SHA-256)"
        SHA512 = "sha512", "file (SHA-512)"
        URL = "url", "link"
        DOMAIN = "domain", "domain"
        TERM = "term", "term"
        NAME = "name", "name of an account"

    name = models.SlugField(unique=True, max_length=64)
    kind = models.CharField(max_length=64, choices=Kind.choices, help_text="One of these, or a plug-in's.")
    description = models.TextField(blank=True)
    policy = models.ForeignKey("policies.Policy", on_delete=models.PROTECT, related_name="banks")
    severity = models.PositiveSmallIntegerField(default=3, help_text="1 (context) to 5 (calls for instant attention).")
    source = models.CharField(max_length=200, blank=True, help_text="Where its entries come from.")
    limit = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="Hamming distance within which a PDQ hash matches; empty: the installation's."
    )
    share = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        help_text="Of a hundred seconds of either video so many must match; empty: the installation's.",
    )
    active = models.BooleanField(default=True)
    negative = models.BooleanField(
        default=False,
        help_text="Holds what is known to be harmless: it never matches, nor does what is farther from it.",
    )
    partial = models.BooleanField(
        default=False, help_text="Pictures are found by a part of them as well, which costs time and memory."
    )
    sampled = models.PositiveSmallIntegerField(
        default=100, help_text="Of a hundred events, so many are held against it, chosen by the event's id."
    )
    surge = models.PositiveIntegerField(
        null=True,
        blank=True,
        help_text="Events in an hour beyond which a matching entry is put in quarantine; 0: never; empty: the installation's.",
    )
    languages = models.CharField(
        max_length=200,
        blank=True,
        help_text="BCP 47, with blanks between; a term is not sought in posts said to be in others.",
    )
    license = models.CharField(
        max_length=200, blank=True, help_text="Under what its entries may be handed on; empty: they may not."
    )
    expires_days = models.PositiveIntegerField(
        null=True, blank=True, help_text="Days after which an entry matches no more; empty: never."
    )
    created_at = models.DateTimeField()
    in_force = models.BigIntegerField(default=0, help_text="Entries that are not withdrawn; counted as they change.")
    withdrawn = models.BigIntegerField(default=0, help_text="Entries that are; counted likewise.")

    class Meta:
        ordering = ("name",)
        constraints = (
            models.CheckConstraint(condition=Q(severity__range=(1, 5)), name="bank_severity_1_to_5"),
            models.CheckConstraint(condition=Q(sampled__range=(0, 100)), name="bank_sampled_0_to_100"),
            models.CheckConstraint(condition=Q(share__range=(1, 100)), name="bank_share_1_to_100"),
        )

    def __str__(self) -> str:
        return self.name


class Entry(models.Model):
    """One known thing. A withdrawn entry stays, so that it is known why it once matched."""

    bank = models.ForeignKey(Bank, on_delete=models.PROTECT, related_name="entries")
    value = models.CharField(
        max_length=2048,
        help_text="Canonical: hex in lower case, a normalized link, a folded term; a video: its SHA-256.",
    )
    frames = models.BinaryField(
        null=True, blank=True, help_text="A video's frames: 37 bytes each: second (big-endian float32), quality, PDQ."
    )
    weak = models.CharField(
        max_length=100, blank=True, help_text="Why it matches nothing by itself: all-zero, low quality; mostly empty."
    )
    label = models.CharField(max_length=200, blank=True)
    note = models.TextField(blank=True)
    source = models.CharField(max_length=200, blank=True)
    added_by = models.CharField(max_length=200)
    added_at = models.DateTimeField()
    foreign = models.BooleanField(default=False, help_text="An exchange with another organization brought it.")
    confirmed_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="When a person here first agreed with it; asked of what others or programs brought.",
    )
    confirmed_by = models.CharField(max_length=200, blank=True)
    from_case = models.BigIntegerField(null=True, blank=True, help_text="The case that it was added from.")
    expires_at = models.DateTimeField(null=True, blank=True, help_text="From when on it matches no more.")
    looked_back_at = models.DateTimeField(null=True, blank=True, help_text="When it was sought in the past.")
    quarantined_at = models.DateTimeField(
        null=True, blank=True, help_text="Since when it matches suspiciously much: rules do not see its matches."
    )
    released_at = models.DateTimeField(null=True, blank=True, help_text="When a person last let it out of quarantine.")
    disputed_at = models.DateTimeField(null=True, blank=True)
    disputed_by = models.CharField(max_length=200, blank=True)
    dispute = models.TextField(blank=True, help_text="Why somebody holds that it does not belong here.")
    withdrawn_at = models.DateTimeField(null=True, blank=True)
    withdrawn_by = models.CharField(max_length=200, blank=True)
    changed = models.BigIntegerField(
        default=0, db_index=True, help_text="The banks' number when anything of it last changed that matching asks for."
    )

    class Meta:
        ordering = ("-id",)
        verbose_name_plural = "entries"
        constraints = (models.UniqueConstraint(fields=("bank", "value"), name="entry_once_in_bank"),)
        indexes = (
            models.Index(
                fields=("quarantined_at",), condition=Q(quarantined_at__isnull=False), name="entry_quarantined"
            ),
            models.Index(
                fields=("bank", "id"),
                condition=Q(looked_back_at__isnull=True, withdrawn_at__isnull=True),
                name="entry_to_look_back",
            ),
            # By these, what people thought of entries lately is found without a look at all of them.
            models.Index(fields=("confirmed_at",), condition=Q(confirmed_at__isnull=False), name="entry_confirmed"),
            models.Index(fields=("disputed_at",), condition=Q(disputed_at__isnull=False), name="entry_disputed"),
            models.Index(fields=("withdrawn_at",), condition=Q(withdrawn_at__isnull=False), name="entry_withdrawn"),
        )

    def __str__(self) -> str:
        return self.label or self.value[:40]


class ImportJob(Job):
    """A file that is to be imported into a bank: looked at first, and taken in once somebody says so. Counted in bytes."""

    bank = models.ForeignKey(Bank, on_delete=models.PROTECT, related_name="imports")
    name = models.CharField(max_length=200, help_text="Of the file, as its sender called it.")
    file = models.CharField(max_length=32, help_text="Of the file, as it lies here; empty once it is done with.")
    looked = models.TextField(blank=True, help_text="What it would do, as JSON.")
    released_at = models.DateTimeField(null=True, blank=True, help_text="When somebody said that it is to be imported.")
    released_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    line = models.BigIntegerField(default=0, help_text="Up to which all is taken in.")
    result = models.TextField(blank=True, help_text="What became of that, as JSON.")

    class Meta(Job.Meta):
        verbose_name = "import"
        indexes = (models.Index(fields=("id",), condition=Q(state__in=("waiting", "running")), name="import_job_due"),)


class EntryPoints(models.Model):
    """The points of a known picture, or of some frames of a known video, by which a part is found. A hash alone has none."""

    entry = models.OneToOneField(Entry, on_delete=models.CASCADE, primary_key=True, related_name="points")
    packed = models.BinaryField(
        help_text="In MessagePack, of each picture: second of the video, and its points (see media/parts.py)."
    )
    poor = models.CharField(
        max_length=100, blank=True, help_text="Why they are too few to know a part of it by; mostly empty."
    )
    sought = models.BigIntegerField(
        null=True,
        blank=True,
        help_text="Below which row of what was seen a part of it is still to be sought; empty: nowhere.",
    )

    class Meta:
        verbose_name_plural = "entries' points"
        indexes = (models.Index(fields=("sought",), condition=Q(sought__isnull=False), name="points_to_seek"),)

    def __str__(self) -> str:
        return f"points of {self.entry_id}"


class Seen(models.Model):
    """The hashes of a media item of a walked event, kept for a set time so that it is found by what becomes known later."""

    network = models.CharField(max_length=63)
    event_id = models.CharField(max_length=200)
    media_id = models.CharField(max_length=200)
    at = models.DateTimeField(db_index=True)
    hashes = models.BinaryField(help_text="In MessagePack: ours, and the platform's own.")

    class Meta:
        verbose_name_plural = "seen"
        indexes = (models.Index(fields=("network", "event_id"), name="seen_event"),)

    def __str__(self) -> str:
        return f"{self.network}/{self.event_id} {self.media_id}"


class SeenPoints(models.Model):
    """The points of what was seen, where the installation keeps them for a time: by them parts are sought in the past."""

    seen = models.OneToOneField(Seen, on_delete=models.CASCADE, primary_key=True, related_name="points")
    at = models.DateTimeField(db_index=True)
    packed = models.BinaryField(help_text="In MessagePack, of each picture: second, points, its mirror image's points.")

    class Meta:
        verbose_name_plural = "seen points"

    def __str__(self) -> str:
        return f"points of {self.seen_id}"


class MatchCount(models.Model):
    """How many events an entry matched in one hour."""

    # No entry is ever deleted; without the constraint, counting need not look at the entries' rows.
    entry = models.ForeignKey(
        Entry, on_delete=models.CASCADE, related_name="counts", db_index=False, db_constraint=False
    )
    hour = models.DateTimeField()
    count = models.BigIntegerField()

    class Meta:
        constraints = (models.UniqueConstraint(fields=("entry", "hour"), name="count_once_an_hour"),)

    def __str__(self) -> str:
        return f"{self.count} at {self.hour:%Y-%m-%d %H}"


class Opinion(models.Model):
    """What one source says of an entry: one row a source, its latest word."""

    class Says(models.TextChoices):
        AGREES = "agrees"
        DISAGREES = "disagrees"
        SEEN = "seen"  # it met the same thing, and does not judge it

    entry = models.ForeignKey(Entry, on_delete=models.CASCADE, related_name="opinions")
    source = models.CharField(max_length=200)
    says = models.CharField(max_length=12, choices=Says.choices)
    note = models.TextField(blank=True)
    at = models.DateTimeField()

    class Meta:
        ordering = ("source",)
        constraints = (models.UniqueConstraint(fields=("entry", "source"), name="opinion_once_a_source"),)

    def __str__(self) -> str:
        return f"{self.source} {self.says}"


class BankRevision(models.Model):
    """One row whose number grows with every change to any bank: readers see by it that there is news.

    Who changes something holds its row until the change is committed, so that numbers come in the order of changes.
    """

    number = models.BigIntegerField(default=0)


class BankStep(models.Model):
    """Every number that the banks ever had.

    Numbers grow by random steps, so that a number that stands here tells a reader that what it loaded at it is of this
    store, and of its past: not of another store, nor of what a backup has undone.
    """

    number = models.BigIntegerField(primary_key=True)
