from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Case",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("network", models.CharField(max_length=63)),
                ("subject_kind", models.CharField(max_length=16)),
                ("subject_id", models.CharField(max_length=200)),
                (
                    "account_id",
                    models.CharField(blank=True, help_text="Who owns the subject, where it is known.", max_length=200),
                ),
                ("queue", models.CharField(default="review", max_length=40)),
                (
                    "priority",
                    models.PositiveSmallIntegerField(
                        default=50, help_text="0 to 100; the highest that anything asked for."
                    ),
                ),
                ("priority_reason", models.TextField(help_text="Why it stands where it stands, in one sentence.")),
                (
                    "source",
                    models.CharField(
                        help_text="Who asked first: rule, user, trusted_flagger, third_party, authority, person.",
                        max_length=16,
                    ),
                ),
                (
                    "state",
                    models.CharField(choices=[("open", "Open"), ("decided", "Decided")], default="open", max_length=8),
                ),
                ("opened_at", models.DateTimeField()),
                ("deadline", models.DateTimeField()),
                ("held_until", models.DateTimeField(blank=True, null=True)),
                ("decided_at", models.DateTimeField(blank=True, null=True)),
                (
                    "version",
                    models.PositiveIntegerField(
                        default=0, help_text="Grows with each change: two people cannot both decide."
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Comment",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("text", models.TextField()),
                ("at", models.DateTimeField()),
            ],
            options={
                "ordering": ("id",),
            },
        ),
        migrations.CreateModel(
            name="Decision",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "outcome",
                    models.CharField(
                        choices=[
                            ("act", "acted"),
                            ("no_violation", "no violation"),
                            ("escalate", "escalated"),
                            ("undo", "undone"),
                        ],
                        max_length=16,
                    ),
                ),
                ("reason", models.TextField(blank=True)),
                ("at", models.DateTimeField()),
            ],
            options={
                "ordering": ("id",),
            },
        ),
        migrations.CreateModel(
            name="Item",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "key",
                    models.CharField(
                        help_text="The same thing again has the same key, and is kept once.", max_length=64
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[("finding", "Finding"), ("fired", "Fired"), ("report", "Report")], max_length=8
                    ),
                ),
                ("event", models.CharField(help_text="The event it came with, as network/id.", max_length=300)),
                ("body", models.JSONField()),
                (
                    "entry",
                    models.BigIntegerField(blank=True, help_text="The bank's entry that a finding matched.", null=True),
                ),
                ("at", models.DateTimeField()),
            ],
            options={
                "ordering": ("id",),
            },
        ),
    ]
