"""Registers this room with Django."""

from django.apps import AppConfig


class GuardConfig(AppConfig):
    """The room `guard`."""

    name = "commonfarm.guard"
    label = "guard"
    default_auto_field = "django.db.models.BigAutoField"
