"""Registers this room with Django."""

from django.apps import AppConfig


class JournalConfig(AppConfig):
    """The room `journal`."""

    name = "commonfarm.journal"
    label = "journal"
    default_auto_field = "django.db.models.BigAutoField"
