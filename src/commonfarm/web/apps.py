"""Registers the Django project's own templates, static files and checks."""

from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, register

from commonfarm.lib.ports import unfilled


def check_ports(**_: Any) -> list[CheckMessage]:
    """Return an error for each port that no room filled."""
    to_do = "fill it in the `ready()` of the room that has it; docs/reference/ports.md names it"
    return [
        Error(f"the port {name} is not filled", hint=to_do, id="commonfarm.E001")
        for name in unfilled()
    ]


class WebConfig(AppConfig):
    """The room `web`."""

    name = "commonfarm.web"
    label = "web"

    def ready(self) -> None:
        """Have Django's checks look at the ports."""
        register(check_ports)
