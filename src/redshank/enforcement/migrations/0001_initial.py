import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Action",
            fields=[
                ("id", models.CharField(max_length=40, primary_key=True, serialize=False)),
                ("network", models.CharField(max_length=63)),
                ("verb", models.CharField(max_length=12)),
                ("subject_kind", models.CharField(max_length=16)),
                ("subject_id", models.CharField(max_length=200)),
                ("account_id", models.CharField(blank=True, max_length=200)),
                ("label", models.CharField(blank=True, max_length=100)),
                ("duration_hours", models.PositiveIntegerField(blank=True, null=True)),
                ("policy", models.CharField(max_length=64)),
                ("reason", models.TextField(blank=True)),
                ("message", models.TextField(blank=True, help_text="What the person is told.")),
                ("asked_by", models.CharField(help_text="user:NAME or rule:ID@VERSION.", max_length=200)),
                ("case_id", models.BigIntegerField(blank=True, null=True)),
                ("decision_id", models.BigIntegerField(blank=True, null=True)),
                ("evidence", models.JSONField(default=list, help_text="SHA-256 of what was preserved before.")),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("requested", "Requested"),
                            ("sent", "Sent"),
                            ("confirmed", "Confirmed"),
                            ("failed", "Failed"),
                            ("canceled", "Canceled"),
                        ],
                        default="requested",
                        max_length=10,
                    ),
                ),
                ("state_reason", models.TextField(blank=True)),
                ("requested_at", models.DateTimeField()),
                ("sent_at", models.DateTimeField(blank=True, null=True)),
                ("settled_at", models.DateTimeField(blank=True, null=True)),
                (
                    "undoes",
                    models.OneToOneField(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="undone_by",
                        to="enforcement.action",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Connector",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("network", models.CharField(max_length=63, unique=True)),
                ("name", models.CharField(help_text="As people call the platform.", max_length=100)),
                ("url", models.URLField(help_text="Where actions are sent.", max_length=2000)),
                (
                    "verbs",
                    models.JSONField(
                        default=list, help_text="What the platform offers: remove, restrict, suspend, label, restore."
                    ),
                ),
                (
                    "secret_version",
                    models.PositiveIntegerField(default=1, help_text="Raise it to change the webhook's secret."),
                ),
                ("paused_at", models.DateTimeField(blank=True, null=True)),
                ("created_at", models.DateTimeField()),
            ],
        ),
        migrations.CreateModel(
            name="Delivery",
            fields=[
                (
                    "action",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="delivery",
                        serialize=False,
                        to="enforcement.action",
                    ),
                ),
                ("network", models.CharField(max_length=63)),
                (
                    "subject",
                    models.CharField(
                        help_text="Stands for the action's network, subject kind and subject id.", max_length=40
                    ),
                ),
                (
                    "position",
                    models.PositiveIntegerField(help_text="Its turn among the letters about one subject, from 1."),
                ),
                ("body", models.TextField(help_text="The exact JSON that is signed and sent, the same at every try.")),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("pending", "Pending"),
                            ("delivered", "Delivered"),
                            ("dead", "Dead"),
                            ("canceled", "Canceled"),
                        ],
                        default="pending",
                        max_length=10,
                    ),
                ),
                ("attempts", models.PositiveIntegerField(default=0)),
                ("due_at", models.DateTimeField()),
                (
                    "leased_until",
                    models.DateTimeField(blank=True, help_text="A worker is at it until then.", null=True),
                ),
                (
                    "distrusted",
                    models.BooleanField(
                        default=False,
                        help_text="The platform answered untruly: that it calls this a duplicate is not believed.",
                    ),
                ),
                ("last_status", models.PositiveSmallIntegerField(blank=True, null=True)),
                ("last_error", models.TextField(blank=True)),
                ("give_up_at", models.DateTimeField()),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("state", "pending")), fields=["network", "due_at"], name="delivery_due"
                    ),
                    models.Index(condition=models.Q(("state", "dead")), fields=["network"], name="delivery_dead"),
                    models.Index(fields=["subject", "position"], name="delivery_turn"),
                ],
            },
        ),
        migrations.AddIndex(
            model_name="action",
            index=models.Index(fields=["case_id"], name="action_case"),
        ),
        migrations.AddIndex(
            model_name="action",
            index=models.Index(fields=["network", "account_id"], name="action_account"),
        ),
        migrations.AddIndex(
            model_name="action",
            index=models.Index(fields=["network", "subject_kind", "subject_id"], name="action_subject"),
        ),
        migrations.AddIndex(
            model_name="action",
            index=models.Index(
                condition=models.Q(("state", "sent")), fields=["network", "sent_at"], name="action_unconfirmed"
            ),
        ),
    ]
