"""Registers this room with Django."""

from django.apps import AppConfig


class InstallationConfig(AppConfig):
    """The room `installation`."""

    name = "commonfarm.installation"
    label = "installation"
    default_auto_field = "django.db.models.BigAutoField"
