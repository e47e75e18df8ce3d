from django.apps import AppConfig


class BanksConfig(AppConfig):
    name = "redshank.banks"

    def ready(self) -> None:
        """Kinds of banks may come from plug-ins."""
        from django.conf import settings

        from redshank.media import plugins

        plugins.install(settings.REDSHANK.media.plugins)
