from django.apps import AppConfig


class BanksConfig(AppConfig):
    name = "redshank.banks"
