"""Registers this room with Django."""

from django.apps import AppConfig


class MirrorsConfig(AppConfig):
    """The room `mirrors`."""

    name = "commonfarm.mirrors"
    label = "mirrors"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Fill the archive's ports: mirrors are scanned after publishing, maps can be signed."""
        from commonfarm.archive import ports
        from commonfarm.mirrors import tasks
        from commonfarm.mirrors.models import MapWritten

        ports.tree_published.fill(tasks.tree_published)
        ports.mirror_map_blob.fill(MapWritten.payload_of)
