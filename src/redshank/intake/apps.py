from django.apps import AppConfig


class IntakeConfig(AppConfig):
    name = "redshank.intake"
