import msgspec
from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def without(apps: Apps, editor: BaseDatabaseSchemaEditor) -> None:
    """Points that were kept without the picture made small say nothing now. Entries say what is missing; seen ones age anyway."""
    apps.get_model("banks", "EntryPoints").objects.update(
        packed=msgspec.msgpack.encode([(None, b"")]), poor="its points are of an older kind; add its file again"
    )
    apps.get_model("banks", "SeenPoints").objects.all().delete()


class Migration(migrations.Migration):
    dependencies = [
        ("banks", "0011_parts_sought"),
    ]

    operations = [migrations.RunPython(without, migrations.RunPython.noop)]
