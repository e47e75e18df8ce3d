from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="ApiKey",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=100, unique=True)),
                ("network", models.CharField(help_text="The network it may speak for.", max_length=63)),
                ("digest", models.CharField(max_length=64, unique=True)),
                ("created_at", models.DateTimeField()),
                ("last_used_at", models.DateTimeField(blank=True, null=True)),
                ("revoked_at", models.DateTimeField(blank=True, null=True)),
            ],
        ),
        migrations.CreateModel(
            name="IngestFile",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "fingerprint",
                    models.CharField(help_text="SHA-256 of its path and its first 64 KiB.", max_length=64, unique=True),
                ),
                ("path", models.TextField()),
                ("line", models.BigIntegerField(default=0)),
                ("accepted", models.BigIntegerField(default=0)),
                ("duplicates", models.BigIntegerField(default=0)),
                ("rejected", models.BigIntegerField(default=0)),
                (
                    "rejects_size",
                    models.BigIntegerField(default=0, help_text="Bytes of the file of rejected lines that are true."),
                ),
                ("finished_at", models.DateTimeField(blank=True, null=True)),
            ],
        ),
        migrations.CreateModel(
            name="Report",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("network", models.CharField(max_length=63)),
                ("report_id", models.CharField(max_length=200)),
                ("event", models.CharField(max_length=300)),
                ("subject_kind", models.CharField(max_length=16)),
                ("subject_id", models.CharField(max_length=200)),
                ("reason", models.CharField(max_length=1000)),
                ("text", models.TextField(blank=True)),
                ("reporter_kind", models.CharField(max_length=16)),
                ("reporter_id", models.CharField(blank=True, max_length=200)),
                ("reporter_name", models.CharField(blank=True, max_length=1000)),
                ("received_at", models.DateTimeField()),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("network", "report_id"), name="report_once")],
            },
        ),
    ]
