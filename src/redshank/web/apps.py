from django.apps import AppConfig


class WebConfig(AppConfig):
    name = "redshank.web"
