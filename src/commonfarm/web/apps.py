"""Registers the Django project's own templates and static files."""

from django.apps import AppConfig


class WebConfig(AppConfig):
    """The room `web`."""

    name = "commonfarm.web"
    label = "web"
