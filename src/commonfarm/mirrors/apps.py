"""Registers this room with Django."""

from django.apps import AppConfig


class MirrorsConfig(AppConfig):
    """The room `mirrors`."""

    name = "commonfarm.mirrors"
    label = "mirrors"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Fill the archive's port: mirrors are looked at after publishing."""
        from commonfarm.archive import ports
        from commonfarm.mirrors import registry_tasks, tasks  # noqa: F401 - the worker finds its tasks

        ports.tree_published.fill(tasks.tree_published)
