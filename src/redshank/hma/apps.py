from django.apps import AppConfig


class HmaConfig(AppConfig):
    name = "redshank.hma"
