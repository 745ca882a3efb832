"""Registers this room with Django."""

from django.apps import AppConfig


class StoreConfig(AppConfig):
    """The room `store`."""

    name = "commonfarm.store"
    label = "store"
    default_auto_field = "django.db.models.BigAutoField"
