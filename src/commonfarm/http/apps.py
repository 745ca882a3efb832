"""Registers this room with Django."""

from django.apps import AppConfig


class HttpConfig(AppConfig):
    """The room `http`."""

    name = "commonfarm.http"
    label = "http"
    default_auto_field = "django.db.models.BigAutoField"
