"""Registers this room with Django."""

from django.apps import AppConfig


class FleetConfig(AppConfig):
    """The room `fleet`."""

    name = "commonfarm.fleet"
    label = "fleet"
    default_auto_field = "django.db.models.BigAutoField"
