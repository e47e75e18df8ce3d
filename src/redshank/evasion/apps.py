from django.apps import AppConfig


class EvasionConfig(AppConfig):
    name = "redshank.evasion"
