"""Registers this room with Django."""

from django.apps import AppConfig


class FarmConfig(AppConfig):
    """The room `farm`."""

    name = "commonfarm.farm"
    label = "farm"
    default_auto_field = "django.db.models.BigAutoField"
