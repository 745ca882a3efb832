"""Registers this room with Django."""

from django.apps import AppConfig


class MirrorsConfig(AppConfig):
    """The room `mirrors`."""

    name = "commonfarm.mirrors"
    label = "mirrors"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Fill the archive's ports: mirrors are looked at after publishing, and read embargoes."""
        from commonfarm.archive import ports
        from commonfarm.mirrors import registry_tasks, rsync_users, tasks  # noqa: F401 - the worker finds its tasks

        ports.release_staged.fill(tasks.release_staged)
        ports.rsync_users.fill(rsync_users.rsync_users)
        ports.tree_published.fill(tasks.tree_published)
