"""Registers this room with Django."""

from django.apps import AppConfig


class ArchiveConfig(AppConfig):
    """The room `archive`."""

    name = "commonfarm.archive"
    label = "archive"
    default_auto_field = "django.db.models.BigAutoField"
