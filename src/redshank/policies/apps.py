from django.apps import AppConfig
from django.db.models.signals import post_migrate


class PoliciesConfig(AppConfig):
    name = "redshank.policies"

    def ready(self) -> None:
        from redshank.policies.first import seed

        post_migrate.connect(seed, sender=self)
