from django.apps import AppConfig


class WebConfig(AppConfig):
    name = "redshank.web"

    def ready(self) -> None:
        from django.conf import settings

        from redshank.web.logs import setup

        setup(settings.REDSHANK.log_format, settings.REDSHANK.log_level)
