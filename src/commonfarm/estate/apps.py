"""Registers this room with Django."""

from django.apps import AppConfig


class EstateConfig(AppConfig):
    """The room `estate`."""

    name = "commonfarm.estate"
    label = "estate"
    default_auto_field = "django.db.models.BigAutoField"
