from typing import Any

from django.db import migrations, models


def take_from_banks(apps: Any, schema_editor: Any) -> None:
    """Until now an exchange was named as its bank."""
    for one in apps.get_model("hma", "HmaExchange").objects.select_related("whole"):
        one.name = one.whole.name
        one.save(update_fields=["name"])


class Migration(migrations.Migration):
    dependencies = [("hma", "0002_exchanges")]

    operations = [
        migrations.AddField(
            model_name="hmaexchange", name="name", field=models.CharField(max_length=255, null=True, unique=True)
        ),
        migrations.RunPython(take_from_banks, migrations.RunPython.noop),
        migrations.AlterField(
            model_name="hmaexchange", name="name", field=models.CharField(max_length=255, unique=True)
        ),
    ]
