import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("policies", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="BankRevision",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("number", models.BigIntegerField(default=0)),
            ],
        ),
        migrations.CreateModel(
            name="Bank",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.SlugField(max_length=64, unique=True)),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("pdq", "picture (PDQ)"),
                            ("video", "video (PDQ of frames)"),
                            ("md5", "file (MD5)"),
                            ("sha1", "file (SHA-1)"),
                            ("sha256", "file (SHA-256)"),
                            ("sha512", "file (SHA-512)"),
                            ("url", "link"),
                            ("domain", "domain"),
                            ("term", "term"),
                            ("name", "name of an account"),
                        ],
                        max_length=16,
                    ),
                ),
                ("description", models.TextField(blank=True)),
                (
                    "severity",
                    models.PositiveSmallIntegerField(
                        default=3, help_text="1 (context) to 5 (calls for instant attention)."
                    ),
                ),
                ("source", models.CharField(blank=True, help_text="Where its entries come from.", max_length=200)),
                (
                    "limit",
                    models.PositiveSmallIntegerField(
                        blank=True,
                        help_text="Hamming distance within which a PDQ hash matches; empty: the installation's.",
                        null=True,
                    ),
                ),
                ("active", models.BooleanField(default=True)),
                (
                    "negative",
                    models.BooleanField(
                        default=False,
                        help_text="Holds what is known to be harmless: it never matches, nor does what is farther from it.",
                    ),
                ),
                (
                    "sampled",
                    models.PositiveSmallIntegerField(
                        default=100,
                        help_text="Of a hundred events, so many are held against it, chosen by the event's id.",
                    ),
                ),
                (
                    "surge",
                    models.PositiveIntegerField(
                        blank=True,
                        help_text="Events in an hour beyond which a matching entry is put in quarantine; 0: never; empty: the installation's.",
                        null=True,
                    ),
                ),
                (
                    "languages",
                    models.CharField(
                        blank=True,
                        help_text="BCP 47, with blanks between; a term is not sought in posts said to be in others.",
                        max_length=200,
                    ),
                ),
                (
                    "license",
                    models.CharField(
                        blank=True,
                        help_text="Under what its entries may be handed on; empty: they may not.",
                        max_length=200,
                    ),
                ),
                (
                    "expires_days",
                    models.PositiveIntegerField(
                        blank=True, help_text="Days after which an entry matches no more; empty: never.", null=True
                    ),
                ),
                ("created_at", models.DateTimeField()),
                (
                    "policy",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="banks", to="policies.policy"
                    ),
                ),
            ],
            options={
                "ordering": ("name",),
            },
        ),
        migrations.CreateModel(
            name="Entry",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "value",
                    models.CharField(
                        help_text="Canonical: hex in lower case, a normalized link, a folded term; a video: its SHA-256.",
                        max_length=2048,
                    ),
                ),
                (
                    "frames",
                    models.BinaryField(
                        blank=True,
                        help_text="A video's frames: 37 bytes each: second (big-endian float32), quality, PDQ.",
                        null=True,
                    ),
                ),
                (
                    "weak",
                    models.CharField(
                        blank=True,
                        help_text="Why it matches nothing by itself: all-zero, low quality; mostly empty.",
                        max_length=100,
                    ),
                ),
                ("label", models.CharField(blank=True, max_length=200)),
                ("note", models.TextField(blank=True)),
                ("source", models.CharField(blank=True, max_length=200)),
                ("added_by", models.CharField(max_length=200)),
                ("added_at", models.DateTimeField()),
                (
                    "from_case",
                    models.BigIntegerField(blank=True, help_text="The case that it was added from.", null=True),
                ),
                (
                    "expires_at",
                    models.DateTimeField(blank=True, help_text="From when on it matches no more.", null=True),
                ),
                (
                    "looked_back_at",
                    models.DateTimeField(blank=True, help_text="When it was sought in the past.", null=True),
                ),
                (
                    "quarantined_at",
                    models.DateTimeField(
                        blank=True,
                        help_text="Since when it matches suspiciously much: rules do not see its matches.",
                        null=True,
                    ),
                ),
                (
                    "released_at",
                    models.DateTimeField(
                        blank=True, help_text="When a person last let it out of quarantine.", null=True
                    ),
                ),
                ("disputed_at", models.DateTimeField(blank=True, null=True)),
                ("disputed_by", models.CharField(blank=True, max_length=200)),
                ("dispute", models.TextField(blank=True, help_text="Why somebody holds that it does not belong here.")),
                ("withdrawn_at", models.DateTimeField(blank=True, null=True)),
                ("withdrawn_by", models.CharField(blank=True, max_length=200)),
                (
                    "bank",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="entries", to="banks.bank"
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "entries",
                "ordering": ("-id",),
            },
        ),
        migrations.CreateModel(
            name="MatchCount",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("hour", models.DateTimeField()),
                ("count", models.BigIntegerField()),
                (
                    "entry",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="counts",
                        to="banks.entry",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Opinion",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("source", models.CharField(max_length=200)),
                (
                    "says",
                    models.CharField(
                        choices=[("agrees", "Agrees"), ("disagrees", "Disagrees"), ("seen", "Seen")], max_length=12
                    ),
                ),
                ("note", models.TextField(blank=True)),
                ("at", models.DateTimeField()),
                (
                    "entry",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="opinions", to="banks.entry"
                    ),
                ),
            ],
            options={
                "ordering": ("source",),
            },
        ),
        migrations.CreateModel(
            name="Seen",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("network", models.CharField(max_length=63)),
                ("event_id", models.CharField(max_length=200)),
                ("media_id", models.CharField(max_length=200)),
                ("at", models.DateTimeField(db_index=True)),
                ("hashes", models.BinaryField(help_text="In MessagePack: ours, and the platform's own.")),
            ],
            options={
                "verbose_name_plural": "seen",
                "indexes": [models.Index(fields=["network", "event_id"], name="seen_event")],
            },
        ),
        migrations.AddConstraint(
            model_name="bank",
            constraint=models.CheckConstraint(
                condition=models.Q(("severity__range", (1, 5))), name="bank_severity_1_to_5"
            ),
        ),
        migrations.AddConstraint(
            model_name="bank",
            constraint=models.CheckConstraint(
                condition=models.Q(("sampled__range", (0, 100))), name="bank_sampled_0_to_100"
            ),
        ),
        migrations.AddIndex(
            model_name="entry",
            index=models.Index(
                condition=models.Q(("quarantined_at__isnull", False)),
                fields=["quarantined_at"],
                name="entry_quarantined",
            ),
        ),
        migrations.AddIndex(
            model_name="entry",
            index=models.Index(
                condition=models.Q(("looked_back_at__isnull", True), ("withdrawn_at__isnull", True)),
                fields=["added_at"],
                name="entry_to_look_back",
            ),
        ),
        migrations.AddConstraint(
            model_name="entry",
            constraint=models.UniqueConstraint(fields=("bank", "value"), name="entry_once_in_bank"),
        ),
        migrations.AddConstraint(
            model_name="matchcount",
            constraint=models.UniqueConstraint(fields=("entry", "hour"), name="count_once_an_hour"),
        ),
        migrations.AddConstraint(
            model_name="opinion",
            constraint=models.UniqueConstraint(fields=("entry", "source"), name="opinion_once_a_source"),
        ),
    ]
