"""Registers this room with Django."""

from django.apps import AppConfig


class MirrorsConfig(AppConfig):
    """The room `mirrors`."""

    name = "commonfarm.mirrors"
    label = "mirrors"
    default_auto_field = "django.db.models.BigAutoField"
