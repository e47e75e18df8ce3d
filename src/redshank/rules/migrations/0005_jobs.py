from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("rules", "0004_breakers")]

    operations = [
        migrations.RenameField("backtestjob", "files_done", "done"),
        migrations.RenameField("backtestjob", "files", "whole"),
        migrations.AlterField(
            "backtestjob", "done", models.BigIntegerField(default=0, help_text="How much of `whole` is done.")
        ),
        migrations.AlterField(
            "backtestjob", "whole", models.BigIntegerField(default=0, help_text="0: it is not known yet.")
        ),
        migrations.AlterModelOptions("backtestjob", {"ordering": ("-id",), "verbose_name": "backtest"}),
    ]
