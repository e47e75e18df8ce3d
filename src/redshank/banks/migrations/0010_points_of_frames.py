import django.db.models.deletion
import msgspec
from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def wrap(apps: Apps, editor: BaseDatabaseSchemaEditor) -> None:
    """Until now an entry had the points of one picture, as they are."""
    points = apps.get_model("banks", "EntryPoints")
    for pk in list(points.objects.values_list("pk", flat=True)):
        one = points.objects.get(pk=pk)
        one.packed = msgspec.msgpack.encode([(None, bytes(one.packed))])
        one.save(update_fields=["packed"])


class Migration(migrations.Migration):
    dependencies = [
        ("banks", "0009_import_jobs"),
    ]

    operations = [
        migrations.CreateModel(
            name="SeenPoints",
            fields=[
                (
                    "seen",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="points",
                        serialize=False,
                        to="banks.seen",
                    ),
                ),
                ("at", models.DateTimeField(db_index=True)),
                (
                    "packed",
                    models.BinaryField(
                        help_text="In MessagePack, of each picture: second, points, its mirror image's points."
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "seen points",
            },
        ),
        migrations.AlterField(
            model_name="entrypoints",
            name="packed",
            field=models.BinaryField(
                help_text="In MessagePack, of each picture: second of the video, and its points (see media/parts.py)."
            ),
        ),
        migrations.RunPython(wrap, migrations.RunPython.noop),
    ]
