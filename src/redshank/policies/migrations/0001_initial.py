from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Policy",
            fields=[
                ("slug", models.SlugField(max_length=64, primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=200)),
                ("summary", models.TextField(help_text="One or two sentences: what is not allowed.")),
                (
                    "ground",
                    models.TextField(help_text="The article of the law, or the clause of the terms, that it rests on."),
                ),
                (
                    "legal",
                    models.BooleanField(default=False, help_text="The ground is in law, not in the terms alone."),
                ),
                (
                    "message",
                    models.TextField(
                        help_text="What the person is told; {action}, {subject} and {reason} are filled in."
                    ),
                ),
                (
                    "position",
                    models.PositiveSmallIntegerField(default=0, help_text="Its place in lists, and its number key."),
                ),
                ("retired_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "verbose_name_plural": "policies",
                "ordering": ("position", "slug"),
            },
        ),
    ]
