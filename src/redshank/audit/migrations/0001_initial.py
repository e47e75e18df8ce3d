from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Evidence",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("sha256", models.CharField(max_length=64, unique=True)),
                ("event", models.CharField(max_length=300)),
                ("body", models.TextField()),
                ("blobs", models.JSONField(default=list)),
                ("preserved_at", models.DateTimeField()),
            ],
        ),
        migrations.CreateModel(
            name="Entry",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField()),
                (
                    "actor",
                    models.CharField(
                        help_text="user:NAME, rule:ID@VERSION, key:NAME, platform:NETWORK or system.", max_length=200
                    ),
                ),
                (
                    "step",
                    models.CharField(
                        help_text="events.accepted, verdict, case.opened, decision.made, action.sent, …", max_length=40
                    ),
                ),
                (
                    "object",
                    models.CharField(
                        help_text="What it was done to: event:NET/ID, case:7, action:ID, bank:NAME, …", max_length=300
                    ),
                ),
                ("reason", models.TextField(blank=True)),
                (
                    "evidence",
                    models.JSONField(
                        default=list, help_text="Event keys and SHA-256 of preserved evidence it rests on."
                    ),
                ),
                ("body", models.JSONField(default=dict)),
            ],
            options={
                "verbose_name_plural": "entries",
                "ordering": ("id",),
                "indexes": [models.Index(fields=["object", "id"], name="audit_object")],
            },
        ),
    ]
