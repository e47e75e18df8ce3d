from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Blob",
            fields=[
                ("sha256", models.CharField(max_length=64, primary_key=True, serialize=False)),
                ("size", models.BigIntegerField()),
                ("kind", models.CharField(blank=True, help_text="image or video, as decoded.", max_length=8)),
                ("width", models.PositiveIntegerField(blank=True, help_text="In pixels, as shown.", null=True)),
                ("height", models.PositiveIntegerField(blank=True, null=True)),
                ("seconds", models.FloatField(blank=True, help_text="A video's length.", null=True)),
                (
                    "kept_for",
                    models.CharField(
                        blank=True, help_text="case or evidence; empty: only until its walk.", max_length=16
                    ),
                ),
                ("stored_at", models.DateTimeField()),
            ],
        ),
        migrations.CreateModel(
            name="Erasure",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("network", models.CharField(max_length=63)),
                ("account_id", models.CharField(max_length=200)),
                ("asked_at", models.DateTimeField()),
                ("done_at", models.DateTimeField(blank=True, null=True)),
            ],
        ),
        migrations.CreateModel(
            name="AccountRecord",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("network", models.CharField(max_length=63)),
                ("account_id", models.CharField(max_length=200)),
                ("handle", models.CharField(blank=True, max_length=1000)),
                ("display_name", models.CharField(blank=True, max_length=1000)),
                ("bio", models.TextField(blank=True)),
                ("url", models.TextField(blank=True)),
                ("created_at", models.DateTimeField(blank=True, null=True)),
                ("followers", models.BigIntegerField(blank=True, null=True)),
                ("following", models.BigIntegerField(blank=True, null=True)),
                ("posts", models.BigIntegerField(blank=True, null=True)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("active", "Active"),
                            ("restricted", "Restricted"),
                            ("suspended", "Suspended"),
                            ("deleted", "Deleted"),
                        ],
                        default="active",
                        max_length=12,
                    ),
                ),
                ("labels", models.JSONField(default=list, help_text="Labels of ours, put by rules and people.")),
                ("first_seen", models.DateTimeField()),
                ("last_seen", models.DateTimeField()),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("network", "account_id"), name="account_once")],
            },
        ),
        migrations.CreateModel(
            name="EventRecord",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("network", models.CharField(max_length=63)),
                ("event_id", models.CharField(max_length=200)),
                ("type", models.CharField(max_length=32)),
                ("at", models.DateTimeField()),
                ("received_at", models.DateTimeField()),
                ("account_id", models.CharField(blank=True, max_length=200)),
                ("subject_kind", models.CharField(blank=True, max_length=16)),
                ("subject_id", models.CharField(blank=True, max_length=200)),
                ("body", models.TextField(help_text="The event as JSON; media without their bytes.")),
                ("blobs", models.TextField(blank=True, help_text="JSON: media id to SHA-256 of the kept bytes.")),
                (
                    "state",
                    models.CharField(
                        choices=[("walked", "Walked"), ("waiting", "Waiting"), ("failed", "Failed")],
                        default="walked",
                        max_length=8,
                    ),
                ),
                (
                    "verdict",
                    models.TextField(blank=True, help_text="The verdict as JSON; empty where nothing was seen."),
                ),
                ("attempts", models.PositiveSmallIntegerField(default=0)),
                (
                    "due_at",
                    models.DateTimeField(blank=True, help_text="When a waiting event may be tried (again).", null=True),
                ),
                ("error", models.TextField(blank=True)),
                (
                    "past_batch",
                    models.BigIntegerField(
                        blank=True, help_text="The batch of the past that it is part of.", null=True
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(fields=["network", "account_id", "at"], name="event_account_at"),
                    models.Index(fields=["network", "subject_id", "subject_kind"], name="event_subject"),
                    models.Index(condition=models.Q(("state", "waiting")), fields=["due_at"], name="event_due"),
                    models.Index(fields=["past_batch", "id"], name="event_past_batch"),
                ],
                "constraints": [models.UniqueConstraint(fields=("network", "event_id"), name="event_once")],
            },
        ),
        migrations.CreateModel(
            name="PastBatch",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("made_at", models.DateTimeField()),
                ("written_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "indexes": [
                    models.Index(condition=models.Q(("written_at", None)), fields=["id"], name="past_batch_unwritten")
                ],
            },
        ),
    ]
