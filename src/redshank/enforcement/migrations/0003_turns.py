from django.db import migrations, models
from django.db.models import Q

from redshank.core import stable_id


def fill(apps, editor):  # type: ignore[no-untyped-def]  # as Django calls it
    delivery = apps.get_model("enforcement", "Delivery")
    for row in delivery.objects.select_related("action").iterator():
        action = row.action
        row.network, row.position = action.network, action.position
        row.subject = stable_id("sub", action.network, action.subject_kind, action.subject_id)
        row.save(update_fields=["network", "position", "subject"])


class Migration(migrations.Migration):
    """Letters know their turn themselves: finding what may leave reads what waits, not all that was ever asked for."""

    dependencies = (("enforcement", "0002_order_by_subject"),)
    operations = (
        migrations.AddField("delivery", "network", models.CharField(default="", max_length=63), preserve_default=False),
        migrations.AddField(
            "delivery",
            "subject",
            models.CharField(
                default="",
                help_text="Stands for the action's network, subject kind and subject id.",
                max_length=40,
            ),
            preserve_default=False,
        ),
        migrations.AddField(
            "delivery",
            "position",
            models.PositiveIntegerField(default=1, help_text="Its turn among the letters about one subject, from 1."),
            preserve_default=False,
        ),
        migrations.RunPython(fill, migrations.RunPython.noop),
        migrations.RemoveIndex("delivery", "delivery_due"),
        migrations.RemoveIndex("action", "action_subject"),
        migrations.RemoveField("action", "position"),
        migrations.AddIndex(
            "action", models.Index(fields=["network", "subject_kind", "subject_id"], name="action_subject")
        ),
        migrations.AddIndex(
            "action",
            models.Index(condition=Q(("state", "sent")), fields=["network", "sent_at"], name="action_unconfirmed"),
        ),
        migrations.AddIndex(
            "delivery",
            models.Index(condition=Q(("state", "pending")), fields=["network", "due_at"], name="delivery_due"),
        ),
        migrations.AddIndex(
            "delivery", models.Index(condition=Q(("state", "dead")), fields=["network"], name="delivery_dead")
        ),
        migrations.AddIndex("delivery", models.Index(fields=["subject", "position"], name="delivery_turn")),
    )
